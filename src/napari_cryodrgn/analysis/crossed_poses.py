"""Poses refined against the mean of the other half of the particles, and which of them hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor

from ..imaging import shift_phases
from ..poses import PoseRefinement, SliceSampler, expmap, logmap
from ..training.dataset import Dataset

_ROUNDS, _STEPS = 2, 6
_RIDGE = 0.01
_RIVALS = 30
_CHUNK = 256


@dataclass(frozen=True)
class CrossedPoses:
    """Poses that were refined without the volume an image is in.

    ``rotations`` (n, 3, 3), ``shifts`` (n, 2) in pixels; ``holds`` (n,) says which images match the
    mean of the other half at their pose better than at any of 30 random ones.
    """

    rotations: Float[Tensor, "n 3 3"]
    shifts: Float[Tensor, "n 2"]
    holds: Bool[Tensor, " n"]


def crossed_poses(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    halves: Int[Tensor, " n"],
    limit: float,
) -> Iterator[float | CrossedPoses]:
    """Refine each half's poses against the mean volume of the other half, twice.

    A pose goes only as far towards the best fit as the errors of all poses make likely: the fit
    follows noise and motion, too. Images whose poses do not hold have no part in the second pair
    of volumes. Yields the fraction done, at last the poses.

    Parameters
    ----------
    rotations, shifts
        Where to start; shifts in pixels of the dataset's box.
    halves
        0 or 1.
    limit
        Of the volumes, in cycles per box.
    """
    poses = CrossedPoses(rotations, shifts, torch.ones(len(data), dtype=torch.bool))
    rivals = torch.from_numpy(Rotation.random(_RIVALS, rng=0).as_matrix()).float()
    moves, noise = torch.empty(len(data), 5), torch.empty(len(data), 5, 5)
    done = 0
    for _ in range(_ROUNDS):
        turned, moved, holds = rotations.clone(), shifts.clone(), poses.holds.clone()
        for half in (0, 1):
            other = ((halves != half) & poses.holds).nonzero()[:, 0]
            grid, sums, weights = data.back_project(
                poses.rotations, poses.shifts, limit, index=other
            )
            mean = grid.wiener(sums[0], weights[0], ridge=_RIDGE)
            sampler = SliceSampler(data.lattice, mean[None], limit)
            refine = PoseRefinement(sampler, limit, _STEPS)
            own = (halves == half).nonzero()[:, 0]
            for part, pixels, ctf in data.batches(_CHUNK, limit, own):
                found = refine(pixels, ctf, rotations[part], shifts[part])
                moves[part, :3] = logmap(found.rotations @ rotations[part].transpose(1, 2))
                moves[part, 3:] = found.shifts - shifts[part]
                noise[part] = found.spread @ found.spread.transpose(1, 2)
                done += len(part)
                yield done / (_ROUNDS * len(data))
            likely = _shrunk(moves[own], noise[own])
            turned[own] = expmap(likely[:, :3]) @ rotations[own]
            moved[own] += likely[:, 3:]
            for part, pixels, ctf in data.batches(_CHUNK, limit, own):
                holds[part] = _beats(rivals, sampler, pixels, ctf, turned[part], moved[part])
        poses = CrossedPoses(turned, moved, holds)
    yield poses


def _shrunk(moves: Float[Tensor, "n 5"], noise: Float[Tensor, "n 5 5"]) -> Float[Tensor, "n 5"]:
    """Most likely errors of poses, from those that fit best and the covariance of their noise.

    Noise moves the best fit even where the pose was right, and motion moves it, too. How far poses
    are off is measured from how much further the best fits lie than noise alone would put them
    (empirical Bayes).
    """
    prior = torch.empty(5)
    for part in (slice(0, 3), slice(3, 5)):
        found = moves[:, part].square().mean(1).median()
        chance = noise[:, part, part].diagonal(dim1=1, dim2=2).mean(1).median()
        prior[part] = (found - chance).clamp_min(0)
    total = torch.diag(prior) + noise
    likely: Tensor = prior * torch.linalg.solve(total, moves)
    return likely


def _beats(
    rivals: Float[Tensor, "m 3 3"],
    sampler: SliceSampler,
    pixels: Complex[Tensor, "batch pixels"],
    ctf: Float[Tensor, "batch pixels"],
    rotations: Float[Tensor, "batch 3 3"],
    shifts: Float[Tensor, "batch 2"],
) -> Bool[Tensor, " batch"]:
    """Whether images correlate better with the volume at their poses than at any of ``rivals``."""
    lattice, count = sampler.lattice, pixels.shape[1]
    back = pixels * shift_phases(lattice.k[:count], lattice.box, shifts) * ctf
    power = ctf.square()
    first = torch.zeros(len(pixels), dtype=torch.long)
    own = sampler.of_states(rotations[:, None], first, count)[:, 0]
    others = sampler.of_all(rivals, count)[0]
    match = (back.conj() * own).real.sum(1) / (power * own.abs().square()).sum(1).sqrt()
    chance = (back.conj() @ others.T).real / (power @ others.abs().square().T).sqrt()
    # Of a blank image both are 0 / 0, which is not better.
    return match > chance.amax(1)
