"""The text of cryoSPARC's .cs files: NumPy's array format, with every byte kept as it is.

Read here and not by NumPy, because the header of a file that goes back must stay as it was, and
because a hostile one must do nothing.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError

from .files import read_whole

_MAGIC = b"\x93NUMPY"
# Names and types of some hundred fields take a few thousand bytes.
_LARGEST_HEADER = 1 << 16
_TYPE = re.compile(r"[<>|=]?[?biufSU][0-9]*")
_SHAPE = re.compile(rb"('shape'\s*:\s*\()\s*[0-9]+")
_REMEDY = "Check that it is a file of cryoSPARC's and that it was copied whole."


@dataclass(frozen=True, eq=False)
class CsFile:
    """One .cs file: a row per particle, fields such as ``blob/path``.

    Attributes
    ----------
    path
        The file.
    header
        Its bytes before the data.
    data
        (N,) structured, read-only.
    """

    path: Path
    header: bytes = field(repr=False)
    data: NDArray[Any] = field(repr=False)

    def __len__(self) -> int:
        return len(self.data)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of its fields."""
        return self.data.dtype.names or ()

    def contents(self, data: NDArray[Any]) -> bytes:
        """Contents of a file like this one with other rows ``data``, (n,) of any fields.

        Byte for byte this file's own if the rows are.
        """
        if data.dtype == self.data.dtype:
            header = _SHAPE.sub(rb"\g<1>" + str(len(data)).encode(), self.header, count=1)
            # The padding before the line's end takes up the difference in digits.
            text = header[:-1].rstrip(b" ")
            header = text.ljust(len(self.header) - 1) + b"\n"
        else:
            header = b""
        if len(header) != len(self.header):
            header = _fresh_header(data)
        return header + np.ascontiguousarray(data).tobytes()


def read_cs_file(path: Path | str) -> CsFile:
    """Read a .cs file; its rows are not copied.

    Raises
    ------
    ParticleFileError
        If it cannot be opened, is no structured array of plain numbers and text, or is cut short.
    """
    path = Path(path)
    raw = read_whole(path)
    start, end = _header_span(path, raw)
    dtype, n = _layout(path, raw[start:end])
    if len(raw) - end < n * dtype.itemsize:
        raise ParticleFileError(
            path,
            f"It is truncated: {n} particles take {n * dtype.itemsize} bytes, but "
            f"{len(raw) - end} are there.",
            remedy="Copy it again.",
        )
    if n == 0:
        raise ParticleFileError(
            path, "It has no rows.", remedy="Select some particles and export them again."
        )
    return CsFile(path, raw[:end], np.frombuffer(raw, dtype, n, end))


def _header_span(path: Path, raw: bytes) -> tuple[int, int]:
    """Where the text of the header starts and ends."""
    if raw.startswith(_MAGIC) and len(raw) >= 12 and raw[6] in (1, 2, 3):
        start = 10 if raw[6] == 1 else 12
        end = start + int.from_bytes(raw[8:start], "little")
        if end - start <= _LARGEST_HEADER and end <= len(raw):
            return start, end
    raise ParticleFileError(
        path, "It is not a .cs file: its header makes no sense.", remedy=_REMEDY
    )


def _layout(path: Path, header: bytes) -> tuple[np.dtype[Any], int]:
    """Fields and number of rows that a header tells."""
    # NumPy of old wrote 2019L for 2019.
    text = re.sub(r"\b([0-9]+)L\b", r"\1", header.decode("latin1"))
    try:
        told = ast.literal_eval(text.strip())
        fields, shape, columns_first = told["descr"], told["shape"], told["fortran_order"]
        if not isinstance(fields, list):
            raise ParticleFileError(
                path,
                f"It is an array of {fields!r:.40}, not a table of particles.",
                field="descr",
                remedy=_REMEDY,
            )
        (n,) = shape
        if columns_first is not False or type(n) is not int or n < 0:
            raise ValueError("not a row of particles")
        return _fields(path, fields), n
    except (
        ValueError, TypeError, SyntaxError, LookupError, ArithmeticError, AttributeError,
        MemoryError, RecursionError,
    ) as error:  # fmt: skip
        raise ParticleFileError(
            path, f"Its header cannot be read: {error!s:.80}.", remedy=_REMEDY
        ) from error


def _fields(path: Path, fields: list[Any]) -> np.dtype[Any]:
    for entry in fields:
        name, kind = entry[0], entry[1]
        if not (isinstance(name, str) and isinstance(kind, str) and _TYPE.fullmatch(kind)):
            raise ParticleFileError(
                path,
                f"Its values are of type {kind!r:.40}; only numbers and text are read.",
                field=f"{name!s:.60}",
                remedy=_REMEDY,
            )
    dtype = np.dtype([tuple(entry) for entry in fields])
    if dtype.itemsize == 0:
        raise ValueError("rows of no bytes")
    return dtype


def _fresh_header(data: NDArray[Any]) -> bytes:
    descr = np.lib.format.dtype_to_descr(data.dtype)
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': ({len(data)},), }}".encode()
    # Data begin at a multiple of 64 bytes.
    size = -(-(10 + len(text) + 1) // 64) * 64 - 10
    return _MAGIC + b"\x01\x00" + size.to_bytes(2, "little") + text.ljust(size - 1) + b"\n"
