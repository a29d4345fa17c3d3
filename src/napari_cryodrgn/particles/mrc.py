"""MRC files: stacks of images and volumes, mapped and never loaded.

Headers in the field are often wrong, so a file is believed where its numbers make sense and
is otherwise judged by its name, its shape and its length.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError

HEADER_BYTES = 1024
_MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_OTHER_MODES = {3: "complex int16", 4: "complex float32", 101: "4-bit"}
_LARGEST_EDGE = 1 << 16

# The words of the 2014 format that matter here: name, type, offset in bytes.
_WORDS = [
    ("shape_xyz", "3i4", 0),
    ("mode", "i4", 12),
    ("grid_xyz", "3i4", 28),
    ("cell", "3f4", 40),
    ("cell_angles", "3f4", 52),
    ("axes", "3i4", 64),
    ("extrema", "3f4", 76),
    ("space_group", "i4", 88),
    ("extended", "i4", 92),
    ("version", "i4", 108),
    ("origin_xyz", "3f4", 196),
    ("name", "S4", 208),
    ("stamp", "4u1", 212),
    ("rms", "f4", 216),
]
HEADER = np.dtype(
    {
        "names": [name for name, _, _ in _WORDS],
        "formats": [kind for _, kind, _ in _WORDS],
        "offsets": [offset for _, _, offset in _WORDS],
        "itemsize": HEADER_BYTES,
    }
)


@dataclass(frozen=True)
class MrcFile:
    """What the header of an MRC file says; no data are held and the file is not kept open.

    ``shape`` is (sections, rows, columns), ``offset`` the first data byte, ``pixel_size`` Å per
    pixel along x or None where the header has 0 or 1 (which mean that nobody set it), ``axes``
    the header's column, row and section axes as 1 = x, 2 = y, 3 = z.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    pixel_size: float | None
    axes: tuple[int, int, int]
    kind: Literal["stack", "volume"]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def box(self) -> int:
        """Edge of an image in pixels."""
        return self.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of the data block."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def map(self) -> NDArray[Any]:
        """The data as a read-only memory map, shape ``shape``, in the file's own type.

        Raises
        ------
        ParticleFileError
            If the file has gone or has shrunk since its header was read.
        """
        try:
            return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise self._gone(error) from error

    def read(self, sections: NDArray[np.intp]) -> NDArray[Any]:
        """Read some sections (n, rows, columns), in the file's own type.

        Plain reads of neighbours together: for scattered images these are faster than a map, which
        fetches page by page, and a file cut short is an error instead of a crash.

        Raises
        ------
        ParticleFileError
            If the file has gone or has shrunk since its header was read.
        """
        out = np.empty((len(sections), *self.shape[1:]), self.dtype)
        each = out[:1].nbytes
        starts = np.flatnonzero(np.diff(sections, prepend=-2) != 1)
        try:
            with self.path.open("rb") as file:
                for start, stop in pairwise([*starts.tolist(), len(sections)]):
                    file.seek(self.offset + int(sections[start]) * each)
                    wanted = out[start:stop]
                    if file.readinto(wanted.view(np.uint8).data) < wanted.nbytes:
                        raise self._gone("it ends too early")
        except OSError as error:
            raise self._gone(error.strerror) from error
        return out

    def _gone(self, why: object) -> ParticleFileError:
        return ParticleFileError(
            self.path,
            f"It can no longer be read: {why}.",
            remedy="It was there when the set was opened: put it back, or open the set again.",
        )


def open_mrc(path: Path | str) -> MrcFile:
    """Read the header of a stack or volume and check that the data are all there.

    Little- and big-endian files of modes 0, 1, 2, 6 and 12 are understood.

    Raises
    ------
    ParticleFileError
        If the file is missing, is no MRC file, has an unreadable mode, is empty or truncated.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise ParticleFileError(
            path, "There is no such file.", remedy="Check the name and the folder."
        ) from None
    except OSError as error:
        raise ParticleFileError(path, f"It cannot be opened: {error.strerror}.") from error

    header, order = _header(path, raw)
    nx, ny, nz = (int(n) for n in header["shape_xyz"])
    mode = int(header["mode"])
    if mode not in _MODES:
        name = f" ({_OTHER_MODES[mode]})" if mode in _OTHER_MODES else ""
        raise ParticleFileError(
            path,
            f"Its data are of mode {mode}{name}, which cannot be read.",
            field="mode",
            remedy="Convert it to mode 2 (float32); modes 0, 1, 2, 6 and 12 can be read.",
        )
    if nz == 0:
        raise ParticleFileError(
            path, "It holds no images.", field="nz", remedy="Write or copy it again."
        )
    dtype = np.dtype(_MODES[mode]).newbyteorder(order)
    offset = HEADER_BYTES + int(header["extended"])
    expected = offset + nx * ny * nz * dtype.itemsize
    if size < expected:
        raise ParticleFileError(
            path,
            f"It is truncated: {nz} x {ny} x {nx} of {dtype.name} take {expected} bytes, "
            f"but {size} are there.",
            remedy="Copy it again, or wait until it is written.",
        )
    kind: Literal["stack", "volume"] = "stack"
    if path.suffix.lower() != ".mrcs" and nx == ny == nz and nz > 1:
        # A stack has one section per cell (mz = 1); volumes of old programs have space group 0.
        if int(header["space_group"]) != 0 or int(header["grid_xyz"][2]) == nz:
            kind = "volume"
    first, second, third = (int(axis) for axis in header["axes"])
    axes = (first, second, third) if {first, second, third} == {1, 2, 3} else (1, 2, 3)
    return MrcFile(path, (nz, ny, nx), dtype, offset, _pixel_size(header), axes, kind)


def open_stack(path: Path | str) -> MrcFile:
    """Open a file as a stack of square images, whatever its name and header call it.

    Raises
    ------
    ParticleFileError
        As :func:`open_mrc`, or if the images are not square or of an odd size.
    """
    stack = open_mrc(path)
    _, ny, nx = stack.shape
    if nx != ny:
        raise ParticleFileError(
            path,
            f"Its images are {nx} x {ny} pixels; particle images must be square.",
            field="nx, ny",
            remedy="Extract the particles again in a square box.",
        )
    if nx % 2:
        raise ParticleFileError(
            path,
            f"Its images are {nx} pixels wide; the box must be even.",
            field="nx",
            remedy=f"Crop or rescale the images to {nx - 1} or {nx + 1} pixels.",
        )
    return stack


def mrc_kind(path: Path | str) -> Literal["stack", "volume"]:
    """Whether a file is best taken as a stack of images or as a volume.

    ``.mrcs`` is a stack. Anything else is a volume if it is a cube that its header does not call
    a stack. :func:`open_stack` and :func:`read_volume` take a file as told.

    Raises
    ------
    ParticleFileError
        As :func:`open_mrc`.
    """
    return open_mrc(path).kind


@dataclass(frozen=True, eq=False)
class Volume:
    """A density map: ``data`` (z, y, x) float32, ``pixel_size`` in Å or None if unknown."""

    data: NDArray[np.float32]
    pixel_size: float | None


def read_volume(path: Path | str) -> Volume:
    """Load a file as a volume, whatever its name and header call it.

    Raises
    ------
    ParticleFileError
        As :func:`open_mrc`, or if there is a single section.
    """
    file = open_mrc(path)
    if len(file) == 1:
        raise ParticleFileError(
            path, "It is a single image, not a volume.", remedy="Open it as particles."
        )
    column, row, section = file.axes
    # np order is (section, row, column); wanted is (z, y, x) = axes (3, 2, 1).
    stored = (section, row, column)
    data = np.transpose(file.map(), [stored.index(axis) for axis in (3, 2, 1)])
    return Volume(np.ascontiguousarray(data, dtype=np.float32), file.pixel_size)


def _header(path: Path, raw: bytes) -> tuple[Any, Literal["<", ">"]]:
    """The header in the byte order in which its numbers make sense; machine stamps may lie."""
    if len(raw) == HEADER_BYTES:
        orders: tuple[Literal["<", ">"], ...] = ("<", ">")
        for order in orders:
            header = np.frombuffer(raw, HEADER.newbyteorder(order))[0]
            nx, ny, nz = (int(n) for n in header["shape_xyz"])
            sensible = 0 < nx <= _LARGEST_EDGE and 0 < ny <= _LARGEST_EDGE and nz >= 0
            known = int(header["mode"]) in {*_MODES, *_OTHER_MODES} or header["name"] == b"MAP "
            if sensible and known and 0 <= int(header["mode"]) < 256 and header["extended"] >= 0:
                return header, order
    raise ParticleFileError(
        path,
        "It is not an MRC file: its header makes no sense.",
        remedy="Check that it is the file you meant and that it was copied whole.",
    )


def _pixel_size(header: Any) -> float | None:
    cell, grid = float(header["cell"][0]), int(header["grid_xyz"][0])
    size = cell / grid if grid > 0 else 0.0
    unset = not np.isfinite(size) or size <= 0 or abs(size - 1) < 1e-6
    return None if unset else size
