"""Where a preprocessed set came from, so that results can go back to the file it was made of."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import ParticleFileError

from .files import replacing
from .image_stack import as_index

_LARGEST_PIXEL = 1e9
_REMEDY = "Delete it: the set can then still be used, but not be traced to its original file."


@dataclass(frozen=True, eq=False)
class Origin:
    """The file that N preprocessed particles were made of.

    Attributes
    ----------
    path
        The original file.
    rows
        (N,) row of each particle in it, or image if it is a stack, from 0.
    box
        Of the original images in pixels.
    pixel_size
        Of the original images in Å, None if unknown.
    """

    path: Path
    rows: NDArray[np.intp]
    box: int
    pixel_size: float | None

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: ArrayLike | slice) -> Origin:
        """That of some particles (integers, a slice or a mask), in that order.

        Raises
        ------
        IndexError
            If an index is out of range.
        """
        return replace(self, rows=self.rows[as_index(indices, len(self))])


def origin_path(star: Path | str) -> Path:
    """Name of the small file that stands beside a preprocessed STAR file."""
    return Path(star).with_suffix(".origin.json")


def write_origin(star: Path | str, origin: Origin) -> None:
    """Write the origin of a STAR file's particles beside it, whole or not at all.

    The original file is named both from the STAR file's folder and from the root, so that it is
    found again after both have been moved together, or the STAR file alone.

    Raises
    ------
    ParticleFileError
        If it cannot be written.
    """
    path = origin_path(star)
    original = Path(origin.path).resolve()
    try:
        relative = Path(os.path.relpath(original, path.absolute().parent.resolve())).as_posix()
    except ValueError:  # two drives
        relative = str(original)
    text = json.dumps(
        {
            "file": relative,
            "absolute": str(original),
            "box": origin.box,
            "pixel_size": origin.pixel_size,
            "rows": origin.rows.tolist(),
        }
    )
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_origin(star: Path | str) -> Origin | None:
    """The origin of a STAR file's particles, None if it has none beside it.

    The original file itself need not be there.

    Raises
    ------
    ParticleFileError
        If the small file beside it is damaged.
    """
    path = origin_path(star)
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ParticleFileError(path, f"It cannot be opened: {error.strerror}.") from error
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParticleFileError(path, f"It is damaged: {error}.", remedy=_REMEDY) from error
    if not isinstance(told, dict):
        raise _wrong(path, "file", "a table of names and values", told)
    names = told.get("file"), told.get("absolute")
    near, far = names
    if not (isinstance(near, str) and isinstance(far, str) and "\0" not in near + far):
        raise _wrong(path, "file", "two names", names)
    beside = Path(os.path.normpath(path.absolute().parent / near))
    return Origin(
        beside if beside.is_file() else Path(far),
        _rows(path, told.get("rows")),
        _box(path, told.get("box")),
        _pixel_size(path, told.get("pixel_size")),
    )


def _rows(path: Path, value: Any) -> NDArray[np.intp]:
    plain = isinstance(value, list) and all(
        type(row) is int and 0 <= row < 1 << 62 for row in value
    )
    if not plain:
        raise _wrong(path, "rows", "whole numbers from 0", value)
    return np.array(value, np.intp)


def _box(path: Path, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise _wrong(path, "box", "a number of pixels", value)
    return value


def _pixel_size(path: Path, value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 < value < _LARGEST_PIXEL:
        raise _wrong(path, "pixel_size", "a positive number or null", value)
    return float(value)


def _wrong(path: Path, field: str, wanted: str, found: Any) -> ParticleFileError:
    return ParticleFileError(
        path, f"Expected {wanted}, found {str(found)[:60]}.", field=field, remedy=_REMEDY
    )
