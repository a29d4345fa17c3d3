"""What a thread finds on a plane through volumes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, overload

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
    (m, m) and ``points`` (m, m, 3) are the plane in the viewer, (z, y, x), where the first volume
    lies within ``reach`` of its centre.
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
    reach: float


@dataclass(frozen=True, eq=False)
class Prepared:
    """What cuts of the same volumes have in common.

    ``a`` and ``b`` are ``first`` and ``second`` blurred to ``low_pass``. ``scale`` times ``b`` is
    nearest to ``a``; ``level`` and ``correlation`` are those of `Slices`, all over the volumes.
    """

    first: Density
    second: Density | None
    low_pass: float | None
    a: Density
    b: Density | None
    scale: float = 1.0
    level: float = 1.0
    correlation: float = 0.0


def cut_through(
    first: Density,
    second: Density | None,
    plane: Plane,
    low_pass: float | None = None,
    before: Prepared | None = None,
) -> tuple[Slices, Prepared]:
    """What is on a plane through volumes blurred to ``low_pass``, and what other cuts can use.

    ``before`` is of an earlier cut.
    """
    from ..analysis.slices import correlation, cut

    prepared = _prepare(first, second, low_pass, before)
    n = max(first.data.shape)
    edge, m = first.edge, min(n, _MESH)
    a = cut(prepared.a.data, first.size, plane, n, edge / n)
    values = a if m == n else cut(prepared.a.data, first.size, plane, m, edge / m)
    points = (plane.points(m, edge / m)[..., ::-1] + first.centre).astype(np.float32)
    low, high = prepared.a.limits
    b, both = None, (0.0, 0.0)
    if prepared.b is not None:
        b = prepared.scale * cut(prepared.b.data, prepared.b.size, plane, n, edge / n)
        dark, bright = (prepared.scale * limit for limit in prepared.b.limits)
        low, high = min(low, dark), max(high, bright)
        both = (correlation(a, b), prepared.correlation)
    level, limits = prepared.level, (low, high)
    mesh = (values, points, prepared.a.reach)
    return Slices(plane, first, second, edge / n, a, b, limits, level, both, *mesh), prepared


def _prepare(
    first: Density, second: Density | None, low_pass: float | None, before: Prepared | None
) -> Prepared:
    if before is not None and before.low_pass == low_pass:
        if before.first is first and before.second is second:
            return before
        # One of two is left as it was, mostly.
        a = before.a if before.first is first else _blurred(first, low_pass)
        b = before.b if before.second is second else _blurred(second, low_pass)
    else:
        a, b = _blurred(first, low_pass), _blurred(second, low_pass)
    prepared = Prepared(first, second, low_pass, a, b)
    return prepared if b is None else _compared(prepared, a, b)


def _compared(prepared: Prepared, a: Density, b: Density) -> Prepared:
    from ..analysis.slices import coarse_samples, correlation, scale_to

    x, y = (coarse_samples(each.data, each.size, a.edge) for each in (a, b))
    scale = scale_to(x, y)
    level = float(np.percentile(np.abs(x - scale * y), _LEVEL)) or 1.0
    return replace(prepared, scale=scale, level=level, correlation=correlation(x, y))


@overload
def _blurred(density: Density, low_pass: float | None) -> Density: ...
@overload
def _blurred(density: None, low_pass: float | None) -> None: ...
def _blurred(density: Density | None, low_pass: float | None) -> Density | None:
    from ..analysis import slices

    # Finer than its voxels can show there is nothing to blur.
    if density is None or low_pass is None or low_pass <= 2 * min(density.size):
        return density
    return replace(density, data=slices.low_pass(density.data, density.size, low_pass))
