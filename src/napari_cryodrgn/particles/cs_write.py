"""Writing cryoSPARC's .cs files: a set's own table with other poses, and the .csg that names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from napari_cryodrgn.errors import ParticleFileError

from .cs import POSE, SHIFT, SHIFT_SIZE, SIZE, poses, shift_scale
from .cs_file import CsFile
from .cs_table import CsTable
from .files import replacing
from .particle_set import ParticleSet
from .star_write import with_own_poses

# The form of .csg files since that version.
_VERSION = "v3.0.0"
# Added to a table that has no poses: all that cryoSPARC expects in the group.
_ALIGNMENT = [
    ("alignments3D/split", "<u4", 0),
    (SHIFT, ("<f4", (2,)), 0),
    (POSE, ("<f4", (3,)), 0),
    (SHIFT_SIZE, "<f4", 0),
    ("alignments3D/error", "<f4", 0),
    ("alignments3D/error_min", "<f4", 0),
    ("alignments3D/resid_pow", "<f4", 0),
    ("alignments3D/slice_pow", "<f4", 0),
    ("alignments3D/image_pow", "<f4", 0),
    ("alignments3D/cross_cor", "<f4", 0),
    ("alignments3D/alpha", "<f4", 1),
    ("alignments3D/weight", "<f4", 0),
    ("alignments3D/pose_ess", "<f4", 0),
    ("alignments3D/shift_ess", "<f4", 0),
    ("alignments3D/class_posterior", "<f4", 1),
    ("alignments3D/class", "<u4", 0),
    ("alignments3D/class_ess", "<f4", 1),
]


@dataclass(frozen=True)
class _Written:
    """A file and the rows it is to have."""

    like: CsFile
    data: NDArray[Any]


def write_cs(
    path: Path | str,
    particles: ParticleSet,
    rotations: ArrayLike | None = None,
    shifts: ArrayLike | None = None,
) -> None:
    """Write particles of a .cs file as one that cryoSPARC takes back, with a .csg that names it.

    The rows of the set's own table, in the set's order, with uid, fields and types as they were;
    byte for byte its own file if nothing is left out or changed. Poses that differ from the
    table's replace its own; CTF parameters stay the table's. Fields of a passthrough file go to
    another, ``NAME_passthrough.cs``.

    Parameters
    ----------
    path
        Of the .cs file; replaced if present.
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
        If the particles are not of a .cs file, or a file cannot be written.
    """
    path = Path(path)
    particles = with_own_poses(particles, rotations, shifts)
    if not isinstance(particles.table, CsTable):
        raise ParticleFileError(
            path,
            f"Only particles of a .cs file can go into one, and these are of {particles.source}.",
            remedy="Write a .star file, which cryoSPARC imports (Import Particle Stack).",
        )
    write_cs_rows(path, particles.table, particles.rows, particles.rotations, particles.shifts)


def write_cs_rows(
    path: Path,
    table: CsTable,
    rows: NDArray[np.intp],
    rotations: NDArray[np.float32] | None,
    shifts: NDArray[np.float32] | None,
    tolerance: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Write some rows of a table; parameters as in :func:`write_cs`.

    ``tolerance`` are the differences of matrix elements, and of shifts in pixels, that are none.

    Raises
    ------
    ParticleFileError
        As :func:`write_cs`.
    """
    indices = [rows, *[joined[rows] for joined in table.rows]]
    files = (table.main, *table.passthrough)
    written = [_Written(f, f.data[index]) for f, index in zip(files, indices, strict=True)]
    if rotations is not None and shifts is not None:
        written = _with_poses(table, rows, written, rotations, shifts, tolerance)
    names = [path.with_suffix(".cs")]
    for number in range(1, len(written)):
        ending = "_passthrough.cs" if number == 1 else f"_passthrough_{number}.cs"
        names.append(path.with_name(path.stem + ending))
    for name, item in zip(names, written, strict=True):
        with replacing(name) as temporary:
            temporary.write_bytes(item.like.contents(item.data))
    group = _group(path, [name.name for name in names], [item.data for item in written])
    with replacing(path.with_suffix(".csg")) as temporary:
        temporary.write_text(yaml.safe_dump(group), encoding="utf-8")


def _with_poses(
    table: CsTable,
    rows: NDArray[np.intp],
    written: list[_Written],
    rotations: NDArray[np.float32],
    shifts: NDArray[np.float32],
    tolerance: tuple[float, float],
) -> list[_Written]:
    before = poses(table)
    turned = moved = np.ones(len(rows), bool)
    if before is None:
        written = [_with_alignment(table, rows, written[0]), *written[1:]]
        scale = np.ones(len(rows))
    else:
        scale = shift_scale(table)[rows]
        turned = (np.abs(before.rotations[rows] - rotations) > tolerance[0]).any(axis=(1, 2))
        moved = (np.abs(before.shifts[rows] - shifts) > tolerance[1]).any(axis=1)
    vectors = Rotation.from_matrix(rotations.astype(np.float64).transpose(0, 2, 1)).as_rotvec()
    _replace(written, POSE, turned, vectors)
    _replace(written, SHIFT, moved, -shifts / scale[:, None])
    return written


def _replace(
    written: list[_Written], name: str, changed: NDArray[np.bool_], values: NDArray[Any]
) -> None:
    """Put values (n, k) where they have changed, in the first file that has the field."""
    data = next(item.data for item in written if name in (item.data.dtype.names or ()))
    data[name][changed] = values[changed]


def _with_alignment(table: CsTable, rows: NDArray[np.intp], main: _Written) -> _Written:
    """The main file's rows with the fields of poses, none of which it has."""
    old = main.data
    there = old.dtype.names or ()
    added = [(name, kind, value) for name, kind, value in _ALIGNMENT if name not in there]
    fields = [*old.dtype.descr, *_descr(added)]
    data = np.zeros(len(old), np.dtype(fields))
    for name in there:
        data[name] = old[name]
    for name, _, value in added:
        data[name] = value
    if SIZE in table:
        data[SHIFT_SIZE] = table.values(SIZE)[rows]
    return _Written(main.like, data)


def _descr(added: Sequence[tuple[str, Any, int]]) -> list[tuple[Any, ...]]:
    return [(name, *kind) if isinstance(kind, tuple) else (name, kind) for name, kind, _ in added]


def _group(path: Path, names: Sequence[str], tables: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """What a .csg file says: which file has which group of fields."""
    results: dict[str, Any] = {}
    for name, data in zip(names, tables, strict=True):
        for field in data.dtype.names or ():
            kind = field.partition("/")[0]
            if kind != field:
                entry = {"metafile": f">{name}", "num_items": len(data), "type": f"particle.{kind}"}
                results.setdefault(kind, entry)
    return {
        "created": datetime.now(),
        "group": {
            "description": "Particles written by napari-cryodrgn",
            "name": "particles",
            "title": path.stem,
            "type": "particle",
        },
        "results": results,
        "version": _VERSION,
    }
