"""Particles of several optics groups in one reconstruction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.imaging import CTFParameters

# Relative. At the edge of a particle of 256 pixels this is a tenth of a pixel: calibrated pixel
# sizes of one microscope differ by less, other magnifications by much more.
SAME_PIXEL_SIZE = 1e-3


def common_pixel_size(path: Path, field: str, sizes: NDArray[np.float64]) -> float:
    """The pixel size in Å of a set whose N particles have their own: the median.

    Raises
    ------
    ParticleFileError
        If they differ by more than a thousandth, or one is not positive.
    """
    if not (sizes > 0).all():
        row = int(np.argmin(sizes > 0))
        raise ParticleFileError(
            path,
            f"{sizes[row]:g} in row {row + 1}: a pixel size must be positive.",
            field=field,
            remedy="Remove the particle or mend the value.",
        )
    low, high = float(sizes.min()), float(sizes.max())
    if high - low > SAME_PIXEL_SIZE * high:
        raise ParticleFileError(
            path,
            f"Pixel sizes from {low:g} to {high:g} Å are mixed. One reconstruction needs one, to "
            "within a thousandth.",
            field=field,
            remedy="Extract all particles again at one pixel size, or keep only the optics groups "
            "that share one.",
        )
    return float(np.median(sizes))


def ctf_at(
    ctf: CTFParameters, sizes: NDArray[np.float64] | None, pixel_size: float | None
) -> CTFParameters:
    """Parameters that give each particle's own CTF when its pixels are taken to be ``pixel_size``.

    A frequency of the image, in 1/Å, is in inverse proportion to the pixel size, and the CTF
    depends on defocus times its square and spherical aberration times its fourth power.

    Parameters
    ----------
    ctf
        Of N particles.
    sizes
        Å per pixel of each, (N,).
    pixel_size
        Of the set.
    """
    if sizes is None or pixel_size is None or (sizes == pixel_size).all():
        return ctf
    ratio = (pixel_size / sizes) ** 2
    return replace(
        ctf,
        defocus_u=ctf.defocus_u * ratio,
        defocus_v=ctf.defocus_v * ratio,
        spherical_aberration=ctf.spherical_aberration * ratio**2,
    )
