"""A linear latent: X = C P(R) (v0 + sum_q z_q v_q) + noise, fitted by expectation maximisation.

The E-step is closed-form per image, the M-step a small system per Fourier voxel. It finds the
leading modes of motion in seconds where a network trained from nothing collapses, and starts the
network off. (Probabilistic principal component analysis over volumes, as in cryo-EM covariance
methods.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..imaging import FourierGrid, shift_phases, slice_points
from .dataset import Dataset

_CHUNK = 256


@dataclass(frozen=True)
class LinearFit:
    """Linear-subspace model and the posterior of the latent under it.

    ``volumes`` (1 + Q, D, D, D) are v0 and the components; ``mean`` (n, Q) and ``covariance``
    (n, Q, Q) the posterior of each image's latent, whose prior is the standard normal;
    ``information`` the mean of half the log determinant of the posterior precision, in nats.
    """

    volumes: Float[Tensor, "q z y x"]
    mean: Float[Tensor, "n q"]
    covariance: Float[Tensor, "n q q"]
    information: float


def fit_linear(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    n_components: int,
    limit: float,
    *,
    iterations: int,
    seed: int,
    index: Int[Tensor, " m"] | None = None,
    ridge: float = 0.1,
) -> Iterator[tuple[int, LinearFit]]:
    """Yield (iterations done, fit) after each iteration.

    Each iteration centres z and makes the components orthogonal to v0: otherwise the first
    component is the contrast of each image, which looks like strong motion.

    Parameters
    ----------
    rotations, shifts
        Poses of all particles, (N, 3, 3) and (N, 2) in pixels.
    n_components, limit
        Q, and the frequency limit in cycles per box.
    index
        Particles to fit (all if absent); the fit's arrays have their order.
    """
    random = torch.Generator().manual_seed(seed)
    index = torch.arange(len(data)) if index is None else index
    device, n, q = data.device, len(index), n_components
    grid = FourierGrid(data.box, limit, device=device)
    mean = torch.randn(n, q, generator=random).to(device)
    second = 0.1 * torch.eye(q, device=device) + mean[:, :, None] * mean[:, None]
    pairs = [(a, b) for a in range(q + 1) for b in range(a, q + 1)]
    for done in range(iterations):
        # M-step: sums of z^a C X and z^a z^b C² over the images.
        first = torch.cat([mean.new_ones(n, 1), mean], 1)
        moments = mean.new_zeros(n, q + 1, q + 1)
        moments[:, 0], moments[:, :, 0] = first, first
        moments[:, 1:, 1:] = second
        n_channels = 2 * (q + 1) + len(pairs)
        sums = torch.zeros(n_channels, grid.n, grid.n, grid.n, device=device)
        for rows, points, pixels, ctf in _images(data, rotations, shifts, limit, index):
            back, ctf2 = pixels * ctf, ctf.square()
            values = [
                part * first[rows, a, None] for a in range(q + 1) for part in (back.real, back.imag)
            ]
            values += [ctf2 * moments[rows, a, b, None] for a, b in pairs]
            sums += grid.insert(points, torch.stack(values))[0]
        numerators = torch.complex(sums[0 : 2 * q + 2 : 2], sums[1 : 2 * q + 2 : 2])
        weights = sums.new_zeros(q + 1, q + 1, grid.n, grid.n, grid.n)
        for channel, (a, b) in enumerate(pairs, 2 * q + 2):
            weights[a, b] = weights[b, a] = sums[channel]
        volumes = grid.solve_coupled(numerators, weights, ridge)
        overlap = (volumes[1:] * volumes[0]).sum((1, 2, 3)) / volumes[0].square().sum()
        volumes[1:] -= overlap[:, None, None, None] * volumes[0]

        # E-step.
        mean, covariance, information = infer_linear(data, rotations, shifts, volumes, limit, index)
        mean = mean - mean.mean(0)
        second = covariance + mean[:, :, None] * mean[:, None]
        # The prior is the standard normal: rescale z, and the components with it.
        root = torch.linalg.cholesky(second.mean(0))
        inverse = torch.linalg.inv(root)
        mean = mean @ inverse.T
        covariance = inverse @ covariance @ inverse.T
        second = inverse @ second @ inverse.T
        volumes[1:] = torch.einsum("qp,qzyx->pzyx", root, volumes[1:])
        yield done + 1, LinearFit(volumes, mean, covariance, information)


def infer_linear(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    volumes: Float[Tensor, "q z y x"],
    limit: float,
    index: Int[Tensor, " m"],
) -> tuple[Float[Tensor, "m q"], Float[Tensor, "m q q"], float]:
    """Posterior mean and covariance of the latent of the particles ``index``, and information."""
    grid = FourierGrid(data.box, limit, device=data.device)
    transforms = grid.transform(volumes)
    n, q = len(index), len(volumes) - 1
    covariance = torch.zeros(n, q, q, device=data.device)
    mean = torch.zeros(n, q, device=data.device)
    information = 0.0
    for rows, points, pixels, ctf in _images(data, rotations, shifts, limit, index):
        slices = [grid.sample(one[None], points) * ctf for one in transforms]
        modes = torch.view_as_real(torch.stack(slices[1:], 1)).flatten(-2)
        residual = torch.view_as_real(pixels - slices[0]).flatten(-2)
        precision = 2 * modes @ modes.transpose(1, 2) + torch.eye(q, device=data.device)
        covariance[rows] = torch.linalg.inv(precision)
        pull = 2 * (modes @ residual[..., None])
        mean[rows] = (covariance[rows] @ pull)[..., 0]
        information += 0.5 * float(torch.logdet(precision).sum()) / n
    return mean, covariance, information


def _images(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    limit: float,
    index: Int[Tensor, " m"],
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Rows of the fit, points of the slices, centred pixels and CTF, batch by batch."""
    row = 0
    for part, pixels, ctf in data.batches(_CHUNK, limit, index):
        k = data.lattice.k[: pixels.shape[1]]
        centred = pixels * shift_phases(k, data.box, shifts[part])
        yield slice(row, row + len(part)), slice_points(rotations[part], k), centred, ctf
        row += len(part)
