"""The traditional reconstruction at given poses: what every other result is measured against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import TrainingError
from ..imaging import FourierGrid, crossing, friedel, fsc, resolution
from ..particles import ParticleSet
from ..training.dataset import Dataset, load
from ..training.settings import Settings

# Particles between two reports of progress.
_STEP = 2048
_READING = 0.4


@dataclass(frozen=True)
class Baseline:
    """A reconstruction with what its halves agree on.

    ``volume`` (z, y, x) is Wiener-filtered by the FSC; ``halves`` (2, z, y, x) are back-projections
    of every other particle, not filtered, in the same units; ``fsc`` (D // 2,) their Fourier
    shell correlation. ``pixel_size`` is in Å.
    """

    volume: Float[Tensor, "z y x"]
    halves: Float[Tensor, "2 z y x"]
    fsc: Float[Tensor, " shells"]
    pixel_size: float

    def resolution(self, threshold: float = 0.143) -> float:
        """Resolution in Å where the FSC falls below ``threshold``."""
        return resolution(self.fsc, threshold, len(self.volume), self.pixel_size)


def back_project(
    particles: ParticleSet,
    scratch: Path,
    *,
    box: int | None = None,
    invert_contrast: bool = False,
    device: str = "cpu",
) -> Iterator[float | Baseline]:
    """CTF-weighted back-projection at the particles' poses; yields the fraction done, at last it.

    Images are read once and kept in Fourier space, in memory or in a file in ``scratch`` that is
    gone afterwards.

    Parameters
    ----------
    particles
        With poses.
    scratch
        Folder for that file.
    box
        Fourier-crop to this even box in pixels.
    invert_contrast
        Particles are dark on light.
    device
        "cpu" or "cuda".

    Raises
    ------
    TrainingError
        If there are no poses, fewer than two particles, or the images cannot be used.
    ParticleFileError
        If images cannot be read.
    """
    if particles.rotations is None or particles.shifts is None:
        raise TrainingError(
            f"{particles.source}: it holds no poses (rlnAngleRot, rlnAngleTilt, rlnAnglePsi), "
            "which a back-projection needs."
        )
    if len(particles) < 2:
        raise TrainingError(f"{particles.source}: two half maps need two particles.")
    settings = Settings(output=scratch, poses="given", box=box, invert_contrast=invert_contrast)
    data: Dataset | None = None
    for outcome in load(particles, settings, torch.device(device)):
        if isinstance(outcome, Dataset):
            data = outcome
        else:
            yield _READING * outcome
    assert data is not None
    rotations = torch.from_numpy(particles.rotations).to(data.device)
    shifts = torch.from_numpy(particles.shifts).to(data.device) * (data.box / particles.box)
    limit, done = data.lattice.limit, 0
    grid = FourierGrid(data.box, limit, device=data.device)
    numerators, weights = [], []
    for half in (0, 1):
        numerator = torch.zeros((grid.n,) * 3, dtype=torch.complex64, device=data.device)
        weight = torch.zeros((grid.n,) * 3, device=data.device)
        for index in torch.arange(half, len(data), 2).split(_STEP):
            _, n, w = data.back_project(rotations, shifts, limit, index=index)
            numerator += n[0]
            weight += w[0]
            done += len(index)
            yield _READING + (1 - _READING) * done / len(data)
        numerators.append(numerator)
        weights.append(weight)
    pairs = zip(numerators, weights, strict=True)
    halves = torch.stack([grid.wiener(n, w) for n, w in pairs])
    curve = fsc(halves[0], halves[1])
    numerator, weight = numerators[0] + numerators[1], weights[0] + weights[1]
    volume = grid.wiener(numerator, weight, wiener_prior(grid, weight, curve))
    yield Baseline(volume / data.scale, halves / data.scale, curve, data.pixel_size)


def wiener_prior(
    grid: FourierGrid, weight: Float[Tensor, "n n n"], curve: Float[Tensor, " shells"]
) -> Float[Tensor, " shells"]:
    """Signal power per shell that makes a Wiener filter of the FSC of two halves.

    The sum of the halves is damped by C = 2 FSC / (1 + FSC) on average over a shell, more where
    few views came, and to nothing two shells past FSC = 0.143.
    """
    known = curve.clamp(0, 0.999)
    known[int(crossing(curve, 0.143)) + 3 :] = 0
    both = torch.zeros(grid.n_shells, device=curve.device)
    both[: len(known)] = (2 * known / (1 + known))[: grid.n_shells]
    return both / (1 - both) / grid.shell_mean(friedel(weight)).clamp_min(1e-20)
