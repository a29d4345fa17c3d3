"""Global pose search over SO(3) x R² by branch and bound with frequency marching (paper, 3.2.2).

The volume, or one volume per conformational state, is transformed once; a coarse search over a
fixed grid of rotations and shifts at low frequency is then a matrix product for a whole batch of
images. What it leaves is subdivided, level by level, while the frequency limit rises. The score of
a pose is Re<X, C S> - |C S|²/2, summed over the Fourier half plane: half the log-likelihood ratio
against an empty image when the noise is whitened to E|n|² = 1.

The bound. Let b be the best candidate so far and i another. What i can still gain on b is limited
by the distance d between the images they predict: if i is true, the expected gain is d²/2 and its
standard deviation d/sqrt(2) (in units of the score). d is bounded by two parts: how far a slice can
move within the candidate's cell (measured on the volume itself for each level and shell), and
twice the power of a slice in the shells still to come. A candidate is dropped when it lies further
behind than d²/2 + z d/sqrt(2), with z = 3: a risk of about one in a thousand. With cells of 15
degrees this is loose: in practice the cap on the candidates kept decides (see the statistics).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from ..imaging import FourierGrid, Lattice, shift_phases, slice_points
from .grids import shift_grid, so3_grid, so3_spacing
from .rotations import expmap

_CORNERS = torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]).float()
_QUARTERS = torch.tensor([[a, b] for a in (-1, 1) for b in (-1, 1)]).float()


@dataclass(frozen=True)
class SearchSettings:
    """How finely and how far to search.

    Limits are in cycles per box, shifts in pixels. ``keep[l]`` caps the candidates that enter
    level l + 1; the last entry holds for all further levels. ``risk`` is z of the bound.
    """

    first_limit: float = 8.0
    last_limit: float = 15.0
    levels: int = 4
    keep: tuple[int, ...] = (8, 6, 4, 3, 2)
    n_side: int = 4
    max_shift: float = 2.5
    shift_step: float = 1.25
    risk: float = 3.0


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


@dataclass
class SearchStatistics:
    """How the search was decided: candidates dropped by the bound and by the cap."""

    considered: int = 0
    bounded: int = 0
    capped: int = 0
    by_level: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass
class _Candidates:
    """Ragged lists of candidates: ``image`` says whose, ``slot`` the place in that image's list."""

    image: Int[Tensor, " m"]
    slot: Int[Tensor, " m"]
    rotations: Float[Tensor, "m 3 3"]
    shifts: Float[Tensor, "m 2"]
    states: Int[Tensor, " m"]


class PoseSearch:
    """Search of images against one or several volumes.

    Parameters
    ----------
    lattice
        Fourier pixels of the images, up to at least ``settings.last_limit``.
    volumes
        (K, D, D, D), one per state; each hypothesis carries its state.
    settings
        See there.
    """

    def __init__(
        self, lattice: Lattice, volumes: Float[Tensor, "k z y x"], settings: SearchSettings
    ) -> None:
        self.settings, self.lattice = settings, lattice
        self.statistics = SearchStatistics()
        device = lattice.k.device
        self._last = min(settings.last_limit, lattice.limit)
        self._grid = FourierGrid(lattice.box, self._last, device=device)
        self._grids = self._grid.transform(volumes)
        self._corners, self._quarters = _CORNERS.to(device), _QUARTERS.to(device)
        self._rotations = so3_grid(settings.n_side).to(device)
        self._spacing = so3_spacing(len(self._rotations))
        shifts, self._shift_spacing = shift_grid(settings.max_shift, settings.shift_step)
        self._shifts = shifts.to(device)
        self._first = lattice.count(min(settings.first_limit, self._last))
        k = lattice.k[: self._first]
        self._phases = shift_phases(k, lattice.box, self._shifts)
        slices = torch.cat(
            [self._sample(slice_points(self._rotations, k), s) for s in range(len(volumes))]
        )
        self._matrix = _real(slices).T.contiguous()
        self._power = slices.abs().square().T.contiguous()
        self._tabulate_bound(len(volumes))

    def _sample(
        self, points: Float[Tensor, "*batch 3"], state: int | Int[Tensor, "*batch"]
    ) -> Complex[Tensor, "*batch"]:
        if isinstance(state, int):
            return self._grid.sample(self._grids[state : state + 1], points)
        if len(self._grids) == 1:
            return self._grid.sample(self._grids, points)
        return self._grid.sample(self._grids, points, state.expand(points.shape[:-1]))

    def _tabulate_bound(self, n_states: int) -> None:
        """Mean power of a slice per shell, and its change across half a cell at each level."""
        k = self.lattice.k[: self.lattice.count(self._last)]
        pick = torch.linspace(0, len(self._rotations) - 1, 64, device=k.device).long()
        rotations = self._rotations[pick]
        base = [self._sample(slice_points(rotations, k), s) for s in range(n_states)]

        def per_shell(values: Tensor) -> Tensor:
            return self.lattice.shell_mean(values.mean(0))

        powers = torch.stack([per_shell(b.abs().square()) for b in base])
        self._shell_power = powers.max(0).values
        self._cell_change = []
        for level in range(self.settings.levels + 1):
            # The centre of a cell is at most half its diagonal away from any of its points.
            turn = self._spacing / 2**level / 2 * self._corners[pick % 8]
            moved = slice_points(expmap(turn) @ rotations, k)
            shift = self._shift_spacing / 2**level / 2 * self._quarters[pick % 4]
            phase = shift_phases(k, self.lattice.box, shift)
            change = [
                per_shell((self._sample(moved, s) * phase - base[s]).abs().square())
                for s in range(n_states)
            ]
            self._cell_change.append(torch.stack(change).max(0).values)

    def _gap(self, ctf2: Float[Tensor, "batch pixels"], level: int) -> Float[Tensor, " batch"]:
        """How far behind the best a candidate may lie at ``level`` and still win."""
        count = self.lattice.count(self._last)
        shell = self.lattice.shell[:count]
        within = self.lattice.radius[:count] <= self._limit(level) + 1e-4
        inner = torch.where(within, self._cell_change[level][shell], 0.0)
        outer = torch.where(within, 0.0, self._shell_power[shell])
        distance = (ctf2[:, :count] @ inner).sqrt() + 2 * (ctf2[:, :count] @ outer).sqrt()
        return distance.square() / 2 + self.settings.risk * distance / 2**0.5

    def _limit(self, level: int) -> float:
        first = min(self.settings.first_limit, self._last)
        return first + (self._last - first) * level / self.settings.levels

    def __call__(
        self,
        pixels: Complex[Tensor, "batch pixels"],
        ctf: Float[Tensor, "batch pixels"],
        n_best: int = 1,
    ) -> SearchResult:
        """Poses of whitened images ``pixels`` with (whitened) ``ctf``."""
        batch = len(pixels)
        modulated, ctf2 = pixels * ctf, ctf.square()
        scores, candidates = self._coarse(modulated, ctf2)
        for level in range(1, self.settings.levels + 1):
            keep = n_best
            if level < self.settings.levels:
                keep = self.settings.keep[min(level, len(self.settings.keep) - 1)]
            scores, candidates = self._subdivide(modulated, ctf2, candidates, level, keep)
        where = (candidates.image, candidates.slot)
        rotations = pixels.real.new_zeros(batch, n_best, 3, 3)
        shifts = pixels.real.new_zeros(batch, n_best, 2)
        states = torch.zeros(batch, n_best, dtype=torch.long, device=pixels.device)
        rotations[where], shifts[where] = candidates.rotations, candidates.shifts
        states[where] = candidates.states
        return SearchResult(rotations, shifts, states, 2 * scores)

    def _coarse(
        self, modulated: Complex[Tensor, "batch pixels"], ctf2: Float[Tensor, "batch pixels"]
    ) -> tuple[Float[Tensor, "batch keep"], _Candidates]:
        """Every rotation of the grid with its best shift: one matrix product."""
        batch, p, n = len(modulated), self._first, len(self._rotations)
        images = _real(modulated[:, None, :p] * self._phases)
        products = (images.reshape(-1, 2 * p) @ self._matrix).reshape(batch, len(self._phases), -1)
        best, shift = products.max(1)
        scores = best - 0.5 * ctf2[:, :p] @ self._power
        top, index = scores.topk(min(self.settings.keep[0], scores.shape[1]), 1)
        alive = self._prune(top, ctf2, 0, scores.shape[1])
        image, slot = alive.nonzero(as_tuple=True)
        chosen = index[image, slot]
        return top, _Candidates(
            image,
            slot,
            self._rotations[chosen % n],
            self._shifts[shift[image, chosen]],
            torch.div(chosen, n, rounding_mode="floor"),
        )

    def _subdivide(
        self,
        modulated: Complex[Tensor, "batch pixels"],
        ctf2: Float[Tensor, "batch pixels"],
        parents: _Candidates,
        level: int,
        keep: int,
    ) -> tuple[Float[Tensor, "batch keep"], _Candidates]:
        """Score the 8 x 4 children of each candidate at the level's limit; keep the best."""
        p = self.lattice.count(self._limit(level))
        k, box = self.lattice.k[:p], self.lattice.box
        turn = self._spacing / 2 ** (level - 1) / 4 * self._corners
        step = self._shift_spacing / 2 ** (level - 1) / 4 * self._quarters
        rotations = expmap(turn) @ parents.rotations[:, None]
        slices = self._sample(slice_points(rotations, k), parents.states[:, None, None])
        centred = modulated[parents.image, :p] * shift_phases(k, box, parents.shifts)
        images = _real(centred[:, None] * shift_phases(k, box, step))
        power = slices.abs().square() @ ctf2[parents.image, :p, None]
        # A score for each (rotation child, shift child).
        scores = _real(slices) @ images.transpose(1, 2) - 0.5 * power

        batch, width = len(modulated), int(parents.slot.max()) + 1
        table = scores.new_full((batch, width, 32), -torch.inf)
        table[parents.image, parents.slot] = scores.reshape(-1, 32)
        row = torch.zeros(batch, width, dtype=torch.long, device=scores.device)
        row[parents.image, parents.slot] = torch.arange(len(scores), device=scores.device)
        top, index = table.reshape(batch, -1).topk(min(keep, width * 32), 1)
        alive = self._prune(top, ctf2, level, 32 * len(scores) // batch)
        image, slot = alive.nonzero(as_tuple=True)
        chosen = index[image, slot]
        parent, child = row[image, chosen // 32], chosen % 32
        return top, _Candidates(
            image,
            slot,
            rotations[parent, child // 4],
            parents.shifts[parent] + step[child % 4],
            parents.states[parent],
        )

    def _prune(
        self,
        top: Float[Tensor, "batch keep"],
        ctf2: Float[Tensor, "batch pixels"],
        level: int,
        considered: int,
    ) -> Bool[Tensor, "batch keep"]:
        """Which of the best candidates the bound cannot rule out."""
        alive = (top >= top[:, :1] - self._gap(ctf2, level)[:, None]) & top.isfinite()
        if level == self.settings.levels:
            return top.isfinite()
        kept, full = int(alive.sum()), int(alive[:, -1].sum())
        self.statistics.considered += considered * len(top)
        self.statistics.bounded += alive.numel() - kept
        self.statistics.capped += full
        self.statistics.by_level.append((considered * len(top), kept, full))
        return alive


def _real(values: Complex[Tensor, "*batch p"]) -> Float[Tensor, "*batch q"]:
    """(Re, Im) interleaved: a real dot product of these is the real part of the complex one."""
    return torch.view_as_real(values).flatten(-2)
