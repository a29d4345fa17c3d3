"""The search against a comparison with every pose of its finest grid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from napari_cryodrgn.imaging import Lattice, shift_phases
from napari_cryodrgn.poses import (
    PoseSearch,
    SearchSettings,
    expmap,
    shift_grid,
    so3_half_grid,
    so3_spacing,
)
from napari_cryodrgn.poses.sampling import SliceSampler

SETTINGS = SearchSettings(
    first_limit=8.0,
    last_limit=11.0,
    levels=2,
    keep=(200, 60, 4),
    n_side=3,
    max_shift=0.4,
    shift_step=0.8,
    polish=4,
)
N = 100


def finest_grid(settings: SearchSettings) -> tuple[Tensor, Tensor]:
    """Half of the rotations (the other half are turned by 180 degrees), and the shifts."""
    rotations = so3_half_grid(settings.n_side)
    edge = so3_spacing(2 * len(rotations))
    shifts, step = shift_grid(settings.max_shift, settings.shift_step)
    signs = torch.tensor([-1.0, 1.0])
    for level in range(settings.levels):
        turns = expmap(edge / 2**level / 4 * torch.cartesian_prod(signs, signs, signs))
        rotations = (turns @ rotations[:, None]).flatten(0, 1)
        steps = step / 2**level / 4 * torch.cartesian_prod(signs, signs)
        shifts = (shifts[:, None] + steps).flatten(0, 1)
    return rotations, shifts


def best_of_all(lattice: Lattice, volume: Tensor, pixels: Tensor, ctf: Tensor) -> Tensor:
    """Highest log-likelihood ratio of each image over the finest grid."""
    count = lattice.count(SETTINGS.last_limit)
    rotations, shifts = finest_grid(SETTINGS)
    sampler = SliceSampler(lattice, volume[None], SETTINGS.last_limit)
    phases = shift_phases(lattice.k[:count], lattice.box, shifts)
    images = ((pixels * ctf)[:, None, :count] * phases).reshape(-1, count)
    real, imaginary = images.real.contiguous(), images.imag.contiguous()
    best = torch.full((len(pixels),), -torch.inf)
    for part in rotations.split(1024):
        slices = sampler.of_all(part, count)[0]
        norm = 0.5 * ctf[:, :count].square() @ slices.abs().square().T
        even = (real @ slices.real.T).reshape(len(pixels), len(shifts), -1)
        odd = (imaginary @ slices.imag.T).reshape(len(pixels), len(shifts), -1)
        # Of a rotation and its half turn, the better one has even + |odd|.
        match = even.add_(odd.abs_()).amax(1) - norm
        best = torch.maximum(best, match.amax(1))
    return 2 * best


def test_the_search_finds_the_winner_of_the_finest_grid(take_pictures: Any) -> None:
    p = take_pictures(2 * N, 0.1, max_shift=0.4)
    engine = PoseSearch(p.lattice, p.volumes[[5]], SETTINGS)
    engine(p.pixels[:N], p.ctf[:N])
    assert engine.statistics.calibrating == N
    found = engine(p.pixels[N:], p.ctf[N:])
    assert engine.statistics.calibrating == N
    assert engine.statistics.pruned > 0.2
    best = best_of_all(p.lattice, p.volumes[5], p.pixels[N:], p.ctf[N:])
    assert int((found.scores[:, 0] > best - 0.01).sum()) >= 99


def test_no_pose_of_the_grid_beats_the_best_of_all(take_pictures: Any) -> None:
    p = take_pictures(10, 0.1, max_shift=0.4)
    found = PoseSearch(p.lattice, p.volumes[[5]], replace(SETTINGS, polish=0))(p.pixels, p.ctf)
    best = best_of_all(p.lattice, p.volumes[5], p.pixels, p.ctf)
    # The same grid, so the exhaustive comparison has seen what the search found.
    assert float((found.scores[:, 0] - best).max()) < 0.01
    assert float((found.scores[:, 0] - best).abs().min()) < 0.01
