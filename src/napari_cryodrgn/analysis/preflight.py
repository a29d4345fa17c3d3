"""A look at particles before anything long is started on them.

It finds what goes wrong most often between two programs: the sign of the contrast, the sign of
the shifts, the order of the rows, the convention of the rotations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray

from ..imaging import pixels_to_images
from ..particles import ParticleSet
from ..training.checks import blob_template, check_contrast
from ..training.dataset import Dataset, load
from ..training.settings import Settings
from .baseline import Baseline, back_project
from .hypotheses import Comparison, compare_poses

# Mistakes in poses show at low resolution; the larger box is for a map to look at, in seconds.
_SMALL_BOX, _MAP_BOX = 32, 64
_TRIED, _FIRST_MAP = 1000, 500
#: With fewer particles the poses are not put to the test.
FEWEST = 40
_CHUNK = 256
# Shares of the whole: statistics, hypotheses, then the maps.
_LOOKED, _COMPARED = 0.15, 0.45


@dataclass(frozen=True)
class Progress:
    """Fraction done, and what is being done now."""

    fraction: float
    doing: str


@dataclass(frozen=True, eq=False)
class Images:
    """What the images say without any pose.

    Attributes
    ----------
    mean
        (y, x) mean image, low-pass filtered, its own mean left out.
    power, noise
        (shells,) power per Fourier pixel, of whole images and of the noise alone, in units of the
        noise; shell s is at s cycles per box.
    extent
        Edge of the box in Å, or in pixels if the pixel size is unknown.
    contrast
        By how many standard errors the centres of the particles are brighter than what surrounds
        them, the CTF's sign undone; negative for dark particles.
    inverted
        Whether the contrast is the wrong way round, beyond doubt.
    n
        Images looked at.
    warnings
        What is unusual about them.
    """

    mean: Float32[NDArray[np.float32], "y x"]
    power: NDArray[np.float32]
    noise: NDArray[np.float32]
    extent: float
    contrast: float
    inverted: bool
    n: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Map:
    """A back-projection: ``volume`` (z, y, x) and the FSC (shells,) of its half maps.

    ``resolution`` at 0.143 is in Å, or in pixels of the particles if ``pixel_size`` is None;
    ``extent`` is the edge of the box in the same unit. ``n`` particles are in it.
    """

    volume: Float32[NDArray[np.float32], "z y x"]
    fsc: NDArray[np.float32]
    pixel_size: float | None
    extent: float
    resolution: float
    n: int


Result = Progress | Images | Comparison | Map


def preflight(
    particles: ParticleSet,
    *,
    invert_contrast: bool = False,
    n_map: int = 4000,
    scratch: Path | None = None,
    device: str = "cpu",
) -> Iterator[Result]:
    """Look at the first particles of a set; each result comes as soon as it is known.

    `Images` first; with poses then a `Comparison` of the usual mistakes on up to 1,000 particles in
    a box of 32 pixels, and a `Map` of 500 and one of up to ``n_map`` particles, in a box of up to
    64 pixels.

    Parameters
    ----------
    particles
        With or without poses, CTF and pixel size.
    invert_contrast
        Take the particles as dark on light.
    n_map
        Particles in the last map.
    scratch
        Folder for temporary files, should they be needed; the system's own if absent.
    device
        "cpu" or "cuda", for the maps.

    Raises
    ------
    TrainingError
        If the images hold nothing that could be used.
    ParticleFileError
        If images cannot be read.
    """
    unit = particles.pixel_size
    # Only a CTF needs the true one.
    usable = particles if unit is not None else replace(particles, pixel_size=1.0, ctf=None)
    folder = scratch if scratch is not None else Path(tempfile.gettempdir())
    sample = usable.select(slice(0, _TRIED))
    box = min(_SMALL_BOX, particles.box)
    yield Progress(0.0, f"reading {len(sample):,} images")
    settings = Settings(
        output=folder, poses="given", box=box, invert_contrast=invert_contrast, device="cpu"
    )
    data: Dataset | None = None
    for outcome in load(sample, settings, torch.device("cpu")):
        if isinstance(outcome, Dataset):
            data = outcome
        else:
            yield Progress(_LOOKED * outcome, f"reading {len(sample):,} images")
    assert data is not None
    yield _look(data)
    if not particles.has_poses:
        yield Progress(1.0, "done")
        return
    if len(data) >= FEWEST:
        doing = f"trying signs and orders of the poses on {len(data):,} particles"
        for step in compare_poses(data, usable):
            if isinstance(step, Comparison):
                yield step
            else:
                yield Progress(_LOOKED + (_COMPARED - _LOOKED) * step, doing)
    del data
    sizes = [n for n in (_FIRST_MAP,) if n < min(n_map, len(particles))]
    sizes.append(min(n_map, len(particles)))
    done = _COMPARED
    for n in sizes:
        share = (1 - _COMPARED) * n / sum(sizes)
        some = usable.select(slice(0, n))
        small = min(_MAP_BOX, particles.box)
        for result in back_project(
            some, folder, box=small, invert_contrast=invert_contrast, device=device
        ):
            if isinstance(result, Baseline):
                yield _map(result, n, unit)
            else:
                yield Progress(done + share * result, f"back-projecting {n:,} particles")
        done += share
    yield Progress(1.0, "done")


def _look(data: Dataset) -> Images:
    n, lattice = len(data), data.lattice
    template = blob_template(lattice)
    power, total = torch.zeros(len(lattice)), torch.zeros(len(lattice), dtype=torch.complex64)
    matches = []
    for _, pixels, ctf in data.batches(_CHUNK):
        matches.append((pixels.real * ctf)[:, : len(template)] @ template)
        power += pixels.abs().square().sum(0) / n
        total += pixels.sum(0) / n
    match = torch.cat(matches)
    # Of the whitened images, back in units of the noise's mean amplitude.
    noise = data.noise.square()
    mean = pixels_to_images((total * data.noise[lattice.shell])[None], lattice)[0]
    told = check_contrast(match)
    return Images(
        mean=mean.numpy(),
        power=(lattice.shell_mean(power) * noise)[1:].numpy(),
        noise=noise[1:].numpy(),
        extent=data.pixel_size * data.box,
        contrast=float(match.mean() / match.std().clamp_min(1e-12)) * n**0.5,
        inverted=told is not None,
        n=n,
        warnings=tuple(w for w in data.warnings if w != told),
    )


def _map(result: Baseline, n: int, unit: float | None) -> Map:
    return Map(
        volume=result.volume.cpu().numpy(),
        fsc=result.fsc.cpu().numpy(),
        pixel_size=None if unit is None else result.pixel_size,
        extent=result.pixel_size * len(result.volume),
        resolution=result.resolution(),
        n=n,
    )
