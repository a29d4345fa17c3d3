from __future__ import annotations

import torch
from torch import Tensor

from napari_cryodrgn.imaging import FourierGrid, Lattice, shift_phases, slice_points
from napari_cryodrgn.poses.sampling import SliceSampler

BOX, LIMIT = 24, 9.0


def volumes() -> Tensor:
    return torch.randn(3, BOX, BOX, BOX, generator=torch.Generator().manual_seed(1))


def test_slices_are_those_of_the_grid(rotations: Tensor) -> None:
    lattice = Lattice.create(BOX)
    count = lattice.count(LIMIT)
    sampler, grid = SliceSampler(lattice, volumes(), LIMIT), FourierGrid(BOX, LIMIT)
    turned = rotations.reshape(50, 4, 3, 3)
    points = slice_points(turned, lattice.k[:count])
    expected = torch.stack([grid.sample(t[None], points) for t in grid.transform(volumes())])
    scale = float(expected.abs().max())
    states = torch.arange(50) % 3
    found = sampler.of_states(turned, states, count)
    assert found.shape == (50, 4, count)
    torch.testing.assert_close(found, expected[states, torch.arange(50)], atol=1e-5 * scale, rtol=0)
    of_all = sampler.of_all(turned[:, 0], count)
    torch.testing.assert_close(of_all, expected[:, :, 0], atol=1e-5 * scale, rtol=0)
    few = sampler.of_all(turned[:, 0], 20)
    torch.testing.assert_close(few, of_all[:, :, :20], atol=1e-5 * scale, rtol=0)


def test_a_shifted_volume_has_shifted_slices(rotations: Tensor) -> None:
    lattice = Lattice.create(32)
    x = torch.arange(32.0) - 16
    square = x[:, None, None] ** 2 + (x[:, None] - 2) ** 2 + (x + 3) ** 2
    blob = torch.exp(-square / 8)
    by = torch.tensor([2.0, 1.0, -3.0])
    moved = blob.roll((-3, 1, 2), (0, 1, 2))
    count = lattice.count(8.0)
    sampler = SliceSampler(lattice, torch.stack([blob, moved]), 8.0)
    here, there = sampler.of_all(rotations[:20], count)
    # Moved by b in the volume, the particle moves by the first two of R b in the image.
    phases = shift_phases(lattice.k[:count], 32, -(rotations[:20] @ by)[:, :2])
    scale = float(here.abs().max())
    torch.testing.assert_close(there, here * phases, atol=0.03 * scale, rtol=0)
