"""Pickles of plain data: NumPy arrays, numbers, tuples and lists.

A pickle is a program for a small machine that can call anything, and Python's own machine believes
every length and position that it is told. This one knows only what plain data need, calls nothing,
and takes memory only for bytes that are there.
"""

from __future__ import annotations

import pickletools
import re
import struct
from array import array
from collections.abc import Sequence
from enum import Enum
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError

# Twice what Python's pickles hold at a time when they list numbers, and far more arrays and tuples
# than any of cryoDRGN's files has; a hostile one gets no further.
_MOST_OBJECTS = 2000
_LONGEST_TEXT = 200
_MOST_AXES = 8
_ITEM = re.compile(r"[<>|=]?([iu][1248]|f[248])")


class _Name(Enum):
    """What NumPy's pickles call to rebuild arrays. Here they are names, and nothing is called."""

    NDARRAY = "ndarray"
    DTYPE = "dtype"
    RECONSTRUCT = "_reconstruct"
    FROMBUFFER = "_frombuffer"


# As NumPy 1 and 2 write them.
_NAMES = {
    ("numpy", "ndarray"): _Name.NDARRAY,
    ("numpy", "dtype"): _Name.DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _Name.FROMBUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Name.FROMBUFFER,
}
# Instructions by their bytes. Numbers with their format:
_NUMBERS = {"K": "<B", "M": "<H", "J": "<i", "G": ">d"}
# Bytes and texts with the format of their length:
_BYTES = {"C": "<B", "B": "<I", "\x8e": "<Q", "\x96": "<Q"}
_TEXTS = {"\x8c": "<B", "X": "<I", "\x8d": "<Q"}
_CONSTANTS = {"N": None, "\x88": True, "\x89": False, ")": ()}
_TUPLES = {"\x85": 1, "\x86": 2, "\x87": 3}
_PUT = {"q": "<B", "r": "<I"}
_GET = {"h": "<B", "j": "<I"}


class _Type:
    """A type of numbers; its byte order comes after it."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype


class _Array:
    """An array; its content comes after it."""

    value: NDArray[Any] | None = None


class _List:
    """A list; whole numbers, of which there may be millions, take 8 bytes each."""

    def __init__(self) -> None:
        self.numbers = array("q")
        self.others: list[Any] = []

    def extend(self, items: Sequence[Any]) -> None:
        if not self.others and all(type(item) is int for item in items):
            self.numbers.extend(items)
        elif self.numbers:
            raise ValueError("numbers and other things in one list")
        else:
            self.others += [_finished(item) for item in items]


class PlainUnpickler:
    """Reads the pickles that stand one after the other in ``raw``; ``at`` is the next byte.

    Arrays are views of ``raw``, so they cannot be written to. A list of whole numbers comes as an
    array.
    """

    def __init__(self, path: Path, raw: bytes) -> None:
        self.at = 0
        self._path = path
        self._raw = memoryview(raw)
        self._objects = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The next pickle's value.

        Raises
        ------
        ParticleFileError
            If the file is damaged, or holds anything but plain data.
        """
        self._stack, self._marks, self._memo = [], [], {}
        start = self.at
        try:
            while (code := chr(self._take(1)[0])) != ".":
                start = self.at - 1
                self._step(code)
                if max(len(self._stack), len(self._marks), len(self._memo)) > _MOST_OBJECTS:
                    raise ValueError("far more objects than in a file of arrays")
            self._count()
            return _finished(self._stack.pop())
        except (ValueError, LookupError, TypeError, OverflowError, BufferError) as error:
            ours = type(error) is ValueError
            raise ParticleFileError(
                self._path,
                "It is damaged or not a pickle of arrays: "
                f"{error if ours else 'nothing sensible'} at byte {start}.",
                remedy="Check that it is the file you meant, and copy it again.",
            ) from error

    def _step(self, code: str) -> None:
        stack = self._stack
        if code in _NUMBERS:
            stack.append(self._number(_NUMBERS[code]))
        elif code == "\x8a":
            stack.append(self._long(self._number("<B")))
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _BYTES:
            stack.append(self._take(self._number(_BYTES[code])))
        elif code in _TEXTS:
            stack.append(self._text(self._number(_TEXTS[code])))
        elif code in _TUPLES:
            self._tuple(self._pop(_TUPLES[code]))
        elif code in _PUT:
            self._memo[self._number(_PUT[code])] = stack[-1]
        elif code in _GET:
            stack.append(self._memo[self._number(_GET[code])])
        else:
            self._other(code)

    def _other(self, code: str) -> None:
        stack = self._stack
        match code:
            case "\x80":  # the protocol, and how the bytes are framed: no matter
                self._take(1)
            case "\x95":
                self._take(8)
            case "\x94":
                self._memo[len(self._memo)] = stack[-1]
            case "(":
                self._marks.append(len(stack))
            case "t":
                self._tuple(self._pop_to_mark())
            case "]":
                self._count()
                stack.append(_List())
            case "a" | "e":
                items = self._pop(1) if code == "a" else self._pop_to_mark()
                if not isinstance(stack[-1], _List):
                    raise TypeError("items without a list")
                stack[-1].extend(items)
            case "c" | "i":
                self._name(self._line(), self._line())
            case "\x93":
                self._name(*self._pop(2))
            case "R":
                self._count()
                stack.append(_called(*self._pop(2)))
            case "b":
                _fill(stack[-2], stack[-1])
                stack.pop()
            case _:
                names = [known.name for known in pickletools.opcodes if known.code == code]
                what = f"the instruction {names[0]}, which plain data do not have"
                raise ValueError(what if names else "no instruction")

    def _take(self, n: int) -> memoryview:
        if n > len(self._raw) - self.at:
            raise ValueError("it ends too early")
        self.at += n
        return self._raw[self.at - n : self.at]

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _long(self, n: int) -> int:
        if n > 8:
            raise ValueError("a number of more than 64 bits")
        return int.from_bytes(self._take(n), "little", signed=True)

    def _text(self, n: int) -> str:
        if n > _LONGEST_TEXT:
            raise ValueError("a long text")
        return bytes(self._take(n)).decode()

    def _line(self) -> str:
        here = bytes(self._raw[self.at : self.at + _LONGEST_TEXT])
        return self._text(here.find(b"\n") + 1)[:-1]

    def _pop(self, n: int) -> list[Any]:
        if n > len(self._stack):
            raise ValueError("values are missing")
        items = self._stack[-n:]
        del self._stack[-n:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _tuple(self, items: list[Any]) -> None:
        self._count()
        self._stack.append(tuple(_finished(item) for item in items))

    def _count(self) -> None:
        self._objects += 1
        if self._objects > _MOST_OBJECTS:
            raise ValueError("far more objects than in a file of arrays")

    def _name(self, module: Any, name: Any) -> None:
        if not re.fullmatch(r"\w+(\.\w+)*", f"{module}.{name}"):
            raise ValueError("a name that is none")
        if (module, name) not in _NAMES:
            raise ParticleFileError(
                self._path,
                f"It is not plain data: it would run {module}.{name}. It was refused and nothing "
                "of it was run.",
                field=f"{module}.{name}",
                remedy="Use this file only if you trust its source, in the program that wrote it.",
            )
        self._stack.append(_NAMES[module, name])


def _finished(value: Any) -> Any:
    """A value that nothing is added to any more."""
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        return value.value
    if isinstance(value, _List):
        return np.frombuffer(value.numbers, np.int64) if value.numbers else value.others
    return value


def _called(name: Any, arguments: Any) -> Any:
    """What NumPy's functions of these names would give."""
    match name, arguments:
        case _Name.RECONSTRUCT, (_Name.NDARRAY, _, _):
            return _Array()
        case _Name.DTYPE, (str(text), *_):
            if not _ITEM.fullmatch(text):
                raise ValueError(f"an array of {text!r}, not of numbers")
            return _Type(np.dtype(text))
        case _Name.FROMBUFFER, (
            memoryview() as content,
            _Type() as kind,
            shape,
            "C" | "F" as order,
        ):
            return _array(content, kind, shape, order)
    raise ValueError("a call that makes no array")


def _fill(target: Any, state: Any) -> None:
    """Set a type's byte order or an array's content."""
    match target, state:
        case _Type(), (3 | 4, "<" | ">" | "|" | "=" as order, None, None, None, -1, -1, 0, *_):
            target.dtype = target.dtype.newbyteorder(order)
        case _Array(value=None), (1, shape, _Type() as kind, fortran, memoryview() as content):
            target.value = _array(content, kind, shape, "F" if fortran else "C")
        case _:
            raise ValueError("a content that is no array's")


def _array(content: memoryview, kind: _Type, shape: Any, order: Any) -> NDArray[Any]:
    whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not whole or len(shape) > _MOST_AXES:
        raise ValueError("an array without a proper shape")
    if prod(shape) * kind.dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {shape} in {len(content)} bytes")
    return np.frombuffer(content, kind.dtype).reshape(shape, order=order)
