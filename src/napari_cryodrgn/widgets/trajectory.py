"""The volumes along a path, and what they say at a surface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from .decode_bar import Stop, decode_each

if TYPE_CHECKING:
    from ..analysis import Run

Array = NDArray[np.float32]
#: What the colour of a surface says: nothing, how far along the path, how much it changes there.
Colouring = Literal["plain", "step", "change"]


@dataclass(frozen=True)
class Trajectory:
    """Volumes (step, z, y, x) of a run along ``path`` (step, zdim).

    Their voxels are of ``pixel_size`` Å, and ``contour`` is the iso level of all of them.
    """

    folder: Path
    path: Array
    data: Array
    pixel_size: float | None
    contour: float
    caption: str


def decode_path(
    run: Run, path: Array, box: int, caption: str, stop: Stop
) -> Iterator[float | Trajectory]:
    """Decode volumes at each point of a path (step, zdim), unless ``stop`` says so.

    Yields
    ------
    float or Trajectory
        The fraction done; at last the trajectory.

    Raises
    ------
    CryodrgnError
        If a volume cannot be decoded.
    """
    contour = run.contour()
    data = np.empty((len(path), box, box, box), np.float32)
    done = 0
    for volume in decode_each(run, path, box, stop):
        data[done] = volume
        done += 1
        yield done / len(path)
    if done < len(path):
        return
    size = run.pixel_size * run.box / box if run.pixel_size is not None else None
    yield Trajectory(run.folder, path, data, size, contour, caption)


def vertex_values(
    trajectory: Trajectory, vertices: Array, colouring: Colouring
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """What colours the vertices of the surfaces of a trajectory, and the limits of the colours.

    Parameters
    ----------
    trajectory
        Its volumes.
    vertices
        (n, 4): step, and z, y, x in voxels.
    colouring
        ``step`` goes from 0 to 1; ``change`` is the standard deviation of the density over the
        steps as a share of the contour; ``plain`` is 1 everywhere.
    """
    steps = len(trajectory.data)
    if colouring == "step":
        return (vertices[:, 0] / max(steps - 1, 1)).astype(np.float32), (0.0, 1.0)
    if colouring == "plain" or not len(vertices):
        return np.ones(len(vertices), np.float32), (0.0, 1.0)
    # Step by step: all volumes together may be half a gigabyte.
    mean = sum(trajectory.data[1:], trajectory.data[0].astype(np.float64)) / steps
    variance = sum((volume - mean) ** 2 for volume in trajectory.data) / steps
    change = np.sqrt(variance) / trajectory.contour
    values = map_coordinates(change, vertices[:, 1:].T, order=1, mode="nearest")
    top = float(np.percentile(values, 99))
    return values.astype(np.float32), (0.0, top if top > 0 else 1.0)
