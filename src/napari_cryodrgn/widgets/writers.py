"""Saving volumes and particle images as MRC files, from napari's File menu."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ParticleFileError
from ..particles import StackWriter, write_volume

if TYPE_CHECKING:
    from ..particles import ParticleSet

_CHUNK_PIXELS = 1 << 22


def write_volume_layer(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a layer (z, y, x) as an .mrc file, or one (t, z, y, x) as numbered files.

    Voxel size and origin are those of the layer, in Å whatever its unit; without a unit they are
    taken as Å, and a size of 1 is an unknown one.

    Raises
    ------
    ParticleFileError
        If the layer holds no volume, its voxels are no cubes, or a file cannot be written.
    """
    if "particles" in meta["metadata"]:
        raise ParticleFileError(
            path, "These are particle images, not a volume.", remedy="Save them as .mrcs."
        )
    if meta.get("rgb") or data.ndim not in (3, 4):
        raise ParticleFileError(
            path,
            f"A volume has axes (z, y, x), but this layer has the shape {tuple(data.shape)}.",
            remedy="Save images as .tif.",
        )
    angstroms = _angstroms(meta) or 1.0
    sizes = angstroms * np.array(meta["scale"][-3:], float)
    if not np.allclose(sizes, sizes[0], rtol=1e-4):
        raise ParticleFileError(
            path,
            f"The voxels of this layer are no cubes: {' x '.join(f'{s:.4g}' for s in sizes)} Å.",
            field="scale",
            remedy="Resample the volume, or correct the scale of the layer.",
        )
    z, y, x = (angstroms * float(start) for start in meta["translate"][-3:])
    size = _pixel_size(meta)
    if data.ndim == 3:
        write_volume(path, np.asarray(data), size, (x, y, z))
        return [path]
    first = Path(path)
    digits = max(3, len(str(len(data))))
    written = []
    for number in range(len(data)):
        one = first.with_name(f"{first.stem}_{number + 1:0{digits}}{first.suffix}")
        write_volume(one, np.asarray(data[number]), size, (x, y, z))
        written.append(str(one))
    return written


def write_stack_layer(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save particle images as an .mrcs stack, a few at a time.

    A layer of particles gives the images of its set; any other layer (n, y, x) or (n, 1, y, x) its
    own. Poses and CTF are not in a stack: the Import particles dock saves them as a STAR file.

    Raises
    ------
    ParticleFileError
        If the layer holds no square images, or the file cannot be written.
    """
    particles: ParticleSet | None = meta["metadata"].get("particles")
    images = particles.images if particles is not None else data
    if particles is None and data.ndim == 4 and data.shape[1] == 1:
        images = data[:, 0]
    if images.ndim != 3 or images.shape[1] != images.shape[2] or meta.get("rgb"):
        raise ParticleFileError(
            path,
            f"A stack has square images (n, y, x), but this layer has the shape "
            f"{tuple(data.shape)}.",
            remedy="Save volumes as .mrc.",
        )
    n, box = len(images), int(images.shape[2])
    size = particles.pixel_size if particles is not None else _pixel_size(meta)
    step = max(1, _CHUNK_PIXELS // box**2)
    with StackWriter(path, box, size) as writer:
        for start in range(0, n, step):
            writer.write(np.asarray(images[start : start + step]))
    return [path]


def _pixel_size(meta: dict[str, Any]) -> float | None:
    """Å per pixel of a layer; None if it is 1 of no unit of length."""
    size, angstroms = float(meta["scale"][-1]), _angstroms(meta)
    if angstroms is None:
        return size if size != 1 else None
    return angstroms * size


def _angstroms(meta: dict[str, Any]) -> float | None:
    """Å in the unit of a layer's last axis; None if that is no length, as napari's own "pixel"."""
    unit = (meta.get("units") or (None,))[-1]
    if unit is None:
        return None
    length = 1.0 * unit
    return float(length.to("angstrom").magnitude) if length.check("[length]") else None
