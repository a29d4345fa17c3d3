"""cryoDRGN's pickles: poses, latents, CTF parameters and indices.

A pickle can run any program when it is loaded. These are read by :mod:`.plain_pickle`, which knows
NumPy arrays and plain containers and refuses everything else.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.imaging import CTFParameters

from .files import read_whole, replacing
from .optics import common_pixel_size, ctf_at
from .particle_set import Poses
from .plain_pickle import PlainUnpickler


def read_pickles(path: Path | str) -> list[Any]:
    """All objects of a file of one or more consecutive pickles of arrays and tuples.

    The arrays cannot be written to. A list of whole numbers comes as an array.

    Raises
    ------
    ParticleFileError
        If the file is missing or damaged, or holds anything else.
    """
    path = Path(path)
    raw = read_whole(path)
    if raw.startswith(b"PK"):
        raise ParticleFileError(
            path,
            "It is a file of PyTorch, not of arrays.",
            remedy="Weights belong to a run: open its folder.",
        )
    unpickler = PlainUnpickler(path, raw)
    objects = []
    while unpickler.at < len(raw):
        objects.append(unpickler.load())
    if not objects:
        raise ParticleFileError(path, "It is empty.", remedy="Copy it again.")
    return objects


def read_poses(path: Path | str, box: int) -> Poses:
    """Read cryoDRGN's poses.

    Parameters
    ----------
    path
        A pickle of (rotations, translations), or of rotations alone: shifts are then zero.
    box
        Of the particles in pixels, which the translations are a fraction of. Those of ``abinit``
        are in pixels of the images it was run on: values above 1 tell.

    Raises
    ------
    ParticleFileError
        If the file is not of that form.
    """
    first = read_pickles(path)[0]
    parts = first if isinstance(first, (tuple, list)) else (first,)
    if not 1 <= len(parts) <= 2:
        raise _wrong(path, "poses", "a tuple of rotations and translations", first)
    rotations = _floats(path, parts[0], "rotations", (-1, 3, 3))
    n = len(rotations)
    if len(parts) == 1 or parts[1] is None:
        return Poses(rotations, np.zeros((n, 2), np.float32))
    translations = _floats(path, parts[1], "translations", (n, 2))
    in_pixels = bool((np.abs(translations) > 1).any())
    shifts = -translations if in_pixels else -translations * np.float32(box)
    return Poses(rotations, shifts)


def write_poses(path: Path | str, rotations: ArrayLike, shifts: ArrayLike, box: int) -> None:
    """Write poses as cryoDRGN reads them, whole or not at all.

    Parameters
    ----------
    path
        Of the file; replaced if present.
    rotations
        (N, 3, 3), object to image.
    shifts
        (N, 2), displacement of the particle in pixels of ``box``.
    box
        In pixels.

    Raises
    ------
    ParticleFileError
        If the shapes do not fit, or the file cannot be written.
    """
    r = _floats(path, np.asarray(rotations), "rotations", (-1, 3, 3))
    t = _floats(path, np.asarray(shifts), "shifts", (len(r), 2))
    _dump(path, (r, -t / np.float32(box)))


def read_latents(path: Path | str) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Read cryoDRGN's latents: means (N, zdim) and log variances (N, zdim).

    ``abinit`` and evaluated latents come without variances: None.

    Raises
    ------
    ParticleFileError
        If the file is not of that form.
    """
    objects = read_pickles(path)
    if len(objects) > 2:
        raise _wrong(path, "latents", "one or two arrays", objects)
    mu = _floats(path, objects[0], "mu", (-1, -1))
    return mu, None if len(objects) == 1 else _floats(path, objects[1], "logvar", mu.shape)


def write_latents(path: Path | str, mu: ArrayLike, logvar: ArrayLike) -> None:
    """Write means and log variances, both (N, zdim), as cryoDRGN's two consecutive pickles.

    Raises
    ------
    ParticleFileError
        If the shapes do not fit, or the file cannot be written.
    """
    means = _floats(path, np.asarray(mu), "mu", (-1, -1))
    _dump(path, means, _floats(path, np.asarray(logvar), "logvar", means.shape))


def read_ctf(path: Path | str) -> tuple[CTFParameters, int, float]:
    """Read cryoDRGN's CTF parameters (N, 9), and the box in pixels and Å per pixel beside them.

    Where pixel sizes differ a little, the parameters are those that give each particle's own CTF
    at their median, which is the one returned.

    Raises
    ------
    ParticleFileError
        If the file is not of that form, or mixes boxes, or pixel sizes too far apart.
    """
    table = _floats(path, read_pickles(path)[0], "ctf", (-1, 9)).astype(np.float64)
    if not len(table):
        raise ParticleFileError(path, "It has no rows.", field="ctf")
    boxes, sizes = table[:, 0], table[:, 1]
    if boxes[0] < 1 or (boxes != boxes[0]).any():
        raise ParticleFileError(
            path,
            f"Its boxes go from {boxes.min():g} to {boxes.max():g} px; one set has one.",
            field="ctf",
            remedy="Make the file again for particles of one box.",
        )
    size = common_pixel_size(Path(path), "ctf", sizes)
    ctf = CTFParameters(*np.ascontiguousarray(table[:, 2:].T))
    return ctf_at(ctf, sizes, size), int(boxes[0]), size


def read_indices(path: Path | str) -> NDArray[np.intp]:
    """Read a selection: positions (n,) in the original stack, from 0.

    Raises
    ------
    ParticleFileError
        If the file does not hold whole numbers.
    """
    found = read_pickles(path)[0]
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype.kind not in "iu":
        raise _wrong(path, "indices", "a row of whole numbers", found)
    return found.astype(np.intp)


def write_ctf(path: Path | str, ctf: CTFParameters, box: int, pixel_size: float) -> None:
    """Write CTF parameters of N particles as cryoDRGN reads them, whole or not at all.

    Parameters
    ----------
    path
        Of the file; replaced if present.
    ctf
        Of N particles.
    box
        Of their images in pixels.
    pixel_size
        In Å.

    Raises
    ------
    ParticleFileError
        If a value is not finite, or the file cannot be written.
    """
    n = len(ctf)
    columns = [np.full(n, float(box)), np.full(n, pixel_size), *vars(ctf).values()]
    _dump(path, _floats(path, np.stack(columns, axis=1), "ctf", (n, 9)))


def write_indices(path: Path | str, indices: NDArray[np.intp]) -> None:
    """Write a selection, positions (n,) in the original stack from 0, whole or not at all.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    _dump(path, np.asarray(indices, np.int64))


def _dump(path: Path | str, *objects: Any) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        for item in objects:
            pickle.dump(item, file)


def _floats(path: Path | str, value: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """``value`` as finite float32; -1 in ``shape`` stands for any length."""
    wanted = "(" + ", ".join("N" if n < 0 else str(n) for n in shape) + ")"
    # Nothing but arrays: a list that holds itself many times over is small until it is made one.
    fits = (
        isinstance(value, np.ndarray)
        and value.dtype.kind in "fiu"
        and value.ndim == len(shape)
        and all(n < 0 or n == m for n, m in zip(shape, value.shape, strict=True))
    )
    if not fits:
        raise _wrong(path, name, f"numbers of shape {wanted}", value)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.array(value, np.float32)
    if not np.isfinite(numbers).all():
        bad = int(np.flatnonzero(~np.isfinite(numbers).reshape(len(numbers), -1).all(axis=1))[0])
        raise ParticleFileError(
            path, f"Row {bad + 1} is not finite.", field=name, remedy="Compute them again."
        )
    return numbers


def _wrong(path: Path | str, name: str, wanted: str, found: Any) -> ParticleFileError:
    kind = type(found).__name__
    what = f"{kind} of shape {found.shape}" if isinstance(found, np.ndarray) else kind
    return ParticleFileError(
        path,
        f"Expected {wanted}, found {what}.",
        field=name,
        remedy="Check that it is the file you meant.",
    )
