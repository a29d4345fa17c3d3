"""The trajectory of adenylate kinase from closed to open that MDAnalysis tests itself with."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SAVED = "adk_closed_to_open.npz"


def adk_frames(maps: Path) -> NDArray[np.float32]:
    """Heavy atoms of 98 frames, (98, 1656, 3) in Å, each superposed on the first.

    From the package MDAnalysisTests (the extra ``bench``), or an ``.npz`` of it in ``maps``.

    Raises
    ------
    FileNotFoundError
        If neither is there.
    """
    package = find_spec("MDAnalysisTests")
    if package is not None and package.origin is not None:
        data = Path(package.origin).parent / "data"
        heavy = _heavy_atoms(data / "adk.psf")
        return _superposed(_coordinates(data / "adk_dims.dcd", len(heavy))[:, heavy])
    if (maps / _SAVED).is_file():
        with np.load(maps / _SAVED) as archive:
            return np.asarray(archive["xyz"])
    raise FileNotFoundError(f'{maps / _SAVED}: pip install -e ".[bench]" brings the trajectory')


def _heavy_atoms(psf: Path) -> NDArray[np.bool_]:
    """Which atoms of a PSF topology are no hydrogens."""
    title, atoms = psf.read_text().split("!NATOM")[:2]
    n = int(title.split()[-1])
    return np.array([line.split()[4][0] != "H" for line in atoms.splitlines()[1 : n + 1]])


def _coordinates(dcd: Path, n: int) -> NDArray[np.float32]:
    """Frames of a DCD trajectory of ``n`` atoms: x, y and z are Fortran records of their own."""
    raw, offset, columns = dcd.read_bytes(), 0, []
    while offset < len(raw):
        size = int(np.frombuffer(raw, "<i4", 1, offset)[0])
        if size == 4 * n:
            columns.append(np.frombuffer(raw, "<f4", n, offset + 4))
        offset += size + 8
    return np.stack(columns).reshape(-1, 3, n).transpose(0, 2, 1)


def _superposed(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Frames turned and moved onto the first (Kabsch 1976)."""
    centred = frames - frames.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(centred.transpose(0, 2, 1) @ centred[0])
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    superposed: NDArray[np.float32] = centred @ (u @ vt)
    return superposed
