"""The table that a run's particles came from, of which only what is asked for is parsed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray

from ..errors import ParticleFileError, RunFolderError
from ..imaging import CTFParameters
from ..particles import CsTable, ParticleTable, read_ctf
from ..particles.cs_table import UID, open_table
from ..particles.encoding import decode
from ..particles.star import open_star_table
from .run import Run

#: Written by a finished run of this program: its particles, with all that was given apart.
OWN_TABLE = "particles.star"
_OWN_EVENTS = "events.jsonl"
# Numbers that name a kind.
_KINDS = re.compile(
    r"(ClassNumber|OpticsGroup|RandomSubset|GroupNumber|BeamTiltClass)$|/(class|split|exp_group_id)$"
)
#: The micrograph that a particle is from.
MICROGRAPHS = ("rlnMicrographName", "location/micrograph_path")
_COMPONENT = re.compile(r"(.+)\[([0-9])\]")
# What has more components is no vector to colour by.
_MOST_COMPONENTS = 3
_LOOKED_AT = 200


@dataclass(frozen=True, eq=False)
class SourceTable:
    """A STAR or .cs file and the row (n,) in it of each of a run's particles."""

    table: ParticleTable | CsTable
    rows: Int[NDArray[np.intp], " n"] = field(repr=False)

    @property
    def path(self) -> Path:
        """The file."""
        return self.table.path

    def __contains__(self, name: str) -> bool:
        table = self.table
        return name in (table if isinstance(table, CsTable) else table.columns)

    def columns(self) -> dict[str, bool]:
        """Columns that particles can be told apart by, and whether they name kinds, not amounts.

        A STAR file's are judged by some of its rows. Names of single images are left out; of a
        short vector in a .cs file each component is a column, ``alignments3D/shift[0]``.
        """
        table = self.table
        return _star_columns(table) if isinstance(table, ParticleTable) else _cs_columns(table)

    def numbers(self, name: str) -> Float64[NDArray[np.float64], " n"]:
        """A column as numbers; NaN where a value is none.

        Raises
        ------
        ParticleFileError
            If there is no such column, or rows are damaged.
        """
        table = self.table
        if isinstance(table, ParticleTable):
            return table.particles.parse((), [name])[1][name][self.rows]
        match = None if name in table else _COMPONENT.fullmatch(name)
        values = table.values(name) if match is None else table.values(match[1])[:, int(match[2])]
        return values[self.rows].astype(np.float64)

    def text(self, name: str) -> list[str]:
        """A column as text, n values.

        Raises
        ------
        ParticleFileError
            As `numbers`.
        """
        table = self.table
        if isinstance(table, ParticleTable):
            found = table.particles.parse([name], ())[0][name]
            return found if self._is_whole else [found[row] for row in self.rows.tolist()]
        values = table.values(name)[self.rows].tolist()
        return [decode(v) if isinstance(v, bytes) else str(v) for v in values]

    @property
    def _is_whole(self) -> bool:
        rows = self.rows
        return len(rows) == len(self.table) and bool((rows == np.arange(len(rows))).all())


def open_source(run: Run) -> SourceTable | None:
    """The table of a run's particles, its columns not parsed; None if they are bare stacks.

    That at ``run.particles_path``, or, if it is gone or has changed, the one that a finished run of
    this program has left in its folder. No stack is needed.

    Raises
    ------
    RunFolderError
        If the run does not tell its particles any more.
    ParticleFileError
        If the table is missing, damaged or of another number of particles.
    """
    path = run.particles_path
    fault: ParticleFileError | RunFolderError | None = None
    if path is None:
        fault = RunFolderError(
            run.folder, "nothing tells any more which particles of which file these are."
        )
    elif is_table(path):
        try:
            return _of_run(path, run, run.indices)
        except ParticleFileError as error:
            fault = error
    own = run.folder / OWN_TABLE
    if own.is_file() and (run.folder / _OWN_EVENTS).is_file():
        with suppress(ParticleFileError):
            return _of_run(own, run, None)
    if fault is not None:
        raise fault
    return None


def is_table(path: Path) -> bool:
    """Whether a file lists particles with columns, by its name."""
    return path.suffix.lower() in (".star", ".cs", ".csg")


def rows_of(run: Run) -> Int[NDArray[np.intp], " n"]:
    """Row of each particle of a run in the file at ``run.particles_path``."""
    return np.arange(run.n_particles) if run.indices is None else run.indices


def given_ctf(run: Run) -> CTFParameters | None:
    """CTF parameters (n,) of the file that a run of cryoDRGN was given, None if there is none.

    Raises
    ------
    RunFolderError
        If the file is of other particles.
    ParticleFileError
        If it cannot be read.
    """
    path = run.ctf_path
    if path is None or not path.is_file():
        return None
    ctf, _, _ = read_ctf(path)
    n = run.n_particles
    # The file is of these particles, or of all that they were chosen from.
    chosen = np.arange(n) if len(ctf) == n else rows_of(run)
    if len(ctf) != n and (run.indices is None or chosen.max(initial=-1) >= len(ctf)):
        raise RunFolderError(
            run.folder, f"{path.name} is of {len(ctf):,} particles, not of its {n:,}."
        )
    return ctf.select(chosen)


def _of_run(path: Path, run: Run, indices: NDArray[np.intp] | None) -> SourceTable:
    star = path.suffix.lower() == ".star"
    table = open_star_table(path) if star else open_table(path)
    rows = np.arange(len(table)) if indices is None else indices
    if len(rows) != run.n_particles or rows.max(initial=-1) >= len(table):
        raise ParticleFileError(
            path,
            f"It has {len(table):,} particles, which are not the {run.n_particles:,} of "
            f"{run.folder.name}: it has changed since.",
            remedy="Put back the file that the run was made of.",
        )
    return SourceTable(table, rows)


def _star_columns(table: ParticleTable) -> dict[str, bool]:
    some = np.linspace(0, len(table) - 1, min(len(table), _LOOKED_AT)).astype(np.intp)
    looked_at = table.particles.edited(some, {}).values(table.columns)
    return {
        name: bool(_KINDS.search(name)) or not _are_numbers(values)
        for name, values in looked_at.items()
        if not all("@" in value for value in values)
    }


def _are_numbers(values: Sequence[str]) -> bool:
    try:
        for value in values:
            float(value)
    except ValueError:
        return False
    return True


def _cs_columns(table: CsTable) -> dict[str, bool]:
    columns: dict[str, bool] = {}
    for name in table.fields:
        values = table.values(name)
        kind, shape = values.dtype.kind, values.shape[1:]
        if name == UID or kind not in "iufbSU":
            continue
        if not shape:
            columns[name] = kind in "SU" or bool(_KINDS.search(name))
        elif len(shape) == 1 and shape[0] <= _MOST_COMPONENTS and kind not in "SU":
            columns |= {f"{name}[{i}]": False for i in range(shape[0])}
    return columns
