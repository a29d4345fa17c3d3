"""Particles back to the program they came from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError

from .cryodrgn_files import write_indices
from .cs_table import open_table
from .cs_write import write_cs, write_cs_rows
from .files import replacing
from .origin import Origin
from .particle_set import ParticleSet
from .reading import read
from .stack_paths import existing, name_from
from .star import read_table
from .star_columns import IMAGE_NAME, USUAL_CONTRAST, StarColumns
from .star_edits import pose_edits
from .star_text import quote, write_star_text
from .star_write import edited_blocks, with_own_poses, write_star
from .tables import ParticleTable

WRITABLE = ".star (RELION), .cs (cryoSPARC), .pkl (cryoDRGN's indices)"
# Differences that come of rounding when poses go through another box: of the elements of a
# matrix, and of shifts in pixels.
_ROUNDING = (1e-5, 1e-3)
# Where a particle was picked, which tells it from others and never changes.
_PLACE = ("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY")
_CHANGED_REMEDY = "Put the original back, or write the particles as they are."


def write_subset(
    path: Path | str,
    particles: ParticleSet,
    rotations: ArrayLike | None = None,
    shifts: ArrayLike | None = None,
) -> None:
    """Write particles as the program they came from takes them back, whole or not at all.

    By the name's ending: ``.star`` as :func:`write_star` does, ``.cs`` (or ``.csg``) as
    :func:`write_cs` does, ``.pkl`` the particles' rows in their source as cryoDRGN's indices.

    Parameters
    ----------
    path
        Of the file; replaced if present.
    particles
        What to write.
    rotations, shifts
        As in :func:`write_star`; indices have no room for poses.

    Raises
    ------
    CryodrgnError
        If there are no particles, or the poses do not fit them.
    ParticleFileError
        If the file is of another kind, the particles cannot go into that kind, or it cannot be
        written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".star":
        write_star(path, particles, rotations, shifts)
    elif suffix in (".cs", ".csg"):
        write_cs(path.with_suffix(".cs"), particles, rotations, shifts)
    elif suffix == ".pkl":
        write_indices(path, with_own_poses(particles, rotations, shifts).rows)
    else:
        raise ParticleFileError(
            path, "Particles are not written to files of this kind.", remedy=f"Use {WRITABLE}."
        )


def write_original(
    path: Path | str,
    particles: ParticleSet,
    rotations: ArrayLike | None = None,
    shifts: ArrayLike | None = None,
    data_folder: Path | None = None,
) -> None:
    """Write preprocessed particles as what they were before: the same rows of the original file.

    Poses that have changed replace those of the original, shifts in its pixels. The original's
    stacks need not be there, but where it is itself a stack, or of another program than ``path``.

    Parameters
    ----------
    path
        Of the file, named as in :func:`write_subset`; replaced if present.
    particles
        Whose ``origin`` tells the original.
    rotations, shifts
        As in :func:`write_star`, in pixels of ``particles.box``.
    data_folder
        Where to look for the original's stacks, if they are needed.

    Raises
    ------
    CryodrgnError
        If the particles were not preprocessed, there are none, or the poses do not fit them.
    ParticleFileError
        If the original is no longer there or has changed, or the file cannot be written.
    """
    path = Path(path)
    particles = with_own_poses(particles, rotations, shifts)
    origin = particles.origin
    if origin is None:
        raise CryodrgnError(
            f"{particles.source}: nothing tells what these particles were before, so they can "
            "only be written as they are."
        )
    r, t = particles.rotations, particles.shifts
    if t is not None:
        t = t * np.float32(origin.box / particles.box)
    if not origin.path.is_file():
        raise ParticleFileError(
            origin.path,
            f"The original of {particles.source} is no longer there.",
            remedy="Put it back, or write the particles as they are.",
        )
    kinds = origin.path.suffix.lower(), path.suffix.lower()
    if kinds[1] == ".pkl":
        write_indices(path, origin.rows)
    elif kinds == (".star", ".star"):
        _write_star_rows(path, particles, origin, r, t)
    elif kinds[0] in (".cs", ".csg") and kinds[1] in (".cs", ".csg"):
        table = open_table(origin.path)
        _check_rows(origin, len(table))
        write_cs_rows(path, table, origin.rows, r, t, _ROUNDING)
    else:
        original = read(origin.path, data_folder, amplitude_contrast=USUAL_CONTRAST)
        _check_rows(origin, len(original))
        original = original.select(origin.rows)
        if original.table is None:
            # Files beside a bare stack told these, and it cannot.
            original = replace(
                original,
                pixel_size=origin.pixel_size,
                ctf=particles.ctf,
                half_sets=particles.half_sets,
            )
        write_subset(path, original, r, t)


def _write_star_rows(
    path: Path,
    particles: ParticleSet,
    origin: Origin,
    rotations: NDArray[np.float32] | None,
    shifts: NDArray[np.float32] | None,
) -> None:
    table = read_table(origin.path, USUAL_CONTRAST).table
    _check_rows(origin, len(table))
    _check_same(particles, table, origin)
    known = StarColumns(table)
    before = known.text(IMAGE_NAME)
    names: dict[str, str] = {}
    after = []
    for row in origin.rows.tolist():
        number, _, stack = before[row].partition("@")
        if stack not in names:
            found = existing(stack, origin.path)
            # A stack that is elsewhere keeps the name it has.
            names[stack] = stack if found is None else name_from(path, stack, found)
        after.append(quote(f"{number}@{names[stack]}"))
    edits = pose_edits(known, origin.rows, rotations, shifts, _ROUNDING)
    if any(new != old for old, new in names.items()):
        edits[IMAGE_NAME] = after
    with replacing(path) as temporary:
        write_star_text(temporary, edited_blocks(table, origin.rows, edits))


def _check_rows(origin: Origin, n: int) -> None:
    if len(origin.rows) and int(origin.rows.max()) >= n:
        raise ParticleFileError(
            origin.path,
            f"It has {n} particles, but one in row {int(origin.rows.max()) + 1} is asked for: it "
            "has changed since.",
            remedy=_CHANGED_REMEDY,
        )


def _check_same(particles: ParticleSet, table: ParticleTable, origin: Origin) -> None:
    """Raise if the original's rows are of other particles now, sorted or selected anew."""
    if not isinstance(particles.table, ParticleTable):
        return
    names = [n for n in _PLACE if n in table.columns and n in particles.table.columns]
    then = particles.table.particles.edited(particles.rows, {}).values(names)
    now = table.particles.edited(origin.rows, {}).values(names)
    for name in names:
        for i, (old, new) in enumerate(zip(then[name], now[name], strict=True)):
            if old != new:
                raise ParticleFileError(
                    origin.path,
                    f"Row {origin.rows[i] + 1} was {old} and is {new}: it has changed since.",
                    field=name,
                    remedy=_CHANGED_REMEDY,
                )
