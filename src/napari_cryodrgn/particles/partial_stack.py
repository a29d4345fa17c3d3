"""A stack written over several sittings: what was done before an interruption is kept."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError

from .files import replacing
from .mrc import HEADER_BYTES
from .mrc_write import Statistics, header_bytes


class PartialStack:
    """A stack (N, D, D) of float32 that appears under its name when all of it is there.

    Until then it is a file beside, with a second one that says how far it is whole and what it is
    made of. Opened again for the same ``identity`` it goes on there; those of any other are
    removed. The images may be written in any number of sittings: the file comes out the same.

    Parameters
    ----------
    path
        Of the .mrcs file; replaced by :meth:`publish` if present.
    n, box
        Images, and their edge D in pixels.
    pixel_size
        Å per pixel; None leaves it unknown.
    identity
        What the images are made of, as JSON has it.

    Raises
    ------
    ParticleFileError
        If it cannot be written, here and in all methods.
    """

    def __init__(
        self, path: Path, n: int, box: int, pixel_size: float | None, identity: dict[str, Any]
    ) -> None:
        self.path, self.n, self.box, self.pixel_size = path, n, box, pixel_size
        self.done = 0
        self._identity = identity
        self._statistics = Statistics()
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
        self._data = path.with_name(f".{path.name}.{digest}.part")
        self._state = path.with_name(f".{path.name}.{digest}.part.json")

    def __enter__(self) -> PartialStack:
        for other in self.path.parent.glob(f".{self.path.name}.*.part*"):
            if other not in (self._data, self._state):
                with suppress(OSError):
                    other.unlink()
        try:
            if not self._resume():
                self._data.write_bytes(bytes(HEADER_BYTES))
            self._file = self._data.open("r+b")
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What did not reach the disk was not counted as done.
        with suppress(OSError):
            self._file.close()

    def write(self, images: NDArray[np.float32]) -> None:
        """Append images (n, D, D); they count as done when they have reached the disk."""
        chunk = np.ascontiguousarray(images, dtype="<f4")
        try:
            self._file.seek(HEADER_BYTES + self.done * self._each)
            self._file.write(chunk.data)
            self._sync()
        except OSError as error:
            raise self._unwritable(error) from error
        self._statistics.add(chunk)
        self.done += len(chunk)
        with replacing(self._state) as temporary:
            told = {
                "identity": self._identity,
                "done": self.done,
                "statistics": vars(self._statistics),
            }
            temporary.write_text(json.dumps(told))

    def publish(self) -> None:
        """Give the whole stack its name."""
        shape = self.n, self.box, self.box
        try:
            self._file.seek(0)
            self._file.write(header_bytes(shape, 1, self.pixel_size, 0, self._statistics))
            self._file.truncate(HEADER_BYTES + self.n * self._each)
            self._sync()
            self._file.close()
            os.replace(self._data, self.path)
            self._state.unlink()
        except OSError as error:
            raise self._unwritable(error) from error

    @property
    def _each(self) -> int:
        return 4 * self.box**2

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _resume(self) -> bool:
        """Take up what an earlier sitting left, if it is of the same identity and whole."""
        try:
            told = json.loads(self._state.read_text())
            size = self._data.stat().st_size
            done, statistics = told["done"], told["statistics"]
            whole = 0 < done <= self.n and size >= HEADER_BYTES + done * self._each
            known = statistics.keys() == vars(self._statistics).keys()
            if told["identity"] != self._identity or not (whole and known):
                return False
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        vars(self._statistics).update(statistics)
        self.done = done
        return True

    def _unwritable(self, error: OSError) -> ParticleFileError:
        return ParticleFileError(
            self.path,
            f"It cannot be written: {error.strerror or error}.",
            remedy=f"Make room on the disk and start again: {self.done} of {self.n} images are "
            "kept, and it goes on there.",
        )
