"""Which points lie inside a drawn outline."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray

# Slabs of points that an outline of many vertices is tested on piece by piece, and points that
# stay in the processor's cache meanwhile.
_SLABS = 1 << 12
_CHUNK = 1 << 14


def inside_polygon(
    points: Float[NDArray[np.floating], "n 2"], polygon: ArrayLike
) -> Bool[NDArray[np.bool_], " n"]:
    """Which points lie inside a polygon, by the even-odd rule.

    A point is inside if a line from it to the right crosses the outline an odd number of times.
    Points are put into slabs by height first, so that each edge meets only those at its height.

    Parameters
    ----------
    points
        (n, 2); one that is not finite lies outside.
    polygon
        Vertices (m, 2) in turn; the last is joined to the first. Fewer than three enclose nothing.

    Raises
    ------
    ValueError
        If either is of another shape, or a vertex is not finite.
    """
    points = np.asarray(points)
    corners = np.asarray(polygon, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points: expected (n, 2), got {points.shape}")
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        raise ValueError(f"polygon: expected (m, 2) finite numbers, got {corners.shape}")
    inside = np.zeros(len(points), bool)
    if len(corners) < 3:
        return inside
    low, high = corners.min(0), corners.max(0)
    x, y = points[:, 0], points[:, 1]
    # Both compare as points do, so that none is counted here and lost below.
    near = np.flatnonzero((x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1]))
    if not len(near) or high[1] <= low[1]:
        return inside
    scale = _SLABS / (high[1] - low[1])

    def slab(heights: NDArray[np.floating]) -> NDArray[np.uint16]:
        places: NDArray[np.uint16] = (
            ((heights - low[1]) * scale).clip(0, _SLABS - 1).astype(np.uint16)
        )
        return places

    height = y[near]
    which = slab(height)
    order = np.argsort(which, kind="stable")
    near = near[order]
    # From the outline's corner: coordinates far from 0 lose nothing.
    px = (x[near] - low[0]).astype(np.float32)
    py = (height[order] - low[1]).astype(np.float32)
    starts = np.searchsorted(which[order], np.arange(_SLABS + 1))
    vertices = (corners - low).astype(np.float32)
    crossed = np.zeros(len(near), bool)
    slabs = slab(corners[:, 1])
    for i in range(len(vertices)):
        (ax, ay), (bx, by) = vertices[i - 1], vertices[i]
        if ay == by:
            continue
        first, last = sorted((int(slabs[i - 1]), int(slabs[i])))
        start, stop = int(starts[max(first - 1, 0)]), int(starts[min(last + 2, _SLABS)])
        slope = float(bx - ax) / float(by - ay)
        for at in range(start, stop, _CHUNK):
            some = slice(at, min(at + _CHUNK, stop))
            v = py[some]
            between = (v > ay) ^ (v > by)
            between &= px[some] < (v - ay) * slope + ax
            crossed[some] ^= between
    inside[near] = crossed
    return inside
