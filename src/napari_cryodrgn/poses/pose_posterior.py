"""Posterior over the poses of one image, by importance sampling around its likely poses.

Every pose that a search leaves is refined; what the likelihood looks like around it gives a
proposal, a Student t distribution of the rotation vector and the shift. Poses are drawn from the
mixture of all of them, and weighted by their likelihood over the mixture's density (e.g. Owen,
Monte Carlo theory, methods and examples, 2013, chapter 9). All rotations and all shifts within
range are equally likely beforehand. Poses that no cell of the search has come near are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from ..imaging import shift_phases
from .refine import PoseRefinement
from .results import SearchResult
from .rotations import angular_distance, expmap, logmap
from .sampling import SliceSampler

# Degrees of freedom and widening of the proposals: their tails must be heavier than the truth's.
_FREEDOM, _WIDER = 4.0, 1.3
_DRAWS = 2048
# Share of the draws that goes evenly to all proposals.
_EVEN = 0.2
# Optima nearer than this, in degrees and pixels, are one and the same.
_SAME = (0.5, 0.1)
# Optima whose share must be less than exp(-this) are left out.
_HOPELESS = 15.0
# Poses at least this many degrees apart are separate ones.
_SEPARATE = 10.0
_STEPS = 6
_POINTS = 1 << 18


@dataclass(frozen=True, eq=False)
class Peak:
    """One of the separate poses that explain an image.

    ``rotation`` (3, 3) and ``shift`` (2,) in pixels are the most likely there, ``state`` its volume
    and ``score`` its log-likelihood ratio. It holds the share ``mass`` of the posterior; ``width``
    (degrees) and ``shift_width`` (pixels) are root mean square distances from the most likely.
    """

    rotation: Float[Tensor, "3 3"]
    shift: Float[Tensor, " 2"]
    state: int
    score: float
    mass: float
    width: float
    shift_width: float


@dataclass(frozen=True, eq=False)
class PosePosterior:
    """Posterior over the poses of an image, as weighted draws.

    ``rotations`` (m, 3, 3), ``shifts`` (m, 2) in pixels, ``states`` (m,), log-likelihood ratios
    ``scores`` (m,), and ``weights`` (m,) that sum to 1. ``peaks``, the most likely pose first, lie
    10 degrees or more apart; every draw belongs to the nearest.
    """

    rotations: Float[Tensor, "m 3 3"]
    shifts: Float[Tensor, "m 2"]
    states: Int[Tensor, " m"]
    scores: Float[Tensor, " m"]
    weights: Float[Tensor, " m"]
    peaks: tuple[Peak, ...]

    def moved(self, by: Float[Tensor, " 2"]) -> PosePosterior:
        """The same, of an image that was displaced by so many pixels."""
        peaks = tuple(replace(peak, shift=peak.shift + by) for peak in self.peaks)
        return replace(self, shifts=self.shifts + by, peaks=peaks)

    @property
    def width(self) -> float:
        """Root mean square angle in degrees from the most likely pose, over all peaks."""
        angles = angular_distance(self.rotations, self.peaks[0].rotation)
        return float((self.weights * angles.square()).sum().sqrt())

    @property
    def entropy(self) -> float:
        """Entropy in nats of which of the peaks it is."""
        return -sum(p.mass * math.log(p.mass) for p in self.peaks if p.mass > 0)

    @property
    def effective_poses(self) -> float:
        """How many equally likely peaks would leave as much doubt: 1 if there is none."""
        return math.exp(self.entropy)

    @property
    def effective_draws(self) -> float:
        """How many draws of equal weight would be worth as much (Kish, 1965)."""
        return float(1 / self.weights.square().sum())

    def state_shares(self, n_states: int) -> Float[Tensor, " k"]:
        """Share of the posterior in each volume."""
        return torch.bincount(self.states, self.weights, minlength=n_states)


class PosteriorSampler:
    """Draws from the posterior over poses and volumes of single images.

    Parameters
    ----------
    sampler
        The volumes.
    limit
        Largest frequency compared, in cycles per box.
    max_shift
        Bound of each coordinate of a shift, in pixels.
    """

    def __init__(self, sampler: SliceSampler, limit: float, max_shift: float) -> None:
        self._sampler, self._max_shift = sampler, max_shift
        self._count = sampler.lattice.count(limit)
        self._refinement = PoseRefinement(sampler, limit, _STEPS, max_shift)

    def __call__(
        self,
        pixels: Complex[Tensor, "one pixels"],
        ctf: Float[Tensor, "one pixels"],
        found: SearchResult,
        seed: int = 0,
    ) -> PosePosterior:
        """Posterior for a whitened image, around the poses (1, n) that were found for it."""
        rotations, shifts, states = found.rotations[0], found.shifts[0], found.states[0]
        n = len(rotations)
        best = self._refinement(pixels.expand(n, -1), ctf.expand(n, -1), rotations, shifts, states)
        log_scale = best.spread.diagonal(dim1=1, dim2=2).log().sum(1)
        evidence = best.scores + log_scale
        order = best.scores.argsort(descending=True)
        order = order[evidence[order] > evidence.max() - _HOPELESS]
        order = order[_first_of_same(best.rotations[order], best.shifts[order], states[order])]
        centres, centre_shifts = best.rotations[order], best.shifts[order]
        states, spread = states[order], best.spread[order] * _WIDER
        share = torch.softmax(evidence[order], 0) * (1 - _EVEN) + _EVEN / len(order)

        generator = torch.Generator().manual_seed(seed)
        which = torch.multinomial(share.cpu(), _DRAWS, True, generator=generator)
        normal = torch.randn(_DRAWS, 5, 1, generator=generator)
        square = torch.randn(_DRAWS, int(_FREEDOM), generator=generator).square().mean(1)
        moves = (spread[which] @ (normal / square.sqrt()[:, None, None])).squeeze(2)
        inside = moves[:, :3].norm(dim=1) < math.pi
        inside &= (centre_shifts[which] + moves[:, 3:]).abs().amax(1) <= self._max_shift + 1e-3
        which, moves = which[inside], moves[inside]
        turned = expmap(moves[:, :3]) @ centres[which]
        moved = centre_shifts[which] + moves[:, 3:]
        drawn = states[which]

        density = _log_density(turned, moved, drawn, centres, centre_shifts, states, spread, share)
        scores = self.scores(pixels, ctf, turned, moved, drawn)
        weights = torch.softmax(scores.double() - density.double(), 0).float()
        peaks = _peaks(centres, centre_shifts, states, best.scores[order], turned, moved, weights)
        return PosePosterior(turned, moved, drawn, scores, weights, peaks)

    def scores(
        self,
        pixels: Complex[Tensor, "one pixels"],
        ctf: Float[Tensor, "one pixels"],
        rotations: Float[Tensor, "m 3 3"],
        shifts: Float[Tensor, "m 2"],
        states: Int[Tensor, " m"],
    ) -> Float[Tensor, " m"]:
        """Log-likelihood ratio of each of m poses of one image against an empty image."""
        lattice, count = self._sampler.lattice, self._count
        pixels, ctf = pixels[:, :count], ctf[:, :count]
        scores = []
        for part in torch.arange(len(rotations)).split(max(1, _POINTS // count)):
            model = ctf * self._sampler.of_states(rotations[part, None], states[part], count)[:, 0]
            centred = pixels * shift_phases(lattice.k[:count], lattice.box, shifts[part])
            match = 2 * (centred.conj() * model).real - model.abs().square()
            scores.append(match.sum(1))
        return torch.cat(scores)


def _first_of_same(
    rotations: Float[Tensor, "n 3 3"], shifts: Float[Tensor, "n 2"], states: Int[Tensor, " n"]
) -> list[int]:
    """Which of n poses are like none before them."""
    kept: list[int] = []
    for i in range(len(rotations)):
        near = angular_distance(rotations[kept], rotations[i]) < _SAME[0]
        near &= (shifts[kept] - shifts[i]).norm(dim=1) < _SAME[1]
        if not bool((near & (states[kept] == states[i])).any()):
            kept.append(i)
    return kept


def _log_density(
    rotations: Float[Tensor, "m 3 3"],
    shifts: Float[Tensor, "m 2"],
    states: Int[Tensor, " m"],
    centres: Float[Tensor, "n 3 3"],
    centre_shifts: Float[Tensor, "n 2"],
    centre_states: Int[Tensor, " n"],
    spread: Float[Tensor, "n 5 5"],
    share: Float[Tensor, " n"],
) -> Float[Tensor, " m"]:
    """Logarithm of the mixture's density, against the uniform measure on rotations and shifts."""
    relative = rotations[:, None] @ centres.transpose(1, 2)
    w = logmap(relative)
    moves = torch.cat([w, shifts[:, None] - centre_shifts], 2)
    unit = torch.linalg.solve_triangular(spread, moves.permute(1, 2, 0), upper=False)
    kernel = -(_FREEDOM + 5) / 2 * torch.log1p(unit.square().sum(1) / _FREEDOM)
    log = kernel.T + share.log() - spread.diagonal(dim1=1, dim2=2).log().sum(1)
    # The volume of rotations shrinks away from the centre of the exponential map.
    angle = w.norm(dim=2).clamp_min(1e-4)
    log = log - torch.log(2 * (1 - angle.cos()) / angle.square())
    log = torch.where(states[:, None] == centre_states, log, -torch.inf)
    return torch.logsumexp(log, 1)


def _peaks(
    centres: Float[Tensor, "n 3 3"],
    centre_shifts: Float[Tensor, "n 2"],
    states: Int[Tensor, " n"],
    scores: Float[Tensor, " n"],
    rotations: Float[Tensor, "m 3 3"],
    shifts: Float[Tensor, "m 2"],
    weights: Float[Tensor, " m"],
) -> tuple[Peak, ...]:
    """Separate poses out of n optima, best first, and what the draws say of each."""
    kept: list[int] = []
    for i in range(len(centres)):
        if not bool((angular_distance(centres[kept], centres[i]) < _SEPARATE).any()):
            kept.append(i)
    angles = angular_distance(rotations[:, None], centres[kept])
    nearest = angles.argmin(1)
    peaks = []
    for place, i in enumerate(kept):
        own = torch.where(nearest == place, weights, 0.0)
        mass = float(own.sum())
        off = (shifts - centre_shifts[i]).square().sum(1)
        width, shift_width = (
            float(((own * square).sum() / max(mass, 1e-30)).sqrt())
            for square in (angles[:, place].square(), off)
        )
        peaks.append(
            Peak(
                centres[i],
                centre_shifts[i],
                int(states[i]),
                float(scores[i]),
                mass,
                width,
                shift_width,
            )
        )
    return tuple(peaks)
