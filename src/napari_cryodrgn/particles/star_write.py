"""Writing RELION's STAR files: a set's own table with other poses, or a fresh one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.imaging import CTFParameters

from .euler import euler_from_rotations
from .files import replacing
from .particle_set import ParticleSet, ParticleTable
from .stack_paths import name_from
from .star_columns import (
    ANGLES,
    CTF,
    GROUP,
    IMAGE_NAME,
    ORIGINS_ANGSTROM,
    ORIGINS_PIXELS,
    StarColumns,
    pixel_sizes,
    poses,
)
from .star_text import StarBlock, quote, split_row, write_star_text

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

    A set from a bare stack gets a fresh table of version 3.1. RELION wants a pixel size in it:
    where none is known 1.0 stands in, and a comment says so.

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
    if not len(particles):
        raise CryodrgnError(f"{particles.source}: no particles are selected, so none are written.")
    particles = _with_poses(particles, rotations, shifts)
    if particles.table is None:
        blocks = _fresh(path, particles)
    else:
        blocks = _edited(path, particles, particles.table)
    with replacing(path) as temporary:
        write_star_text(temporary, blocks)


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


def _with_poses(
    particles: ParticleSet, rotations: ArrayLike | None, shifts: ArrayLike | None
) -> ParticleSet:
    if rotations is None and shifts is None:
        return particles
    r = particles.rotations if rotations is None else rotations
    if r is None:
        raise CryodrgnError(f"{particles.source}: shifts were given, but there are no rotations.")
    return particles.with_poses(r, particles.shifts if shifts is None else shifts)


def _fresh(path: Path, particles: ParticleSet) -> list[StarBlock]:
    images = particles.images
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
    )


def _edited(path: Path, particles: ParticleSet, table: ParticleTable) -> list[StarBlock]:
    rows = [table.particles.rows[i] for i in particles.rows]
    edits = _edits(path, particles, table)
    columns = table.particles.columns
    if edits:
        added = [name for name in edits if name not in columns]
        columns = (*columns, *added)
        places = [columns.index(name) for name in edits]
        blank = [""] * len(added)
        edited = []
        for row, values in zip(rows, zip(*edits.values(), strict=True), strict=True):
            tokens = split_row(row) + blank
            for place, value in zip(places, values, strict=True):
                tokens[place] = value
            edited.append(" ".join(tokens))
        rows = edited
    block = replace(table.particles, columns=columns, rows=rows)
    return [block if b is table.particles else b for b in table.blocks]


def _edits(path: Path, particles: ParticleSet, table: ParticleTable) -> dict[str, Sequence[str]]:
    """Columns that must change, as text; a column that need not is left as it is written."""
    known = StarColumns(table)
    changed = _renamed(path, particles, known)
    if particles.rotations is None or particles.shifts is None:
        return changed
    sizes = pixel_sizes(known)
    before = poses(known, sizes)
    rows = particles.rows
    if before is None or not np.array_equal(before.rotations[rows], particles.rotations):
        changed |= _angle_columns(particles.rotations)
    if before is not None and np.array_equal(before.shifts[rows], particles.shifts):
        return changed
    in_angstrom = any(name in known for name in ORIGINS_ANGSTROM)
    in_pixels = any(name in known for name in ORIGINS_PIXELS)
    if not in_angstrom and not in_pixels:
        # Pixels too where 3.1 lacks its pixel size: Å could not be read back.
        in_angstrom = table.version == "3.1" and sizes is not None
        in_pixels = not in_angstrom
    if in_pixels:
        changed |= _origin_columns(ORIGINS_PIXELS, particles.shifts, np.ones(len(rows)))
    if in_angstrom:
        if sizes is None:
            raise ParticleFileError(
                path,
                "Its origins are in Å, but the table does not say the pixel size.",
                field="rlnImagePixelSize",
                remedy=f"Add the column to data_optics of {table.path}.",
            )
        changed |= _origin_columns(ORIGINS_ANGSTROM, particles.shifts, sizes[rows])
    return changed


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
