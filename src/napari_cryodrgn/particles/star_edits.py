"""What of a STAR file's columns has to change for a set that knows better than its table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError

from .euler import euler_from_rotations
from .particle_set import ParticleSet
from .star_columns import (
    ANGLES,
    CTF,
    ORIGINS_ANGSTROM,
    ORIGINS_PIXELS,
    USUAL_CONTRAST,
    StarColumns,
    ctf_parameters,
    pixel_sizes,
    poses,
)


def better_known(known: StarColumns, particles: ParticleSet) -> dict[str, Sequence[str]]:
    """Columns of poses, CTF and pixel size as text where the set knows better than its table.

    Raises
    ------
    ParticleFileError
        As :func:`pose_edits`.
    """
    edits = pose_edits(known, particles.rows, particles.rotations, particles.shifts)
    return edits | _ctf_edits(known, particles) | _pixel_size_edits(known, particles)


def pose_edits(
    known: StarColumns,
    rows: NDArray[np.intp],
    rotations: NDArray[np.float32] | None,
    shifts: NDArray[np.float32] | None,
    tolerance: tuple[float, float] = (0.0, 0.0),
) -> dict[str, Sequence[str]]:
    """Columns with new poses as text; what has not changed is left as it is written.

    Parameters
    ----------
    known
        Columns of the table that is to be edited.
    rows
        Rows (n,) of it that the poses are for.
    rotations, shifts
        (n, 3, 3), and (n, 2) in pixels of the table's images; None changes nothing.
    tolerance
        Differences of matrix elements, and of shifts in pixels, that are none.

    Raises
    ------
    ParticleFileError
        If shifts cannot be put in Å for want of a pixel size.
    """
    if rotations is None or shifts is None:
        return {}
    sizes = pixel_sizes(known)
    before = poses(known, sizes)
    turned = moved = np.ones(len(rows), bool)
    if before is not None:
        turned = (np.abs(before.rotations[rows] - rotations) > tolerance[0]).any(axis=(1, 2))
        moved = (np.abs(before.shifts[rows] - shifts) > tolerance[1]).any(axis=1)
    edits: dict[str, Sequence[str]] = {}
    if turned.any():
        edits |= angle_columns(rotations)
    if moved.any():
        edits |= _origin_edits(known, rows, shifts, sizes)
    changes = dict.fromkeys(ANGLES, turned) | dict.fromkeys(
        (*ORIGINS_ANGSTROM, *ORIGINS_PIXELS), moved
    )
    present = [name for name in edits if name in known and not changes[name].all()]
    for name, old in known.as_written(present, rows).items():
        pairs = zip(old, edits[name], changes[name].tolist(), strict=True)
        edits[name] = [new if changed else was for was, new, changed in pairs]
    return edits


def _origin_edits(
    known: StarColumns,
    rows: NDArray[np.intp],
    shifts: NDArray[np.float32],
    sizes: NDArray[np.float64] | None,
) -> dict[str, Sequence[str]]:
    in_angstrom = any(name in known for name in ORIGINS_ANGSTROM)
    in_pixels = any(name in known for name in ORIGINS_PIXELS)
    if not in_angstrom and not in_pixels:
        # Pixels too where 3.1 lacks its pixel size: Å could not be read back.
        in_angstrom = known.version == "3.1" and sizes is not None
        in_pixels = not in_angstrom
    edits: dict[str, Sequence[str]] = {}
    if in_pixels:
        edits |= origin_columns(ORIGINS_PIXELS, shifts, np.ones(len(rows)))
    if in_angstrom:
        if sizes is None:
            raise ParticleFileError(
                known.path,
                "Its origins are in Å, but the table does not say the pixel size.",
                field="rlnImagePixelSize",
                remedy="Add the column to data_optics.",
            )
        edits |= origin_columns(ORIGINS_ANGSTROM, shifts, sizes[rows])
    return edits


def _ctf_edits(known: StarColumns, particles: ParticleSet) -> dict[str, Sequence[str]]:
    """Columns of a CTF that the table lacks or has otherwise, because it was given apart."""
    edits: dict[str, Sequence[str]] = {}
    if particles.ctf is None:
        return edits
    read = ctf_parameters(known, USUAL_CONTRAST, pixel_sizes(known))
    for name, (field, values) in zip(CTF, vars(particles.ctf).items(), strict=True):
        # The phase shift is the one column that may be missing.
        there = read is not None and (name in known or name == CTF[6])
        if not there or not np.allclose(getattr(read, field)[particles.rows], values, 1e-6, 1e-5):
            edits[name] = [f"{value:.6f}" for value in values.tolist()]
    return edits


def _pixel_size_edits(known: StarColumns, particles: ParticleSet) -> dict[str, Sequence[str]]:
    """The column of a pixel size that was given apart, as neither table nor stack has it."""
    size = particles.pixel_size
    if size in (None, particles.images.files[0].pixel_size) or pixel_sizes(known) is not None:
        return {}
    name = "rlnImagePixelSize" if known.version == "3.1" else "rlnPixelSize"
    return {name: [f"{size:.6f}"] * len(particles)}


def angle_columns(rotations: NDArray[np.float32]) -> dict[str, Sequence[str]]:
    """RELION's angles of rotations (N, 3, 3), object to image, as text."""
    angles = euler_from_rotations(rotations)
    return {name: decimals(values) for name, values in zip(ANGLES, angles.T, strict=True)}


def origin_columns(
    names: tuple[str, str], shifts: NDArray[np.float32], unit: NDArray[np.float64]
) -> dict[str, Sequence[str]]:
    """Origins, the opposite of the shifts (N, 2) in pixels, times ``unit`` per pixel (N,)."""
    origins = -np.asarray(shifts, np.float64) * unit[:, None]
    return {name: decimals(values) for name, values in zip(names, origins.T, strict=True)}


def decimals(values: NDArray[Any]) -> list[str]:
    """Numbers (N,) as RELION writes them."""
    # Adding zero takes the sign off -0.0.
    return [f"{value:.6f}" for value in (np.asarray(values, np.float64) + 0.0).tolist()]
