"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from napari_cryodrgn.errors import ParticleFileError


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
