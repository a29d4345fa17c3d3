"""Fit of the voxel basis: an exact solution per Fourier voxel, no gradient steps."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from ..imaging import FourierGrid
from ..model import BasisDecoder, kernel_functions
from .dataset import Dataset
from .decoder_fit import NodeStatistics, collect

_CHUNK = 1 << 16
# Precision of the prior to start from, in units of a shell's mean weight.
_START = 0.02
# Variance of N / W in units of 1 / W. Trilinear weights and the mask average over neighbours: they
# leave less than 1. Of 0.1, 0.3 and 1 this gave the smallest errors on a simulated set (hinge).
_NOISE = 0.1


def fit_basis(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    z: Float[Tensor, "n zdim"],
    limit: float,
    *,
    seed: int = 0,
    index: Int[Tensor, " m"] | None = None,
) -> BasisDecoder:
    """Voxel basis that explains the particles ``index`` (all if absent) best at their poses and z.

    ``shifts`` are in pixels of the dataset's box, ``limit`` in cycles per box.
    """
    n_nodes = count_nodes(z.shape[1])
    return solve_basis(collect(data, rotations, shifts, z, limit, n_nodes, seed, index))


def count_nodes(zdim: int) -> int:
    """Nodes of the latent that statistics are kept for."""
    return 12 * min(max(1, zdim), 3)


def solve_basis(
    statistics: NodeStatistics, *, n_functions: int = 8, iterations: int = 6
) -> BasisDecoder:
    """Minimise sum_q W_q |N_q / W_q - V(k, z_q)|² over the volumes of a basis, voxel by voxel.

    A priori the mean volume and the Gaussian process that moves it are as strong, per shell, as the
    data say: found by expectation maximisation, which smooths the motion where it is all noise.

    Parameters
    ----------
    statistics
        Sums over the images of each node.
    n_functions
        Most eigenfunctions of the kernel to take.
    iterations
        Of the strength of the prior.
    """
    grid, weight, nodes = statistics.grid, statistics.weight, statistics.z
    k, zdim = nodes.shape
    spread = nodes.std(0) if k > 1 else nodes.new_ones(zdim)
    # Distances between latents grow with the root of their dimensions.
    lengths = math.sqrt(max(1, zdim)) * spread.clamp_min(1e-6)
    mixing = kernel_functions(nodes, lengths, n_functions) if zdim else nodes.new_zeros(k, 0)
    blank = nodes.new_zeros(1 + mixing.shape[1], 1, 1, 1)
    a = BasisDecoder(blank, nodes, mixing, lengths).coefficients(nodes)
    q = a.shape[1]
    shell = statistics.k.norm(dim=1).round().long()
    right = a.T.to(statistics.numerator.dtype) @ statistics.numerator
    products = (a[:, :, None] * a[:, None]).flatten(1)
    damping = _START * _shell_mean(shell, weight.sum(0))[:, None].expand(-1, q)
    solution, variance = torch.empty_like(right), weight.new_empty(q, len(shell))
    for _ in range(iterations):
        for part in torch.arange(len(shell), device=shell.device).split(_CHUNK):
            system = (weight[:, part].T @ products).reshape(-1, q, q)
            system.diagonal(dim1=1, dim2=2).add_(damping[shell[part]] + 1e-9)
            inverse = torch.linalg.inv(system)
            wanted = right[:, part].T
            found = inverse @ torch.stack([wanted.real, wanted.imag], -1)
            solution[:, part] = torch.complex(found[..., 0], found[..., 1]).T
            variance[:, part] = _NOISE * inverse.diagonal(dim1=1, dim2=2).T
        power = solution.abs().square() + variance
        still, moving = _shell_mean(shell, power[0]), _shell_mean(shell, power[1:].sum(0))
        strength = torch.stack([still] + [moving / max(1, q - 1)] * (q - 1), 1)
        damping = _NOISE / strength.clamp_min(1e-20)
    volumes = grid.inverse(on_grid(grid, statistics.k, solution))
    return BasisDecoder(volumes, nodes, mixing, lengths)


def _shell_mean(
    shell: Int[Tensor, " points"], values: Float[Tensor, " points"]
) -> Float[Tensor, " shells"]:
    zeros = values.new_zeros(int(shell.max()) + 1)
    size = zeros.index_add(0, shell, torch.ones_like(values))
    return zeros.index_add(0, shell, values) / size.clamp_min(1)


def on_grid(
    grid: FourierGrid, k: Float[Tensor, "points 3"], values: Complex[Tensor, "q points"]
) -> Complex[Tensor, "q n n n"]:
    """Values at half the points of a grid, and their conjugate mates at the other half."""
    full = torch.zeros(len(values), grid.n, grid.n, grid.n, dtype=values.dtype, device=k.device)
    x, y, z = (2 * k).round().long().T
    full[:, grid.half - z, grid.half - y, grid.half - x] = values.conj()
    full[:, grid.half + z, grid.half + y, grid.half + x] = values
    return full
