"""A cryoSPARC particle table: a .cs file and those whose fields are joined to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import ParticleFileError

from .cs_file import CsFile, read_cs_file

UID = "uid"
_JOB = re.compile(r"(?<![A-Za-z0-9])J[0-9]+(?![0-9])")
_LARGEST_GROUP_FILE = 1 << 16
# Looked for in further files when the main one lacks them.
_WANTED = ("blob/path", "ctf/df1_A", "alignments3D/pose")


class _GroupLoader(yaml.BaseLoader):
    """Reads text, lists and tables; those that stand for one another could grow without end."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


@dataclass(frozen=True, eq=False)
class CsTable:
    """N particles of a .cs file, as read.

    Attributes
    ----------
    main
        The file itself.
    passthrough
        Further files, with fields that it lacks.
    rows
        Row of each of the N particles in each of these.
    """

    main: CsFile
    passthrough: tuple[CsFile, ...] = ()
    rows: tuple[NDArray[np.intp], ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.main)

    @property
    def path(self) -> Path:
        """The main file."""
        return self.main.path

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of all fields, each once."""
        every = [name for file in (self.main, *self.passthrough) for name in file.fields]
        return tuple(dict.fromkeys(every))

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def values(self, name: str) -> NDArray[Any]:
        """A field (N, ...) as it is in the first file that has it.

        Raises
        ------
        ParticleFileError
            If there is none.
        """
        if name in self.main.fields:
            return self.main.data[name]
        for file, rows in zip(self.passthrough, self.rows, strict=True):
            if name in file.fields:
                found: NDArray[Any] = file.data[name][rows]
                return found
        raise ParticleFileError(
            self.path,
            "The field is missing.",
            field=name,
            remedy="Give the passthrough file of the same job too, or export the particles again "
            "with this field.",
        )

    def numbers(self, name: str, shape: tuple[int, ...] = ()) -> NDArray[np.float64]:
        """A field (N, *shape) as finite numbers.

        Raises
        ------
        ParticleFileError
            If it is missing, of another shape, not of numbers or not finite.
        """
        values = self.values(name)
        if values.dtype.kind not in "iuf" or values.shape[1:] != shape:
            raise ParticleFileError(
                self.path,
                f"Expected numbers of shape {shape}, found {values.dtype} of {values.shape[1:]}.",
                field=name,
                remedy="Export the particles again.",
            )
        with np.errstate(invalid="ignore"):
            numbers = values.astype(np.float64)
        finite = np.isfinite(numbers).reshape(len(self), -1).all(axis=1)
        self.check(name, finite, "it is not a finite number")
        return numbers

    def check(self, name: str, good: ArrayLike, rule: str) -> None:
        """Raise a ParticleFileError that names the first particle that is not ``good`` (N,)."""
        if not np.all(good):
            row = int(np.argmin(good))
            raise ParticleFileError(
                self.path,
                f"{self.values(name)[row]} in row {row + 1}: {rule}.",
                field=name,
                remedy="Remove the particle and export the others again.",
            )


def open_table(path: Path, passthrough: Sequence[Path | str] = ()) -> CsTable:
    """Read a .cs file, or the files that a .csg names, and join what belongs to it.

    Parameters
    ----------
    path
        A .cs file, or cryoSPARC's .csg that lists several.
    passthrough
        Further .cs files. If none are given and fields are missing, they are looked for beside
        it: those that a .csg names with it, then passthrough files of the same job.

    Raises
    ------
    ParticleFileError
        If a file cannot be read, or particles are missing from one that was given.
    """
    given = [Path(p) for p in passthrough]
    if path.suffix.lower() == ".csg":
        path, *others = _listed(path)
        given = others + given
    main = read_cs_file(path)
    table = CsTable(main)
    for other in given:
        table = _joined(table, read_cs_file(other))
    if not given:
        for candidate in _beside(path):
            if all(name in table for name in _WANTED):
                break
            table = _tried(table, candidate)
    return table


def _joined(table: CsTable, other: CsFile) -> CsTable:
    """The table with another file's fields.

    Raises
    ------
    ParticleFileError
        If the other lacks some of its particles.
    """
    uids, theirs = _uids(table.main), _uids(other)
    order = np.argsort(theirs, kind="stable")
    place = np.minimum(np.searchsorted(theirs[order], uids), len(theirs) - 1)
    rows = order[place]
    absent = int((theirs[rows] != uids).sum())
    if absent:
        raise ParticleFileError(
            other.path,
            f"It lacks {absent:,} of the {len(uids):,} particles of {table.path.name}.",
            field=UID,
            remedy="Give the passthrough file of the same job.",
        )
    return CsTable(table.main, (*table.passthrough, other), (*table.rows, rows))


def _tried(table: CsTable, path: Path) -> CsTable:
    """The table with a file joined if it helps, else as it is."""
    try:
        other = read_cs_file(path)
        new = [name for name in _WANTED if name in other.fields and name not in table]
        return _joined(table, other) if new else table
    except ParticleFileError:
        return table


def _uids(file: CsFile) -> NDArray[np.uint64]:
    if UID not in file.fields or file.data[UID].dtype.kind != "u" or file.data[UID].ndim != 1:
        raise ParticleFileError(
            file.path,
            "It does not number its particles, so that it cannot be joined to another.",
            field=UID,
            remedy="Export the particles again from cryoSPARC.",
        )
    return file.data[UID].astype(np.uint64)


def _beside(path: Path) -> list[Path]:
    """Files in the same folder that may have a .cs file's other fields, best first."""
    folder = path.absolute().parent
    found: list[Path] = []
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []
    for name in names:
        if name.lower().endswith(".csg"):
            try:
                listed = _listed(folder / name)
            except ParticleFileError:
                continue
            if path.name in {p.name for p in listed}:
                found += listed
    jobs = set(_JOB.findall(path.name.replace("_", " ")))
    for name in names:
        same_job = not jobs or jobs & set(_JOB.findall(name.replace("_", " ")))
        if name.endswith(".cs") and "passthrough" in name and "particles" in name and same_job:
            found.append(folder / name)
    return [p for p in dict.fromkeys(found) if p.name != path.name]


def _listed(path: Path) -> list[Path]:
    """The .cs files that a .csg names, that with the images first."""
    try:
        if path.stat().st_size > _LARGEST_GROUP_FILE:
            raise ValueError("a text that long is something else")
        results = _GroupLoader(path.read_bytes()).get_single_data()["results"]
        first = sorted(results, key=lambda kind: kind != "blob")
        names = [results[kind]["metafile"].removeprefix(">") for kind in first]
        if any("\0" in name for name in names):
            raise ValueError("a name that no file can have")
    except OSError as error:
        raise ParticleFileError(path, f"It cannot be opened: {error.strerror}.") from error
    except (
        yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
        raise ParticleFileError(
            path,
            "It does not list the files of a group of particles.",
            field="results",
            remedy="Open the .cs file itself.",
        ) from error
    if not names:
        raise ParticleFileError(
            path, "It names no files.", field="results", remedy="Open the .cs file itself."
        )
    # Only names beside it: what cryoSPARC writes, and all that a stranger's file may ask for.
    return [path.absolute().parent / Path(name).name for name in dict.fromkeys(names)]
