"""Fit of the decoder to sums over images: the image likelihood at a cost independent of N.

At fixed poses and latents the log-likelihood depends on the images only through CTF-weighted sums
on a Fourier grid, kept here for a few nodes of the latent. The decoder is trained on
sum_q W_q |N_q / W_q - V(k, z_q)|², with grid points drawn in proportion to their weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from sklearn.cluster import KMeans
from torch import Tensor

from ..imaging import FourierGrid, friedel
from ..model import CoordinateDecoder, PositionalEncoding
from .adam import Adam
from .dataset import Dataset
from .divergence import LossNotFinite

_VALUES = 3072


@dataclass(frozen=True)
class NodeStatistics:
    """What the likelihood needs: numerators and weights (K, points) of K latent nodes.

    ``k`` (points, 3) are grid frequencies in cycles per box over half the ball, ``z`` (K, zdim)
    the mean latent of the images of each node.
    """

    grid: FourierGrid
    k: Float[Tensor, "points 3"]
    numerator: Complex[Tensor, "k points"]
    weight: Float[Tensor, "k points"]
    z: Float[Tensor, "k zdim"]


def latent_nodes(z: Float[Tensor, "n zdim"], n_nodes: int, seed: int) -> Float[Tensor, " n"]:
    """Label of the node of each image: quantiles of a one-dimensional latent, else k-means."""
    n, zdim = z.shape
    n_nodes = max(1, min(n_nodes, n // 20))
    if zdim == 0:
        return torch.zeros(n, dtype=torch.long)
    if zdim == 1:
        rank = z[:, 0].argsort().argsort()
        return torch.div(rank * n_nodes, n, rounding_mode="floor")
    labels = KMeans(n_nodes, n_init=1, random_state=seed).fit(z.cpu().numpy()).labels_
    return torch.from_numpy(labels).long().to(z.device)


def collect(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    z: Float[Tensor, "n zdim"],
    limit: float,
    n_nodes: int,
    seed: int,
    index: Int[Tensor, " m"] | None = None,
) -> NodeStatistics:
    """Sums over the images of each latent node, one pass over the particles ``index`` (or all)."""
    index = torch.arange(len(data)) if index is None else index
    chosen = z[index.to(z.device)]
    labels = latent_nodes(chosen, n_nodes, seed)
    n_nodes = int(labels.max()) + 1
    grid = FourierGrid(data.box, limit, device=data.device)
    half = torch.zeros_like(grid.inside)
    c = grid.half
    half[c + 1 :] = True
    half[c, c + 1 :] = True
    half[c, c, c:] = True
    half &= grid.inside
    z_index, y_index, x_index = half.nonzero(as_tuple=True)
    k = (torch.stack([x_index, y_index, z_index], -1) - c).float() / 2
    numerators, weights, centres = [], [], []
    for node in range(n_nodes):
        members = labels == node
        own = index[members.cpu()]
        _, numerator, weight = data.back_project(rotations, shifts, limit, index=own)
        numerators.append(friedel(numerator[0])[half])
        weights.append(friedel(weight[0])[half])
        centres.append(chosen[members].mean(0))
    return NodeStatistics(
        grid, k, torch.stack(numerators), torch.stack(weights), torch.stack(centres)
    )


def shell_amplitude(
    statistics: NodeStatistics, consensus: Float[Tensor, "z y x"], box: int
) -> Float[Tensor, " shells"]:
    """Scale s(|k|) of what the nodes add to the consensus: RMS over nodes, per shell."""
    base = attenuated(statistics, consensus)
    weight = statistics.weight
    shell = statistics.k.norm(dim=1).round().long()
    zeros = torch.zeros(int(shell.max()) + 1, device=shell.device)
    total = zeros.index_add(0, shell, weight.mean(0))
    difference = statistics.numerator - weight * base
    # Damped by the mean weight of the shell, so that empty points do not blow up.
    size = zeros.index_add(0, shell, torch.ones_like(weight[0]))
    damping = (total / size.clamp_min(1))[shell]
    power = (difference.abs() / (weight + damping)).square().mean(0)
    rms = (zeros.index_add(0, shell, power) / size.clamp_min(1)).sqrt()
    amplitude = rms[-1].expand(box).clone()
    amplitude[: len(rms)] = rms[:box]
    return amplitude.clamp_min(1e-6 * float(rms.max()) + 1e-12)


def attenuated(
    statistics: NodeStatistics, volume: Float[Tensor, "z y x"]
) -> Complex[Tensor, " points"]:
    """Transform of a volume as trilinear insertion sees it, at the points of the statistics."""
    grid = statistics.grid
    transform = grid.transform(volume / grid.correction.square())
    index = (statistics.k * 2).long() + grid.half
    return transform[index[:, 2], index[:, 1], index[:, 0]]


def fit_decoder(
    decoder: CoordinateDecoder,
    statistics: NodeStatistics,
    *,
    steps: int,
    seed: int,
    batch: int | None = None,
    learning_rate: float = 4e-3,
) -> Iterator[tuple[int, float]]:
    """Train ``decoder`` in place; yields (steps done, running relative loss) now and then.

    The learning rate warms up over 20 steps and falls along a cosine. ``batch`` is the number of
    grid points of a step; without it 512, or fewer so that all nodes together have 3,072.

    Raises
    ------
    LossNotFinite
        If the loss is.
    """
    device = statistics.k.device
    random = torch.Generator().manual_seed(seed)
    weight = statistics.weight
    batch = min(512, _VALUES // len(weight)) if batch is None else batch
    mean = weight.mean(0)
    mean = mean.clamp_min(1e-4 * float(mean.mean()))
    target = statistics.numerator / (weight + 1e-6 * mean.mean())
    if decoder.residual:
        target = target - attenuated(statistics, decoder.consensus)
    probability = mean / mean.sum()
    importance = weight / mean
    scale = float((importance * probability * target.abs().square()).sum()) / len(weight)
    with torch.no_grad():
        amplitude = decoder.scale(statistics.k)
    z = statistics.z[:, None]
    optimizer = Adam(decoder.parameters(), learning_rate, betas=(0.9, 0.99))
    running = 1.0
    cumulative = probability.double().cumsum(0)
    for step in range(steps):
        warm = min(1.0, (step + 1) / 20)
        rate = warm * (0.49 * (1 + math.cos(math.pi * step / steps)) + 0.02)
        optimizer.learning_rate = learning_rate * rate
        pick = torch.rand(batch, generator=random, dtype=torch.float64).to(device)
        j = torch.searchsorted(cumulative, pick * cumulative[-1]).clamp(max=len(mean) - 1)
        with torch.enable_grad():
            values = decoder.network(decoder.encoding(statistics.k[j])[None], z) * amplitude[j]
            error = (importance[:, j] * (target[:, j] - values).abs().square()).mean() / scale
            optimizer.zero_grad()
            error.backward()
        if not math.isfinite(float(error.detach())):
            raise LossNotFinite
        optimizer.step()
        running = 0.98 * running + 0.02 * float(error.detach())
        if step % 25 == 24 or step == steps - 1:
            yield step + 1, running


def new_decoder(
    encoding: PositionalEncoding,
    statistics: NodeStatistics,
    consensus: Float[Tensor, "z y x"],
    width: int,
    layers: int,
    seed: int,
) -> CoordinateDecoder:
    """Residual decoder on a consensus volume, scaled to the statistics it will be trained on."""
    torch.manual_seed(seed)
    box = consensus.shape[-1]
    amplitude = shell_amplitude(statistics, consensus, box)
    zdim = statistics.z.shape[1]
    decoder = CoordinateDecoder(encoding, zdim, width, layers, box, consensus, amplitude)
    decoder.attenuated.fill_(True)
    return decoder.to(statistics.k.device)
