"""Writing RELION's STAR files: a set's own table with other poses, or a fresh one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import CryodrgnError

from .files import replacing
from .origin import origin_path, write_origin
from .particle_set import ParticleSet
from .stack_paths import name_from
from .star_columns import IMAGE_NAME, StarColumns
from .star_edits import better_known
from .star_fresh import fresh_blocks
from .star_text import StarBlock, quote, write_star_text
from .tables import ParticleTable


def write_star(
    path: Path | str,
    particles: ParticleSet,
    rotations: ArrayLike | None = None,
    shifts: ArrayLike | None = None,
) -> None:
    """Write particles as a STAR file that RELION takes back, whole or not at all.

    The rows of the set's own table, in the set's order, with every column as it was, in the
    RELION version it came in. Poses and CTF parameters that differ from the table's, because they
    were found or given apart, replace its own; they are added where it has none, as is the pixel
    size. Names of stacks are changed only where they would not be found from the new place: then
    relative to the new file's folder, or absolute if the two have no folder in common.

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
        edits = _renamed(path, particles, known) | better_known(known, particles)
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
        particles.half_sets,
    )


def edited_blocks(
    table: ParticleTable, rows: NDArray[np.intp], edits: dict[str, Sequence[str]]
) -> list[StarBlock]:
    """The blocks of a table with some of its particles, and other text in some columns of these."""
    chosen = table.particles.edited(rows, edits)
    return [chosen if block is table.particles else block for block in table.blocks]


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
