"""The text of STAR files: blocks, columns and rows, with every value kept as it is written.

RELION's values go back into new files, so nothing here turns a number into a float and back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from napari_cryodrgn.errors import ParticleFileError

# A quote counts where a value begins, and ends only before white space: o'brien needs none.
_TOKEN = re.compile(r""""[^"]*"(?=\s|$)|'[^']*'(?=\s|$)|\S+""")
_REMEDY = "Check that it is a complete STAR file; RELION's own tools write valid ones."


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
        names = list(columns)
        for name in names:
            if name not in self.columns:
                raise ParticleFileError(
                    self.path,
                    f"The table {self.name!r} has no such column.",
                    field=name,
                    remedy=f"It has {', '.join(self.columns)}.",
                )
        width = len(self.columns)
        # Two items at least, so that the getter always gives a tuple.
        pick = itemgetter(0, 0, *[self.columns.index(name) for name in names])
        picked = []
        for number, row in enumerate(self.rows, 1):
            quoted = '"' in row or "'" in row
            tokens = [unquote(t) for t in split_row(row)] if quoted else row.split()
            if len(tokens) != width:
                raise ParticleFileError(
                    self.path,
                    f"Row {number} of the table {self.name!r} has {len(tokens)} values for "
                    f"{width} columns.",
                    remedy=_REMEDY,
                )
            picked.append(pick(tokens))
        columns_of_text = list(zip(*picked, strict=True)) if picked else [()] * (len(names) + 2)
        return dict(zip(names, columns_of_text[2:], strict=True))


def split_row(row: str) -> list[str]:
    """Values of a row as they are written, quotes included."""
    return _TOKEN.findall(row) if '"' in row or "'" in row else row.split()


def unquote(value: str) -> str:
    """A value without the quotes around it."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def quote(value: str) -> str:
    """A value as it must stand in a row: in quotes if it is empty or has white space."""
    return value if value and not re.search(r"\s", value) else f'"{value}"'


def read_star_text(path: Path | str) -> list[StarBlock]:
    """Split a STAR file into its blocks.

    Raises
    ------
    ParticleFileError
        If the file cannot be opened or is not in STAR format.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ParticleFileError(
            path, "There is no such file.", remedy="Check the name and the folder."
        ) from None
    except OSError as error:
        raise ParticleFileError(path, f"It cannot be opened: {error.strerror}.") from error
    if b"\0" in raw:
        raise ParticleFileError(path, "It is a binary file, not a STAR file.", remedy=_REMEDY)
    # Bytes that are no UTF-8 (old paths) survive a round trip as surrogates.
    text = raw.decode("utf-8-sig", errors="surrogateescape").replace("\r\n", "\n")
    blocks = _Lines(path, [line.strip() for line in text.split("\n")]).blocks()
    if not blocks:
        raise ParticleFileError(path, "It is not a STAR file: no data_ block.", remedy=_REMEDY)
    return blocks


def format_star(blocks: Iterable[StarBlock]) -> str:
    """Text of a STAR file with these blocks."""
    lines: list[str] = []
    for block in blocks:
        if block.comments:
            lines += ["", *block.comments]
        lines += ["", f"data_{block.name}", ""]
        if block.is_loop:
            lines.append("loop_")
            lines += [f"_{column} #{i}" for i, column in enumerate(block.columns, 1)]
            lines += block.rows
        elif block.columns:
            values = split_row(block.rows[0])
            lines += [f"_{c} {value}" for c, value in zip(block.columns, values, strict=True)]
        lines.append("")
    return "\n".join(lines) + "\n"


def write_star_text(path: Path, blocks: Iterable[StarBlock]) -> None:
    """Write blocks to a file; see :func:`replacing` for writing it whole or not at all."""
    path.write_bytes(format_star(blocks).encode("utf-8", errors="surrogateescape"))


class _Lines:
    """A pass over the lines of a file."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path = path
        self.lines = lines
        self.at = 0
        self.comments: list[str] = []

    def blocks(self) -> list[StarBlock]:
        found = []
        while self._skip():
            line = self.lines[self.at]
            if line == "loop_" or not _opens_block(line):
                raise self._error(f"{line[:40]!r} stands outside any block")
            self.at += 1
            comments, self.comments = tuple(self.comments), []
            found.append(self._block(line[len("data_") :], comments))
        return found

    def _block(self, name: str, comments: tuple[str, ...]) -> StarBlock:
        if self._skip() and self.lines[self.at] == "loop_":
            self.at += 1
            columns = self._column_names(name)
            return StarBlock(self.path, name, columns, self._rows(), True, comments)
        columns_and_values = []
        while self._skip() and self.lines[self.at].startswith("_"):
            tokens = split_row(self.lines[self.at])
            if len(tokens) < 2:
                raise self._error(f"{tokens[0]} has no value")
            columns_and_values.append((tokens[0][1:], tokens[1]))
            self.at += 1
        columns = tuple(column for column, _ in columns_and_values)
        rows = [" ".join(value for _, value in columns_and_values)] if columns else []
        return StarBlock(self.path, name, columns, rows, False, comments)

    def _column_names(self, block: str) -> tuple[str, ...]:
        columns = []
        while self._skip() and self.lines[self.at].startswith("_"):
            columns.append(self.lines[self.at].split()[0][1:])
            self.at += 1
        if not columns:
            raise self._error(f"the loop in data_{block} names no columns")
        for column in columns:
            if columns.count(column) > 1:
                raise self._error(f"the column _{column} of data_{block} is there twice")
        return tuple(columns)

    def _rows(self) -> list[str]:
        rows = []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line[:1] == "#":
                self.comments.append(line)
            elif line[:5] in ("data_", "loop_") and _opens_block(line):
                break
            elif line:
                rows.append(line)
            self.at += 1
        return rows

    def _skip(self) -> bool:
        """Go to the next line that is neither empty nor a comment; False at the end."""
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line and line[0] != "#":
                return True
            if line:
                self.comments.append(line)
            self.at += 1
        return False

    def _error(self, what: str) -> ParticleFileError:
        line = min(self.at, len(self.lines) - 1) + 1
        return ParticleFileError(self.path, f"Line {line}: {what}.", remedy=_REMEDY)


def _opens_block(line: str) -> bool:
    # A row may begin with a path such as data_1/x.mrcs; only a line of one word opens a block.
    return line == "loop_" or (line.startswith("data_") and len(line.split()) == 1)
