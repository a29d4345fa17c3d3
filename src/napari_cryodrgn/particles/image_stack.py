"""The images of a particle set, in one stack file or many, read only when asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import ParticleFileError

from .mrc import MrcFile


@dataclass(frozen=True, eq=False)
class ImageStack:
    """N square images of one size, each somewhere in one of several stack files.

    No file stays open between reads, so thousands of stacks are no burden, and threads and
    processes can share a stack. It can be indexed like an array (N, D, D) of float32, which reads
    just the images asked for.

    Attributes
    ----------
    files
        The stacks.
    file_index
        Which of them holds each image, (N,).
    image_index
        Where in it, from 0, (N,).
    """

    files: tuple[MrcFile, ...] = field(repr=False)
    file_index: NDArray[np.intp]
    image_index: NDArray[np.intp]

    @classmethod
    def whole(cls, file: MrcFile) -> ImageStack:
        """All images of one file, in order."""
        return cls((file,), np.zeros(len(file), np.intp), np.arange(len(file)))

    def __len__(self) -> int:
        return len(self.image_index)

    @property
    def box(self) -> int:
        """Edge D of the images in pixels."""
        return self.files[0].box

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, D, D)."""
        return len(self), self.box, self.box

    @property
    def ndim(self) -> int:
        """3."""
        return 3

    @property
    def size(self) -> int:
        """Pixels in all."""
        return len(self) * self.box**2

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """float32, whatever the files hold."""
        return np.dtype(np.float32)

    def select(self, indices: ArrayLike | slice) -> ImageStack:
        """The images ``indices`` (integers, a slice or a mask), in that order."""
        index = as_index(indices, len(self))
        return ImageStack(self.files, self.file_index[index], self.image_index[index])

    def read(self, indices: ArrayLike | slice) -> NDArray[np.float32]:
        """Read images, shape (n, D, D), in the order of ``indices``.

        Each file is opened once and read in its own order.

        Raises
        ------
        ParticleFileError
            If a file has gone, or an image has pixels that are not finite numbers.
        IndexError
            If an index is out of range.
        """
        index = as_index(indices, len(self))
        files, images = self.file_index[index], self.image_index[index]
        out = np.empty((len(index), self.box, self.box), np.float32)
        order = np.lexsort((images, files))
        for group in np.split(order, np.flatnonzero(np.diff(files[order])) + 1):
            if len(group):
                out[group] = self.files[files[group[0]]].read(images[group])
        if not np.isfinite(out).all():
            bad = int(np.flatnonzero(~np.isfinite(out).all(axis=(1, 2)))[0])
            raise ParticleFileError(
                self.files[files[bad]].path,
                f"Image {images[bad] + 1} has pixels that are NaN or infinite.",
                remedy="Leave that particle out, or extract it again.",
            )
        return out

    @property
    def array(self) -> NDArray[Any] | ImageStack:
        """An array-like (N, D, D) for a viewer, nothing of it loaded.

        A memory map in the file's own type where the images are neighbours in one file, else
        this object.
        """
        steps = np.diff(self.image_index)
        one_file = len(self) > 0 and (self.file_index == self.file_index[0]).all()
        if not one_file or (steps != 1).any():
            return self
        file = self.files[self.file_index[0]]
        if not file.dtype.isnative:
            return self
        start = int(self.image_index[0])
        neighbours: NDArray[Any] = file.map()[start : start + len(self)]
        return neighbours

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        keys = key if isinstance(key, tuple) else (key,)
        if not keys or keys[0] is Ellipsis:
            keys = (slice(None), *keys)
        if isinstance(keys[0], (int, np.integer)):
            image: NDArray[np.float32] = self.read([int(keys[0])])[(0, *keys[1:])]
            return image
        images: NDArray[np.float32] = self.read(keys[0])[(slice(None), *keys[1:])]
        return images

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        return self.read(slice(None)).astype(dtype or np.float32, copy=False)


def as_index(indices: ArrayLike | slice, n: int) -> NDArray[np.intp]:
    """Plain positions (k,) from integers, a slice or a mask over n items.

    Raises
    ------
    IndexError
        If one is out of range.
    """
    if isinstance(indices, slice):
        return np.arange(n)[indices]
    index = np.atleast_1d(np.asarray(indices))
    positions: NDArray[np.intp] = np.arange(n)[index if index.size else index.astype(np.intp)]
    return positions
