"""Volumes of a run against the true ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_cryodrgn.analysis import Run, align_volumes
from napari_cryodrgn.imaging import FourierGrid, crossing, fsc
from napari_cryodrgn.particles import read
from napari_cryodrgn.poses import align_poses, flip_hand
from napari_cryodrgn.training import Settings
from napari_cryodrgn.training.dataset import Dataset, load
from napari_cryodrgn.training.half_maps import reconstruct_volume
from napari_cryodrgn.training.state import RunFolder

from .sets import Truth

# The difference is taken between these two conformations, to this frequency in cycles per box.
ENDS = (0.1, 0.9)
LIMIT = 10.0


def dataset(star: Path) -> Dataset:
    """Particles as the engine sees them, on the CPU."""
    outcomes = list(load(read(star), Settings(output=star.parent), torch.device("cpu")))
    data = outcomes[-1]
    assert isinstance(data, Dataset)
    return data


def true_volume(truth: Truth, t: float, data: Dataset) -> Tensor:
    """The molecule at ``t`` in the box and units of ``data``."""
    return truth.molecule.volume(t, data.box, data.pixel_size) * data.scale


def in_true_frame(run: Run, truth: Truth) -> tuple[Tensor, Tensor, Tensor | None]:
    """A run's poses, with its volume turned, mirrored and moved onto the true one.

    Rotations, shifts and, where poses were refined, the spread of their posteriors. ``Run.shifts``
    are in pixels of the run's box, which is the set's own here.
    """
    assert run.rotations is not None
    assert run.shifts is not None
    found, true = torch.from_numpy(run.rotations).double(), torch.from_numpy(truth.rotations)
    fit = align_poses(found, true)
    hand = flip_hand(found) if fit.flipped else found
    rotations = hand @ fit.frame.T
    # A volume that lies off the centre by c moves every particle by the image of c.
    moved = torch.from_numpy(run.shifts - truth.shifts).double()
    good = fit.errors <= fit.errors.median()
    offset = torch.linalg.lstsq(
        rotations[good][:, :2].reshape(-1, 3), moved[good].reshape(-1, 1)
    ).solution[:, 0]
    shifts = torch.from_numpy(run.shifts).double() - rotations[:, :2] @ offset
    spread = RunFolder(run.folder).load().spread
    if spread is not None and fit.flipped:
        # Mirrored along z: turns about x and y change their sense.
        spread = torch.tensor([-1.0, -1, 1, 1, 1])[:, None] * spread
    return rotations.float(), shifts.float(), spread


def half_resolution(volume: Tensor, true: Tensor, data: Dataset) -> float:
    """Å at which the Fourier shell correlation with the true volume falls below 0.5."""
    curve = fsc(volume, true)[: int(data.lattice.limit) + 1]
    return data.box * data.pixel_size / crossing(curve, 0.5)


def resolutions(run: Run, star: Path, truth: Truth) -> dict[str, float]:
    """Resolution in Å (FSC = 0.5 with the truth) at the run's poses and at the true ones.

    Of unfiltered maps: a filter before the mask mixes shells.
    """
    data = dataset(star)
    true = true_volume(truth, 0.0, data)
    rotations, shifts, spread = in_true_frame(run, truth)
    true_poses = torch.from_numpy(truth.rotations), torch.from_numpy(truth.shifts)
    limit = data.lattice.limit
    found = {
        "resolution": reconstruct_volume(data, rotations, shifts, limit, spread),
        "resolution_true_poses": reconstruct_volume(data, *true_poses, limit),
    }
    return {
        name: round(half_resolution(result.halves.mean(0), true, data), 2)
        for name, result in found.items()
    }


def latent_at(mu: NDArray[np.float32], t: NDArray[np.float32], at: float) -> NDArray[np.float32]:
    """The one-dimensional latent (1,) that stands for conformation ``at``: equal ranks."""
    z = mu[:, 0]
    rank = float((t <= at).mean())
    if np.corrcoef(z, t)[0, 1] < 0:
        rank = 1 - rank
    return np.quantile(z, [rank]).astype(np.float32)


def binned_volumes(
    run: Run, data: Dataset, n_bins: int, limit: float
) -> tuple[Tensor, NDArray[np.float32]]:
    """Back-projections of overlapping groups of particles of like latent, and their latents."""
    assert run.latents is not None
    assert run.rotations is not None
    assert run.shifts is not None
    z = torch.from_numpy(run.latents.mu[:, 0])
    quantile = (torch.arange(n_bins) + 0.5) / n_bins
    rank = z.argsort().argsort().float() / len(z)
    weights = torch.exp(-0.5 * ((rank[:, None] - quantile) * n_bins / 0.6) ** 2)
    weights = torch.where(weights > 0.05, weights, 0.0)
    poses = torch.from_numpy(run.rotations), torch.from_numpy(run.shifts)
    grid, numerators, totals = data.back_project(*poses, limit, weights)
    volumes = [grid.wiener(n, w) for n, w in zip(numerators, totals, strict=True)]
    return torch.stack(volumes), torch.quantile(z, quantile).numpy()


def difference_errors(run: Run, star: Path, truth: Truth) -> dict[str, float]:
    """Relative error of V(0.9) - V(0.1) to L = 10, decoded and binned back-projection.

    Each volume is first fitted rigidly to the true one; one factor scales both.
    """
    assert run.latents is not None
    data = dataset(star)
    mu = run.latents.mu
    binned, centres = binned_volumes(run, data, 8, 14.0)

    def between(z: NDArray[np.float32]) -> Tensor:
        place = np.interp(z[0], centres, np.arange(len(centres)))
        low = min(int(place), len(centres) - 2)
        return torch.lerp(binned[low], binned[low + 1], float(place) - low)

    def decoded(z: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(run.decode(z)) * data.scale

    ways: dict[str, Callable[[NDArray[np.float32]], Tensor]] = {
        "decoded": decoded,
        "binned": between,
    }
    true = torch.stack([true_volume(truth, t, data) for t in ENDS])
    grid = FourierGrid(data.box, LIMIT)
    inside = (grid.radius <= LIMIT) & (grid.radius > 0)
    true_ends = grid.transform(true)[:, inside]
    result = {}
    for name, way in ways.items():
        volumes = [
            align_volumes(way(latent_at(mu, truth.t, t)), v).volume
            for t, v in zip(ENDS, true, strict=True)
        ]
        ends = grid.transform(torch.stack(volumes))[:, inside]
        ends = ends * ((true_ends * ends.conj()).real.sum() / ends.abs().square().sum())
        error = (ends[1] - ends[0]) - (true_ends[1] - true_ends[0])
        result[f"difference_{name}"] = round(
            float(error.norm() / (true_ends[1] - true_ends[0]).norm()), 4
        )
    return result


def nearest_frames(run: Run, truth: Truth, steps: int = 10, frames: int = 98) -> bool:
    """Whether decoded volumes at t = 0.1, 0.5, 0.9 are nearest to their own true frame.

    The others are the frames ``steps``, twice ``steps`` ... away from it on either side.
    """
    assert run.latents is not None
    for at in (0.1, 0.5, 0.9):
        volume = run.decode(latent_at(run.latents.mu, truth.t, at)).astype(np.float64)
        own = round(at * (frames - 1))
        near = [own, *range(own % steps, frames, steps)]
        distance = []
        for frame in near:
            true = truth.molecule.volume(frame / (frames - 1), run.box, run.pixel_size).numpy()
            low = _low(torch.from_numpy(true)), _low(torch.from_numpy(volume).float())
            scale = (low[0] * low[1].conj()).real.sum() / low[1].abs().square().sum()
            distance.append(float((low[1] * scale - low[0]).norm()))
        if min(distance) < distance[0]:
            return False
    return True


def _low(volume: Tensor) -> Tensor:
    """Fourier coefficients to two thirds of Nyquist, where the images still have signal."""
    grid = FourierGrid(volume.shape[-1], volume.shape[-1] / 3)
    inside = (grid.radius <= grid.limit) & (grid.radius > 0)
    return grid.transform(volume)[inside]
