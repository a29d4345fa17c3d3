"""Poses of all particles against one volume or several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..poses import PoseRefinement, PoseSearch, SearchSettings, SliceSampler
from .dataset import Dataset

_BATCH = 50


@dataclass(frozen=True)
class PoseAssignment:
    """Best pose of each particle searched.

    ``rotations`` (n, 3, 3), ``shifts`` (n, 2) in pixels of the dataset's box, ``states`` (n,),
    ``scores`` (n,) log-likelihood ratios; ``spread`` (n, 5, 5) of refined poses, see
    `poses.RefinedPoses`.
    """

    rotations: Float[Tensor, "n 3 3"]
    shifts: Float[Tensor, "n 2"]
    states: Int[Tensor, " n"]
    scores: Float[Tensor, " n"]
    spread: Float[Tensor, "n 5 5"] | None = None


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
    references: Float[Tensor, "2 z y x"],
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    limit: float,
    max_shift: float,
) -> Iterator[float | PoseAssignment]:
    """Refine all poses locally, each half of the particles against the other half's map.

    ``references`` are those of a `Reconstruction`: an image is never compared with its own noise.
    ``limit`` is in cycles per box, ``max_shift`` in pixels.
    """
    refinement = [
        PoseRefinement(SliceSampler(data.lattice, other[None], limit), limit, max_shift=max_shift)
        for other in (references[1], references[0])
    ]
    rotations, shifts = rotations.clone(), shifts.clone()
    scores, spread = shifts.new_zeros(len(data)), shifts.new_zeros(len(data), 5, 5)
    for half in (0, 1):
        index = torch.arange(half, len(data), 2)
        for done, (part, pixels, ctf) in enumerate(data.batches(_BATCH, limit, index)):
            found = refinement[half](pixels, ctf, rotations[part], shifts[part])
            rotations[part], shifts[part] = found.rotations, found.shifts
            scores[part], spread[part] = found.scores, found.spread
            yield (half + min(1.0, (done + 1) * _BATCH / len(index))) / 2
    states = torch.zeros(len(data), dtype=torch.long)
    yield PoseAssignment(rotations, shifts, states, scores, spread)
