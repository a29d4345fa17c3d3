"""Plots of candidate poses that answer clicks: on the sphere, and score against distance."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QMouseEvent

from .direction_plot import DirectionPlot
from .qt_tools import Colors
from .still_plot import StillPlot
from .view_directions import on_map, view_axes

Array = NDArray[np.float32]
# Log-likelihood behind the best at which a candidate has the last colour, and that colour's place:
# darker ones do not show.
_DARK, _DARKEST = 12.0, 70
_SHADES = 32
# Opacity of candidates that were dropped, and of those kept.
_ALPHA = (130, 230)
_REACH = 10  # pixels from a click


@cache
def _brush(shade: int, kept: bool) -> pg.QtGui.QBrush:
    place = _DARKEST + round((255 - _DARKEST) * shade / (_SHADES - 1))
    return pg.mkBrush(*pg.colormap.get("viridis").getLookupTable(nPts=256)[place], _ALPHA[kept])


def brushes(behind: Array, kept: int) -> list[pg.QtGui.QBrush]:
    """Colours by log-likelihood behind the best; those dropped are faint.

    Of few shades, since the plots draw one picture for each brush.
    """
    share = (1 + np.asarray(behind) / _DARK).clip(0, 1)
    shades = np.rint((_SHADES - 1) * share).astype(int).tolist()
    return [_brush(shade, i < kept) for i, shade in enumerate(shades)]


def _nearest(plot: pg.PlotWidget, event: QMouseEvent, x: Array, y: Array) -> int | None:
    """Index of the point nearest to a click on a plot; None if none is near."""
    if event.button() != Qt.MouseButton.LeftButton or not len(x):
        return None
    box = plot.getViewBox()
    here = box.mapSceneToView(plot.mapToScene(event.position().toPoint()))
    wide, high = box.viewPixelSize()
    away = np.hypot((x - here.x()) / wide, (y - here.y()) / high)
    nearest = int(away.argmin())
    return nearest if away[nearest] <= _REACH else None


class CandidateMap(DirectionPlot):
    """Where candidate poses look from; a click chooses one. The run's own pose is marked."""

    chosen = Signal(int)

    def __init__(self, colors: Colors) -> None:
        super().__init__(colors)
        self.dots = pg.ScatterPlotItem(pxMode=True, size=7, pen=None)
        self.ring = pg.ScatterPlotItem(pxMode=True, size=14, brush=None)
        for item in (self.dots, self.ring):
            self.addItem(item, ignoreBounds=True)
        self._places = np.zeros((0, 2), np.float32)
        self.setToolTip(
            "Directions from which the candidates see the particle, bright where they explain "
            "the image best, faint if dropped.\nOrange ring: the run's own pose. Click a "
            "candidate to see its projection."
        )
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        super().set_colors(colors)
        if hasattr(self, "ring"):
            self.ring.setPen(pg.mkPen(colors.text, width=2))

    def show_candidates(self, rotations: Array, behind: Array, kept: int) -> None:
        """Draw candidates (m, 3, 3), best first; the marks go."""
        self.show_map(None)
        self._places = on_map(view_axes(rotations))
        # The best is drawn last, on top.
        x, y = self._places[::-1].T
        self.dots.setData(x, y, brush=brushes(behind, kept)[::-1])
        self.choose(None)

    def choose(self, candidate: int | None) -> None:
        """Mark a candidate, or none."""
        places = self._places[[] if candidate is None else [candidate]]
        self.ring.setData(places[:, 0], places[:, 1])

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Choose the candidate under the mouse."""
        nearest = _nearest(self, event, self._places[:, 0], self._places[:, 1])
        if nearest is not None:
            self.chosen.emit(nearest)
        super().mousePressEvent(event)


class ScorePlot(StillPlot):
    """Log-likelihood of candidates against their angle from the best pose; a click chooses."""

    chosen = Signal(int)

    def __init__(self, colors: Colors) -> None:
        super().__init__(height=140, axis_width=44)
        self.dots = pg.ScatterPlotItem(pxMode=True, size=6, pen=None)
        self.own = pg.ScatterPlotItem(pxMode=True, size=13, brush=None)
        self.ring = pg.ScatterPlotItem(pxMode=True, size=13, brush=None)
        for item in (self.dots, self.own, self.ring):
            self.addItem(item)
        self._angles = self._behind = np.zeros(0, np.float32)
        self.setToolTip(
            "Logarithm of the likelihood over that of the best: 3 less is 20 times less "
            "likely.\nOrange ring: the run's own pose."
        )
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        super().set_colors(colors)
        words = {"left": "log-likelihood", "bottom": "degrees from the best pose"}
        for side, text in words.items():
            self.setLabel(side, text, color=colors.text, **{"font-size": "8pt"})
        self.own.setPen(pg.mkPen(colors.orange, width=2.5))
        self.ring.setPen(pg.mkPen(colors.text, width=2))

    def show_candidates(
        self, angles: Array, behind: Array, kept: int, own: tuple[float, float] | None
    ) -> None:
        """Draw candidates, best first, and the run's ``own`` pose if it can be compared."""
        self._angles, self._behind = angles, behind
        self.dots.setData(angles[::-1], behind[::-1], brush=brushes(behind, kept)[::-1])
        self.own.setData([] if own is None else [own[0]], [] if own is None else [own[1]])
        self.choose(None)
        # An own pose that is far behind must not squeeze all others.
        low = min(float(behind.min(initial=0.0)), -3.0)
        if own is not None:
            low = min(low, max(own[1], 2 * low))
        far = max(float(angles.max(initial=0.0)), own[0] if own is not None else 0.0, 2.0)
        self.setXRange(0, 1.04 * far, padding=0.02)
        self.setYRange(1.05 * low, -0.06 * low, padding=0.02)

    def choose(self, candidate: int | None) -> None:
        """Mark a candidate, or none."""
        which = [] if candidate is None else [candidate]
        self.ring.setData(self._angles[which], self._behind[which])

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Choose the candidate under the mouse."""
        nearest = _nearest(self, event, self._angles, self._behind)
        if nearest is not None:
            self.chosen.emit(nearest)
        super().mousePressEvent(event)
