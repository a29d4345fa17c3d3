from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_cryodrgn.imaging import (
    Lattice,
    images_to_pixels,
    pixels_to_images,
    shift_phases,
    slice_points,
)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("box", "limit"), [(16, None), (16, 5), (24, 6.5), (24, 100)])
def test_lattice_is_half_a_disc_sorted_by_radius(box: int, limit: float | None) -> None:
    lattice = Lattice.create(box, limit)
    largest = min(box // 2 - 1, box if limit is None else limit)
    assert lattice.limit == largest
    assert bool((lattice.radius.diff() >= 0).all())
    torch.testing.assert_close(lattice.k.norm(dim=1), lattice.radius)
    mine = {tuple(k) for k in lattice.k.int().tolist()}
    r = range(-box, box + 1)
    disc = {(x, y) for x in r for y in r if 0 < x * x + y * y <= largest**2}
    assert len(mine) == len(lattice)
    assert mine | {(-x, -y) for x, y in mine} == disc
    assert not mine & {(-x, -y) for x, y in mine}


def test_count_is_the_length_of_the_prefix() -> None:
    lattice = Lattice.create(32)
    for limit in (0.5, 1, 5, 5.5, 15, 40):
        assert lattice.count(limit) == int((lattice.radius <= limit).sum())
        shorter = Lattice.create(32, limit)
        torch.testing.assert_close(shorter.k, lattice.k[: len(shorter)])


def test_shell_mean() -> None:
    lattice = Lattice.create(16)
    mean = lattice.shell_mean(lattice.shell[:50].float())
    assert len(mean) == lattice.n_shells == 8
    assert mean[0] == 0
    top = int(lattice.shell[49])
    torch.testing.assert_close(mean[1 : top + 1], torch.arange(1.0, top + 1))
    assert bool((mean[top + 1 :] == 0).all())


def test_pixels_are_the_centred_transform(images: Tensor) -> None:
    lattice = Lattice.create(24)
    x = np.arange(24) - 12
    kx, ky = lattice.k.numpy().T
    basis = np.exp(-2j * np.pi / 24 * (ky[:, None, None] * x[:, None] + kx[:, None, None] * x))
    expected = np.einsum("byx,pyx->bp", images.numpy(), basis)
    np.testing.assert_allclose(images_to_pixels(images, lattice), expected, atol=1e-4)


def test_round_trip(images: Tensor) -> None:
    lattice = Lattice.create(24)
    filtered = pixels_to_images(images_to_pixels(images, lattice), lattice)
    assert filtered.shape == images.shape
    # The first pass takes out the mean and the corners of the Fourier plane, the second nothing.
    again = pixels_to_images(images_to_pixels(filtered, lattice), lattice)
    torch.testing.assert_close(again, filtered, atol=1e-5, rtol=0)
    pixels = images_to_pixels(images, lattice)
    torch.testing.assert_close(images_to_pixels(filtered, lattice), pixels, atol=1e-4, rtol=0)


def test_a_shorter_prefix_is_a_low_pass(images: Tensor) -> None:
    lattice, low = Lattice.create(24), Lattice.create(24, 4)
    pixels = images_to_pixels(images, lattice)
    torch.testing.assert_close(
        pixels_to_images(pixels[:, : len(low)], lattice),
        pixels_to_images(images_to_pixels(images, low), low),
    )


@pytest.mark.parametrize("box", [24, 25])
def test_fourier_crop_keeps_the_centre(box: int) -> None:
    # A wide Gaussian sampled on either grid is the same function, centred at D // 2.
    def gaussian(d: int, step: float) -> Tensor:
        x = (torch.arange(d) - d // 2) * step - 1.0
        return torch.exp(-0.5 * (x[:, None] ** 2 + (x + 2.5) ** 2) / 2.0**2)[None]

    small = Lattice.create(16)
    cropped = pixels_to_images(images_to_pixels(gaussian(box, 16 / box), small), small)
    expected = gaussian(16, 1.0) * (box / 16) ** 2
    expected = pixels_to_images(images_to_pixels(expected, small), small)
    torch.testing.assert_close(cropped, expected, atol=5e-3, rtol=0)


def test_shift_phases_undo_a_shift(images: Tensor) -> None:
    lattice = Lattice.create(24)
    # (x, y) = (3, -2): along the last axis by 3, along the first by -2.
    moved = images.roll((-2, 3), (1, 2))
    phases = shift_phases(lattice.k, 24, torch.tensor([3.0, -2.0]))
    torch.testing.assert_close(
        images_to_pixels(moved, lattice) * phases,
        images_to_pixels(images, lattice),
        atol=1e-4,
        rtol=1e-4,
    )


def test_shift_phases_are_a_group() -> None:
    lattice = Lattice.create(16)
    a, b = torch.tensor([[0.3, 1.7], [2.0, -1.0]])
    pa, pb = shift_phases(lattice.k, 16, a), shift_phases(lattice.k, 16, b)
    torch.testing.assert_close(pa * pb, shift_phases(lattice.k, 16, a + b), atol=1e-5, rtol=0)
    torch.testing.assert_close(pa.conj(), shift_phases(lattice.k, 16, -a), atol=1e-5, rtol=0)


def test_slice_points_are_transposed_rotations_of_the_plane(rotations: Tensor) -> None:
    lattice = Lattice.create(16)
    points = slice_points(rotations[:4], lattice.k)
    flat = torch.cat([lattice.k, torch.zeros(len(lattice), 1)], 1)
    for r, found in zip(rotations, points, strict=False):
        torch.testing.assert_close(found, (r.T @ flat.T).T, atol=1e-5, rtol=1e-5)
