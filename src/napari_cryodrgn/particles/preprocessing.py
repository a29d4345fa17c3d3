"""Particles made smaller, normalised, masked or inverted, as a set of their own on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError

from .files import replacing
from .minibatches import read_ahead
from .origin import Origin, origin_path, write_origin
from .partial_stack import PartialStack
from .particle_set import ParticleSet
from .reading import read
from .rescaled_star import write_rescaled

STACK, STAR = "particles.mrcs", "particles.star"
# Written last: what the set was made of, and its files as they were then.
RECORD = "particles.preprocess.json"
# To be raised when the same settings give other images than before.
_VERSION = 1
# Pixels of the images worked on at a time; a few times as many bytes are in use.
_CHUNK_PIXELS = 1 << 22
_SMALLEST_BOX = 16
# In units of half the box: RELION's particle radius, and cryoDRGN's soft window.
_PARTICLE_RADIUS = 0.75
_WINDOW = (0.85, 0.99)
# A background that varies less than this share of its values varies by rounding only; one with
# less than that share of the image's variance was masked. Neither holds noise to divide by.
_ROUNDING, _MASKED = 1e-6, 1e-3


@dataclass(frozen=True)
class PreprocessSettings:
    """What is done to each image, in this order.

    Attributes
    ----------
    box
        Fourier-cropped to this many pixels, even, at most the images' own; None leaves them.
    normalise
        The background, which is what lies outside three quarters of the box's radius, gets mean 0
        and standard deviation 1. A background without noise, constant or masked, gets mean 0 only.
    window
        The image fades into its background's mean from 85 to 99 % of the box's radius. Not for
        training, here or in cryoDRGN: it measures the noise in the corners, or windows by itself.
    invert
        The contrast is turned, for particles that are dark on light.
    """

    box: int | None = None
    window: bool = False
    normalise: bool = True
    invert: bool = False


def preprocess(
    particles: ParticleSet, folder: Path | str, settings: PreprocessSettings
) -> Iterator[float | ParticleSet]:
    """Write a preprocessed set into a folder; yields the fraction done, at last the set.

    ``particles.mrcs``, ``particles.star`` and ``particles.origin.json``, which leads back to the
    file that all was made of, appear when all is done. Shifts in Å, poses, CTF and all other
    columns stay; the pixel size, the size of the images and shifts in pixels follow the box. The
    images go through memory a few MiB at a time.

    If it is interrupted, the next call for the same particles and settings goes on where it
    stopped; when the set is there already, it is returned at once. A source or settings that have
    changed start anew.

    Parameters
    ----------
    particles
        N images; the new set has them in the same order.
    folder
        Made if absent.
    settings
        What to do.

    Raises
    ------
    CryodrgnError
        If the box does not fit, the pixel size is unknown, there are no particles, the folder is
        that of their own files, or these change meanwhile.
    ParticleFileError
        If an image cannot be read, is not finite, or a file cannot be written.
    """
    folder = Path(folder)
    box, pixel_size = _geometry(particles, settings)
    _prepare(folder, particles)
    identity = _identity(particles, settings)
    if _finished(folder, identity):
        yield 1.0
        yield read(folder / STAR)
        return
    n, step = len(particles), max(1, _CHUNK_PIXELS // particles.box**2)
    with (
        replacing(folder / STAR) as star,
        PartialStack(folder / STACK, n, box, pixel_size, identity) as stack,
    ):
        # First, because it takes little, and finds what is wrong with the table.
        write_rescaled(star, particles, STACK, box)
        yield stack.done / n
        starts = range(stack.done, n, step)
        parts = (np.arange(start, min(start + step, n)) for start in starts)
        for index, images in read_ahead(particles.images, parts, 1):
            done = process(torch.from_numpy(images), box, settings).numpy()
            _check_finite(particles, index, done)
            stack.write(done)
            yield stack.done / n
        if _identity(particles, settings) != identity:
            raise CryodrgnError(
                f"{particles.source}: it or its stacks were changed while they were read. "
                "Start again."
            )
        # The STAR file comes last, when what it names is there.
        for earlier in (RECORD, STAR):
            (folder / earlier).unlink(missing_ok=True)
        stack.publish()
        write_origin(folder / STAR, particles.origin or _as_origin(particles))
    _write_record(folder, identity)
    yield read(folder / STAR)


def process(
    images: Float[Tensor, "n y x"], box: int, settings: PreprocessSettings
) -> Float[Tensor, "n box box"]:
    """Images in their new box, background, window and sign."""
    images = fourier_crop(images, box)
    x = torch.arange(box) - box // 2
    radius = (x[:, None] ** 2 + x**2).float().sqrt() / (box / 2)
    if settings.normalise or settings.window:
        background = images[:, radius > _PARTICLE_RADIUS].double()
        deviation, level = torch.std_mean(background, 1, correction=0)
        images = images - level.float()[:, None, None]
        if settings.normalise:
            flat = deviation <= _ROUNDING * background.abs().amax(1)
            masked = deviation.square() <= _MASKED * images.var((1, 2), correction=0)
            deviation[flat | masked] = 1
            level = torch.zeros_like(level)
            images /= deviation.float()[:, None, None]
        if settings.window:
            inner, outer = _WINDOW
            edge = ((radius - inner) / (outer - inner)).clamp(0, 1)
            images *= 0.5 + 0.5 * torch.cos(torch.pi * edge)
        images += level.float()[:, None, None]
    return -images if settings.invert else images


def fourier_crop(images: Float[Tensor, "n y x"], box: int) -> Float[Tensor, "n box box"]:
    """Images of the same field of view on fewer pixels, without what these cannot show.

    Values keep their scale (the mean stays), and what was at pixel D // 2 comes to box // 2. At
    the new Nyquist frequency, where one number stands for two, it is their mean.

    Parameters
    ----------
    images
        (n, D, D), D even.
    box
        Even, at most D; the images come back as they are if it is D.
    """
    d, half = images.shape[-1], box // 2
    if box == d:
        return images
    transform = torch.fft.rfft2(images, norm="forward")[..., : half + 1]
    rows = torch.cat([transform[:, :half], transform[:, -half:]], 1)
    rows[:, half] = (transform[:, half] + transform[:, -half]) / 2
    cropped: Tensor = torch.fft.irfft2(rows, s=(box, box), norm="forward")
    return cropped


def _geometry(particles: ParticleSet, settings: PreprocessSettings) -> tuple[int, float]:
    """Box and pixel size of the result."""
    if not len(particles):
        raise CryodrgnError(f"{particles.source}: no particles are selected.")
    d, size = particles.box, particles.pixel_size
    box = d if settings.box is None else settings.box
    if box != d and (box % 2 or not _SMALLEST_BOX <= box <= d):
        raise CryodrgnError(
            f"box: {box} px is not possible for particles of {d} px. "
            f"Choose an even box from {_SMALLEST_BOX} to {d}."
        )
    if size is None:
        raise CryodrgnError(
            f"{particles.source}: the pixel size is not known. "
            "Open the STAR file of this stack, or give the pixel size or a CTF file beside it."
        )
    return box, size * d / box


def _prepare(folder: Path, particles: ParticleSet) -> None:
    """Make the folder, and take away what a killed process left; refuse that of the particles."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParticleFileError(
            folder, f"The folder cannot be made: {error.strerror}.", remedy="Choose another."
        ) from error
    sources = {particles.source, *(file.path for file in particles.images.files)}
    for name in (STACK, STAR):
        target = folder / name
        if target.exists() and any(s.exists() and s.samefile(target) for s in sources):
            raise CryodrgnError(
                f"{target}: this is one of the files to be read; it would be overwritten. "
                "Choose another folder."
            )
    for left in folder.glob(f".{STAR}.*.tmp"):
        left.unlink(missing_ok=True)


def _identity(particles: ParticleSet, settings: PreprocessSettings) -> dict[str, Any]:
    """What the result depends on, as JSON has it: settings, files and particles."""
    stack = particles.images
    used = np.unique(stack.file_index)
    files = [_stamp(stack.files[i].path) for i in used]
    arrays: list[NDArray[Any] | None] = [stack.file_index, stack.image_index, particles.half_sets]
    arrays += [particles.rotations, particles.shifts]
    if particles.ctf is not None:
        arrays += vars(particles.ctf).values()
    digest = hashlib.sha256(json.dumps(files).encode())
    for array in arrays:
        digest.update(b"-" if array is None else np.ascontiguousarray(array).data)
    return {
        "version": _VERSION,
        "settings": asdict(settings),
        "source": _stamp(particles.source),
        "pixel_size": particles.pixel_size,
        "particles": len(particles),
        "digest": digest.hexdigest(),
    }


def _stamp(path: Path) -> list[Any]:
    """Name, length and time of a file, which change when it does."""
    try:
        status = path.stat()
    except OSError as error:
        raise ParticleFileError(
            path, f"It can no longer be read: {error.strerror}.", remedy="Put it back."
        ) from error
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _as_origin(particles: ParticleSet) -> Origin:
    return Origin(particles.source, particles.rows, particles.box, particles.pixel_size)


def _finished(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether the set of that identity is there and is as it was written."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return bool(record == {"identity": identity, "files": _results(folder)})
    except (OSError, ValueError, ParticleFileError):
        return False


def _write_record(folder: Path, identity: dict[str, Any]) -> None:
    with replacing(folder / RECORD) as temporary:
        record = {"identity": identity, "files": _results(folder)}
        temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")


def _results(folder: Path) -> list[Any]:
    return [_stamp(path) for path in (folder / STACK, folder / STAR, origin_path(folder / STAR))]


def _check_finite(
    particles: ParticleSet, index: NDArray[np.intp], images: NDArray[np.float32]
) -> None:
    finite = np.isfinite(images).all(axis=(1, 2))
    if not finite.all():
        stack, bad = particles.images, index[int(np.argmin(finite))]
        raise ParticleFileError(
            stack.files[stack.file_index[bad]].path,
            f"Image {stack.image_index[bad] + 1} has pixels too large to compute with.",
            remedy="Leave that particle out, or extract it again.",
        )
