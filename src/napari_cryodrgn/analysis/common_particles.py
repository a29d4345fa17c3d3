"""Particles that two runs have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from ..errors import CryodrgnError, ParticleFileError
from ..particles import CsTable, read_origin
from ..particles.cs import INDEX, PATH
from ..particles.cs_table import UID
from ..particles.star_columns import IMAGE_NAME
from .run import Run
from .source_table import MICROGRAPHS, SourceTable, open_source, rows_of

Index = NDArray[np.intp]


def match(run_a: Run, run_b: Run) -> tuple[Int[Index, " m"], Int[Index, " m"]]:
    """Particles that two runs have in common.

    They are the same if they are the same rows of one file, also of one that was preprocessed for
    the runs; else if their files name the same images (or cryoSPARC's uid). Where no name is the
    same, as many particles in both are taken to be the same in order, unless their micrographs
    differ.

    Returns
    -------
    tuple
        Places (m,) in the first run, and those of the same particles in the second.

    Raises
    ------
    CryodrgnError
        If the runs have none in common, or nothing tells.
    """
    a, b = _Particles(run_a), _Particles(run_b)
    if a.file is not None and a.file == b.file:
        found = _common(a.rows, b.rows)
    else:
        found = _same_images(a.table, b.table)
        n = run_a.n_particles
        if not len(found[0]) and n == run_b.n_particles and _same_places(a.table, b.table):
            found = np.arange(n), np.arange(n)
    if not len(found[0]):
        raise CryodrgnError(
            f"{run_a.folder.name} ({run_a.n_particles:,} particles) and {run_b.folder.name} "
            f"({run_b.n_particles:,}) have no particles in common, as far as their files tell. "
            "Choose two runs of the same particles."
        )
    return found


class _Particles:
    """Where a run's particles come from.

    ``file`` is where they are first told of, before any preprocessing, ``rows`` (n,) their rows in
    it; ``table`` is there if it can be opened.
    """

    def __init__(self, run: Run) -> None:
        self.rows = rows_of(run)
        self.file: Path | None = None
        self.table: SourceTable | None = None
        try:
            self.table = open_source(run)
        except CryodrgnError:
            pass  # matched by what the run itself tells
        if run.particles_path is None:
            return
        self.file = run.particles_path.resolve()
        try:
            origin = read_origin(run.particles_path)
        except ParticleFileError:
            return
        if origin is not None and self.rows.max(initial=-1) < len(origin):
            self.file, self.rows = origin.path.resolve(), origin.rows[self.rows]


def _common(a: NDArray[Any], b: NDArray[Any]) -> tuple[Index, Index]:
    """Places of the values that both have, in the order of the first; of equals only one each."""
    _, in_a, in_b = np.intersect1d(a, b, return_indices=True)
    order = np.argsort(in_a)
    return in_a[order], in_b[order]


def _same_images(a: SourceTable | None, b: SourceTable | None) -> tuple[Index, Index]:
    """Places of the particles that are named alike in both tables."""
    nothing = np.zeros(0, np.intp)
    if a is None or b is None:
        return nothing, nothing
    if isinstance(a.table, CsTable) and isinstance(b.table, CsTable) and UID in a and UID in b:
        return _common(a.table.values(UID)[a.rows], b.table.values(UID)[b.rows])
    try:
        names = _image_names(a), _image_names(b)
    except CryodrgnError:
        return nothing, nothing
    # Folders differ between projects, but files in several folders may be called the same.
    for key in (_file_name, str):
        places: dict[str, int] = {}
        keys = [_image_keys(numbers, stacks, key, places) for numbers, stacks in names]
        if all(len(np.unique(values)) == len(values) for values in keys):
            return _common(*keys)
    return nothing, nothing


def _file_name(path: str) -> str:
    return PurePath(path).name


def _image_names(source: SourceTable) -> tuple[NDArray[np.int64], list[str]]:
    """Number and stack of each image."""
    if isinstance(source.table, CsTable):
        return source.numbers(INDEX).astype(np.int64) + 1, source.text(PATH)
    parts = [name.partition("@") for name in source.text(IMAGE_NAME)]
    numbers = [int(number) if number.isdecimal() else 0 for number, _, _ in parts]
    return np.array(numbers, np.int64), [stack for _, _, stack in parts]


def _image_keys(
    numbers: NDArray[np.int64],
    stacks: list[str],
    key: Callable[[str], str],
    places: dict[str, int],
) -> NDArray[np.int64]:
    """A number for each image; ``places`` are those of the stacks, in all tables."""
    known = {stack: places.setdefault(key(stack), len(places)) for stack in dict.fromkeys(stacks)}
    place = np.fromiter((known[stack] for stack in stacks), np.int64, len(stacks))
    return place << 32 | numbers & 0xFFFFFFFF


def _same_places(a: SourceTable | None, b: SourceTable | None) -> bool:
    """Whether particles in order may be the same: unless their micrographs say no."""
    micrographs = [
        [_file_name(name) for name in table.text(column)]
        for table in (a, b)
        if table is not None
        for column in MICROGRAPHS
        if column in table
    ]
    return len(micrographs) < 2 or micrographs[0] == micrographs[1]
