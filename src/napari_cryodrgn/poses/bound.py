"""The bound of the pose search: how far behind a candidate may lie and still win.

A candidate i lies behind the leader b. The frequencies still to come may separate the two, but they
act on both; what i has in hand is that the best pose of its cell is not the one it was scored at.
If the truth lies in the cell of i, a distance d = |C (S - S_i)| (all shells of the search) from its
centre, moving there gains d²/2 on average with the standard deviation d/sqrt(2): the score is
Re<X, C S> - |C S|²/2, the noise E|n|² = 1. d² is the sum over shells of C² times the change of a
slice across half a cell, tabulated from the volumes for every level. So d²/2 + d/sqrt(2) is the
unit in which gaps compare, between levels and between images of different CTF and noise.

How many units may pass is measured, on the images themselves: the first ones are searched without
the bound, and from the gaps along the line of each winner, and of every pose that scores within
``EQUAL`` of it, follows the smallest factor for which a bound would have kept one of them. If
images are exchangeable, the factor of the next exceeds the ceil((n + 1)(1 - risk))-th smallest of n
with probability ``risk`` at most, whatever its distribution (split conformal prediction: Vovk,
Gammerman and Shafer, 2005). So the bound is probabilistic: against the same search without it, an
image loses its winner with probability ``risk``.

A bound that needs no measuring, twice the power of a slice in the shells to come for i and b each,
is safe but never dropped a candidate on our sets.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..imaging import shift_phases
from .rotations import expmap
from .sampling import SliceSampler

_SAMPLE = 64
# Difference of score (half a log-likelihood ratio) below which poses are equally good.
EQUAL = 0.1
_CORNERS = torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]).float()
_QUARTERS = torch.tensor([[a, b] for a in (-1, 1) for b in (-1, 1)]).float()


class GapBound:
    """Largest gap of a winner's ancestor behind the leader, by level.

    Parameters
    ----------
    sampler
        The volumes.
    rotations
        Where to measure them, (n, 3, 3).
    limit
        Frequency limit of the search, in cycles per box.
    turns, shifts
        Edge of the cells of each level, in radians and pixels.
    risk
        Probability of changing the winner of an image; 0 turns the bound off.

    ``gaps`` (images,) are the factors that would have kept the winners measured.
    """

    def __init__(
        self,
        sampler: SliceSampler,
        rotations: Float[Tensor, "n 3 3"],
        limit: float,
        turns: list[float],
        shifts: list[float],
        risk: float,
    ) -> None:
        lattice = sampler.lattice
        self._risk = risk
        self._needed = math.ceil(1 / risk) - 1 if risk > 0 else 0
        self.gaps = torch.zeros(0)
        self._count = count = lattice.count(limit)
        k = lattice.k[:count]
        pick = torch.linspace(0, len(rotations) - 1, _SAMPLE, device=k.device).long()
        corners = _CORNERS.to(k.device)[pick % 8]
        quarters = _QUARTERS.to(k.device)[pick % 4]
        base = sampler.of_all(rotations[pick], count)
        changes = []
        for turn, shift in zip(turns, shifts, strict=True):
            # The centre of a cell is at most half its diagonal away from any of its points.
            moved = sampler.of_all(expmap(turn / 2 * corners) @ rotations[pick], count)
            moved = moved * shift_phases(k, lattice.box, shift / 2 * quarters)
            changes.append((moved - base).abs().square().mean(1).amax(0))
        # Single slices are noisy: a mean over each shell is what counts.
        shell = lattice.shell[:count]
        self._distance = torch.stack([lattice.shell_mean(c)[shell] for c in changes], 1)

    def unit(self, ctf2: Float[Tensor, "batch pixels"]) -> Float[Tensor, "batch levels"]:
        """What the best pose of a cell gains on its centre, by image and level."""
        half = ctf2[:, : self._count] @ self._distance / 2
        return half + half.sqrt()

    @property
    def factor(self) -> float | None:
        """Units that a winner's ancestor may lie behind; None while too few images are known."""
        n = len(self.gaps)
        if not self._needed or n < self._needed:
            return None
        rank = math.ceil((n + 1) * (1 - self._risk))
        return float(self.gaps.kthvalue(min(rank, n)).values)

    def calibrate(self, gaps: Float[Tensor, " images"]) -> None:
        """Add the factors that would have kept the winners of images searched without the bound."""
        self.gaps = torch.cat([self.gaps, gaps.cpu()])
