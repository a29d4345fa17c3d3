"""Files read whole, and files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from napari_cryodrgn.errors import ParticleFileError


def read_whole(path: Path) -> bytes:
    """Contents of a file.

    Raises
    ------
    ParticleFileError
        If it is missing or cannot be opened.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ParticleFileError(
            path, "There is no such file.", remedy="Check the name and the folder."
        ) from None
    except OSError as error:
        raise ParticleFileError(path, f"It cannot be opened: {error.strerror}.") from error


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to, and rename it to ``path`` at the end.

    After an exception the temporary file is removed and ``path`` is as it was.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise ParticleFileError(
            path,
            f"It cannot be written: {error.strerror or error}.",
            remedy="Choose another folder, or make room on the disk.",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
