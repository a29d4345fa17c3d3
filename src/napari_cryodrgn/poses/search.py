"""Global pose search over SO(3) x R² by branch and bound with frequency marching (paper, 3.2.2).

The volume, or one volume per conformational state, is transformed once; a coarse search over a
fixed grid of rotations and shifts at low frequency is then a matrix product for a whole batch of
images. What it leaves is subdivided, level by level, while the frequency limit rises. The score of
a pose is Re<X, C S> - |C S|²/2, summed over the Fourier half plane: half the log-likelihood ratio
against an empty image when the noise is whitened to E|n|² = 1.

Candidates that lie further behind than the bound allows are dropped (see ``bound``); of the others
at most ``keep`` go on. With several volumes every candidate carries one: its children are compared
with that one only, and those kept with all, which costs one slice of each volume per candidate in
place of eight. A few Gauss-Newton steps take the finalists off the grid: that makes up for the one
shift that every rotation of the coarse grid goes on with.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ..errors import CryodrgnError
from ..imaging import Lattice, shift_phases
from .bound import GapBound
from .candidates import Candidates, least_gap, ranked, table_of
from .coarse import CoarseSearch
from .grids import so3_spacing
from .refine import PoseRefinement
from .results import (
    LevelStatistics,
    SearchResult,
    SearchSettings,
    SearchStatistics,
    SearchTrace,
    TracedLevel,
)
from .rotations import expmap
from .sampling import SliceSampler

#: Says that what is asked for is no longer wanted.
Stop = Callable[[], bool]

_CORNERS = torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]).float()
_QUARTERS = torch.tensor([[a, b] for a in (-1, 1) for b in (-1, 1)]).float()
# Poses compared at the last level to learn what the bound could have dropped.
_FINALISTS = 8
# Candidates of a cell that is searched alone.
_ALONE = 2
# Points of slices at a time: what they need then stays in the cache.
_POINTS = 1 << 16


def go_on(stop: Stop | None) -> None:
    """End a search that is no longer wanted.

    Raises
    ------
    CryodrgnError
        If ``stop`` says so.
    """
    if stop is not None and stop():
        raise CryodrgnError("The search was given up.")


class PoseSearch:
    """Search of images against one or several volumes.

    Parameters
    ----------
    lattice
        Fourier pixels of the images, up to at least ``settings.last_limit``.
    volumes
        (K, D, D, D), one per state.
    settings
        See there.

    ``sampler`` gives slices of the volumes.
    """

    def __init__(
        self, lattice: Lattice, volumes: Float[Tensor, "k z y x"], settings: SearchSettings
    ) -> None:
        self.settings, self.lattice = settings, lattice
        device = lattice.k.device
        self._last = min(settings.last_limit, lattice.limit)
        self.sampler = SliceSampler(lattice, volumes, self._last)
        self._coarse = CoarseSearch(self.sampler, settings, self._limit(0))
        levels = range(settings.levels)
        rotations, shift_step = self._coarse.rotations, self._coarse.shift_spacing
        turns = [so3_spacing(len(rotations)) / 2**level for level in levels]
        steps = [shift_step / 2**level for level in levels]
        # The children of a cell: their offsets in rotation and shift.
        corners, quarters = _CORNERS.to(device), _QUARTERS.to(device)
        self._turns = [expmap(turn / 4 * corners) for turn in turns]
        self._steps = [step / 4 * quarters for step in steps]
        k, box = lattice.k, lattice.box
        self._step_phases = [shift_phases(k, box, step) for step in self._steps]
        self._bound = GapBound(self.sampler, rotations, self._last, turns, steps, settings.risk)
        # The outermost cells reach half a step beyond the grid.
        reach = settings.max_shift + shift_step / 2
        self._refinement = PoseRefinement(self.sampler, self._last, settings.polish, reach)
        self._inner = settings.max_shift - shift_step / 2
        area = 1 - (self._inner / settings.max_shift) ** 2 if settings.max_shift > 0 else 0.0
        self.statistics = SearchStatistics(
            edge_area=area, levels=[LevelStatistics() for _ in levels]
        )

    def __call__(
        self,
        pixels: Complex[Tensor, "batch pixels"],
        ctf: Float[Tensor, "batch pixels"],
        n_best: int = 1,
        stop: Stop | None = None,
    ) -> SearchResult:
        """Poses of whitened images ``pixels`` with (whitened) ``ctf``.

        ``stop`` is asked now and then whether they are no longer wanted.

        Raises
        ------
        CryodrgnError
            If ``stop`` said so.
        """
        settings = self.settings
        modulated, ctf2 = pixels * ctf, ctf.square()
        calibrating = settings.risk > 0 and self._bound.factor is None
        candidates = self._start(modulated, ctf2)
        # All that are as good as the winner say what the bound could have dropped.
        caps = [settings.cap(level + 1) for level in range(settings.levels)]
        if caps:
            caps[-1] = max(n_best, _FINALISTS if calibrating else caps[-1])
        candidates = self._descend(modulated, ctf2, candidates, caps, stop=stop)
        self.statistics.images += len(pixels)
        if settings.polish:
            candidates = self._polish(pixels, ctf, candidates)
        if calibrating:
            self._bound.calibrate(least_gap(candidates, len(pixels)))
            self.statistics.calibrating += len(pixels)
        result = ranked(candidates, len(pixels), n_best)
        if settings.max_shift > 0:
            self.statistics.edge += int((result.shifts[:, 0].abs() >= self._inner).any(1).sum())
        return result

    def trace(
        self,
        pixels: Complex[Tensor, "one pixels"],
        ctf: Float[Tensor, "one pixels"],
        stop: Stop | None = None,
    ) -> SearchTrace:
        """The search of one image, level by level, and the best pose in each cell it began with.

        ``stop`` is as in a search.
        """
        statistics = deepcopy(self.statistics)
        try:
            return self._traced(pixels, ctf, stop)
        finally:
            self.statistics = statistics

    def _traced(
        self,
        pixels: Complex[Tensor, "one pixels"],
        ctf: Float[Tensor, "one pixels"],
        stop: Stop | None,
    ) -> SearchTrace:
        modulated, ctf2 = pixels * ctf, ctf.square()
        cells = self._start(modulated, ctf2)
        levels: list[TracedLevel] = []
        caps = [self.settings.cap(level + 1) for level in range(self.settings.levels)]
        self._descend(modulated, ctf2, cells, caps, levels, stop)
        # Every cell goes down on its own: near a clear winner no place would be left for others.
        n = len(cells.image)
        alone = replace(cells, image=torch.arange(n, device=cells.image.device))
        modulated, ctf2 = modulated.expand(n, -1), ctf2.expand(n, -1)
        caps = [_ALONE] * (len(caps) - 1) + [1]
        finalists = self._descend(modulated, ctf2, alone, caps, stop=stop)
        go_on(stop)
        found = self._polish(pixels.expand(n, -1), ctf.expand(n, -1), finalists)
        return SearchTrace(tuple(levels), ranked(replace(found, image=0 * found.image), 1, n))

    def use_bound_of(self, other: PoseSearch) -> None:
        """Take over the gaps that another search has measured; they are in units of their own."""
        self._bound.calibrate(other._bound.gaps)

    def _descend(
        self,
        modulated: Complex[Tensor, "batch pixels"],
        ctf2: Float[Tensor, "batch pixels"],
        candidates: Candidates,
        caps: list[int],
        trace: list[TracedLevel] | None = None,
        stop: Stop | None = None,
    ) -> Candidates:
        """From the coarse level down to the last; ``caps`` of each level after it."""
        unit, factor = self._bound.unit(ctf2), self._bound.factor
        scored = len(self._coarse.rotations) * len(self._coarse.shifts) * self._coarse.n_groups
        for level, keep in enumerate(caps):
            before = candidates
            candidates = self._prune(before, unit[:, level], factor, level)
            if trace is not None:
                trace.append(before.traced(self._limit(level), scored, len(candidates.image)))
            scored = 32 * len(candidates.image)
            candidates = self._subdivide(modulated, ctf2, candidates, level + 1, keep, stop)
        if trace is not None:
            trace.append(candidates.traced(self._last, scored, len(candidates.image)))
        return candidates

    def _limit(self, level: int) -> float:
        first = min(self.settings.first_limit, self._last)
        return first + (self._last - first) * level / self.settings.levels

    def _start(
        self, modulated: Complex[Tensor, "batch pixels"], ctf2: Float[Tensor, "batch pixels"]
    ) -> Candidates:
        """The best rotations of the coarse grid, with the state that suits each best."""
        scores, rotations, shifts, groups = self._coarse(modulated, ctf2, self.settings.cap(0))
        image = torch.arange(len(scores), device=scores.device).repeat_interleave(scores.shape[1])
        candidates = Candidates(
            image,
            rotations.flatten(0, 1),
            shifts.flatten(0, 1),
            self._coarse.first_of_group[groups.flatten()],
            scores.flatten(),
            torch.zeros_like(scores.flatten()),
        )
        if self.settings.levels:
            rows = len(self._coarse.rotations) * len(self._coarse.shifts) * self._coarse.n_groups
            self.statistics.levels[0].scored += rows * len(scores)
        return self._choose_state(modulated, ctf2, candidates, 0)

    def _subdivide(
        self,
        modulated: Complex[Tensor, "batch pixels"],
        ctf2: Float[Tensor, "batch pixels"],
        parents: Candidates,
        level: int,
        keep: int,
        stop: Stop | None = None,
    ) -> Candidates:
        """Score the 8 x 4 children of each candidate at the level's limit; keep the best."""
        count = self.lattice.count(self._limit(level))
        rotations = self._turns[level - 1] @ parents.rotations[:, None]
        step_phases = self._step_phases[level - 1][:, :count]
        scores = []
        for some in torch.arange(len(parents.image)).split(max(1, _POINTS // (8 * count))):
            go_on(stop)
            part = slice(int(some[0]), int(some[-1]) + 1)
            image = parents.image[part]
            slices = self.sampler.of_states(rotations[part], parents.states[part], count)
            phases = shift_phases(self.lattice.k[:count], self.lattice.box, parents.shifts[part])
            images = (modulated[image, :count] * phases)[:, None] * step_phases
            flat = _real(slices)
            match = flat @ _real(images).transpose(1, 2)
            weight = ctf2[image, :count].repeat_interleave(2, 1)
            scores.append(match - 0.5 * (flat.square_() @ weight[..., None]))
        table, row = table_of(torch.cat(scores).flatten(1), parents.image, len(modulated))
        top, index = table.topk(min(keep, table.shape[1]), 1)
        image, place = top.isfinite().nonzero(as_tuple=True)
        chosen = index[image, place]
        parent, child = row[image, chosen // 32], chosen % 32
        candidates = Candidates(
            image,
            rotations[parent, child // 4],
            parents.shifts[parent] + self._steps[level - 1][child % 4],
            parents.states[parent],
            top[image, place],
            parents.gap[parent],
        )
        if level < self.settings.levels:
            self.statistics.levels[level].scored += 32 * len(parents.image)
        return self._choose_state(modulated, ctf2, candidates, level)

    def _choose_state(
        self,
        modulated: Complex[Tensor, "batch pixels"],
        ctf2: Float[Tensor, "batch pixels"],
        candidates: Candidates,
        level: int,
    ) -> Candidates:
        """The volume that suits each candidate best, with its score at the level's limit."""
        states = self.sampler.n_states
        if states == 1 or (level == 0 and states == self._coarse.n_groups):
            return candidates
        count = self.lattice.count(self._limit(level))
        scores = []
        for some in torch.arange(len(candidates.image)).split(max(1, _POINTS // (states * count))):
            part = slice(int(some[0]), int(some[-1]) + 1)
            image, shifts = candidates.image[part], candidates.shifts[part]
            phases = shift_phases(self.lattice.k[:count], self.lattice.box, shifts)
            flat = _real(self.sampler.of_all(candidates.rotations[part], count)).transpose(0, 1)
            match = flat @ _real(modulated[image, :count] * phases)[..., None]
            weight = ctf2[image, :count].repeat_interleave(2, 1)
            scores.append((match - 0.5 * (flat.square() @ weight[..., None]))[..., 0])
        best, state = torch.cat(scores).max(1)
        return replace(candidates, scores=best, states=state)

    def _polish(
        self,
        pixels: Complex[Tensor, "batch pixels"],
        ctf: Float[Tensor, "batch pixels"],
        candidates: Candidates,
    ) -> Candidates:
        """Move each candidate to the best pose near it, off the grid."""
        image = candidates.image
        found = self._refinement(
            pixels[image], ctf[image], candidates.rotations, candidates.shifts, candidates.states
        )
        return replace(
            candidates,
            rotations=found.rotations,
            shifts=found.shifts,
            scores=found.scores / 2,
        )

    def _prune(
        self,
        candidates: Candidates,
        unit: Float[Tensor, " batch"],
        factor: float | None,
        level: int,
    ) -> Candidates:
        """Drop what the bound rules out, and note how far behind the others are."""
        image, statistics = candidates.image, self.statistics.levels[level]
        table, _ = table_of(candidates.scores[:, None], image, len(unit))
        behind = (table.amax(1)[image] - candidates.scores) / unit[image].clamp_min(1e-6)
        candidates = replace(candidates, gap=torch.maximum(candidates.gap, behind))
        if factor is None:
            return candidates
        alive = behind <= factor
        kept = candidates.select(alive)
        statistics.offered += len(alive)
        statistics.kept += len(kept.image)
        statistics.images += len(unit)
        full = torch.bincount(kept.image, minlength=len(unit)) == self.settings.cap(level)
        statistics.capped += int(full.sum())
        return kept


def _real(values: Complex[Tensor, "*batch p"]) -> Float[Tensor, "*batch q"]:
    """(Re, Im) interleaved: a real dot product of these is the real part of the complex one."""
    return torch.view_as_real(values).flatten(-2)
