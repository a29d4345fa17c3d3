"""The rows of a STAR table: bytes as they stand in the file, split into values when asked for.

A table of a million particles is hundreds of megabytes of text. It is held once, a row is two
positions in it, and values are found with NumPy, some thousand rows at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import overload

import numpy as np
from numpy.typing import NDArray

from .encoding import decode, encode

# White space is whatever is not above this, as in RELION.
SPACE = 0x20
_QUOTES = b"\"'"
# A quote counts where a value begins, and ends only before white space: o'brien needs none.
_TOKEN = re.compile(rb""""[^"]*"(?=[\x00-\x20]|$)|'[^']*'(?=[\x00-\x20]|$)|[^\x00-\x20]+""")
# Few enough for their text to stay in the processor's cache.
_ROWS_AT_ONCE = 4096
# A decimal of so many digits is a whole number over a power of ten, both exact in double precision.
_EXACT_DIGITS = 15
_POWERS_OF_TEN = np.array([float(10**i) for i in range(_EXACT_DIGITS + 1)])


class RaggedRowError(ValueError):
    """Row ``row``, from 0, has ``found`` values, which is not the number of columns."""

    def __init__(self, row: int, found: int) -> None:
        super().__init__(f"row {row} has {found} values")
        self.row = row
        self.found = found


@dataclass(frozen=True, eq=False)
class _Split:
    """Some neighbouring rows: their text, and where each value (rows, columns) is in it."""

    first: int
    text: bytes
    row_starts: NDArray[np.int64]
    row_ends: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def with_quotes(self, column: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the values of a column start and end, the quotes around them included."""
        starts, ends = self.starts[:, column], self.ends[:, column]
        characters = np.frombuffer(self.text, np.uint8)
        before = characters[np.maximum(starts - 1, 0)]
        # Before a value that is not in quotes stands white space, or its row begins.
        quoted = (starts > self.row_starts) & (before > SPACE)
        return starts - quoted, ends + quoted

    def strings(self, column: int) -> list[str]:
        spans = zip(self.starts[:, column].tolist(), self.ends[:, column].tolist(), strict=True)
        if self.text.isascii():
            text = self.text.decode("ascii")
            return [text[start:end] for start, end in spans]
        return [decode(self.text[start:end]) for start, end in spans]

    def numbers(self, column: int) -> NDArray[np.float64]:
        return parse_numbers(self.text, self.starts[:, column], self.ends[:, column])


class StarRows(Sequence[str]):
    """N lines of text, each a pair of positions in ``text``."""

    def __init__(self, text: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self._text = text
        self._starts = starts
        self._ends = ends

    @classmethod
    def of(cls, rows: Sequence[str]) -> StarRows:
        """Rows from strings, none of which has a line break."""
        return rows if isinstance(rows, StarRows) else cls._of_lines([encode(r) for r in rows])

    @classmethod
    def _of_lines(cls, lines: list[bytes]) -> StarRows:
        lengths = np.fromiter((len(line) for line in lines), np.int64, len(lines))
        ends = np.cumsum(lengths + 1) - 1
        return cls(b"\n".join(lines), ends - lengths, ends)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> StarRows: ...
    def __getitem__(self, index: int | slice) -> str | StarRows:
        if isinstance(index, slice):
            return StarRows(self._text, self._starts[index], self._ends[index])
        return decode(self._text[self._starts[index] : self._ends[index]])

    def take(self, index: NDArray[np.intp]) -> StarRows:
        """The rows ``index``, in that order."""
        return StarRows(self._text, self._starts[index], self._ends[index])

    def lines(self) -> list[bytes]:
        """All rows as bytes."""
        text = self._text
        spans = zip(self._starts.tolist(), self._ends.tolist(), strict=True)
        return [text[start:end] for start, end in spans]

    def joined(self) -> bytes:
        """All rows, with a line break between them."""
        if len(self) and (self._starts[1:] == self._ends[:-1] + 1).all():
            return self._text[int(self._starts[0]) : int(self._ends[-1])]
        return b"\n".join(self.lines())

    def parse(
        self, width: int, text: Iterable[int], numbers: Iterable[int]
    ) -> tuple[dict[int, list[str]], dict[int, NDArray[np.float64]]]:
        """Columns as text and as numbers (N,), NaN where a value is none.

        Parameters
        ----------
        width
            How many columns there are.
        text, numbers
            Which of them are wanted.

        Raises
        ------
        RaggedRowError
            If a row has more or fewer values.
        """
        strings: dict[int, list[str]] = {column: [] for column in text}
        values = {column: np.empty(len(self)) for column in numbers}
        for split in self._split(width):
            for column, found in strings.items():
                found += split.strings(column)
            for column, into in values.items():
                into[split.first : split.first + len(split.starts)] = split.numbers(column)
        return strings, values

    def replaced(
        self, width: int, columns: Sequence[int], values: Sequence[Sequence[str]]
    ) -> StarRows:
        """The same rows with other text in some columns; those from ``width`` on are added.

        Parameters
        ----------
        width
            How many columns there are.
        columns
            Which of them change.
        values
            Of each such column, N.

        Raises
        ------
        RaggedRowError
            If a row has more or fewer values than ``width``.
        """
        present = sorted((column, new) for new, column in enumerate(columns) if column < width)
        added = [values[new] for new, column in enumerate(columns) if column >= width]
        lines: list[bytes] = []
        for split in self._split(width):
            rows = range(split.first, split.first + len(split.starts))
            places: list[list[int]] = []
            texts = []
            for column, new in present:
                starts, ends = split.with_quotes(column)
                places += [starts.tolist(), ends.tolist()]
                texts.append([encode(values[new][row]) for row in rows])
            tails = [b"".join(b" " + encode(v[row]) for v in added) for row in rows]
            bounds = zip(split.row_starts.tolist(), *places, split.row_ends.tolist(), strict=True)
            for cuts, tail, *new_texts in zip(bounds, tails, *texts, strict=True):
                # What stands between one new text and the next, in turn with the texts.
                kept = [split.text[a:b] for a, b in zip(cuts[::2], cuts[1::2], strict=True)]
                pieces = [kept[0]]
                for new_text, after in zip(new_texts, kept[1:], strict=True):
                    pieces += [new_text, after]
                lines.append(b"".join([*pieces, tail]))
        return StarRows._of_lines(lines)

    def _compact(self) -> tuple[bytes, NDArray[np.int64], NDArray[np.int64]]:
        """Text that holds these rows and little else, and where they are in it."""
        start, end = int(self._starts[0]), int(self._ends[-1])
        in_order = bool((self._starts[1:] > self._ends[:-1]).all())
        if in_order and end - start < 2 * int((self._ends - self._starts).sum()):
            return self._text[start:end], self._starts - start, self._ends - start
        rows = StarRows._of_lines(self.lines())
        return rows._text, rows._starts, rows._ends

    def _split(self, width: int) -> Iterator[_Split]:
        for first in range(0, len(self), _ROWS_AT_ONCE):
            text, row_starts, row_ends = self[first : first + _ROWS_AT_ONCE]._compact()
            spans = _plain_spans(text, row_starts, row_ends, width)
            if spans is None:
                spans = _quoted_spans(text, row_starts, row_ends, width, first)
            yield _Split(first, text, row_starts, row_ends, *spans)


def _plain_spans(
    text: bytes, row_starts: NDArray[np.int64], row_ends: NDArray[np.int64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Where the values (rows, width) start and end; None if any is in quotes or rows are ragged."""
    characters = np.frombuffer(text, np.uint8)
    inside = np.zeros(len(characters) + 2, bool)
    np.greater(characters, SPACE, out=inside[1:-1])
    edge = inside[1:] != inside[:-1]
    if np.count_nonzero(edge) != 2 * width * len(row_starts):
        return None
    edges = np.flatnonzero(edge)
    starts, ends = edges.reshape(-1, width, 2).transpose(2, 0, 1)
    within = (starts[:, 0] >= row_starts).all() and (ends[:, -1] <= row_ends).all()
    opening = characters[starts]
    quoted = (opening == _QUOTES[0]).any() or (opening == _QUOTES[1]).any()
    return (starts, ends) if within and not quoted else None


def _quoted_spans(
    text: bytes,
    row_starts: NDArray[np.int64],
    row_ends: NDArray[np.int64],
    width: int,
    first: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same for any rows, one by one; quotes around a value are left outside."""
    spans = np.empty((len(row_starts), width, 2), np.int64)
    for row, (start, end) in enumerate(zip(row_starts.tolist(), row_ends.tolist(), strict=True)):
        matches = _TOKEN.finditer(text, start, end)
        found = [match.span() for match in islice(matches, width)]
        more = sum(1 for _ in matches)
        if len(found) + more != width:
            raise RaggedRowError(first + row, len(found) + more)
        spans[row] = [_inside_quotes(text, *span) for span in found]
    return spans[..., 0], spans[..., 1]


def _inside_quotes(text: bytes, start: int, end: int) -> tuple[int, int]:
    quoted = end - start > 1 and text[start] == text[end - 1] and text[start] in _QUOTES
    return (start + 1, end - 1) if quoted else (start, end)


def parse_numbers(
    text: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Numbers (N,) that stand in ``text`` at given places, as ``float`` reads them; NaN if none.

    Plain decimals are read a digit at a time for all at once.
    """
    lengths = ends - starts
    longest = min(int(lengths.max(initial=0)), _EXACT_DIGITS + 2)
    plain = (lengths > 0) & (lengths <= longest)
    characters = np.frombuffer(text, np.uint8)
    whole = np.zeros(len(starts), np.int64)
    digits, places = np.zeros((2, len(starts)), np.int64)
    dotted, negative = np.zeros((2, len(starts)), bool)
    for place in range(longest):
        within = place < lengths
        character = characters[np.minimum(starts + place, len(characters) - 1)]
        digit = character - np.uint8(ord("0"))
        is_digit = within & (digit <= 9)
        is_dot = within & (character == ord(".")) & ~dotted
        known = is_digit | is_dot | ~within
        if place == 0:
            negative = character == ord("-")
            known |= negative | (character == ord("+"))
        plain &= known
        whole = np.where(is_digit, whole * 10 + digit, whole)
        digits += is_digit
        places += is_digit & dotted
        dotted |= is_dot
    plain &= (digits > 0) & (digits <= _EXACT_DIGITS)
    values: NDArray[np.float64] = whole / _POWERS_OF_TEN[np.where(plain, places, 0)]
    values = np.where(negative, -values, values)
    for i in np.flatnonzero(~plain).tolist():
        try:
            values[i] = float(text[starts[i] : ends[i]])
        except ValueError:
            values[i] = np.nan
    return values


def split_line(line: str) -> list[str]:
    """Values of a line as they are written, quotes included."""
    return [decode(token) for token in _TOKEN.findall(encode(line))]


def unquote(value: str) -> str:
    """A value without the quotes around it."""
    raw = encode(value)
    start, end = _inside_quotes(raw, 0, len(raw))
    return decode(raw[start:end])
