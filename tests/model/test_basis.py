from __future__ import annotations

import pytest
import torch

from napari_cryodrgn.model import BasisDecoder, kernel_functions

BOX = 16


def make(zdim: int = 1, k: int = 6, n: int = 4) -> BasisDecoder:
    random = torch.Generator().manual_seed(zdim)
    nodes = torch.randn(k, zdim, generator=random)
    length = torch.linspace(1.0, 1.5, zdim)
    mixing = kernel_functions(nodes, length, n)
    volumes = torch.randn(1 + mixing.shape[1], BOX, BOX, BOX, generator=random)
    return BasisDecoder(volumes, nodes, mixing, length)


@pytest.mark.parametrize("zdim", [1, 2, 3])
def test_decode_is_the_weighted_sum(zdim: int) -> None:
    decoder = make(zdim)
    z = torch.linspace(-1, 1, zdim)
    a = decoder.coefficients(z)
    assert float(a[0]) == 1
    expected = sum(w * v for w, v in zip(a, decoder.volumes, strict=True))
    torch.testing.assert_close(decoder.decode(z), expected)
    torch.testing.assert_close(decoder.decode_all(z[None])[0], expected)


def test_far_from_the_nodes_is_the_mean() -> None:
    decoder = make(2)
    torch.testing.assert_close(decoder.decode(torch.full((2,), 50.0)), decoder.volumes[0])


def test_limit_is_a_low_pass() -> None:
    decoder, z = make(), torch.zeros(1)
    full, low = torch.fft.fftn(decoder.decode(z)), torch.fft.fftn(decoder.decode(z, 5))
    k = torch.fft.fftfreq(BOX, 1 / BOX)
    inside = k[:, None, None] ** 2 + k[:, None] ** 2 + k**2 <= 25
    torch.testing.assert_close(low, full * inside, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(decoder.decode(z, BOX), decoder.decode(z))


def test_a_smaller_box_is_the_filtered_volume() -> None:
    decoder, z = make(2).eval(), torch.tensor([0.3, -0.4])
    for _ in range(2):
        torch.testing.assert_close(decoder.decode(z, box=8), decoder.decode(z, 3.9)[::2, ::2, ::2])
    low = decoder.decode(z, 2)[::2, ::2, ::2]
    torch.testing.assert_close(decoder.decode(z, 2, 8), low, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="from 2 to 16, got 5"):
        decoder.decode(z, box=5)


@pytest.mark.parametrize("zdim", [1, 3])
def test_slopes_are_the_derivatives(zdim: int) -> None:
    decoder = make(zdim).double()
    z = torch.randn(5, zdim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = decoder.slopes(z)
    assert found.shape == (5, len(decoder.volumes), zdim)
    h = 1e-6
    for d in range(zdim):
        step = torch.zeros(zdim, dtype=torch.float64)
        step[d] = h
        up, down = decoder.coefficients(z + step), decoder.coefficients(z - step)
        torch.testing.assert_close(found[..., d], (up - down) / (2 * h), atol=1e-7, rtol=1e-6)


def test_kernel_functions_make_up_the_kernel() -> None:
    nodes, length = torch.linspace(-2, 2, 9)[:, None].double(), torch.ones(1).double()
    kernel = (-0.5 * (nodes - nodes.T) ** 2).exp()
    functions = kernel @ kernel_functions(nodes, length, 9)
    assert float((functions @ functions.T - kernel).abs().max()) < 0.01
    few = kernel_functions(nodes, length, 3)
    assert few.shape == (9, 3)
    # Leading functions first, and orthogonal on the nodes.
    product = (kernel @ few).T @ (kernel @ few)
    assert bool((product.diagonal().diff() < 0).all())
    torch.testing.assert_close(product, product.diagonal().diag(), atol=1e-8, rtol=0)


def test_no_latent_is_one_volume() -> None:
    volume = torch.randn(1, BOX, BOX, BOX)
    decoder = BasisDecoder(volume, torch.zeros(1, 0), torch.zeros(1, 0), torch.ones(0))
    torch.testing.assert_close(decoder.decode(torch.zeros(0)), volume[0])
