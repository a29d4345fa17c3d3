"""Flat cuts through volumes, and how two of them differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import ArrayLike, NDArray
from scipy.fft import fftfreq, irfftn, rfftfreq, rfftn
from scipy.ndimage import map_coordinates

Array = NDArray[np.float32]
Axis = Literal["z", "y", "x"]
# Directions to the right and down in the picture, and that of the offset.
_AXES: dict[Axis, tuple[int, int, int]] = {"z": (0, 1, 2), "y": (0, 2, 1), "x": (1, 2, 0)}


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane in a volume, and which way up its picture is.

    ``right``, ``down`` and ``normal`` (3,) are unit vectors (x, y, z): columns of the picture grow
    along ``right``, rows along ``down``. The plane lies ``offset`` Å from the volume's centre along
    ``normal``.
    """

    right: Float[Array, "3"]
    down: Float[Array, "3"]
    normal: Float[Array, "3"]
    offset: float = 0.0

    def points(self, n: int, step: float) -> Float[NDArray[np.float64], "n n 3"]:
        """Points (x, y, z) in Å from the volume's centre, ``step`` Å apart.

        Point (n // 2, n // 2) is the foot of the normal through the centre.
        """
        line = (np.arange(n) - n // 2) * step
        return (
            line[:, None, None] * self.down.astype(np.float64)
            + line[:, None] * self.right.astype(np.float64)
            + self.offset * self.normal.astype(np.float64)
        )


def axis_plane(axis: Axis, offset: float = 0.0) -> Plane:
    """Plane across an axis of the volume, ``offset`` Å from its centre."""
    right, down, normal = np.eye(3, dtype=np.float32)[list(_AXES[axis])]
    return Plane(right, down, normal, offset)


def view_plane(rotation: Float[Array, "3 3"], offset: float = 0.0) -> Plane:
    """Plane across the direction a particle is seen along, turned as its image is.

    ``rotation`` maps object to image, ``offset`` is in Å from the volume's centre.
    """
    right, down, normal = np.asarray(rotation, np.float32)
    return Plane(right, down, normal, offset)


def cut(
    volume: Float32[Array, "z y x"], size: ArrayLike, plane: Plane, n: int, step: float
) -> Float32[Array, "n n"]:
    """Density on a plane, by trilinear interpolation; 0 outside the volume.

    Parameters
    ----------
    volume
        Its centre is voxel D // 2 of each axis.
    size
        Edge of its voxels in Å, one number or (z, y, x).
    plane, n, step
        Of the picture: see `Plane.points`.

    Raises
    ------
    ValueError
        If ``volume`` has not three axes.
    """
    if volume.ndim != 3:
        raise ValueError(f"expected a volume (z, y, x), got an array of shape {volume.shape}")
    zyx = np.moveaxis(plane.points(n, step), -1, 0)[::-1]
    edge = np.broadcast_to(np.asarray(size, np.float64), 3)
    centre = np.array(volume.shape) // 2
    where = zyx / edge[:, None, None] + centre[:, None, None]
    picture = map_coordinates(volume, where, output=np.float32, order=1, mode="constant")
    return np.asarray(picture, np.float32)


def low_pass(
    volume: Float32[Array, "z y x"], size: ArrayLike, resolution: float
) -> Float32[Array, "z y x"]:
    """The volume blurred by a Gaussian that leaves half the amplitude at ``resolution`` Å.

    ``size`` is the edge of its voxels in Å, one number or (z, y, x).
    """
    spectrum = rfftn(volume)
    edges = np.broadcast_to(np.asarray(size, np.float64), 3)
    for axis, (n, edge) in enumerate(zip(volume.shape, edges, strict=True)):
        k = rfftfreq(n, edge) if axis == 2 else fftfreq(n, edge)
        gain = np.exp2(-np.square(k * resolution)).astype(np.float32)
        spectrum *= gain.reshape([-1 if i == axis else 1 for i in range(3)])
    return np.asarray(irfftn(spectrum, s=volume.shape), np.float32)


def scale_to(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> float:
    """The positive number times ``b`` that is nearest to ``a`` (least squares); 1 if none is."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    product, square = float((x * y).sum()), float(np.square(y).sum())
    return product / square if product > 0 and square > 0 else 1.0


def correlation(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> float:
    """Pearson's correlation coefficient of two pictures; 0 if one of them is even."""
    x, y = (np.asarray(v, np.float64) - np.mean(v, dtype=np.float64) for v in (a, b))
    norm = float(np.sqrt(np.square(x).sum() * np.square(y).sum()))
    return float((x * y).sum()) / norm if norm > 0 else 0.0


def coarse_samples(
    volume: Float32[Array, "z y x"], size: ArrayLike, edge: float, n: int = 40
) -> Float32[Array, "n n n"]:
    """Density at ``n``³ places all over a cube of ``edge`` Å about the volume's centre.

    Two volumes on other grids are compared by these at the same places, quickly.
    """
    step = edge / n
    planes = [axis_plane("z", float(z)) for z in (np.arange(n) - n // 2) * step]
    return np.stack([cut(volume, size, plane, n, step) for plane in planes])
