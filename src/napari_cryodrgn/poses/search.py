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

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from ..imaging import Lattice, shift_phases
from .bound import EQUAL, GapBound
from .coarse import CoarseSearch
from .grids import so3_spacing
from .refine import PoseRefinement
from .results import LevelStatistics, SearchResult, SearchSettings, SearchStatistics
from .rotations import expmap
from .sampling import SliceSampler

_CORNERS = torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]).float()
_QUARTERS = torch.tensor([[a, b] for a in (-1, 1) for b in (-1, 1)]).float()
# Poses compared at the last level to learn what the bound could have dropped.
_FINALISTS = 8
# Points of slices at a time: what they need then stays in the cache.
_POINTS = 1 << 16


@dataclass
class _Candidates:
    """Ragged lists of candidates: ``image`` says whose, ``gap`` the largest gap of its line."""

    image: Int[Tensor, " m"]
    rotations: Float[Tensor, "m 3 3"]
    shifts: Float[Tensor, "m 2"]
    states: Int[Tensor, " m"]
    scores: Float[Tensor, " m"]
    gap: Float[Tensor, " m"]

    def select(self, which: Bool[Tensor, " m"] | Int[Tensor, " n"]) -> _Candidates:
        return _Candidates(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


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
    """

    def __init__(
        self, lattice: Lattice, volumes: Float[Tensor, "k z y x"], settings: SearchSettings
    ) -> None:
        self.settings, self.lattice = settings, lattice
        device = lattice.k.device
        self._last = min(settings.last_limit, lattice.limit)
        self._sampler = SliceSampler(lattice, volumes, self._last)
        self._coarse = CoarseSearch(self._sampler, settings, self._limit(0))
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
        self._bound = GapBound(self._sampler, rotations, self._last, turns, steps, settings.risk)
        # The outermost cells reach half a step beyond the grid.
        reach = settings.max_shift + shift_step / 2
        self._refinement = PoseRefinement(self._sampler, self._last, settings.polish, reach)
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
    ) -> SearchResult:
        """Poses of whitened images ``pixels`` with (whitened) ``ctf``."""
        settings = self.settings
        modulated, ctf2 = pixels * ctf, ctf.square()
        unit, factor = self._bound.unit(ctf2), self._bound.factor
        calibrating = settings.risk > 0 and factor is None
        candidates = self._start(modulated, ctf2)
        for level in range(settings.levels):
            candidates = self._prune(candidates, unit[:, level], factor, level)
            last = level + 1 == settings.levels
            keep = settings.cap(level + 1)
            if last:
                # All that are as good as the winner say what the bound could have dropped.
                keep = max(n_best, _FINALISTS if calibrating else keep)
            candidates = self._subdivide(modulated, ctf2, candidates, level + 1, keep)
        self.statistics.images += len(pixels)
        if settings.polish:
            candidates = self._polish(pixels, ctf, candidates)
        if calibrating:
            self._bound.calibrate(_least_gap(candidates, len(pixels)))
            self.statistics.calibrating += len(pixels)
        result = _ranked(candidates, len(pixels), n_best)
        if settings.max_shift > 0:
            self.statistics.edge += int((result.shifts[:, 0].abs() >= self._inner).any(1).sum())
        return result

    def _limit(self, level: int) -> float:
        first = min(self.settings.first_limit, self._last)
        return first + (self._last - first) * level / self.settings.levels

    def _start(
        self, modulated: Complex[Tensor, "batch pixels"], ctf2: Float[Tensor, "batch pixels"]
    ) -> _Candidates:
        """The best rotations of the coarse grid, with the state that suits each best."""
        scores, rotations, shifts, groups = self._coarse(modulated, ctf2, self.settings.cap(0))
        image = torch.arange(len(scores), device=scores.device).repeat_interleave(scores.shape[1])
        candidates = _Candidates(
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
        parents: _Candidates,
        level: int,
        keep: int,
    ) -> _Candidates:
        """Score the 8 x 4 children of each candidate at the level's limit; keep the best."""
        count = self.lattice.count(self._limit(level))
        rotations = self._turns[level - 1] @ parents.rotations[:, None]
        step_phases = self._step_phases[level - 1][:, :count]
        scores = []
        for some in torch.arange(len(parents.image)).split(max(1, _POINTS // (8 * count))):
            part = slice(int(some[0]), int(some[-1]) + 1)
            image = parents.image[part]
            slices = self._sampler.of_states(rotations[part], parents.states[part], count)
            phases = shift_phases(self.lattice.k[:count], self.lattice.box, parents.shifts[part])
            images = (modulated[image, :count] * phases)[:, None] * step_phases
            flat = _real(slices)
            match = flat @ _real(images).transpose(1, 2)
            weight = ctf2[image, :count].repeat_interleave(2, 1)
            scores.append(match - 0.5 * (flat.square_() @ weight[..., None]))
        table, row = _table(torch.cat(scores).flatten(1), parents.image, len(modulated))
        top, index = table.topk(min(keep, table.shape[1]), 1)
        image, place = top.isfinite().nonzero(as_tuple=True)
        chosen = index[image, place]
        parent, child = row[image, chosen // 32], chosen % 32
        candidates = _Candidates(
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
        candidates: _Candidates,
        level: int,
    ) -> _Candidates:
        """The volume that suits each candidate best, with its score at the level's limit."""
        states = self._sampler.n_states
        if states == 1 or (level == 0 and states == self._coarse.n_groups):
            return candidates
        count = self.lattice.count(self._limit(level))
        scores = []
        for some in torch.arange(len(candidates.image)).split(max(1, _POINTS // (states * count))):
            part = slice(int(some[0]), int(some[-1]) + 1)
            image, shifts = candidates.image[part], candidates.shifts[part]
            phases = shift_phases(self.lattice.k[:count], self.lattice.box, shifts)
            flat = _real(self._sampler.of_all(candidates.rotations[part], count)).transpose(0, 1)
            match = flat @ _real(modulated[image, :count] * phases)[..., None]
            weight = ctf2[image, :count].repeat_interleave(2, 1)
            scores.append((match - 0.5 * (flat.square() @ weight[..., None]))[..., 0])
        best, state = torch.cat(scores).max(1)
        return replace(candidates, scores=best, states=state)

    def _polish(
        self,
        pixels: Complex[Tensor, "batch pixels"],
        ctf: Float[Tensor, "batch pixels"],
        candidates: _Candidates,
    ) -> _Candidates:
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
        candidates: _Candidates,
        unit: Float[Tensor, " batch"],
        factor: float | None,
        level: int,
    ) -> _Candidates:
        """Drop what the bound rules out, and note how far behind the others are."""
        image, statistics = candidates.image, self.statistics.levels[level]
        table, _ = _table(candidates.scores[:, None], image, len(unit))
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


def _table(
    values: Float[Tensor, "m c"], image: Int[Tensor, " m"], batch: int
) -> tuple[Float[Tensor, "batch width"], Int[Tensor, "batch slots"]]:
    """Ragged rows of values, one image after the other in ascending order, padded with -inf.

    Also which row stands in each slot.
    """
    number = torch.bincount(image, minlength=batch)
    slot = torch.arange(len(image), device=image.device) - (number.cumsum(0) - number)[image]
    width = int(number.max())
    table = values.new_full((batch, width, values.shape[1]), -torch.inf)
    table[image, slot] = values
    row = torch.zeros(batch, width, dtype=torch.long, device=image.device)
    row[image, slot] = torch.arange(len(image), device=image.device)
    return table.flatten(1), row


def _ranked(candidates: _Candidates, batch: int, n_best: int) -> SearchResult:
    """The best candidates of each image."""
    table, row = _table(candidates.scores[:, None], candidates.image, batch)
    top, place = table.topk(min(n_best, table.shape[1]), 1)
    chosen = row.gather(1, place)
    scores = top.new_full((batch, n_best), -torch.inf)
    rotations = top.new_zeros(batch, n_best, 3, 3)
    shifts = top.new_zeros(batch, n_best, 2)
    states = torch.zeros(batch, n_best, dtype=torch.long, device=top.device)
    n = top.shape[1]
    scores[:, :n], rotations[:, :n] = 2 * top, candidates.rotations[chosen]
    shifts[:, :n], states[:, :n] = candidates.shifts[chosen], candidates.states[chosen]
    return SearchResult(rotations, shifts, states, scores)


def _least_gap(candidates: _Candidates, batch: int) -> Float[Tensor, " batch"]:
    """Smallest, over the poses as good as the winner, of the largest gap of the line."""
    table, _ = _table(candidates.scores[:, None], candidates.image, batch)
    equal = candidates.scores >= table.amax(1)[candidates.image] - EQUAL
    gaps, _ = _table(-candidates.gap[equal, None], candidates.image[equal], batch)
    return -gaps.amax(1)


def _real(values: Complex[Tensor, "*batch p"]) -> Float[Tensor, "*batch q"]:
    """(Re, Im) interleaved: a real dot product of these is the real part of the complex one."""
    return torch.view_as_real(values).flatten(-2)
