from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from napari_cryodrgn.imaging import FourierGrid, Lattice, friedel, slice_points


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().square().sum() / expected.abs().square().sum()) ** 0.5


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_samples_are_the_transform_of_the_volume(blobs: Any, rotations: Tensor) -> None:
    lattice = Lattice.create(blobs.box)
    grid = FourierGrid(blobs.box, lattice.limit)
    points = slice_points(rotations[:40], lattice.k)
    found = grid.sample(grid.transform(blobs.volume())[None], points)
    assert relative(found, blobs.transform(points)) < 0.025


def test_grid_points_are_half_frequencies(blobs: Any) -> None:
    grid = FourierGrid(blobs.box, 6.0)
    volume = blobs.volume()
    transform = grid.transform(volume / grid.correction)
    c = grid.half
    for z, y, x in [(0, 0, 0), (3, -2, 5), (0, 7, 0)]:
        k = torch.tensor([x, y, z]) / 2
        expected = blobs.transform(k)
        assert complex(transform[c + z, c + y, c + x]) == pytest.approx(complex(expected), abs=1e-3)
        assert grid.radius[c + z, c + y, c + x] == pytest.approx(float(k.norm()))


def test_inverse_undoes_transform(blobs: Any) -> None:
    # The correction stands in for the interpolation, so it is divided out twice here.
    grid = FourierGrid(blobs.box, blobs.box / 2)
    volume = blobs.volume()
    found = grid.inverse(grid.transform(volume), mask=False) / grid.correction**2
    assert relative(found, volume) < 0.01


def test_insert_is_the_adjoint_of_sample(rotations: Tensor) -> None:
    random = torch.Generator().manual_seed(1)
    grid = FourierGrid(16, 6.0)
    points = slice_points(rotations[:7], Lattice.create(16, 6).k)
    state = torch.randint(3, points.shape[:-1], generator=random)
    grids = torch.randn(3, grid.n, grid.n, grid.n, 2, generator=random)
    values = torch.randn(2, *points.shape[:-1], generator=random)
    sampled = torch.view_as_real(grid.sample(torch.view_as_complex(grids), points, state))
    left = (sampled.movedim(-1, 0) * values).sum()
    inserted = grid.insert(points, values, state, n_states=3)
    assert inserted.shape == (3, 2, grid.n, grid.n, grid.n)
    right = (inserted * grids.movedim(-1, 1)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-4)


def test_states_are_sampled_apart(blobs: Any, rotations: Tensor) -> None:
    grid = FourierGrid(blobs.box, 8.0)
    points = slice_points(rotations[:6], Lattice.create(blobs.box, 8).k)
    state = (torch.arange(6) % 3)[:, None].expand(points.shape[:-1])
    volumes = torch.stack([blobs.volume().roll(i, 2) * (i + 1) for i in range(3)])
    grids = grid.transform(volumes)
    together = grid.sample(grids, points, state)
    for i in range(6):
        alone = grid.sample(grids[i % 3 : i % 3 + 1], points[i])
        torch.testing.assert_close(together[i], alone, atol=1e-3, rtol=1e-3)
    ones = torch.ones(1, *points.shape[:-1])
    weights = grid.insert(points, ones, state, n_states=3)
    # Every value lands in its own grid, whole.
    count = 2 * float(points[0, :, 0].numel())
    assert weights.sum((1, 2, 3, 4)).tolist() == pytest.approx([count] * 3, rel=1e-4)


def test_wiener_recovers_a_volume_from_noiseless_slices(blobs: Any, rotations: Tensor) -> None:
    lattice = Lattice.create(blobs.box)
    grid = FourierGrid(blobs.box, lattice.limit)
    points = slice_points(rotations, lattice.k)
    pixels = blobs.transform(points)
    values = torch.stack([pixels.real, pixels.imag, torch.ones_like(pixels.real)])
    real, imaginary, weight = grid.insert(points, values)[0]
    numerator = torch.complex(real, imaginary)
    volume = blobs.volume()
    found = grid.wiener(numerator, weight, ridge=1e-3)
    assert correlation(found, volume) > 0.995
    assert relative(found - found.mean(), volume - volume.mean()) < 0.1
    # No signal expected: the prior leaves nothing.
    nothing = grid.wiener(numerator, weight, prior=torch.full((grid.n_shells,), 1e-12))
    assert float(nothing.norm()) < 1e-2 * float(found.norm())


def test_solve_coupled_takes_two_volumes_apart(blobs: Any, rotations: Tensor) -> None:
    lattice = Lattice.create(blobs.box, 10)
    grid = FourierGrid(blobs.box, lattice.limit)
    first, second = blobs.volume(), blobs.volume().roll(3, 1).flip(0)
    points = slice_points(rotations, lattice.k)
    a = torch.randn(len(rotations), 1, generator=torch.Generator().manual_seed(2))
    sampled = [grid.sample(grid.transform(v)[None], points) for v in (first, second)]
    pixels = sampled[0] + a * sampled[1]
    one = torch.ones_like(pixels.real)
    channels = [pixels.real, pixels.imag, a * pixels.real, a * pixels.imag, one, a * one]
    sums = grid.insert(points, torch.stack([*channels, a**2 * one]))[0]
    numerators = torch.stack([torch.complex(sums[0], sums[1]), torch.complex(sums[2], sums[3])])
    weights = torch.stack([sums[4:6], sums[5:7]])
    found = grid.solve_coupled(numerators, weights, ridge=1e-3)
    # The reference is as far band-limited as the data.
    for volume, solved in zip((first, second), found, strict=True):
        inside = grid.transform(volume) * (grid.inside & (grid.radius > 0.7))
        assert correlation(solved, grid.inverse(inside)) > 0.97


def test_friedel_makes_a_real_volume() -> None:
    random = torch.Generator().manual_seed(0)
    grid = torch.view_as_complex(torch.randn(5, 5, 5, 2, generator=random))
    found = friedel(grid)
    torch.testing.assert_close(found.flip((0, 1, 2)).conj(), found)
    assert float(torch.fft.ifftn(torch.fft.ifftshift(found)).imag.abs().max()) < 1e-6


def test_shell_mean_and_mask() -> None:
    grid = FourierGrid(16, 5.0, mask_radius=4)
    mean = grid.shell_mean(grid.shell.float())
    torch.testing.assert_close(mean, torch.arange(float(grid.n_shells)))
    assert grid.mask[8, 8, 8] == grid.mask[8, 8, 12] == 1
    assert grid.mask[8, 8, 14] == 0
