"""Posterior of each particle's latent under a voxel basis, after amortised inference or before.

Under V(z) = sum_q a_q(z) U_q the likelihood of an image depends on it through few numbers, whatever
z: log p(X | z) = 2 a(z).h - a(z)^T G a(z) + const with h_q = Re <C P U_q, X> and
G_qp = Re <C P U_q, C P U_p>. With these the posterior costs almost nothing per value of z.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..imaging import FourierGrid, shift_phases, slice_points
from ..model import BasisDecoder
from .basis_fit import fit_basis
from .dataset import Dataset

_CHUNK = 256
# Grids of the latent reach this far, in standard deviations of the prior.
_REACH = 3.5
_POINTS = {1: 71, 2: 29}
_NEWTON_STEPS = 15


@dataclass(frozen=True)
class Posterior:
    """Mean and log variance of each particle's latent (n, zdim), and log p(X) - log p(X | 0).

    The evidence (n,) is against an empty image, in nats.
    """

    mean: Float[Tensor, "n zdim"]
    logvar: Float[Tensor, "n zdim"]
    evidence: Float[Tensor, " n"]

    @property
    def deviation(self) -> Float[Tensor, "n zdim"]:
        """Standard deviations."""
        return (0.5 * self.logvar).exp()


@dataclass(frozen=True)
class HeldOut:
    """Half of the particles, and a voxel basis fitted to the other half.

    ``index`` (m,) are the particles of the half; ``gram`` (m, q, q) and ``pull`` (m, q) are G and h
    of each; ``power`` (m,) is the squared norm of each image, in units of the noise.
    """

    decoder: BasisDecoder
    index: Int[Tensor, " m"]
    gram: Float[Tensor, "m q q"]
    pull: Float[Tensor, "m q"]
    power: Float[Tensor, " m"]


def hold_out(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    z: Float[Tensor, "n zdim"],
    limit: float,
    seed: int,
) -> tuple[HeldOut, HeldOut]:
    """Both halves, each against the volumes of the other, with frequencies up to ``limit``.

    So no particle is compared with a volume that holds its own noise, and the mean evidence is
    that of images held out.
    """
    odd, even = (torch.arange(half, len(data), 2) for half in (1, 0))

    def against(own: Tensor, other: Tensor) -> HeldOut:
        decoder = fit_basis(data, rotations, shifts, z, limit, seed=seed, index=other)
        return HeldOut(
            decoder, own, *image_statistics(data, rotations, shifts, decoder, limit, own)
        )

    return against(even, odd), against(odd, even)


def image_statistics(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    decoder: BasisDecoder,
    limit: float,
    index: Int[Tensor, " m"],
) -> tuple[Float[Tensor, "m q q"], Float[Tensor, "m q"], Float[Tensor, " m"]]:
    """G, h and the power of the particles ``index``, with frequencies up to ``limit``."""
    grid = FourierGrid(data.box, limit, device=data.device)
    transforms = grid.transform(decoder.volumes)
    grams, pulls, powers = [], [], []
    for part, pixels, ctf in data.batches(_CHUNK, limit, index):
        k = data.lattice.k[: pixels.shape[1]]
        points = slice_points(rotations[part], k)
        centred = torch.view_as_real(pixels * shift_phases(k, data.box, shifts[part])).flatten(1)
        slices = [grid.sample(one[None], points) * ctf for one in transforms]
        modes = torch.view_as_real(torch.stack(slices, 1)).flatten(2)
        grams.append(modes @ modes.transpose(1, 2))
        pulls.append((modes @ centred[..., None])[..., 0])
        powers.append(centred.square().sum(1))
    return torch.cat(grams), torch.cat(pulls), torch.cat(powers)


def infer(
    decoder: BasisDecoder,
    gram: Float[Tensor, "n q q"],
    pull: Float[Tensor, "n q"],
    start: Float[Tensor, "n zdim"],
) -> Posterior:
    """Posterior of z under the standard normal prior.

    Integrated on a grid up to two dimensions; beyond, Laplace's approximation around the mode
    found from ``start``.
    """
    if decoder.zdim in _POINTS:
        return _on_grid(decoder, gram, pull)
    return _laplace(decoder, gram, pull, start)


def _on_grid(decoder: BasisDecoder, gram: Tensor, pull: Tensor) -> Posterior:
    zdim = decoder.zdim
    axis = torch.linspace(-_REACH, _REACH, _POINTS[zdim], device=gram.device)
    z = torch.cartesian_prod(*[axis] * zdim).reshape(-1, zdim)
    prior = (-0.5 * z.square().sum(1)).log_softmax(0)
    a = decoder.coefficients(z)
    products = (a[:, :, None] * a[:, None]).flatten(1)
    log = prior + 2 * pull @ a.T - gram.flatten(1) @ products.T
    evidence = log.logsumexp(1)
    weight = (log - evidence[:, None]).exp()
    mean = weight @ z
    spacing = float(axis[1] - axis[0])
    # A posterior narrower than the grid is as wide as the grid can tell.
    variance = (weight @ z.square() - mean.square()).clamp_min(spacing**2 / 12)
    return Posterior(mean, variance.log(), evidence)


def _laplace(decoder: BasisDecoder, gram: Tensor, pull: Tensor, start: Tensor) -> Posterior:
    """Gauss-Newton steps to the mode, each kept where it climbs, and the curvature there."""
    n, zdim = start.shape
    mean = start

    def log_joint(z: Tensor) -> Tensor:
        a = decoder.coefficients(z)
        quadratic = (gram @ a[..., None])[..., 0]
        return (a * (2 * pull - quadratic)).sum(1) - 0.5 * z.square().sum(1)

    def curvature(z: Tensor) -> tuple[Tensor, Tensor]:
        slopes = decoder.slopes(z)
        a = decoder.coefficients(z)
        residual = pull - (gram @ a[..., None])[..., 0]
        gradient = 2 * (slopes.transpose(1, 2) @ residual[..., None])[..., 0] - z
        identity = torch.eye(zdim, device=z.device)
        return gradient, 2 * slopes.transpose(1, 2) @ gram @ slopes + identity

    height = log_joint(mean)
    damping = gram.new_ones(n)
    for _ in range(_NEWTON_STEPS):
        gradient, precision = curvature(mean)
        step = torch.linalg.solve(precision, gradient) * damping[:, None]
        tried = (mean + step).clamp(-_REACH, _REACH)
        reached = log_joint(tried)
        better = reached > height
        mean = torch.where(better[:, None], tried, mean)
        height = torch.where(better, reached, height)
        damping = torch.where(better, damping, damping / 3)
    _, precision = curvature(mean)
    variance = torch.linalg.inv(precision).diagonal(dim1=1, dim2=2)
    evidence = height - 0.5 * torch.logdet(precision)
    return Posterior(mean, variance.clamp_min(1e-6).log(), evidence)


def infer_all(halves: tuple[HeldOut, HeldOut], start: Float[Tensor, "n zdim"]) -> Posterior:
    """Posterior of every particle."""
    mean, logvar = torch.zeros_like(start), torch.zeros_like(start)
    evidence = start.new_zeros(len(start))
    for half in halves:
        own = half.index.to(start.device)
        found = infer(half.decoder, half.gram, half.pull, start[own])
        mean[own], logvar[own], evidence[own] = found.mean, found.logvar, found.evidence
    return Posterior(mean, logvar, evidence)


@dataclass(frozen=True)
class Refinement:
    """Posterior of all particles, the half models it is under, and whether it improved on z."""

    halves: tuple[HeldOut, HeldOut]
    posterior: Posterior
    better: bool


def refine(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    z: Float[Tensor, "n zdim"],
    limit: float,
    seed: int,
) -> Refinement:
    """Posterior under volumes fitted at ``z``, then under volumes fitted at that posterior's mean.

    The second is kept if it explains held-out images better than the first.
    """
    halves = hold_out(data, rotations, shifts, z, limit, seed)
    first = infer_all(halves, z)
    again = standardised(first.mean, first.deviation)
    new_halves = hold_out(data, rotations, shifts, again, limit, seed)
    second = infer_all(new_halves, again)
    if bool(second.evidence.mean() > first.evidence.mean()):
        return Refinement(new_halves, second, better=True)
    return Refinement(halves, first, better=False)


def standardised(
    mean: Float[Tensor, "n zdim"], deviation: Float[Tensor, "n zdim"]
) -> Float[Tensor, "n zdim"]:
    """Means moved and scaled so that all posteriors together have the moments of the prior."""
    mean = mean - mean.mean(0)
    second = (mean.square() + deviation.square()).mean(0)
    return mean / second.sqrt().clamp_min(1e-6)


def principal_axes(z: Float[Tensor, "n zdim"]) -> Float[Tensor, "zdim zdim"]:
    """Rotation to the axes along which z varies most, in columns.

    All rotations of the latent are as likely under the prior; along the first of these axes the
    images tell most.
    """
    centred = z - z.mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    axes: Tensor = vectors.flip(1)
    return axes
