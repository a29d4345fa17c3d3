"""Poses of all particles against one volume or several, and the volumes they give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..imaging import crossing, fsc
from ..poses import PoseRefinement, PoseSearch, SearchSettings, SliceSampler
from .dataset import Dataset

_BATCH = 50


@dataclass(frozen=True)
class PoseAssignment:
    """Best pose of each particle searched.

    ``rotations`` (n, 3, 3), ``shifts`` (n, 2) in pixels of the dataset's box, ``states`` (n,),
    ``scores`` (n,) log-likelihood ratios.
    """

    rotations: Float[Tensor, "n 3 3"]
    shifts: Float[Tensor, "n 2"]
    states: Int[Tensor, " n"]
    scores: Float[Tensor, " n"]


def search_all(
    data: Dataset,
    volumes: Float[Tensor, "k z y x"],
    settings: SearchSettings,
    index: Int[Tensor, " n"] | None = None,
) -> Iterator[float | PoseAssignment]:
    """Search all particles (or some); yields the fraction done, and at last the poses."""
    search = PoseSearch(data.lattice, volumes, settings)
    index = torch.arange(len(data)) if index is None else index
    results = []
    for _, pixels, ctf in data.batches(_BATCH, settings.last_limit, index):
        results.append(search(pixels, ctf))
        yield min(1.0, len(results) * _BATCH / len(index))
    yield PoseAssignment(
        torch.cat([r.rotations[:, 0] for r in results]),
        torch.cat([r.shifts[:, 0] for r in results]),
        torch.cat([r.states[:, 0] for r in results]),
        torch.cat([r.scores[:, 0] for r in results]),
    )


def refine_all(
    data: Dataset,
    halves: Float[Tensor, "2 z y x"],
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    limit: float,
    max_shift: float,
) -> Iterator[float | PoseAssignment]:
    """Refine all poses locally, each half of the particles against the other half's map.

    ``halves`` are those of `reconstruct_volume`. An image is never compared with its own noise.
    """
    refinement = [
        PoseRefinement(SliceSampler(data.lattice, other[None], limit), limit, max_shift=max_shift)
        for other in (halves[1], halves[0])
    ]
    rotations, shifts = rotations.clone(), shifts.clone()
    scores = shifts.new_zeros(len(data))
    for half in (0, 1):
        index = torch.arange(half, len(data), 2)
        for done, (part, pixels, ctf) in enumerate(data.batches(_BATCH, limit, index)):
            found = refinement[half](pixels, ctf, rotations[part], shifts[part])
            rotations[part], shifts[part] = found.rotations, found.shifts
            scores[part] = found.scores
            yield (half + min(1.0, (done + 1) * _BATCH / len(index))) / 2
    yield PoseAssignment(rotations, shifts, torch.zeros(len(data), dtype=torch.long), scores)


@dataclass(frozen=True)
class Reconstruction:
    """Volume (z, y, x), half maps, their FSC per shell, and the shell where it falls below 0.143.

    The half maps are not weighted.
    """

    volume: Float[Tensor, "z y x"]
    halves: Float[Tensor, "2 z y x"]
    fsc: Float[Tensor, " shells"]
    resolution_shell: float


def reconstruct_volume(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    limit: float,
    *,
    ridge: float = 0.1,
    weighted: bool = False,
) -> Reconstruction:
    """Wiener-filtered back-projection of all particles, with the FSC of its halves.

    ``weighted`` scales each shell by sqrt(2 FSC / (1 + FSC)), the expected correlation with the
    truth (Rosenthal and Henderson, 2003), for a map to look at.
    """
    numerators, weights = [], []
    for half in (0, 1):
        index = torch.arange(half, len(data), 2)
        grid, numerator, weight = data.back_project(rotations, shifts, limit, index=index)
        numerators.append(numerator[0])
        weights.append(weight[0])
    halves = torch.stack(
        [grid.wiener(n, w, ridge=ridge) for n, w in zip(numerators, weights, strict=True)]
    )
    curve = fsc(halves[0], halves[1])[: int(limit) + 1]
    shell = crossing(curve, 0.143)
    volume = grid.wiener(numerators[0] + numerators[1], weights[0] + weights[1], ridge=ridge)
    if weighted:
        known = curve.clamp(0, 1)
        known[int(shell) + 2 :] = 0
        figure = torch.ones(grid.n_shells, device=data.device)
        figure[: len(known)] = (2 * known / (1 + known)).sqrt()
        figure[len(known) :] = 0
        volume = grid.inverse(grid.transform(volume) * figure[grid.shell])
    return Reconstruction(volume, halves, curve, max(shell, 1.0))
