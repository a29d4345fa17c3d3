from __future__ import annotations

import math

import pytest
import torch

from napari_cryodrgn.model import PositionalEncoding, density, gaussian, geometric


@pytest.mark.parametrize("box", [16, 32])
def test_geometric_is_the_papers(box: int) -> None:
    # Frequencies of the discrete transform, in [-0.5, 0.5].
    k = (torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) - 0.5).double()
    sines, cosines = [], []
    for axis in range(3):
        for i in range(1, box // 2 + 1):
            phase = k[:, axis] * box * math.pi * (2 / box) ** (2 * i / box)
            sines.append(phase.sin())
            cosines.append(phase.cos())
    expected = torch.stack(sines + cosines, 1)
    encoding = geometric(box)
    assert encoding.n_features == 3 * box
    found = encoding((k * box).float())
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("box", [32, 64, 128])
def test_noisy_leaves_out_the_top_tenth(box: int) -> None:
    def frequencies(encoding: PositionalEncoding) -> torch.Tensor:
        return encoding.phases[0][encoding.phases[0] > 0].sort().values

    every, fewer = frequencies(geometric(box)), frequencies(geometric(box, noisy=True))
    left_out = len(every) - len(fewer)
    assert len(every) == box // 2
    assert 0.08 * len(every) < left_out < 0.13 * len(every) + 1
    torch.testing.assert_close(fewer, every[: len(fewer)])


def test_gaussian_has_the_stated_spread() -> None:
    box, n = 64, 20000
    phases = gaussian(box, n, sigma=0.5).phases
    assert phases.shape == (3, n)
    # Radians per k in [-0.5, 0.5]: the box times radians per cycle.
    assert float((phases * box).std()) == pytest.approx(0.5 * box / 2, rel=0.02)
    assert torch.equal(gaussian(box, n).phases, phases)
    assert not torch.equal(gaussian(box, n, seed=1).phases, phases)


def test_density_draws_its_points_from_the_volume() -> None:
    volume = torch.zeros(16, 16, 16)
    volume[3, 8, 12] = 1.0  # z, y, x
    volume[9, 9, 9] = -5.0
    phases = density(volume, 50).phases * 16 / (2 * math.pi)
    assert phases.shape == (3, 50)
    expected = torch.tensor([4.0, 0.0, -5.0])[:, None]
    assert float((phases - expected).abs().max()) <= 0.5
    assert float(phases.std(1).min()) > 0.1


def test_density_without_positive_values() -> None:
    assert bool(density(torch.zeros(8, 8, 8), 10).phases.isfinite().all())
    phases = density(-torch.ones(8, 8, 8), 500).phases * 8 / (2 * math.pi)
    assert float(phases.std()) > 2


def test_encoding_keeps_the_batch() -> None:
    encoding = PositionalEncoding(torch.eye(3))
    k = torch.randn(2, 5, 3)
    torch.testing.assert_close(encoding(k), torch.cat([k.sin(), k.cos()], -1))
