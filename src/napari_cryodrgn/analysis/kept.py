"""What has been worked out from the latents of a run and is kept in its folder."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import RunFolderError
from ..particles import replacing
from .latent_array import fingerprint

_FOLDER = "explorer"
_OF = "fingerprint"


def save_arrays(run: Path, name: str, mu: ArrayLike, **arrays: NDArray[Any]) -> None:
    """Write arrays that belong to the latents ``mu`` (n, zdim) to ``explorer/<name>.npz``.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    path = run / _FOLDER / f"{name}.npz"
    content: dict[str, Any] = {_OF: np.array(fingerprint(mu)), **arrays}
    with replacing(path) as temporary:
        path.parent.mkdir(exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, **content)


def load_arrays(run: Path, name: str, mu: ArrayLike) -> dict[str, NDArray[Any]] | None:
    """Arrays of ``explorer/<name>.npz``; None if there are none or they are of other latents.

    Raises
    ------
    RunFolderError
        If the file is damaged.
    """
    path = run / _FOLDER / f"{name}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            if str(content[_OF]) != fingerprint(mu):
                return None
            return {key: content[key] for key in content.files}
    except FileNotFoundError:
        return None
    # What NumPy raises on a file that is not what its name says.
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise damaged(run, name) from error


def damaged(run: Path, name: str) -> RunFolderError:
    """The error for a kept file that is not what it should be."""
    return RunFolderError(
        run,
        f"{_FOLDER}/{name}.npz is damaged.",
        remedy="Delete it, and work it out again.",
    )
