"""What a pose search is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class SearchSettings:
    """How finely and how far to search.

    Limits are in cycles per box, shifts in pixels. ``keep[l]`` caps the candidates that enter
    level l + 1; the last entry holds for all further levels. ``risk`` is the probability that the
    bound drops an image's winner; 0 turns the bound off. Volumes that differ by less than
    ``likeness`` (share of their power up to ``first_limit``) are searched as one at the coarse
    level. ``polish`` Gauss-Newton steps on each finalist end the search.
    """

    first_limit: float = 8.0
    last_limit: float = 15.0
    levels: int = 4
    keep: tuple[int, ...] = (8, 6, 4, 3, 2)
    n_side: int = 4
    max_shift: float = 2.5
    shift_step: float = 1.25
    risk: float = 0.01
    likeness: float = 0.05
    polish: int = 2

    def cap(self, level: int) -> int:
        """Candidates of an image that may enter ``level`` + 1."""
        return self.keep[min(level, len(self.keep) - 1)]


@dataclass(frozen=True)
class SearchResult:
    """The best ``n`` poses of each of B images, best first.

    ``rotations`` (B, n, 3, 3), ``shifts`` (B, n, 2) in pixels, ``states`` (B, n) the index of the
    volume, ``scores`` (B, n) log-likelihood ratio against an empty image (-inf pads images that
    kept fewer candidates).
    """

    rotations: Float[Tensor, "batch n 3 3"]
    shifts: Float[Tensor, "batch n 2"]
    states: Int[Tensor, "batch n"]
    scores: Float[Tensor, "batch n"]


def posterior(result: SearchResult) -> Float[Tensor, "batch n"]:
    """Posterior probability of each pose kept, given that the truth is one of them.

    All poses are equally likely beforehand. The pixels are one half of the Fourier plane, on which
    whitened noise has E|n|² = 1 and the density exp(-|n|²): the log-likelihood is minus the squared
    distance, and ``scores`` are its differences.
    """
    return torch.softmax(result.scores, 1)


@dataclass(frozen=True, eq=False)
class TracedLevel:
    """Candidates of one image that the cap of a level let through, best first.

    They were compared up to ``limit`` (cycles per box). ``scored`` poses were compared; the first
    ``kept`` of the m here were within the bound, and went on. ``rotations`` (m, 3, 3), ``shifts``
    (m, 2) in pixels, ``states`` (m,), ``scores`` (m,) as of a `SearchResult`, but up to this limit.
    """

    limit: float
    scored: int
    kept: int
    rotations: Float[Tensor, "m 3 3"]
    shifts: Float[Tensor, "m 2"]
    states: Int[Tensor, " m"]
    scores: Float[Tensor, " m"]

    def moved(self, by: Float[Tensor, " 2"]) -> TracedLevel:
        """The same, of an image that was displaced by so many pixels."""
        return replace(self, shifts=self.shifts + by)

    @property
    def by_bound(self) -> int:
        """How many of the others the bound dropped."""
        return len(self.scores) - self.kept


@dataclass(frozen=True, eq=False)
class SearchTrace:
    """How the search of one image went.

    ``levels`` from coarse to fine; ``cells`` holds the best pose of each cell that the coarse level
    left, searched alone to the end: each of the separate poses that explain the image is there.
    """

    levels: tuple[TracedLevel, ...]
    cells: SearchResult


@dataclass
class LevelStatistics:
    """Candidates of one level: ``scored``, ``offered`` to the bound after the cap, ``kept``.

    ``images`` were subject to the bound; in ``capped`` of them the last candidate that the cap
    let through was within the bound, so that the cap decided.
    """

    scored: int = 0
    offered: int = 0
    kept: int = 0
    images: int = 0
    capped: int = 0


@dataclass
class SearchStatistics:
    """How the search was decided, over all images searched so far.

    ``images`` were searched, ``calibrating`` of them without the bound, to calibrate it; ``edge``
    of the winners have a shift within half a coarse step of the largest, a band that holds the
    share ``edge_area`` of the square searched.
    """

    images: int = 0
    calibrating: int = 0
    edge: int = 0
    edge_area: float = 0.0
    levels: list[LevelStatistics] = field(default_factory=list)

    @property
    def pruned(self) -> float:
        """Share of the candidates the cap let through that the bound dropped."""
        offered = sum(level.offered for level in self.levels)
        return 1 - sum(level.kept for level in self.levels) / offered if offered else 0.0

    @property
    def cap_decided(self) -> float:
        """Share of the decisions (one per image and level) that the cap took, not the bound."""
        images = sum(level.images for level in self.levels)
        return sum(level.capped for level in self.levels) / images if images else 0.0

    @property
    def at_edge(self) -> float:
        """Share of winners at the edge of the range of shifts.

        ``edge_area`` is expected of shifts spread evenly over the range; much more says that the
        range is too small.
        """
        return self.edge / self.images if self.images else 0.0
