"""The traditional reconstruction at given poses: what every other result is measured against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from ..errors import TrainingError
from ..imaging import resolution
from ..particles import ParticleSet
from ..training.dataset import Dataset, load
from ..training.half_maps import Reconstruction, reconstruct_halves
from ..training.settings import Settings

_READING = 0.4


@dataclass(frozen=True)
class Baseline:
    """A reconstruction with what its halves agree on.

    ``volume`` (z, y, x) is Wiener-filtered by the FSC; ``halves`` (2, z, y, x) are back-projections
    of the half sets that the particles are ``given`` in, else of every other particle, not
    filtered, in the same units; ``fsc`` (D // 2,) their Fourier shell correlation. ``pixel_size``
    is in Å.
    """

    volume: Float[Tensor, "z y x"]
    halves: Float[Tensor, "2 z y x"]
    fsc: Float[Tensor, " shells"]
    pixel_size: float
    given: bool

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
    limit = data.lattice.limit
    halves = given_halves(particles.half_sets)
    for progress in reconstruct_halves(data, rotations, shifts, limit, halves=halves):
        if not isinstance(progress, Reconstruction):
            yield _READING + (1 - _READING) * progress
            continue
        volume, pair = progress.volume / data.scale, progress.halves / data.scale
        yield Baseline(volume, pair, progress.fsc, data.pixel_size, halves is not None)


def given_halves(half_sets: NDArray[np.int8] | None) -> Int[Tensor, " n"] | None:
    """The half, 0 or 1, of each particle of half sets 1 and 2; None if they are not two."""
    if half_sets is None or set(np.unique(half_sets).tolist()) != {1, 2}:
        return None
    return torch.from_numpy(half_sets.astype(np.int64) - 1)
