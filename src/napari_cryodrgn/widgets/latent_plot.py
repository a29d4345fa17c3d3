"""The drawing of a latent space that answers clicks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, QSize, Qt, Signal

from .qt_tools import Colors, disable_menu

Array = NDArray[np.float32]
#: Above this many points a density image is drawn, with a sample of the points on top.
MANY = 50_000
SAMPLE = 20_000
_BINS = 256


class LatentPlot(pg.PlotWidget):
    """Particles on one axis as a histogram, on two as a scatter plot.

    A click gives the point and the size of a pixel in data units, each with one or two entries.
    Dragging pans, the wheel zooms.
    """

    clicked = Signal(object, object)

    def __init__(self, colors: Colors) -> None:
        super().__init__()
        self.setMinimumHeight(240)
        plot = self.getPlotItem()
        disable_menu(plot, self)
        for side in ("left", "bottom"):
            plot.getAxis(side).enableAutoSIPrefix(False)
        plot.getAxis("left").setWidth(48)
        self.density = pg.ImageItem(axisOrder="row-major")
        self.points = pg.ScatterPlotItem(pen=None, pxMode=True)
        self.bars = pg.PlotCurveItem(fillLevel=0)
        self.nearest = pg.ScatterPlotItem(pxMode=True, size=15, brush=(0, 0, 0, 0))
        self.here = pg.ScatterPlotItem(pxMode=True, size=15, symbol="+")
        self.line = pg.InfiniteLine(angle=90)
        self.nearest_line = pg.InfiniteLine(angle=90)
        for item in (
            self.density,
            self.bars,
            self.points,
            self.nearest_line,
            self.line,
            self.nearest,
            self.here,
        ):
            marker = item not in (self.density, self.bars, self.points)
            self.addItem(item, ignoreBounds=marker)
        self._dimensions = 2
        self.scene().sigMouseClicked.connect(self._on_click)
        self.set_colors(colors)
        self.clear_points()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Small: the scene's own hint would make the dock wide."""
        return QSize(360, 360)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.setBackground(colors.background)
        self._text = colors.text
        for side in ("left", "bottom"):
            self.getAxis(side).setPen(colors.dim)
            self.getAxis(side).setTextPen(colors.text)
        blue = pg.mkColor(colors.blue)
        self._brush = blue
        self.bars.setPen(pg.mkPen(blue, width=1))
        self.bars.setBrush(pg.mkBrush(blue.red(), blue.green(), blue.blue(), 90))
        # Two pens each: a bright mark must be seen on bright points.
        self.nearest.setPen(pg.mkPen(colors.orange, width=2.5))
        self.here.setPen(pg.mkPen(colors.text, width=1))
        self.here.setBrush(pg.mkBrush(colors.error))
        self.line.setPen(pg.mkPen(colors.error, width=2))
        self.nearest_line.setPen(pg.mkPen(colors.orange, width=1.5, style=Qt.PenStyle.DashLine))
        self._background = pg.mkColor(colors.background)

    def clear_points(self) -> None:
        """Draw nothing."""
        for item in (self.density, self.points, self.bars):
            item.setVisible(False)
        self.clear_marks()

    def clear_marks(self) -> None:
        """Take the marks of the last click away."""
        for item in (self.nearest, self.here, self.line, self.nearest_line):
            item.setVisible(False)

    def set_points(self, points: Array, axes: Sequence[str], *, keep_view: bool = False) -> None:
        """Draw particles (N, 1 or 2) on the named axes, all in view unless it is to be kept."""
        self._dimensions = points.shape[1]
        style = {"color": self._text, "font-size": "9pt"}
        self.setLabel("bottom", axes[0], **style)
        self.setLabel("left", axes[1] if len(axes) > 1 else "particles", **style)
        self.clear_points()
        if self._dimensions == 1:
            self._draw_histogram(points[:, 0])
        else:
            self._draw_scatter(points)
        box = self.getViewBox()
        box.setLimits(yMin=0 if self._dimensions == 1 else None)
        box.setMouseEnabled(x=True, y=self._dimensions == 2)
        if not keep_view:
            self.autoRange(padding=0.03)
            box.enableAutoRange()

    def mark(self, here: Sequence[float], nearest: Sequence[float]) -> None:
        """Mark the decoded point and the particle nearest to it."""
        self.clear_marks()
        if self._dimensions == 1:
            self.line.setPos(here[0])
            self.nearest_line.setPos(nearest[0])
            shown: tuple[pg.GraphicsObject, ...] = (self.nearest_line, self.line)
        else:
            self.here.setData([here[0]], [here[1]])
            self.nearest.setData([nearest[0]], [nearest[1]])
            shown = (self.nearest, self.here)
        for item in shown:
            item.setVisible(True)

    def _draw_histogram(self, values: Array) -> None:
        bins = int(np.clip(np.sqrt(len(values)), 10, 120))
        counts, edges = np.histogram(values, bins=bins)
        self.bars.setData(edges, counts, stepMode="center")
        self.bars.setVisible(True)

    def _draw_scatter(self, points: Array) -> None:
        n = len(points)
        shown = points
        if n > MANY:
            self._draw_density(points)
            shown = points[np.random.default_rng(0).choice(n, SAMPLE, replace=False)]
        size: float
        size, alpha = (6, 170) if n < 2000 else (4, 110)
        brush = pg.mkBrush(self._brush.red(), self._brush.green(), self._brush.blue(), alpha)
        if n > MANY:
            size, brush = 1.5, pg.mkBrush(255, 255, 255, 90)
        self.points.setData(shown[:, 0], shown[:, 1], size=size, brush=brush)
        self.points.setVisible(True)

    def _draw_density(self, points: Array) -> None:
        # Far outliers would squeeze everything else into a few bins.
        low, high = np.percentile(points, (0.05, 99.95), axis=0)
        span = np.maximum(high - low, 1e-6)
        low, high = low - 0.05 * span, high + 0.05 * span
        counts, _, _ = np.histogram2d(
            points[:, 1], points[:, 0], bins=_BINS, range=[(low[1], high[1]), (low[0], high[0])]
        )
        table = pg.colormap.get("viridis").getLookupTable(nPts=256, alpha=True)
        # Empty bins are see-through.
        table[0, 3] = 0
        self.density.setImage(np.log1p(counts), lut=table)
        self.density.setRect(QRectF(low[0], low[1], high[0] - low[0], high[1] - low[1]))
        self.density.setVisible(True)

    def _on_click(self, event: object) -> None:
        box = self.getViewBox()
        position = event.scenePos()  # type: ignore[attr-defined]
        left = event.button() == Qt.MouseButton.LeftButton  # type: ignore[attr-defined]
        if not left or not box.sceneBoundingRect().contains(position):
            return
        if not any(item.isVisible() for item in (self.points, self.bars)):
            return
        event.accept()  # type: ignore[attr-defined]
        point = box.mapSceneToView(position)
        unit = box.viewPixelSize()
        both = ((point.x(), unit[0]), (point.y(), unit[1]))[: self._dimensions]
        self.clicked.emit([p for p, _ in both], [u for _, u in both])
