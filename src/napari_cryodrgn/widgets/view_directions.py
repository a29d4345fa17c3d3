"""Viewing directions on a Mollweide map: the arithmetic.

The map keeps areas, so that an even distribution of directions looks even. With longitude l = rot
and latitude b = 90 - tilt of a direction, and t solving 2 t + sin 2 t = pi sin b,

    x = (2 / pi) l cos t        in [-2, 2]
    y = sin t                   in [-1, 1]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import healpix
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]
#: Cells of a map along x and y.
CELLS = (128, 64)
# Cells along x and y of a map of HEALPix pixels, whose edges are to be seen.
_FINE = (512, 256)
_ANGLES = np.linspace(-np.pi / 2, np.pi / 2, 4097)
_SINES = (2 * _ANGLES + np.sin(2 * _ANGLES)) / np.pi
# Directions a cell has on average for a map that is not smoothed.
_ENOUGH = 20


@dataclass(frozen=True, eq=False)
class DirectionMap:
    """How many of ``n`` particles are seen from where, relative to an even distribution.

    ``density`` is (y, x) over [-2, 2] x [-1, 1], nan outside the ellipse. ``points`` (m, 2) are
    directions on the map, a sample if there are many.
    """

    n: int
    density: Array
    points: Array

    @property
    def peak(self) -> float:
        """The largest density."""
        return float(np.nanmax(self.density))


def view_axes(rotations: Array) -> Array:
    """Unit vectors (n, 3) of the directions that particles are seen along, from (n, 3, 3)."""
    return rotations[:, 2]


def on_map(axes: Array) -> Array:
    """Places (n, 2) of directions (n, 3)."""
    angle = np.interp(axes[:, 2], _SINES, _ANGLES)
    longitude = np.arctan2(axes[:, 1], axes[:, 0])
    return np.stack([2 / np.pi * longitude * np.cos(angle), np.sin(angle)], 1).astype(np.float32)


def from_map(x: float, y: float) -> Array | None:
    """The direction (3,) at a place; None outside the map."""
    if (x / 2) ** 2 + y**2 >= 1:
        return None
    angle = np.arcsin(y)
    sine = (2 * angle + np.sin(2 * angle)) / np.pi
    longitude = np.pi * x / (2 * np.cos(angle))
    cosine = np.sqrt(1 - sine**2)
    return np.array([cosine * np.cos(longitude), cosine * np.sin(longitude), sine], np.float32)


def count_image(counts: NDArray[np.intp]) -> Array:
    """Numbers of views in 12 n_side² HEALPix pixels as a map (y, x), nan outside the ellipse."""
    pixels = _pixels_on_map(len(counts))
    image: Array = np.where(pixels < 0, np.float32(np.nan), counts[pixels].astype(np.float32))
    return image


@lru_cache(maxsize=4)
def _pixels_on_map(n: int) -> NDArray[np.intp]:
    """Which of ``n`` HEALPix pixels each cell of a map lies in; -1 outside."""
    wide, high = _FINE
    y, x = (np.arange(high) + 0.5) * 2 / high - 1, (np.arange(wide) + 0.5) * 4 / wide - 2
    angle = np.arcsin(y)[:, None]
    sine = (2 * angle + np.sin(2 * angle)) / np.pi
    longitude = np.pi * x / (2 * np.cos(angle))
    inside = (x / 2) ** 2 + y[:, None] ** 2 < 1
    theta = np.broadcast_to(np.arccos(sine), inside.shape)
    pixels = np.full(inside.shape, -1)
    n_side = healpix.npix2nside(n)
    pixels[inside] = healpix.ang2pix(n_side, theta[inside], longitude[inside] % (2 * np.pi))
    return pixels


def circle_on_map(axis: Array, degrees: float) -> Array:
    """The directions at an angle to one (3,) as a line (m, 2) on the map.

    It has a nan where it leaves the map on one side and comes back on the other.
    """
    axis = np.asarray(axis, np.float64)
    first = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    turn = np.linspace(0, 2 * np.pi, 181)[:, None]
    angle = np.deg2rad(degrees)
    around = np.cos(turn) * first + np.sin(turn) * second
    line = on_map(np.cos(angle) * axis + np.sin(angle) * around)
    apart = np.flatnonzero(np.abs(np.diff(line[:, 0])) > 1)
    return np.insert(line, apart + 1, np.nan, axis=0)


def angle_between(a: Array, b: Array) -> float:
    """Angle in degrees between two directions (3,)."""
    return float(np.rad2deg(np.arccos(np.clip(np.dot(a, b), -1, 1))))


def direction_map(axes: Array, shown: int = 500) -> DirectionMap:
    """Draw up the map of directions (n, 3), smoother the fewer there are.

    ``shown`` bounds the sample of points.
    """
    n = len(axes)
    places = on_map(axes)
    wide, high = CELLS
    counts = np.histogram2d(places[:, 1], places[:, 0], (high, wide), [(-1, 1), (-2, 2)])[0]
    y, x = (np.arange(high) + 0.5) * 2 / high - 1, (np.arange(wide) + 0.5) * 4 / wide - 2
    inside = (x[None] / 2) ** 2 + y[:, None] ** 2 < 1
    # Cells on the rim count for what lies beyond.
    area = gaussian_filter(inside.astype(float), width := _width(n))
    density = gaussian_filter(counts, width) / np.maximum(area, 1e-3)
    density *= inside.sum() / max(n, 1)
    density[~inside] = np.nan
    if n > shown:
        places = places[np.random.default_rng(0).choice(n, shown, replace=False)]
    return DirectionMap(n, density.astype(np.float32), places)


def nearest_direction(axes: Array, direction: Sequence[float] | Array) -> int:
    """Index of the one of n directions (n, 3) at the smallest angle to one (3,)."""
    return int(np.argmax(axes @ np.asarray(direction, np.float32)))


def _width(n: int) -> float:
    """Standard deviation in cells of what a direction is spread over."""
    cells = CELLS[0] * CELLS[1] * np.pi / 4
    return float(np.clip(np.sqrt(_ENOUGH * cells / max(n, 1)) / 3.5, 0.7, 4.0))
