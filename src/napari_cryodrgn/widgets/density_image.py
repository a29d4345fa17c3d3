"""Pictures of a million particles: how many lie at each place, and what their values are.

Everything here is NumPy and may run in any thread. It works through the particles in parts, so
that a window beside it gets its turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .map_colors import STEPS, Coloring, Table

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
_PART = 2**18
# In bins: hides that counts are whole numbers, keeps what is apart apart.
_BLUR = 0.8
# Bins with so few particles are shown by the particles themselves.
_FEW = 2
_LONELY = 40


@dataclass(frozen=True)
class Look:
    """Colours that do not come from values, each (r, g, b): the range of counts, and special ones.

    ``density`` is a table (STEPS, 3).
    """

    density: Table
    faint: tuple[int, int, int]
    chosen: tuple[int, int, int]

    @property
    def is_dark(self) -> bool:
        """Whether many particles are brighter than few."""
        return bool(self.density[-1].sum(dtype=int) > self.density[0].sum(dtype=int))


@dataclass(frozen=True)
class Cloud:
    """N particles on two axes, and how to draw them.

    Parameters
    ----------
    x, y
        Coordinates (N,).
    coloring
        By values; by their number if absent.
    faint
        Particles (N,) that are drawn faintly, below the others.
    chosen
        Particles (N,) that are highlighted.
    """

    x: Array
    y: Array
    look: Look
    coloring: Coloring | None = None
    faint: Mask | None = None
    chosen: Mask | None = None

    @cached_property
    def extent(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Lowest and highest x, and y."""
        x, y = ((float(c.min()), float(c.max())) for c in (self.x, self.y))
        return x, y


@dataclass(frozen=True)
class Region:
    """A rectangle in data units, divided into ``width`` times ``height`` bins."""

    left: float
    bottom: float
    right: float
    top: float
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """What is to be drawn of a region.

    ``image`` is (height, width, 4) uint8, from the bottom up, or absent where the particles in
    ``rows`` are all there are. ``codes`` are their colours in `palette`.
    """

    region: Region
    image: NDArray[np.uint8] | None
    rows: Rows
    codes: NDArray[np.int32]


def render(cloud: Cloud, region: Region, limit: int) -> Picture:
    """Draw a region, with at most ``limit`` particles to be drawn as points.

    The points are those in sparse places: in dense ones they would hide the picture.
    """
    rows, bins = _inside(cloud, region)
    if len(rows) <= limit:
        return Picture(region, None, rows, point_codes(cloud, rows))
    size = region.width * region.height
    everything = _count(bins, size)
    alone = np.flatnonzero(everything[bins] <= _FEW)
    points = rows[alone]
    if len(points) > limit:
        points = points[np.argpartition(_order(points), limit)[:limit]]
    shape = (region.height, region.width)
    canvas = np.zeros((*shape, 4), np.float32)
    shown = _shown(cloud, rows)
    if shown is None:
        _paint(canvas, *_colors(cloud, rows, bins, shape))
    else:
        counts = gaussian_filter(_count(bins, size).reshape(shape), _BLUR)
        _paint(canvas, np.array(cloud.look.faint, np.float32), 0.4 * _strength(counts))
        _paint(canvas, *_colors(cloud, rows[shown], bins[shown], shape))
    if cloud.chosen is not None:
        chosen = gaussian_filter(_count(bins[cloud.chosen[rows]], size).reshape(shape), _BLUR)
        share = chosen / np.maximum(gaussian_filter(everything.reshape(shape), _BLUR), 1e-6)
        # Dense places stand out, or the highlighted would have no structure.
        strength = _strength(chosen)
        bright = 0.55 + 0.45 * strength if cloud.look.is_dark else 1 - 0.45 * strength
        color = bright[..., None] * np.array(cloud.look.chosen, np.float32)
        _paint(canvas, color, 0.9 * share * np.minimum(chosen / 0.4, 1))
    canvas[..., 3] *= 255
    codes = point_codes(cloud, points, alone=True)
    return Picture(region, canvas.round().astype(np.uint8), points, codes)


def palette(cloud: Cloud) -> Table:
    """Colours (k, 3) of particles drawn as points; the last one is that of faint ones."""
    table = cloud.look.density if cloud.coloring is None else cloud.coloring.table
    return np.concatenate([table, np.array([cloud.look.faint], np.uint8)])


def point_codes(cloud: Cloud, rows: Rows, *, alone: bool = False) -> NDArray[np.int32]:
    """Row of `palette` for each of some particles.

    Without values it tells how many others lie around a particle, or, ``alone``, that few do.
    """
    if cloud.coloring is not None:
        table = cloud.coloring.table
        codes, known = cloud.coloring.codes(rows)
    else:
        table, known = cloud.look.density, np.ones(len(rows), np.bool_)
        codes = np.full(len(rows), _LONELY) if alone else _crowding(cloud.x[rows], cloud.y[rows])
    if cloud.faint is not None:
        known &= ~cloud.faint[rows]
    return np.where(known, codes, len(table)).astype(np.int32)


def _crowding(x: Array, y: Array) -> NDArray[np.int32]:
    bins = 64
    if len(x) < 2:
        return np.full(len(x), STEPS // 2, np.int32)
    places, within = [], np.ones(len(x), np.bool_)
    for values in (x, y):
        low, high = np.percentile(values, (0.5, 99.5))
        place = (values - low) / (max(float(high - low), 1e-9) / bins)
        within &= (place >= 0) & (place < bins)
        places.append(np.clip(place, 0, bins - 1).astype(np.intp))
    at = places[1] * bins + places[0]
    counts = np.bincount(at[within], minlength=bins * bins).reshape(bins, bins)
    crowd = np.log1p(gaussian_filter(counts.astype(np.float32), 1.0)).ravel()
    # Those beyond have hardly any neighbours.
    scale = (STEPS - 1) / max(float(crowd.max()), 1e-9)
    return np.where(within, crowd[at] * scale, _LONELY).astype(np.int32)


def _parts(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _PART, n)) for start in range(0, n, _PART))


def _inside(cloud: Cloud, region: Region) -> tuple[Rows, NDArray[np.int32]]:
    """Particles in a region, and the bin of each."""
    rows, bins = [], []
    across = np.float32(region.width / (region.right - region.left))
    up = np.float32(region.height / (region.top - region.bottom))
    for part in _parts(len(cloud.x)):
        column = (cloud.x[part] - np.float32(region.left)) * across
        row = (cloud.y[part] - np.float32(region.bottom)) * up
        here = (column >= 0) & (column < region.width) & (row >= 0) & (row < region.height)
        inside = np.flatnonzero(here)
        rows.append(inside + part.start)
        flat = row[inside].astype(np.int32)
        flat *= region.width
        flat += column[inside].astype(np.int32)
        bins.append(flat)
    return np.concatenate(rows), np.concatenate(bins)


def _count(bins: NDArray[np.int32], size: int, weights: Array | None = None) -> Array:
    total = np.zeros(size)
    for part in _parts(len(bins)):
        total += np.bincount(bins[part], None if weights is None else weights[part], size)
    return total.astype(np.float32)


def _order(rows: Rows) -> NDArray[np.uint32]:
    """A random number per particle, the same each time: the sample stays while the map moves."""
    return (rows.astype(np.uint64) * np.uint64(2654435761)).astype(np.uint32)


def _shown(cloud: Cloud, rows: Rows) -> Mask | None:
    """Which particles are not faint; absent if all of them."""
    shown = None if cloud.faint is None else ~cloud.faint[rows]
    if cloud.coloring is not None:
        data = cloud.coloring.data
        known = data[rows] >= 0 if cloud.coloring.kind == "categories" else np.isfinite(data[rows])
        if not known.all():
            shown = known if shown is None else shown & known
    return shown


def _strength(counts: Array) -> Array:
    """Share of the brightest, from 0 where nothing lies; in steps that the eye sees as even."""
    some = counts[counts > 0]
    if not len(some):
        return counts
    brightest = np.log1p(np.percentile(some, 99.7))
    strength: Array = np.minimum(np.log1p(counts) / brightest, 1)
    return strength


def _colors(
    cloud: Cloud, rows: Rows, bins: NDArray[np.int32], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], Array]:
    """Colour (h, w, 3) and opacity (h, w) of each bin."""
    size = shape[0] * shape[1]
    counts = _count(bins, size).reshape(shape)
    smooth = gaussian_filter(counts, _BLUR)
    strength = _strength(smooth)
    there = np.minimum(smooth / 0.4, 1)
    how = cloud.coloring
    if how is None:
        colors = cloud.look.density[(strength * (STEPS - 1)).astype(np.intp)]
        return colors.astype(np.float32), there
    if how.kind == "categories":
        codes, _ = how.codes(rows)
        k = len(how.table)
        most = _count(bins * np.int32(k) + codes, size * k).reshape(*shape, k).argmax(axis=-1)
        return how.table[most].astype(np.float32), (counts > 0) * (0.45 + 0.55 * strength)
    place = _mean_place(how, rows, bins, shape)
    colors = how.table[np.minimum(place * STEPS, STEPS - 1).astype(np.intp)]
    return colors.astype(np.float32), there * (0.45 + 0.55 * strength)


def _mean_place(
    how: Coloring, rows: Rows, bins: NDArray[np.int32], shape: tuple[int, int]
) -> Array:
    size = shape[0] * shape[1]

    def total(weights: Array) -> Array:
        return gaussian_filter(_count(bins, size, weights).reshape(shape), _BLUR)

    place = np.concatenate([how.positions(rows[part])[0] for part in _parts(len(rows))])
    if how.kind == "angles":
        turn = np.float32(2 * np.pi) * place
        mean = np.arctan2(total(np.sin(turn)), total(np.cos(turn))) / (2 * np.pi) % 1
    else:
        mean = np.clip(total(place) / np.maximum(total(np.ones_like(place)), 1e-6), 0, 1)
    return mean.astype(np.float32)


def _paint(canvas: Array, color: NDArray[np.float32], opacity: Array) -> None:
    """Lay a colour over an image (h, w, 4) with opacities between 0 and 1, in place."""
    below = canvas[..., 3] * (1 - opacity)
    total = opacity + below
    share = np.divide(opacity, total, out=np.zeros_like(total), where=total > 0)[..., None]
    canvas[..., :3] += share * (color - canvas[..., :3])
    canvas[..., 3] = total
