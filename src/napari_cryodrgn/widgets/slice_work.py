"""What a thread finds on a plane through volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .densities import Density

if TYPE_CHECKING:
    from ..analysis.slices import Plane

Array = NDArray[np.float32]
# Points along an edge of the plane in the viewer: more would make the scene slow to turn.
_MESH = 96
# Percentile of differences that gets full colour.
_LEVEL = 99.8


@dataclass(frozen=True, eq=False)
class Slices:
    """What a plane shows: ``a`` (n, n), and ``b`` and their difference if there is a second volume.

    Points are ``step`` Å apart. ``limits`` are black and white of both. ``level`` is the difference
    that gets full colour, ``correlations`` those in the plane and in the volumes. ``values``
    (m, m) and ``points`` (m, m, 3) are the plane in the viewer, (z, y, x).
    """

    plane: Plane
    first: Density
    second: Density | None
    step: float
    a: Array
    b: Array | None
    limits: tuple[float, float]
    level: float
    correlations: tuple[float, float]
    values: Array
    points: Array


@dataclass(frozen=True)
class Pair:
    """Two volumes compared all over: cuts of them have this in common."""

    first: Density
    second: Density
    level: float
    correlation: float


def cut_through(
    first: Density, second: Density | None, plane: Plane, pair: Pair | None
) -> tuple[Slices, Pair | None]:
    """What is on a plane, and what ``first`` and ``second`` have in common all over.

    ``pair`` is that of an earlier cut, to be used again if it is of the same volumes.
    """
    from ..analysis.slices import correlation, cut

    n = max(first.data.shape)
    edge, m = first.edge, min(n, _MESH)
    a = cut(first.data, first.size, plane, n, edge / n)
    values = a if m == n else cut(first.data, first.size, plane, m, edge / m)
    points = (plane.points(m, edge / m)[..., ::-1] + first.centre).astype(np.float32)
    low, high = first.limits
    b, level, both = None, 1.0, (0.0, 0.0)
    if second is None:
        pair = None
    else:
        if pair is None or (pair.first, pair.second) != (first, second):
            pair = _compare(first, second)
        b = cut(second.data, second.size, plane, n, edge / n)
        low, high = min(low, second.limits[0]), max(high, second.limits[1])
        level, both = pair.level, (correlation(a, b), pair.correlation)
    slices = Slices(plane, first, second, edge / n, a, b, (low, high), level, both, values, points)
    return slices, pair


def _compare(first: Density, second: Density) -> Pair:
    from ..analysis.slices import coarse_samples, correlation

    a, b = (coarse_samples(each.data, each.size, first.edge) for each in (first, second))
    level = float(np.percentile(np.abs(a - b), _LEVEL))
    return Pair(first, second, level or 1.0, correlation(a, b))
