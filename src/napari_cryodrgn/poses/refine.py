"""Local refinement of poses against volumes, by Gauss-Newton steps on rotation and shift.

The residual of an image is X S(t) - C S(R), in the Fourier pixels up to a limit, and its squared
norm is minus the score up to a constant. The model is linearised in the rotation vector w of
exp(w) R, by central differences of slices half a grid point apart (the trilinear slices have
kinks), and in the shift, where the derivative of the phases is exact. The steps are damped after
Levenberg and Marquardt, image by image; a step that lowers the score of an image is not taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from ..imaging import shift_phases
from .rotations import expmap
from .sampling import SliceSampler

_DAMPING = 1e-2
_EASE, _HARDEN = 0.2, 10.0
# Steps that share a Jacobian: it takes six slices, a step one.
_REUSE = 2


@dataclass(frozen=True)
class RefinedPoses:
    """Refined poses of B images.

    ``rotations`` (B, 3, 3), ``shifts`` (B, 2) in pixels; ``scores`` (B,) and ``before`` (B,) the
    log-likelihood ratio against an empty image after and before, up to the limit of the refinement.
    ``spread`` (B, 5, 5) is lower triangular, with the covariance of the posterior near the pose as
    its square: poses exp(w) R, s + u with (w, u) = spread e, e standard normal, are draws from it.
    """

    rotations: Float[Tensor, "batch 3 3"]
    shifts: Float[Tensor, "batch 2"]
    scores: Float[Tensor, " batch"]
    before: Float[Tensor, " batch"]
    spread: Float[Tensor, "batch 5 5"]


class PoseRefinement:
    """Refinement of poses against the volumes of ``sampler``.

    Parameters
    ----------
    sampler
        The volumes.
    limit
        Largest frequency compared, in cycles per box; not above that of the sampler.
    steps
        Gauss-Newton steps tried for each image.
    max_shift
        Bound of each coordinate of a shift, in pixels.
    """

    def __init__(
        self, sampler: SliceSampler, limit: float, steps: int = 6, max_shift: float = math.inf
    ) -> None:
        self.lattice = lattice = sampler.lattice
        self.steps, self.max_shift = steps, max_shift
        self._sampler, self._count = sampler, lattice.count(limit)
        self._ramps = 2j * math.pi / lattice.box * lattice.k[: self._count].T
        # A turn that moves the outermost pixels by half a grid point (a quarter of a cycle).
        nudges = 0.25 / limit * torch.cat([torch.eye(3), -torch.eye(3)])
        self._nudge = float(nudges.max())
        self._turns = expmap(nudges.to(lattice.k.device))

    def __call__(
        self,
        pixels: Complex[Tensor, "batch pixels"],
        ctf: Float[Tensor, "batch pixels"],
        rotations: Float[Tensor, "batch 3 3"],
        shifts: Float[Tensor, "batch 2"],
        states: Int[Tensor, " batch"] | None = None,
    ) -> RefinedPoses:
        """Refine the poses of whitened images ``pixels`` with (whitened) ``ctf``.

        ``states`` says which volume each image shows; the first, if absent.
        """
        pixels, ctf = pixels[:, : self._count], ctf[:, : self._count]
        if states is None:
            states = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)
        damping = torch.full_like(shifts[:, 0], _DAMPING)
        centred = self._centred(pixels, shifts)
        model = self._predict(ctf, rotations[:, None], states)[:, 0]
        scores = before = _score(centred, model)
        for step in range(self.steps):
            if step % _REUSE == 0:
                jacobian = self._jacobian(ctf, rotations, states, model)
                system = jacobian @ jacobian.transpose(1, 2)
                diagonal = system.diagonal(dim1=1, dim2=2)
            residual = torch.view_as_real(centred - model).flatten(1)
            gradient = (jacobian @ residual[..., None])[..., 0]
            # The floor keeps the system regular where an image says nothing.
            loaded = system + torch.diag_embed(damping[:, None] * diagonal + 1e-6)
            move = torch.linalg.solve(loaded, gradient)
            turned = expmap(move[:, :3]) @ rotations
            moved = (shifts + move[:, 3:]).clamp(-self.max_shift, self.max_shift)
            there = self._centred(pixels, moved)
            predicted = self._predict(ctf, turned[:, None], states)[:, 0]
            score = _score(there, predicted)
            better = score > scores
            rotations = torch.where(better[:, None, None], turned, rotations)
            shifts = torch.where(better[:, None], moved, shifts)
            centred = torch.where(better[:, None], there, centred)
            model = torch.where(better[:, None], predicted, model)
            scores = torch.where(better, score, scores)
            damping = torch.where(better, damping * _EASE, damping * _HARDEN)
        return RefinedPoses(rotations, shifts, 2 * scores, 2 * before, _spread(system))

    def _centred(
        self, pixels: Complex[Tensor, "batch pixels"], shifts: Float[Tensor, "batch 2"]
    ) -> Complex[Tensor, "batch pixels"]:
        return pixels * shift_phases(self.lattice.k[: self._count], self.lattice.box, shifts)

    def _predict(
        self,
        ctf: Float[Tensor, "batch pixels"],
        rotations: Float[Tensor, "batch c 3 3"],
        states: Int[Tensor, " batch"],
    ) -> Complex[Tensor, "batch c pixels"]:
        return ctf[:, None] * self._sampler.of_states(rotations, states, self._count)

    def _jacobian(
        self,
        ctf: Float[Tensor, "batch pixels"],
        rotations: Float[Tensor, "batch 3 3"],
        states: Int[Tensor, " batch"],
        model: Complex[Tensor, "batch pixels"],
    ) -> Float[Tensor, "batch 5 values"]:
        """Derivatives of the centred image predicted, by rotation vector and shift."""
        around = self._predict(ctf, self._turns @ rotations[:, None], states)
        turned = (around[:, :3] - around[:, 3:]) / (2 * self._nudge)
        # A particle displaced by t shows exp(-2 pi i k.t / D) times the slice.
        moved = -self._ramps * model[:, None]
        return torch.view_as_real(torch.cat([turned, moved], 1)).flatten(2)


def _spread(system: Float[Tensor, "batch 5 5"]) -> Float[Tensor, "batch 5 5"]:
    """Triangular factor of the covariance; the log-likelihood is -|residual|², not half of it.

    A weak prior, of a radian and of ten pixels, stands in where an image says nothing.
    """
    prior = torch.tensor([1.0, 1.0, 1.0, 1e-2, 1e-2], device=system.device)
    covariance = torch.linalg.inv(2 * system + torch.diag(prior))
    factor: Tensor = torch.linalg.cholesky(covariance)
    return factor


def _score(
    centred: Complex[Tensor, "batch pixels"], model: Complex[Tensor, "batch pixels"]
) -> Float[Tensor, " batch"]:
    """Re<X, C S> - |C S|²/2, in double precision: late steps gain little."""
    values = (centred.conj() * model).real - 0.5 * (model.real.square() + model.imag.square())
    return values.sum(1, dtype=torch.float64).to(values.dtype)
