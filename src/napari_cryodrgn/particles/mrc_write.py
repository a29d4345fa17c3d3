"""Writing MRC files: float32 volumes and stacks, whole or not at all."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError

from .files import replacing
from .mrc import HEADER, HEADER_BYTES


def write_volume(
    path: Path | str,
    data: NDArray[Any],
    pixel_size: float | None,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write a volume (z, y, x) as float32, whole or not at all.

    Parameters
    ----------
    path
        Of the .mrc file; replaced if present.
    data
        Densities, shape (z, y, x).
    pixel_size
        Å per voxel; None leaves it unknown.
    origin
        Where the first voxel is, (x, y, z) in Å.

    Raises
    ------
    ParticleFileError
        If ``data`` has not three axes, or the file cannot be written.
    """
    volume = np.ascontiguousarray(data, dtype="<f4")
    if volume.ndim != 3 or not volume.size:
        raise ParticleFileError(path, f"A volume has axes (z, y, x), but this is {volume.shape}.")
    statistics = Statistics()
    statistics.add(volume)
    header = header_bytes(volume.shape, volume.shape[0], pixel_size, 1, statistics, origin)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        file.write(volume.data)


class StackWriter:
    """Write a stack (N, D, D) of float32 images chunk by chunk.

    The file appears under its name when the ``with`` block ends well; after an exception nothing
    is left and a file of that name is as it was.

    Parameters
    ----------
    path
        Of the .mrcs file; replaced if present.
    box
        Edge D of the images in pixels, even.
    pixel_size
        Å per pixel; None leaves it unknown.
    """

    def __init__(self, path: Path | str, box: int, pixel_size: float | None = None) -> None:
        if box < 2 or box % 2:
            raise ParticleFileError(path, f"The box must be even and positive, not {box}.")
        self.path = Path(path)
        self.box = box
        self.pixel_size = pixel_size
        self.written = 0
        self._statistics = Statistics()
        self._resources = ExitStack()

    def __enter__(self) -> StackWriter:
        with ExitStack() as resources:
            temporary = resources.enter_context(replacing(self.path))
            self._file = resources.enter_context(temporary.open("wb"))
            self._file.write(bytes(HEADER_BYTES))
            self._resources = resources.pop_all()
        return self

    def write(self, chunk: NDArray[Any]) -> None:
        """Append images, shape (n, D, D).

        Raises
        ------
        ParticleFileError
            If the chunk has another shape.
        OSError
            If the disk is full; the ``with`` block turns it into a ParticleFileError.
        """
        images = np.ascontiguousarray(chunk, dtype="<f4")
        if images.ndim != 3 or images.shape[1:] != (self.box, self.box):
            raise ParticleFileError(
                self.path, f"Expected images (n, {self.box}, {self.box}), got {images.shape}."
            )
        self._file.write(images.data)
        self._statistics.add(images)
        self.written += len(images)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._resources.__exit__(kind, error, traceback)
            return
        with self._resources:
            if not self.written:
                raise ParticleFileError(self.path, "No image was written to it.")
            shape = (self.written, self.box, self.box)
            self._file.seek(0)
            self._file.write(header_bytes(shape, 1, self.pixel_size, 0, self._statistics))


class Statistics:
    """Running extrema, mean and deviation for the header."""

    def __init__(self) -> None:
        self.low, self.high, self.total, self.squares, self.count = np.inf, -np.inf, 0.0, 0.0, 0

    def add(self, values: NDArray[np.float32]) -> None:
        """Take in some values."""
        if not values.size:
            return
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        self.total += float(values.sum(dtype=np.float64))
        self.squares += float(np.square(values, dtype=np.float64).sum())
        self.count += values.size

    @property
    def mean(self) -> float:
        """Of all values so far."""
        return self.total / self.count

    @property
    def deviation(self) -> float:
        """Standard deviation of all values so far."""
        return float(np.sqrt(max(self.squares / self.count - self.mean**2, 0.0)))


def header_bytes(
    shape: tuple[int, ...],
    sections: int,
    pixel_size: float | None,
    space_group: int,
    statistics: Statistics,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> bytes:
    """Header of a file of ``shape`` (sections, rows, columns) with ``sections`` in each cell."""
    nz, ny, nx = shape
    header = np.zeros((), HEADER.newbyteorder("<"))
    header["shape_xyz"] = nx, ny, nz
    header["mode"] = 2
    header["grid_xyz"] = nx, ny, sections
    header["cell"] = np.array([nx, ny, sections]) * (pixel_size or 0.0)
    header["cell_angles"] = 90
    header["axes"] = 1, 2, 3
    header["extrema"] = statistics.low, statistics.high, statistics.mean
    header["space_group"] = space_group
    header["version"] = 20140
    header["origin_xyz"] = origin
    header["name"] = b"MAP "
    header["stamp"] = 0x44, 0x44, 0, 0
    header["rms"] = statistics.deviation
    return header.tobytes()
