"""The coarse search: all rotations and shifts of a fixed grid at low frequency.

Rotations come in pairs: turned by 180 degrees in the plane, a slice becomes its complex conjugate.
With X = x + iy and S = s + it, the score Re(X* S) of one is xs + yt and that of the other xs - yt,
so two real matrix products over half of the grid give both.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from ..imaging import shift_phases
from .grids import half_turn, shift_grid, so3_half_grid
from .results import SearchSettings
from .sampling import SliceSampler

# Images compared at a time: their scores then stay in the cache.
_CHUNK = 8
_ROTATIONS = 256


class CoarseSearch:
    """Comparison with every rotation and shift of the grid, and with the mean of each group.

    Volumes that are nearly alike up to ``settings.first_limit`` make a group: at this resolution
    their mean finds the same poses. ``groups`` (K,) says which group each volume is in, and
    ``first_of_group`` names one volume of each.
    """

    def __init__(self, sampler: SliceSampler, settings: SearchSettings, limit: float) -> None:
        lattice = sampler.lattice
        self._count = lattice.count(limit)
        base = so3_half_grid(settings.n_side).to(lattice.k.device)
        self.rotations = torch.cat([base, half_turn(base)])
        shifts, self.shift_spacing = shift_grid(settings.max_shift, settings.shift_step)
        self.shifts = shifts.to(lattice.k.device)
        self._phases = shift_phases(lattice.k[: self._count], lattice.box, self.shifts)
        self.groups = _group(sampler, base[:: max(1, len(base) // 64)], self._count, settings)
        self.n_groups = int(self.groups.max()) + 1
        same = self.groups == torch.arange(self.n_groups, device=self.groups.device)[:, None]
        self.first_of_group = same.int().argmax(1)
        members = (same / same.sum(1, keepdim=True)).to(torch.complex64)
        slices = torch.cat(
            [
                torch.einsum("gk,kmp->mgp", members, sampler.of_all(part, self._count))
                for part in base.split(_ROTATIONS)
            ]
        ).transpose(0, 1)
        slices = slices.reshape(-1, self._count)
        self._even, self._odd = slices.real.T.contiguous(), slices.imag.T.contiguous()
        self._half_power = 0.5 * (self._even.square() + self._odd.square())

    def __call__(
        self,
        modulated: Complex[Tensor, "batch pixels"],
        ctf2: Float[Tensor, "batch pixels"],
        keep: int,
    ) -> tuple[
        Float[Tensor, "batch keep"],
        Float[Tensor, "batch keep 3 3"],
        Float[Tensor, "batch keep 2"],
        Int[Tensor, "batch keep"],
    ]:
        """The best rotations with their best shifts: scores, rotations, shifts, groups."""
        parts = zip(modulated.split(_CHUNK), ctf2.split(_CHUNK), strict=True)
        found = [self._best(m[:, : self._count], c[:, : self._count], keep) for m, c in parts]
        scores, index, shift = (torch.cat(x) for x in zip(*found, strict=True))
        # Columns: half grid of group 0, of group 1, ..., then their other halves.
        n, total = len(self.rotations) // 2, self._even.shape[1]
        half, column = index // total, index % total
        return scores, self.rotations[column % n + half * n], self.shifts[shift], column // n

    def _best(
        self,
        modulated: Complex[Tensor, "batch pixels"],
        ctf2: Float[Tensor, "batch pixels"],
        keep: int,
    ) -> tuple[Float[Tensor, "batch keep"], Int[Tensor, "batch keep"], Int[Tensor, "batch keep"]]:
        batch = len(modulated)
        images = (modulated[:, None] * self._phases).reshape(-1, self._count)
        even = (images.real @ self._even).reshape(batch, len(self.shifts), -1)
        odd = (images.imag @ self._odd).reshape(batch, len(self.shifts), -1)
        norm = ctf2 @ self._half_power
        one, other = even + odd, even.sub_(odd)
        scores = torch.cat([one.amax(1) - norm, other.amax(1) - norm], 1)
        top, index = scores.topk(min(keep, scores.shape[1]), 1)
        n = norm.shape[1]
        column = (index % n)[:, None].expand(-1, len(self.shifts), -1)
        chosen = torch.where(index[:, None] < n, one.gather(2, column), other.gather(2, column))
        return top, index, chosen.argmax(1)


def _group(
    sampler: SliceSampler, rotations: Float[Tensor, "m 3 3"], count: int, settings: SearchSettings
) -> Int[Tensor, " k"]:
    """Groups of volumes, each nearer than ``likeness`` times the power to its first member."""
    slices = torch.view_as_real(sampler.of_all(rotations, count)).flatten(1)
    # The particle's low frequencies dwarf the rest; the noise does not, whatever its spectrum.
    gram = slices @ slices.T
    power = gram.diagonal()
    distance = power[:, None] + power - 2 * gram
    close = distance <= settings.likeness * torch.minimum(power[:, None], power)
    groups = torch.full_like(power, -1, dtype=torch.long)
    n_groups = 0
    # The member with the most neighbours left founds the next group.
    while bool((groups < 0).any()):
        free = groups < 0
        votes = (close & free).sum(1) * free
        groups[close[votes.argmax()] & free] = n_groups
        groups[votes.argmax()] = n_groups
        n_groups += 1
    return groups
