"""A frame in which as much of the molecule as possible stands still.

Poses and states found together leave one thing open: the molecule may turn with its state, and its
poses with it, at the same likelihood. A least-squares fit makes use of that: where a domain swings
to one side, the body turns a little to the other. A person sees a body that rocks. Here each
state is turned so that its difference from the others is small in most places and may be large in
a few.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ..imaging import FourierGrid
from ..poses import expmap

_BOX = 32
# Sum over voxels of |difference|^_POWER: the smaller, the less a moving part counts.
_POWER = 0.2
# Differences are taken as noise below this share of the density's 99th percentile, and below twice
# the median difference: most voxels are solvent.
_NOISE = 0.05
# Rotations tried first, in degrees about each axis, and how many of them are refined.
_TRIALS = (-7.0, 0.0, 7.0)
_REFINED = 4
_ROUNDS = 4
_STEPS = 30


@dataclass(frozen=True)
class SteadyFrames:
    """How K volumes are to be moved: V'(x) = V(G^T (x - t)).

    ``rotations`` (K, 3, 3) hold G, ``shifts`` (K, 3) t as (x, y, z) in voxels.
    """

    rotations: Float[Tensor, "k 3 3"]
    shifts: Float[Tensor, "k 3"]


def steady_frames(
    volumes: Float[Tensor, "k z y x"], limit: float
) -> Iterator[float | SteadyFrames]:
    """Rigid moves that make volumes of one molecule alike in most places.

    Each is fitted to the middle one, from several rotations, then to the median of all in turn.
    Yields the fraction done, and at last the moves.

    Parameters
    ----------
    volumes
        In the order of the motion, if there is one.
    limit
        Largest frequency compared, in cycles per box.
    """
    box = volumes.shape[-1]
    fit = _Fit(volumes.cpu(), min(limit, _BOX // 2 - 1))
    n = len(volumes)
    moves = [np.zeros(6)] * n
    reference = fit.moved(n // 2, torch.zeros(6))
    for number in range(_ROUNDS):
        for k in range(n):
            trials = _trials() if number == 0 else [moves[k]]
            moves[k] = fit.best(k, reference, trials)
            yield (number + (k + 1) / n) / _ROUNDS
        found = [fit.moved(k, torch.from_numpy(m).float()) for k, m in enumerate(moves)]
        reference = torch.stack(found).median(0).values
    placed = [fit.place(torch.from_numpy(m).float()) for m in moves]
    rotations = torch.stack([rotation for rotation, _ in placed])
    shifts = torch.stack([shift for _, shift in placed]) * (box / _BOX)
    yield SteadyFrames(rotations.to(volumes.device), shifts.to(volumes.device))


def _trials() -> list[NDArray[np.float64]]:
    angles = np.deg2rad(np.stack(np.meshgrid(_TRIALS, _TRIALS, _TRIALS), -1).reshape(-1, 3))
    return [np.concatenate([a, np.zeros(3)]) for a in angles]


class _Fit:
    """Moves of volumes in a small box; a move is a rotation vector and a shift in voxels."""

    def __init__(self, volumes: Float[Tensor, "k z y x"], limit: float) -> None:
        self.grid = FourierGrid(volumes.shape[-1], limit)
        self.transforms = self.grid.transform(volumes)
        line, half = torch.fft.fftfreq(_BOX, 1 / _BOX), torch.fft.rfftfreq(_BOX, 1 / _BOX)
        z, y, x = torch.meshgrid(line, line, half, indexing="ij")
        k = torch.stack([x, y, z], -1)
        self.inside = k.norm(dim=-1) <= limit
        self.k = k[self.inside]

    def place(self, move: Float[Tensor, "6"]) -> tuple[Tensor, Tensor]:
        """Rotation and shift of a move. The gradient of |w| at w = 0 is not defined."""
        return expmap(move[:3] + 1e-6), move[3:]

    def moved(self, number: int, move: Float[Tensor, "6"]) -> Float[Tensor, "z y x"]:
        """Volume ``number`` after a move, low-pass filtered, in the small box."""
        rotation, shift = self.place(move)
        angle = (self.k @ shift) * (-2 * torch.pi / _BOX)
        phases = torch.polar(torch.ones_like(angle), angle)
        values = self.grid.sample(self.transforms[number : number + 1], self.k @ rotation)
        spectrum = torch.zeros(self.inside.shape, dtype=values.dtype)
        spectrum = spectrum.masked_scatter(self.inside, values * phases)
        volume: Tensor = torch.fft.fftshift(torch.fft.irfftn(spectrum, s=(_BOX,) * 3))
        return volume

    def best(
        self, number: int, reference: Float[Tensor, "z y x"], trials: list[NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """The move to the smallest difference from ``reference``, from the best of ``trials``."""
        start = self.moved(number, torch.from_numpy(trials[len(trials) // 2]).float())
        rest = 2 * float((start - reference).abs().median())
        noise = max(rest, _NOISE * float(reference.abs().flatten().quantile(0.99))) ** 2 + 1e-30

        def cost(move: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            with torch.enable_grad():
                at = torch.from_numpy(move).float().requires_grad_()
                difference = (self.moved(number, at) - reference).square()
                value = (difference / noise + 1).pow(_POWER / 2).sum()
                (slope,) = torch.autograd.grad(value, at)
            return float(value.detach()), slope.double().numpy()

        trials = sorted(trials, key=lambda move: cost(move)[0])[:_REFINED]
        # A turn by a pixel at the edge and a shift by a pixel are steps of one size.
        scale = np.array([2 / _BOX] * 3 + [1.0] * 3)

        def scaled(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            value, slope = cost(x * scale)
            return value, slope * scale

        found = [
            minimize(scaled, t / scale, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
            for t in trials
        ]
        best: NDArray[np.float64] = min(found, key=lambda f: float(f.fun)).x * scale
        return best
