"""Particles on one axis: how many lie at each place, and what their values are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray

from .density_image import Cloud
from .map_colors import Table
from .qt_tools import Colors

_MOST_BINS = 1000


@dataclass(frozen=True)
class Counts:
    """Particles between ``edges`` (k + 1,): all, those not faint, those highlighted, each (k,).

    ``colors`` (k, 3) are of those not faint, absent without values.
    """

    edges: NDArray[np.float64]
    everything: NDArray[np.intp]
    shown: NDArray[np.intp]
    chosen: NDArray[np.intp] | None
    colors: Table | None


def count(cloud: Cloud, core: tuple[float, float]) -> Counts:
    """Count the particles of ``cloud.x``, in bins that suit those in the range ``core``."""
    low, high = float(cloud.x.min()), float(cloud.x.max())
    bins = int(np.clip(np.sqrt(len(cloud.x)), 10, 120))
    step = max(core[1] - core[0], 1e-6) / bins
    # Bins go on evenly to the last outlier, within reason.
    first = max(int(np.floor((low - core[0]) / step)), -_MOST_BINS // 2)
    last = min(int(np.ceil((high - core[0]) / step)), bins + _MOST_BINS // 2)
    size = max(last - first, 1)
    edges = core[0] + step * np.arange(first, first + size + 1, dtype=np.float64)
    places = np.floor((cloud.x - np.float32(edges[0])) / np.float32(step)).astype(np.intp)
    if high <= edges[-1]:
        # The largest value may lie on the last edge.
        places = np.minimum(places, size - 1)
    within = (places >= 0) & (places < size)

    def counted(mask: NDArray[np.bool_] | None) -> NDArray[np.intp]:
        return np.bincount(places[within if mask is None else within & mask], minlength=size)

    shown = None if cloud.faint is None else ~cloud.faint
    colors = None
    if cloud.coloring is not None:
        codes, known = cloud.coloring.codes(slice(None))
        shown = known if shown is None else shown & known
        colors = _mean_colors(cloud.coloring.table, codes, places, within & shown, size)
    everything = counted(None)
    return Counts(
        edges,
        everything,
        everything if shown is None else counted(shown),
        None if cloud.chosen is None else counted(cloud.chosen),
        colors,
    )


def _mean_colors(
    table: Table,
    codes: NDArray[np.int32],
    places: NDArray[np.intp],
    mask: NDArray[np.bool_],
    size: int,
) -> Table:
    """Mean colour (size, 3) of the particles of each bin: it tells a mixture from one value."""
    counts = np.maximum(np.bincount(places[mask], minlength=size), 1)
    channels = [
        np.bincount(places[mask], weights=table[codes[mask], c], minlength=size) / counts
        for c in range(3)
    ]
    return np.stack(channels, axis=1).round().astype(np.uint8)


class CountAxis(pg.AxisItem):
    """An axis that writes thousands short: 20k."""

    def tickStrings(  # noqa: N802
        self, values: list[float], scale: float, spacing: float
    ) -> list[str]:
        """Texts of the ticks."""
        if max(map(abs, values), default=0) < 10_000:
            return super().tickStrings(values, scale, spacing)
        return [f"{v / 1000:g}k" if v else "0" for v in values]


class MapHistogram:
    """The items that draw `Counts` in a plot."""

    def __init__(self, plot: pg.PlotWidget) -> None:
        self.below = pg.BarGraphItem(x0=[], x1=[], height=[], pen=None)
        self.bars = pg.BarGraphItem(x0=[], x1=[], height=[], pen=None)
        self.chosen = pg.PlotCurveItem(fillLevel=0)
        for item in (self.below, self.bars, self.chosen):
            plot.addItem(item, ignoreBounds=True)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._blue = pg.mkColor(colors.blue)
        self._dim = pg.mkColor(colors.dim)
        self._dim.setAlpha(90)
        orange = pg.mkColor(colors.orange)
        self.chosen.setPen(pg.mkPen(orange, width=2))
        orange.setAlpha(110)
        self.chosen.setBrush(pg.mkBrush(orange))

    def hide(self) -> None:
        """Draw nothing."""
        for item in (self.below, self.bars, self.chosen):
            item.setVisible(False)

    def show(self, counts: Counts) -> None:
        """Draw counts."""
        left, right = counts.edges[:-1], counts.edges[1:]
        colors: dict[str, object] = {"brush": self._blue}
        if counts.colors is not None:
            colors = {"brushes": [pg.mkBrush(*map(int, c)) for c in counts.colors]}
        self.bars.setOpts(x0=left, x1=right, height=counts.shown, **{"brushes": None, **colors})
        faint = bool(np.any(counts.shown < counts.everything))
        self.below.setOpts(x0=left, x1=right, height=counts.everything, brush=self._dim)
        self.below.setVisible(faint)
        self.bars.setVisible(True)
        some = np.flatnonzero(counts.chosen if counts.chosen is not None else ())
        self.chosen.setVisible(len(some) > 0)
        if counts.chosen is not None and len(some):
            first, last = some[0], some[-1] + 1
            self.chosen.setData(
                counts.edges[first : last + 1], counts.chosen[first:last], stepMode="center"
            )
