"""The text of STAR files: blocks, columns and rows, with every value kept as it is written.

RELION's values go back into new files, so nothing here turns a number into a float and back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError

from .encoding import decode, encode
from .files import read_whole
from .star_lines import trimmed_lines
from .star_rows import RaggedRowError, StarRows, split_line

_REMEDY = "Check that it is a complete STAR file; RELION's own tools write valid ones."
# Positions of lines take memory: more than so many must have so many bytes each.
_MANY_LINES, _SHORT_LINE = 50_000, 8
_MOST_COLUMNS = 10_000


@dataclass(frozen=True, eq=False)
class StarBlock:
    """One ``data_`` block: a table, or a list of single values.

    Attributes
    ----------
    path
        The file it was read from, for messages.
    name
        What follows ``data_``.
    columns
        Names without the leading underscore.
    rows
        The lines as they stand in the file; one line if it is not a loop.
    is_loop
        Whether the block is a table.
    comments
        The comment lines above it, RELION's ``# version`` among them.
    """

    path: Path
    name: str
    columns: tuple[str, ...]
    rows: Sequence[str] = field(repr=False)
    is_loop: bool = True
    comments: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def values(self, columns: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Text of some columns, one value per row, without quotes.

        Raises
        ------
        ParticleFileError
            If a column is missing, or a row has more or fewer values than there are columns.
        """
        return {name: tuple(values) for name, values in self.parse(columns, ())[0].items()}

    def parse(
        self, text: Iterable[str], numbers: Iterable[str]
    ) -> tuple[dict[str, list[str]], dict[str, NDArray[np.float64]]]:
        """Some columns as text and some as numbers (N,), in one pass; NaN where a value is none.

        Raises
        ------
        ParticleFileError
            As :meth:`values`.
        """
        places = {name: self._place(name) for name in [*text, *numbers]}
        texts, values = {places[name]: name for name in text}, {places[n]: n for n in numbers}
        try:
            found, parsed = StarRows.of(self.rows).parse(len(self.columns), texts, values)
        except RaggedRowError as error:
            raise self._ragged(error) from None
        return (
            {texts[place]: column for place, column in found.items()},
            {values[place]: column for place, column in parsed.items()},
        )

    def edited(self, rows: NDArray[np.intp], edits: dict[str, Sequence[str]]) -> StarBlock:
        """Some rows, in that order, with new text in some columns; a new column is added.

        Raises
        ------
        ParticleFileError
            If a row has more or fewer values than there are columns.
        """
        chosen = StarRows.of(self.rows).take(rows)
        if not edits:
            return replace(self, rows=chosen)
        columns = (*self.columns, *[name for name in edits if name not in self.columns])
        places = [columns.index(name) for name in edits]
        try:
            chosen = chosen.replaced(len(self.columns), places, list(edits.values()))
        except RaggedRowError as error:
            raise self._ragged(error) from None
        return replace(self, columns=columns, rows=chosen)

    def _place(self, name: str) -> int:
        if name not in self.columns:
            raise ParticleFileError(
                self.path,
                f"The table {self.name!r} has no such column.",
                field=name,
                remedy=f"It has {', '.join(self.columns)}.",
            )
        return self.columns.index(name)

    def _ragged(self, error: RaggedRowError) -> ParticleFileError:
        return ParticleFileError(
            self.path,
            f"Row {error.row + 1} of the table {self.name!r} has {error.found} values for "
            f"{len(self.columns)} columns.",
            remedy=_REMEDY,
        )


def quote(value: str) -> str:
    """A value as it must stand in a row: in quotes if it is empty or has white space."""
    return value if value and not re.search(r"[\x00-\x20]", value) else f'"{value}"'


def read_star_text(path: Path | str) -> list[StarBlock]:
    """Split a STAR file into its blocks.

    Raises
    ------
    ParticleFileError
        If the file cannot be opened or is not in STAR format.
    """
    path = Path(path)
    raw = read_whole(path)
    if b"\0" in raw:
        raise ParticleFileError(path, "It is a binary file, not a STAR file.", remedy=_REMEDY)
    if raw.count(b"\n") > _MANY_LINES + len(raw) // _SHORT_LINE:
        raise ParticleFileError(
            path, "Its lines are too short for tables of particles.", remedy=_REMEDY
        )
    blocks = _Lines(path, raw.removeprefix(b"\xef\xbb\xbf")).blocks()
    if not blocks:
        raise ParticleFileError(path, "It is not a STAR file: no data_ block.", remedy=_REMEDY)
    return blocks


def format_star(blocks: Iterable[StarBlock]) -> bytes:
    """Contents of a STAR file with these blocks."""
    return b"".join(_pieces(blocks))


def write_star_text(path: Path, blocks: Iterable[StarBlock]) -> None:
    """Write blocks to a file; see :func:`replacing` for writing it whole or not at all."""
    with path.open("wb") as file:
        file.writelines(_pieces(blocks))


def _pieces(blocks: Iterable[StarBlock]) -> Iterator[bytes]:
    for block in blocks:
        lines = ["", *block.comments] if block.comments else []
        lines += ["", f"data_{block.name}", ""]
        if block.is_loop:
            lines += ["loop_", *[f"_{name} #{i}" for i, name in enumerate(block.columns, 1)]]
        elif block.columns:
            values = split_line(block.rows[0])
            lines += [f"_{name} {value}" for name, value in zip(block.columns, values, strict=True)]
        yield from (encode(line) + b"\n" for line in lines)
        if block.is_loop and len(block):
            yield StarRows.of(block.rows).joined()
            yield b"\n"
        yield b"\n"


class _Lines:
    """A pass over the lines of a file."""

    def __init__(self, path: Path, raw: bytes) -> None:
        self.path = path
        self.raw = raw
        self.starts, self.ends = trimmed_lines(raw)
        self.at = 0
        self.comments: list[str] = []

    def line(self, at: int) -> str:
        return decode(self.raw[self.starts[at] : self.ends[at]])

    @cached_property
    def first(self) -> NDArray[np.uint8]:
        """First byte of each line; 0 if it is empty."""
        characters = np.frombuffer(self.raw, np.uint8)
        first = characters[np.minimum(self.starts, len(characters) - 1)]
        return np.where(self.starts < self.ends, first, np.uint8(0))

    @cached_property
    def openings(self) -> NDArray[np.intp]:
        """Lines that open a block or a loop."""
        candidates = np.flatnonzero((self.first == ord("d")) | (self.first == ord("l")))
        found = [at for at in candidates.tolist() if self._opens(at)]
        return np.array([*found, len(self.starts)], np.intp)

    def _opens(self, at: int) -> bool:
        start, end = self.starts[at], self.ends[at]
        beginning = self.raw[start : start + 5]
        return beginning in (b"data_", b"loop_") and _opens_block(decode(self.raw[start:end]))

    def blocks(self) -> list[StarBlock]:
        found = []
        while self._skip():
            line = self.line(self.at)
            if line == "loop_" or not _opens_block(line):
                raise self._error(f"{line[:40]!r} stands outside any block")
            self.at += 1
            comments, self.comments = tuple(self.comments), []
            found.append(self._block(line[len("data_") :], comments))
        return found

    def _block(self, name: str, comments: tuple[str, ...]) -> StarBlock:
        if self._skip() and self.line(self.at) == "loop_":
            self.at += 1
            columns = self._column_names(name)
            return StarBlock(self.path, name, columns, self._rows(), True, comments)
        columns_and_values = []
        while self._skip() and self.line(self.at).startswith("_"):
            tokens = split_line(self.line(self.at))
            if len(tokens) < 2:
                raise self._error(f"{tokens[0]} has no value")
            columns_and_values.append((tokens[0][1:], tokens[1]))
            self.at += 1
        columns = tuple(column for column, _ in columns_and_values)
        rows = [" ".join(value for _, value in columns_and_values)] if columns else []
        return StarBlock(self.path, name, columns, rows, False, comments)

    def _column_names(self, block: str) -> tuple[str, ...]:
        columns: dict[str, None] = {}
        while self._skip() and self.line(self.at).startswith("_"):
            column = split_line(self.line(self.at))[0][1:]
            if column in columns:
                raise self._error(f"the column _{column} of data_{block} is there twice")
            if len(columns) == _MOST_COLUMNS:
                raise self._error(f"the loop in data_{block} names too many columns")
            columns[column] = None
            self.at += 1
        if not columns:
            raise self._error(f"the loop in data_{block} names no columns")
        return tuple(columns)

    def _rows(self) -> StarRows:
        stop = int(self.openings[np.searchsorted(self.openings, self.at)])
        first = self.first[self.at : stop]
        comments = self.at + np.flatnonzero(first == ord("#"))
        self.comments += [self.line(at) for at in comments.tolist()]
        rows = self.at + np.flatnonzero((first != 0) & (first != ord("#")))
        self.at = stop
        return StarRows(self.raw, self.starts[rows], self.ends[rows])

    def _skip(self) -> bool:
        """Go to the next line that is neither empty nor a comment; False at the end."""
        while self.at < len(self.starts):
            line = self.line(self.at)
            if line and line[0] != "#":
                return True
            if line:
                self.comments.append(line)
            self.at += 1
        return False

    def _error(self, what: str) -> ParticleFileError:
        line = min(self.at, len(self.starts) - 1) + 1
        return ParticleFileError(self.path, f"Line {line}: {what}.", remedy=_REMEDY)


def _opens_block(line: str) -> bool:
    # A row may begin with a path such as data_1/x.mrcs; only a line of one word opens a block.
    return line == "loop_" or (line.startswith("data_") and len(split_line(line)) == 1)
