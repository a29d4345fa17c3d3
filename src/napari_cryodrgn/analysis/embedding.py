"""UMAP of the latents: computed aside, kept with the run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float32

from ..errors import CryodrgnError
from .kept import damaged, load_arrays, save_arrays
from .latent_array import checked, sampled
from .run_files import Array

_FILE = "umap"
_SCRIPT = Path(__file__).with_name("umap_process.py")
_FEWEST = 16  # UMAP looks at 15 neighbours of each
_INTERVAL = 0.1  # seconds


def umap_embedding(
    mu: Float32[Array, "n zdim"], sample: int = 50_000, seed: int = 0
) -> Iterator[float | Float32[Array, "n 2"]]:
    """Fractions done, about ten times a second, and at last the coordinates (n, 2).

    UMAP sees at most ``sample`` particles; the others are put among their nearest neighbours of
    those. It works in a process of its own, which ends when the generator is closed.

    Parameters
    ----------
    mu
        Latents (n, zdim).
    sample
        The most particles UMAP is given: its time grows with them.
    seed
        The same seed gives the same coordinates.

    Raises
    ------
    CryodrgnError
        If umap-learn is not installed or fails, there are too few particles, or some latents are
        not finite.
    """
    mu = checked(mu)
    if min(len(mu), sample) < _FEWEST:
        raise CryodrgnError(
            f"UMAP needs at least {_FEWEST} particles, got {min(len(mu), sample)}. "
            "Look at the latents or their principal axes instead."
        )
    if find_spec("umap") is None:
        raise CryodrgnError(
            "UMAP is not installed. Install it, and start napari again: "
            'pip install "napari-cryodrgn[umap]"'
        )
    with TemporaryDirectory(prefix="napari-cryodrgn-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            np.save(folder / "mu.npy", mu)
            np.save(folder / "rows.npy", sampled(len(mu), sample, seed))
            process = _started(folder, seed)
        except OSError as error:
            raise CryodrgnError(f"UMAP cannot be started: {error}.") from error
        try:
            yield from _fractions(process, folder / "progress")
        finally:
            process.kill()
            process.wait()
        yield _result(folder, process.returncode, len(mu))


def save_umap(
    folder: Path, mu: Float32[Array, "n zdim"], coordinates: Float32[Array, "n 2"]
) -> None:
    """Keep the UMAP coordinates of the latents ``mu`` in a run folder.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    save_arrays(folder, _FILE, mu, coordinates=coordinates)


def load_umap(folder: Path, mu: Float32[Array, "n zdim"]) -> Float32[Array, "n 2"] | None:
    """UMAP coordinates kept in a run folder; None if there are none or they are of other latents.

    Raises
    ------
    RunFolderError
        If the file is damaged.
    """
    found = load_arrays(folder, _FILE, mu)
    if found is None:
        return None
    coordinates = found.get("coordinates")
    if (
        coordinates is None
        or coordinates.shape != (len(mu), 2)
        or coordinates.dtype.kind != "f"
        or not np.isfinite(coordinates).all()
    ):
        raise damaged(folder, _FILE)
    return coordinates.astype(np.float32)


def _started(folder: Path, seed: int) -> subprocess.Popen[bytes]:
    # -P: the script's neighbours must not hide modules of the same names.
    command = [sys.executable, "-P", str(_SCRIPT), str(folder), str(seed)]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )


def _fractions(process: subprocess.Popen[bytes], path: Path) -> Iterator[float]:
    """What the process has reported, until it ends; the same again while there is nothing new."""
    while True:
        lines = path.read_text(encoding="ascii").split("\n")[:-1] if path.is_file() else []
        yield float(lines[-1]) if lines else 0.0
        try:
            process.wait(_INTERVAL)
        except subprocess.TimeoutExpired:
            continue
        return


def _result(folder: Path, status: int, n: int) -> Float32[Array, "n 2"]:
    """Coordinates that the process has left."""
    if status:
        log = (folder / "log").read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(log) if line.strip()), "")
        if status < 0:
            last = f"the system ended it (signal {-status}), perhaps for want of memory"
        raise CryodrgnError(f"UMAP failed: {last or f'exit status {status}'}.")
    coordinates: Array = np.load(folder / "umap.npy")
    if not np.isfinite(coordinates).all():
        raise CryodrgnError(f"UMAP failed: it found no place for some of the {n} particles.")
    return coordinates
