"""Marks on a map: the point that is shown, a path, the centres of clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QFont

from .map_colors import category_color
from .qt_tools import Colors

Points = NDArray[np.floating]
# A path of more points has no dots.
_DOTS = 60


class MapMarks:
    """Draws marks over the particles of a plot, with one axis or two.

    Points are (m, 1) or (m, 2), in data units.
    """

    def __init__(self, plot: pg.PlotWidget) -> None:
        self._plot = plot
        self.nearest = pg.ScatterPlotItem(pxMode=True, size=15, brush=(0, 0, 0, 0))
        self.here = pg.ScatterPlotItem(pxMode=True, size=15, symbol="+")
        self.line = pg.InfiniteLine(angle=90)
        self.nearest_line = pg.InfiniteLine(angle=90)
        # A dark line below a bright one is seen on any colour.
        self.path_edge = pg.PlotCurveItem(antialias=True)
        self.path = pg.PlotCurveItem(antialias=True)
        self.path_dots = pg.ScatterPlotItem(pxMode=True, size=5)
        self.path_end = pg.ScatterPlotItem(pxMode=True, size=11)
        self.centres = pg.ScatterPlotItem(pxMode=True, size=10)
        self._names: list[pg.TextItem] = []
        for height, item in enumerate(
            (
                self.path_edge,
                self.path,
                self.path_dots,
                self.path_end,
                self.centres,
                self.nearest_line,
                self.line,
                self.nearest,
                self.here,
            )
        ):
            item.setZValue(10 + height)
            plot.addItem(item, ignoreBounds=True)
        self._places: Points = np.zeros((0, 2))

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._text, self._background = pg.mkColor(colors.text), pg.mkColor(colors.background)
        # Two pens each: a bright mark must be seen on bright points.
        self.nearest.setPen(pg.mkPen(colors.orange, width=2.5))
        self.here.setPen(pg.mkPen(colors.text, width=1))
        self.here.setBrush(pg.mkBrush(colors.error))
        self.line.setPen(pg.mkPen(colors.error, width=2))
        self.nearest_line.setPen(pg.mkPen(colors.orange, width=1.5, style=Qt.PenStyle.DashLine))
        self.path_edge.setPen(pg.mkPen(colors.background, width=5))
        self.path.setPen(pg.mkPen(colors.green, width=2.5))
        for dots in (self.path_dots, self.path_end):
            dots.setPen(pg.mkPen(colors.background, width=1))
            dots.setBrush(pg.mkBrush(colors.green))
        self.centres.setPen(pg.mkPen(colors.text, width=1.5))
        if self._names:
            self.set_centres(self._places, [name.toPlainText() for name in self._names])

    def clear(self) -> None:
        """Take the marks of the last choice away."""
        for item in (self.nearest, self.here, self.line, self.nearest_line):
            item.setVisible(False)

    def mark(self, here: Sequence[float], nearest: Sequence[float] | None) -> None:
        """Mark the shown point, and the particle nearest to it if there is one to be shown."""
        self.clear()
        flat = len(here) == 1
        if flat:
            self.line.setPos(here[0])
        else:
            self.here.setData([here[0]], [here[1]])
        (self.line if flat else self.here).setVisible(True)
        if nearest is None:
            return
        if flat:
            self.nearest_line.setPos(nearest[0])
        else:
            self.nearest.setData([nearest[0]], [nearest[1]])
        (self.nearest_line if flat else self.nearest).setVisible(True)

    def set_path(self, points: Points | None) -> None:
        """Draw a path, with a larger dot at its beginning."""
        shown = points is not None and len(points) > 0
        for item in (self.path_edge, self.path, self.path_end):
            item.setVisible(shown)
        self.path_dots.setVisible(points is not None and 2 < len(points) <= _DOTS)
        if points is None or not len(points):
            return
        x, y = _both(points)
        for line in (self.path_edge, self.path):
            line.setData(x, y)
        self.path_dots.setData(x[1:], y[1:])
        self.path_end.setData(x[:1], y[:1])

    def set_centres(self, points: Points, names: Sequence[str]) -> None:
        """Draw the centres of clusters, with their names."""
        for label in self._names:
            self._plot.removeItem(label)
        self._names = []
        self._places = points
        x, y = _both(points)
        fills = [pg.mkBrush(category_color(i)) for i in range(len(points))]
        self.centres.setData(x, y, brush=fills)
        font = QFont()
        font.setPointSizeF(8)
        for i, name in enumerate(names):
            label = pg.TextItem(name, color=self._text, anchor=(-0.1, 0.5))
            behind = pg.mkColor(self._background)
            behind.setAlpha(170)
            label.fill = pg.mkBrush(behind)
            label.setFont(font)
            label.setPos(x[i], y[i])
            label.setZValue(15)
            self._plot.addItem(label, ignoreBounds=True)
            self._names.append(label)


def _both(points: Points) -> tuple[Points, Points]:
    """Coordinates x and y; with one axis everything lies on it."""
    points = np.asarray(points, np.float64)
    return points[:, 0], points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))
