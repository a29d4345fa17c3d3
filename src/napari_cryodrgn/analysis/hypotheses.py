"""Whether poses belong to their images, and by which of the usual mistakes they might not.

Poses come from another program, with its own signs, order of rows and conventions. Each usual
mistake is undone in turn: every other image makes a map, and the map has to predict the images
that are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from torch import Tensor

from ..errors import CryodrgnError
from ..imaging import fsc, shift_phases, slice_points
from ..particles import ParticleSet
from ..training.dataset import Dataset

Change = Literal[
    "none",
    "shifts reversed",
    "no shifts",
    "rows reversed",
    "one row up",
    "one row down",
    "rotations transposed",
    "upside down",
]
Rotations = Float32[NDArray[np.float32], "n 3 3"]
Shifts = Float32[NDArray[np.float32], "n 2"]

_CHUNK = 256
# A change is suggested if it gains so many standard errors, and this share of what the poses as
# given explain beyond chance: small gains have other causes, such as inaccurate shifts.
_CERTAIN, _WORTH = 6.0, 0.1
# In pixels of the small box: shifts below this change nothing that could be seen.
_MOVED = 0.05


def _upside_down(rotations: Rotations, shifts: Shifts) -> tuple[Rotations, Shifts]:
    # Half a turn about the image's x axis: the projection of the mirrored object, mirrored in y.
    rows, axes = np.array([[1], [-1], [-1]], np.float32), np.array([1, -1], np.float32)
    return rotations * rows, shifts * axes


_CHANGES: dict[Change, Callable[[Rotations, Shifts], tuple[Rotations, Shifts]]] = {
    "none": lambda r, t: (r, t),
    "shifts reversed": lambda r, t: (r, -t),
    "no shifts": lambda r, t: (r, np.zeros_like(t)),
    "rows reversed": lambda r, t: (r[::-1], t[::-1]),
    "one row up": lambda r, t: (np.roll(r, -1, 0), np.roll(t, -1, 0)),
    "one row down": lambda r, t: (np.roll(r, 1, 0), np.roll(t, 1, 0)),
    "rotations transposed": lambda r, t: (r.transpose(0, 2, 1), t),
    "upside down": _upside_down,
}


def change_poses(particles: ParticleSet, change: Change) -> ParticleSet:
    """The same particles with one mistake in their poses undone.

    Raises
    ------
    CryodrgnError
        If there are no poses.
    """
    if particles.rotations is None or particles.shifts is None:
        raise CryodrgnError(f"{particles.source}: there are no poses to change.")
    return particles.with_poses(*_CHANGES[change](particles.rotations, particles.shifts))


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """How well images and poses go together after one change of the poses.

    Attributes
    ----------
    change
        What was done to the poses.
    score
        Mean correlation of an image with its prediction by the map of the other half.
    gain
        Difference of the score to that of the poses as given, in standard errors.
    """

    change: Change
    score: float
    gain: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Hypotheses, the poses as given first.

    Attributes
    ----------
    hypotheses
        All that were tried.
    chance
        Score of the same poses given to the wrong images, at random.
    evidence
        By how many standard errors the best hypothesis is above that.
    n
        Images used.
    """

    hypotheses: tuple[Hypothesis, ...]
    chance: float
    evidence: float
    n: int

    @property
    def best(self) -> Hypothesis:
        """The one with the highest score."""
        return max(self.hypotheses, key=lambda h: h.score)

    @property
    def fits(self) -> bool:
        """Whether any of them explains the images better than chance."""
        return self.evidence > _CERTAIN

    @property
    def suggestion(self) -> Change:
        """The change that the images ask for; "none" if the poses are right or nothing fits."""
        given, best = self.hypotheses[0], self.best
        worth = best.score - given.score > _WORTH * (given.score - self.chance)
        return best.change if self.fits and best.gain > _CERTAIN and worth else "none"


def compare_poses(data: Dataset, particles: ParticleSet) -> Iterator[float | Comparison]:
    """Try the usual mistakes; yields the fraction done, at last the comparison.

    Parameters
    ----------
    data
        The images of the first particles of the set, in a small box.
    particles
        The whole set, with poses: a change of rows reaches beyond the first.
    """
    all_rotations, all_shifts = particles.rotations, particles.shifts
    assert all_rotations is not None
    assert all_shifts is not None
    n, scale = len(data), data.box / particles.box
    moved = float(np.abs(all_shifts).max()) * scale > _MOVED
    changes = [c for c in _CHANGES if moved or "shifts" not in c]
    # Wrong shifts blur, so that chance is better off without any.
    chances: list[Change] = ["none", "no shifts"] if moved else ["none"]
    steps = len(changes) + len(chances)

    def predict(rotations: Rotations, shifts: Shifts) -> Float[Tensor, " n"]:
        r, t = np.ascontiguousarray(rotations[:n]), scale * shifts[:n]
        return _predict(data, torch.from_numpy(r), torch.from_numpy(t))

    scores = {}
    for change in changes:
        scores[change] = predict(*_CHANGES[change](all_rotations, all_shifts))
        yield len(scores) / steps
    order = np.random.default_rng(0).permutation(len(particles))[:n]
    at_random = all_rotations[order], all_shifts[order]
    lucky = []
    for change in chances:
        lucky.append(predict(*_CHANGES[change](*at_random)))
        yield (len(changes) + len(lucky)) / steps
    chance = max(lucky, key=lambda score: float(score.mean()))
    given = scores["none"]
    hypotheses = tuple(
        Hypothesis(change, float(score.mean()), _standard_errors(score - given))
        for change, score in scores.items()
    )
    best = max(scores.values(), key=lambda s: float(s.mean()))
    yield Comparison(hypotheses, float(chance.mean()), _standard_errors(best - chance), n)


def _standard_errors(differences: Float[Tensor, " n"]) -> float:
    deviation = differences.std().clamp_min(1e-6)
    return float(differences.mean() / deviation * len(differences) ** 0.5)


def _predict(
    data: Dataset, rotations: Float[Tensor, "n 3 3"], shifts: Float[Tensor, "n 2"]
) -> Float[Tensor, " n"]:
    """Correlation of each image with its prediction by the other half's map."""
    n, limit = len(data), data.lattice.limit
    halves = [torch.arange(half, n, 2) for half in (0, 1)]
    maps = []
    for index in halves:
        grid, numerator, weight = data.back_project(rotations, shifts, limit, index=index)
        maps.append(grid.wiener(numerator[0], weight[0]))
    curve = fsc(maps[0], maps[1])
    # Shells that the maps disagree on predict nothing.
    trust = torch.zeros(grid.n_shells)
    known = min(len(curve), grid.n_shells)
    trust[:known] = curve[:known].clamp(0, 1)
    scores = torch.zeros(n)
    for volume, index in zip(reversed(maps), halves, strict=True):
        transform = (grid.transform(volume) * trust[grid.shell])[None]
        for part, pixels, ctf in data.batches(_CHUNK, limit, index):
            k = data.lattice.k[: pixels.shape[1]]
            image = pixels * shift_phases(k, data.box, shifts[part])
            predicted = ctf * grid.sample(transform, slice_points(rotations[part], k))
            power = image.abs().square().sum(1) * predicted.abs().square().sum(1)
            match = (image * predicted.conj()).real.sum(1)
            scores[part] = match / power.sqrt().clamp_min(1e-20)
    return scores
