"""Writing RELION's STAR files: a set's own table with other poses, or a fresh one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.imaging import CTFParameters

from .euler import euler_from_rotations
from .files import replacing
from .origin import origin_path, write_origin
from .particle_set import ParticleSet
from .stack_paths import name_from
from .star_columns import (
    ANGLES,
    CTF,
    GROUP,
    HALF,
    IMAGE_NAME,
    ORIGINS_ANGSTROM,
    ORIGINS_PIXELS,
    StarColumns,
    pixel_sizes,
    poses,
)
from .star_text import StarBlock, quote, write_star_text
from .tables import ParticleTable

_VERSION = "# version 30001"
_NO_PIXEL_SIZE = "# The pixel size is unknown: 1.0 stands in for it, so that Å here are pixels."


def write_star(
    path: Path | str,
    particles: ParticleSet,
    rotations: ArrayLike | None = None,
    shifts: ArrayLike | None = None,
) -> None:
    """Write particles as a STAR file that RELION takes back, whole or not at all.

    The rows of the set's own table, in the set's order, with every column as it was, in the
    RELION version it came in. Poses that differ from the table's replace its own; added where it
    has none. Names of stacks are changed only where they would not be found from the new place:
    then relative to the new file's folder, or absolute if the two have no folder in common.

    Where preprocessed particles came from is written beside it, for :func:`write_original`.

    A set from bare stacks or a .cs file gets a fresh table of version 3.1. RELION wants a pixel
    size in it: where none is known 1.0 stands in, and a comment says so.

    Parameters
    ----------
    path
        Of the file; replaced if present.
    particles
        What to write.
    rotations
        (N, 3, 3), object to image; the set's own if absent.
    shifts
        (N, 2) displacements in pixels of ``particles.box``; the set's own, or zero, if absent.

    Raises
    ------
    CryodrgnError
        If there are no particles, the poses do not fit them, or shifts come without rotations.
    ParticleFileError
        If the file cannot be written, or shifts cannot be put in Å for want of a pixel size.
    """
    path = Path(path)
    particles = with_own_poses(particles, rotations, shifts)
    if isinstance(particles.table, ParticleTable):
        known = StarColumns(particles.table)
        edits = _renamed(path, particles, known)
        edits |= pose_edits(known, particles.rows, particles.rotations, particles.shifts)
        blocks = edited_blocks(particles.table, particles.rows, edits)
    else:
        blocks = _fresh(path, particles)
    with replacing(path) as temporary:
        write_star_text(temporary, blocks)
    if particles.origin is not None:
        write_origin(path, particles.origin)
    else:
        # One that is there is of the file that stood here before.
        with suppress(OSError):
            origin_path(path).unlink()


def fresh_blocks(
    path: Path,
    image_names: Sequence[str],
    box: int,
    pixel_size: float | None,
    ctf: CTFParameters | None = None,
    rotations: NDArray[np.float32] | None = None,
    shifts: NDArray[np.float32] | None = None,
    extra: dict[str, Sequence[str]] | None = None,
) -> list[StarBlock]:
    """A STAR file of version 3.1: optics groups and particles.

    Parameters
    ----------
    path
        Where it will stand.
    image_names
        N of the form INDEX@PATH.
    box
        In pixels.
    pixel_size
        In Å; None writes 1.0 and a comment.
    ctf, rotations, shifts
        Of N particles; columns are left out if None. Shifts are displacements in pixels.
    extra
        Further columns as text.
    """
    n = len(image_names)
    size = 1.0 if pixel_size is None else pixel_size
    # One optics group per combination of what RELION keeps in that table.
    optics = np.zeros((n, 0))
    if ctf is not None:
        optics = np.stack([ctf.voltage, ctf.spherical_aberration, ctf.amplitude_contrast], axis=1)
    groups, group = np.unique(optics, axis=0, return_inverse=True)
    shared: dict[str, Sequence[str]] = {
        GROUP: [str(i + 1) for i in range(len(groups))],
        "rlnOpticsGroupName": [f"opticsGroup{i + 1}" for i in range(len(groups))],
    }
    for name, values in zip(CTF[3:6], groups.T, strict=False):
        shared[name] = _text(values)
    shared["rlnImagePixelSize"] = _text(np.full(len(groups), size))
    shared["rlnImageSize"] = [str(box)] * len(groups)
    shared["rlnImageDimensionality"] = ["2"] * len(groups)

    columns: dict[str, Sequence[str]] = {IMAGE_NAME: [quote(name) for name in image_names]}
    if ctf is not None:
        columns[CTF[0]] = _text(ctf.defocus_u)
        columns[CTF[1]] = _text(ctf.defocus_v)
        columns[CTF[2]] = _text(ctf.defocus_angle)
        columns[CTF[6]] = _text(ctf.phase_shift)
    if rotations is not None and shifts is not None:
        columns |= _angle_columns(rotations)
        columns |= _origin_columns(ORIGINS_ANGSTROM, shifts, np.full(n, size))
    columns[GROUP] = [str(i + 1) for i in np.ravel(group)]
    columns |= extra or {}
    note = () if pixel_size is not None else (_NO_PIXEL_SIZE,)
    return [
        _block(path, "optics", shared, (_VERSION, *note)),
        _block(path, "particles", columns, (_VERSION,)),
    ]


def with_own_poses(
    particles: ParticleSet, rotations: ArrayLike | None, shifts: ArrayLike | None
) -> ParticleSet:
    """The particles with the poses given, their own where these are None.

    Raises
    ------
    CryodrgnError
        If there are no particles, the poses do not fit them, or shifts come without rotations.
    """
    if not len(particles):
        raise CryodrgnError(f"{particles.source}: no particles are selected, so none are written.")
    if rotations is None and shifts is None:
        return particles
    r = particles.rotations if rotations is None else rotations
    if r is None:
        raise CryodrgnError(f"{particles.source}: shifts were given, but there are no rotations.")
    return particles.with_poses(r, particles.shifts if shifts is None else shifts)


def _fresh(path: Path, particles: ParticleSet) -> list[StarBlock]:
    images, halves = particles.images, particles.half_sets
    stacks = [name_from(path, None, file.path) for file in images.files]
    return fresh_blocks(
        path,
        [
            f"{i + 1:06d}@{stacks[f]}"
            for f, i in zip(images.file_index, images.image_index, strict=True)
        ],
        particles.box,
        particles.pixel_size,
        particles.ctf,
        particles.rotations,
        particles.shifts,
        None if halves is None else {HALF: [str(half) for half in halves.tolist()]},
    )


def edited_blocks(
    table: ParticleTable, rows: NDArray[np.intp], edits: dict[str, Sequence[str]]
) -> list[StarBlock]:
    """The blocks of a table with some of its particles, and other text in some columns of these."""
    chosen = table.particles.edited(rows, edits)
    return [chosen if block is table.particles else block for block in table.blocks]


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
        edits |= _angle_columns(rotations)
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
        edits |= _origin_columns(ORIGINS_PIXELS, shifts, np.ones(len(rows)))
    if in_angstrom:
        if sizes is None:
            raise ParticleFileError(
                known.path,
                "Its origins are in Å, but the table does not say the pixel size.",
                field="rlnImagePixelSize",
                remedy="Add the column to data_optics.",
            )
        edits |= _origin_columns(ORIGINS_ANGSTROM, shifts, sizes[rows])
    return edits


def _renamed(path: Path, particles: ParticleSet, known: StarColumns) -> dict[str, Sequence[str]]:
    images = particles.images
    before = [known.text(IMAGE_NAME)[i] for i in particles.rows]
    names: dict[tuple[str, int], str] = {}
    after = []
    for name, file in zip(before, images.file_index.tolist(), strict=True):
        number, _, stack = name.partition("@")
        if (stack, file) not in names:
            names[stack, file] = name_from(path, stack, images.files[file].path)
        after.append(f"{number}@{names[stack, file]}")
    return {} if after == before else {IMAGE_NAME: [quote(name) for name in after]}


def _angle_columns(rotations: NDArray[np.float32]) -> dict[str, Sequence[str]]:
    angles = euler_from_rotations(rotations)
    return {name: _text(values) for name, values in zip(ANGLES, angles.T, strict=True)}


def _origin_columns(
    names: tuple[str, str], shifts: NDArray[np.float32], unit: NDArray[np.float64]
) -> dict[str, Sequence[str]]:
    """Origins, the opposite of the shifts (N, 2) in pixels, times ``unit`` per pixel (N,)."""
    origins = -np.asarray(shifts, np.float64) * unit[:, None]
    return {name: _text(values) for name, values in zip(names, origins.T, strict=True)}


def _text(values: NDArray[Any]) -> list[str]:
    # Adding zero takes the sign off -0.0.
    return [f"{value:.6f}" for value in (np.asarray(values, np.float64) + 0.0).tolist()]


def _block(
    path: Path, name: str, columns: dict[str, Sequence[str]], comments: tuple[str, ...]
) -> StarBlock:
    rows = [" ".join(values) for values in zip(*columns.values(), strict=True)]
    return StarBlock(path, name, tuple(columns), rows, True, comments)
