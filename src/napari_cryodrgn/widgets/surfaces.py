"""Volumes as triangle meshes: drawn in a fraction of a volume's time where there is no GPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# A mesh of a larger grid would take over 50 ms to draw without a GPU, and holds the GIL for long.
_MESH_BOX = 72

Floats = NDArray[np.float32]
Mesh = tuple[Floats, NDArray[np.int32], Floats]


def mesh(volume: Floats, level: float) -> Mesh:
    """Surface of a volume (z, y, x) at a level.

    Large volumes are averaged down first.

    Returns
    -------
    tuple
        Vertices (n, 3) in voxels of the volume, faces (m, 3), and a value of 1 for each vertex. A
        volume that does not cross the level gives a single point.
    """
    from skimage.measure import marching_cubes

    step = -(-max(volume.shape) // _MESH_BOX)
    small = _average(volume, step)
    if min(small.shape) < 2 or not level < small.max():
        centre = np.array([np.array(volume.shape) / 2], np.float32)
        return centre, np.zeros((1, 3), np.int32), np.ones(1, np.float32)
    # Most of a box is empty, which would take as long as the molecule.
    first, inner = _inside(small, level)
    # A border of low density: a molecule that touches the box has no holes there.
    padded = np.pad(inner, 1, constant_values=min(float(small.min()), level - 1e-6))
    vertices, faces, _, _ = marching_cubes(padded, level)
    vertices = (vertices - 1 + first) * step + (step - 1) / 2
    return vertices.astype(np.float32), faces.astype(np.int32), np.ones(len(vertices), np.float32)


def stacked(meshes: Sequence[Mesh]) -> Mesh:
    """Meshes as one with vertices (n, 4), the first column being the number of the mesh."""
    starts = np.cumsum([0, *(len(v) for v, _, _ in meshes)])
    vertices = [
        np.pad(v, ((0, 0), (1, 0)), constant_values=i) for i, (v, _, _) in enumerate(meshes)
    ]
    faces = [f + start for (_, f, _), start in zip(meshes, starts, strict=False)]
    return (
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        np.concatenate([values for _, _, values in meshes]),
    )


def _inside(volume: Floats, level: float) -> tuple[NDArray[np.intp], Floats]:
    """The part of a volume that reaches a level, a voxel more on each side, and where it begins."""
    high = volume >= level
    axes = [(1, 2), (0, 2), (0, 1)]
    places = [np.flatnonzero(high.any(axis)) for axis in axes]
    first = np.array([max(int(at[0]) - 1, 0) for at in places])
    part = tuple(slice(f, int(at[-1]) + 2) for f, at in zip(first, places, strict=True))
    return first, volume[part]


def _average(volume: Floats, step: int) -> Floats:
    """Means over cubes of ``step`` voxels; what is left at the far sides is dropped."""
    if step == 1:
        return volume
    z, y, x = (n // step for n in volume.shape)
    cubes = volume[: z * step, : y * step, : x * step].reshape(z, step, y, step, x, step)
    return cubes.mean((1, 3, 5), dtype=np.float32)
