from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_cryodrgn.imaging import FourierGrid
from napari_cryodrgn.model import ConsensusSlices

BOX = 16


def coefficients(decoder: Any, z: Tensor, limit: int = BOX // 2 - 1) -> Any:
    """Hermitian coefficients by frequency (x, y, z), from ``forward`` at grid points."""
    r = range(-limit, limit + 1)
    ball = [(x, y, w) for x in r for y in r for w in r if 0 < x * x + y * y + w * w <= limit**2]
    with torch.no_grad():
        values = decoder(torch.tensor(ball).float(), z[None]).numpy()
    forward = dict(zip(ball, values, strict=True))
    found = {}
    for k, value in forward.items():
        mate = np.conj(forward[-k[0], -k[1], -k[2]])
        # The half space kx > 0 speaks for the other; the plane between them is averaged.
        found[k] = value if k[0] > 0 else mate if k[0] < 0 else (value + mate) / 2
    return found


@pytest.mark.parametrize("zdim", [0, 2])
@pytest.mark.parametrize("limit", [None, 5])
def test_decode_is_the_inverse_transform_of_forward(
    make_decoder: Any, zdim: int, limit: int | None
) -> None:
    decoder = make_decoder(zdim)
    z = torch.tensor([0.5, -1.0])[:zdim]
    volume = decoder.decode(z, limit)
    assert volume.shape == (BOX, BOX, BOX)
    assert volume.dtype == torch.float32
    assert not volume.requires_grad
    found = coefficients(decoder, z, limit or BOX // 2 - 1)
    k = np.array(list(found))
    values = np.array(list(found.values()))
    mask = FourierGrid(BOX, 1.0).mask
    for voxel in [(8, 8, 8), (8, 8, 11), (10, 6, 9), (5, 9, 7), (13, 8, 8)]:
        x = np.array(voxel[::-1]) - BOX // 2
        expected = (values * np.exp(2j * np.pi / BOX * (k @ x))).sum() / BOX**3
        assert abs(expected.imag) < 1e-9
        assert volume[voxel] == pytest.approx(float(expected.real * mask[voxel]), abs=1e-7)


def test_latent_changes_the_volume(make_decoder: Any) -> None:
    decoder = make_decoder(2)
    a, b = decoder.decode(torch.zeros(2)), decoder.decode(torch.tensor([1.0, 0.0]))
    assert float((a - b).norm()) > 1e-2 * float(a.norm())


def test_consensus_is_added(make_decoder: Any) -> None:
    consensus = torch.randn(BOX, BOX, BOX, generator=torch.Generator().manual_seed(0))
    plain, on_top = make_decoder(2), make_decoder(2, consensus=consensus)
    assert on_top.residual
    assert not plain.residual
    z = torch.tensor([0.3, 0.2])
    torch.testing.assert_close(on_top.decode(z), plain.decode(z) + consensus)


def test_attenuated_decoders_are_corrected(make_decoder: Any) -> None:
    decoder = make_decoder(2)
    z = torch.zeros(2)
    before = decoder.decode(z)
    decoder.attenuated.fill_(True)
    torch.testing.assert_close(decoder.decode(z), before * FourierGrid(BOX, 1.0).correction)


def test_amplitude_scales_each_shell(make_decoder: Any) -> None:
    amplitude = torch.linspace(2, 0.5, BOX)
    plain, scaled = make_decoder(2), make_decoder(2, amplitude=amplitude)
    k = torch.tensor([[3.0, 0, 0], [0, 2.5, 0], [100.0, 0, 0]])
    z = torch.zeros(1, 2)
    middle = float(amplitude[2] + amplitude[3]) / 2
    torch.testing.assert_close(
        scaled.scale(k), torch.tensor([float(amplitude[3]), middle, 0.5]), atol=2e-3, rtol=0
    )
    torch.testing.assert_close(scaled(k, z), plain(k, z) * scaled.scale(k))


def test_latent_of_each_image_reaches_its_points(make_decoder: Any) -> None:
    decoder = make_decoder(2)
    k, z = torch.randn(3, 7, 3), torch.randn(3, 2)
    together = decoder(k, z[:, None])
    assert together.shape == (3, 7)
    for i in range(3):
        torch.testing.assert_close(together[i], decoder(k[i], z[i : i + 1]))


def test_consensus_slices_sample_the_consensus(make_decoder: Any) -> None:
    x = torch.arange(BOX) - BOX // 2
    r2 = x[:, None, None] ** 2 + x[:, None] ** 2 + x**2
    consensus = torch.exp(-0.5 * r2 / 1.5**2)
    slices = ConsensusSlices(make_decoder(1, consensus=consensus), 7.0)
    k = torch.tensor([[0.0, 0, 0], [1.3, 0, -2.2], [0, 4.1, 0]])
    expected = (2 * np.pi * 1.5**2) ** 1.5 * torch.exp(
        -2 * (np.pi * 1.5 / BOX) ** 2 * k.square().sum(1)
    )
    found = slices(k)
    torch.testing.assert_close(found.real, expected, rtol=0.03, atol=0.2)
    assert float(found.imag.abs().max()) < 0.2
