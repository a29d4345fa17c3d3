"""Poses of all particles against one volume or several, and the volumes they give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from torch import Tensor

from ..imaging import FourierGrid
from ..poses import PoseSearch, SearchSettings
from .dataset import Dataset

_BATCH = 50


@dataclass(frozen=True)
class PoseAssignment:
    """Best pose of each particle searched.

    ``rotations`` (n, 3, 3), ``shifts`` (n, 2) in pixels of the dataset's box, ``states`` (n,),
    ``scores`` (n,) log-likelihood ratios.
    """

    rotations: Float[Tensor, "n 3 3"]
    shifts: Float[Tensor, "n 2"]
    states: Int[Tensor, " n"]
    scores: Float[Tensor, " n"]


def search_all(
    data: Dataset,
    volumes: Float[Tensor, "k z y x"],
    settings: SearchSettings,
    index: Int[Tensor, " n"] | None = None,
) -> Iterator[float | PoseAssignment]:
    """Search all particles (or some); yields the fraction done, and at last the poses."""
    search = PoseSearch(data.lattice, volumes, settings)
    index = torch.arange(len(data)) if index is None else index
    results = []
    for _, pixels, ctf in data.batches(_BATCH, settings.last_limit, index):
        results.append(search(pixels, ctf))
        yield min(1.0, len(results) * _BATCH / len(index))
    yield PoseAssignment(
        torch.cat([r.rotations[:, 0] for r in results]),
        torch.cat([r.shifts[:, 0] for r in results]),
        torch.cat([r.states[:, 0] for r in results]),
        torch.cat([r.scores[:, 0] for r in results]),
    )


@dataclass(frozen=True)
class Reconstruction:
    """Volume (z, y, x), half-map FSC per shell, and the shell where it falls below 0.143."""

    volume: Float[Tensor, "z y x"]
    fsc: Float[Tensor, " shells"]
    resolution_shell: float


def reconstruct_volume(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    limit: float,
    *,
    ridge: float = 0.1,
    weighted: bool = False,
) -> Reconstruction:
    """Wiener-filtered back-projection of all particles, with the FSC of its halves.

    ``weighted`` scales each shell by sqrt(2 FSC / (1 + FSC)), the expected correlation with the
    truth (Rosenthal and Henderson, 2003), for a map to look at.
    """
    numerators, weights = [], []
    for half in (0, 1):
        index = torch.arange(half, len(data), 2)
        grid, numerator, weight = data.back_project(rotations, shifts, limit, index=index)
        numerators.append(numerator[0])
        weights.append(weight[0])
    halves = torch.stack(
        [grid.wiener(n, w, ridge=ridge) for n, w in zip(numerators, weights, strict=True)]
    )
    fsc = shell_correlation(grid, halves[0], halves[1], limit)
    below = (fsc[1:] < 0.143).nonzero()
    shell = float(below[0, 0]) if len(below) else float(limit)
    volume = grid.wiener(numerators[0] + numerators[1], weights[0] + weights[1], ridge=ridge)
    if weighted:
        known = fsc.clamp(0, 1)
        known[int(shell) + 2 :] = 0
        figure = torch.ones(grid.n_shells, device=data.device)
        figure[: len(known)] = (2 * known / (1 + known)).sqrt()
        figure[len(known) :] = 0
        volume = grid.inverse(grid.transform(volume) * figure[grid.shell])
    return Reconstruction(volume, fsc, max(shell, 1.0))


def shell_correlation(
    grid: FourierGrid, a: Float[Tensor, "z y x"], b: Float[Tensor, "z y x"], limit: float
) -> Float[Tensor, " shells"]:
    """Fourier shell correlation of two volumes for the shells up to ``limit``."""
    fa, fb = grid.transform(torch.stack([a, b]))
    cross = grid.shell_mean((fa * fb.conj()).real)
    power = grid.shell_mean(fa.abs().square()) * grid.shell_mean(fb.abs().square())
    fsc = cross / power.sqrt().clamp_min(1e-20)
    fsc[0] = 1
    return fsc[: int(limit) + 1]


def state_volumes(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    z: Float[Tensor, "n q"],
    n_states: int,
    limit: float,
    seed: int,
) -> tuple[Float[Tensor, "k z y x"], Float[Tensor, "k q"]]:
    """Back-projections of overlapping groups of particles with similar z, and their centres."""
    if z.shape[1] == 1:
        quantile = (torch.arange(n_states, device=z.device) + 0.5) / n_states
        rank = z[:, 0].argsort().argsort().float() / len(z)
        weights = torch.exp(-0.5 * ((rank[:, None] - quantile) * n_states / 0.6) ** 2)
        centres = torch.quantile(z[:, 0], quantile)[:, None]
    else:
        means = KMeans(n_states, n_init=2, random_state=seed).fit(z.cpu().numpy())
        centres = torch.from_numpy(means.cluster_centers_).to(z)
        distance = torch.cdist(z, centres)
        gaps = torch.cdist(centres, centres) + 1e9 * torch.eye(n_states, device=z.device)
        width = 0.6 * float(gaps.min(1).values.mean())
        nearest = distance.min(1, keepdim=True).values
        weights = torch.exp(-0.5 * (distance**2 - nearest**2) / width**2)
    weights = torch.where(weights > 0.05, weights, 0.0)
    grid, numerators, totals = data.back_project(rotations, shifts, limit, weights)
    volumes = [grid.wiener(n, w) for n, w in zip(numerators, totals, strict=True)]
    return torch.stack(volumes), centres
