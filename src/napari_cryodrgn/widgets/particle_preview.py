"""Pictures of particles and of their CTF: the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ..imaging import CTF, CTFParameters, Lattice, images_to_pixels, pixels_to_images

if TYPE_CHECKING:
    from ..particles import ParticleSet

#: Pixels along an edge of a previewed image, of a CTF image, and points of a CTF curve.
_EDGE, _CTF_EDGE, _CTF_POINTS = 96, 128, 600


@dataclass(frozen=True, eq=False)
class Preview:
    """Some particles: ``rows`` of the set, ``images`` (n, y, x) scaled to 0..255."""

    rows: tuple[int, ...]
    images: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class CtfPicture:
    """The CTF of one particle, -1..1.

    ``image`` (y, x) up to Nyquist, zero frequency in the centre; ``curve`` at ``frequency`` (1/Å),
    with the astigmatism left out. ``text`` says defocus and voltage.
    """

    row: int
    image: NDArray[np.float32]
    frequency: NDArray[np.float32]
    curve: NDArray[np.float32]
    text: str


def load_preview(
    particles: ParticleSet, rows: list[int], low_pass: float | None, invert: bool
) -> Preview:
    """Read some images, filter them, and stretch the contrast of each.

    Parameters
    ----------
    particles
        The set.
    rows
        Which of it.
    low_pass
        Resolution kept in Å, in pixels where their size is unknown; None keeps all that is shown.
    invert
        Show dark as bright.

    Raises
    ------
    ParticleFileError
        If images cannot be read.
    """
    images = torch.from_numpy(particles.images.read(np.array(rows)))
    images = images - images.mean((1, 2), keepdim=True)
    edge = min(_EDGE, particles.box)
    lattice = Lattice.create(edge)
    pixels = images_to_pixels(images, lattice)
    if low_pass is not None:
        extent = particles.box * (particles.pixel_size or 1.0)
        pixels = pixels * torch.exp(-0.5 * (lattice.radius * low_pass / extent) ** 2)
    small = pixels_to_images(pixels, lattice).numpy() * (-1 if invert else 1)
    low, high = np.percentile(small, (1, 99.5), axis=(1, 2), keepdims=True)
    scaled = (small - low) / np.maximum(high - low, 1e-12)
    return Preview(tuple(rows), (255 * scaled.clip(0, 1)).astype(np.uint8))


def ctf_picture(particles: ParticleSet, row: int) -> CtfPicture | None:
    """The CTF of one particle; None if it is not known, or the pixel size is not."""
    if particles.ctf is None or particles.pixel_size is None:
        return None
    one = particles.ctf.select([row])
    box, size = particles.box, particles.pixel_size
    line = (torch.arange(_CTF_EDGE) - _CTF_EDGE // 2).float() * (box / _CTF_EDGE)
    y, x = torch.meshgrid(line, line, indexing="ij")
    plane = torch.stack([x, y], -1).reshape(-1, 2)
    image = CTF(one, plane, box, size)(slice(None)).reshape(_CTF_EDGE, _CTF_EDGE)
    mean = (one.defocus_u + one.defocus_v) / 2
    even = CTFParameters(mean, mean, *[getattr(one, name) for name in _REST])
    k = torch.linspace(0, box / 2, _CTF_POINTS)
    curve = CTF(even, torch.stack([k, torch.zeros_like(k)], 1), box, size)(slice(None))[0]
    return CtfPicture(row, image.numpy(), (k / (box * size)).numpy(), curve.numpy(), _describe(one))


_REST = (
    "defocus_angle",
    "voltage",
    "spherical_aberration",
    "amplitude_contrast",
    "phase_shift",
)


def _describe(one: CTFParameters) -> str:
    u, v = float(one.defocus_u[0]), float(one.defocus_v[0])
    parts = [
        f"defocus {(u + v) / 2e4:.2f} µm",
        f"astigmatism {abs(u - v):.0f} Å",
        f"{one.voltage[0]:g} kV",
        f"Cs {one.spherical_aberration[0]:g} mm",
        f"amplitude contrast {one.amplitude_contrast[0]:g}",
    ]
    if one.phase_shift[0]:
        parts.append(f"phase shift {one.phase_shift[0]:.0f}°")
    return ", ".join(parts)
