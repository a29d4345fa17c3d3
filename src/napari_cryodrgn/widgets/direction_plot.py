"""Viewing directions on a Mollweide map that answers clicks, and takes circles."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal

from .qt_tools import Colors, disable_menu, follow_width
from .view_directions import DirectionMap, angle_between, circle_on_map, from_map, on_map

_FEW = 500
# Of a circle drawn with the mouse.
_LEAST_DEGREES = 1.0
#: Colours of densities and counts, from none to most (256, 4).
TABLE = pg.colormap.get("viridis").getLookupTable(nPts=256, alpha=True)


class _Circles(pg.ViewBox):
    """Gives where a drag of the left button began and is now, in the view, and if it is over."""

    dragged = Signal(object, object, bool)

    def __init__(self) -> None:
        super().__init__(enableMenu=False)

    def mouseDragEvent(self, event: object, axis: int | None = None) -> None:  # noqa: N802
        """Hand a drag of the left button on."""
        if event.button() != Qt.MouseButton.LeftButton:  # type: ignore[attr-defined]
            event.ignore()  # type: ignore[attr-defined]
            return
        event.accept()  # type: ignore[attr-defined]
        start = self.mapToView(event.buttonDownPos())  # type: ignore[attr-defined]
        now = self.mapToView(event.pos())  # type: ignore[attr-defined]
        self.dragged.emit(start, now, event.isFinish())  # type: ignore[attr-defined]


class DirectionPlot(pg.PlotWidget):
    """Where particles are seen from, as a density, with few of them also as points.

    A click gives the direction (3,) under the mouse.

    Parameters
    ----------
    colors
        Of the theme.
    circles
        Whether a drag draws a circle about the direction where it began; when it ends, that
        direction and the radius in degrees are given.
    """

    clicked = Signal(object)
    circled = Signal(object, float)

    def __init__(self, colors: Colors, *, circles: bool = False) -> None:
        box = _Circles() if circles else None
        super().__init__(viewBox=box)
        if box is not None:
            box.dragged.connect(self._on_drag)
        plot = self.getPlotItem()
        disable_menu(plot, self)
        plot.hideButtons()
        plot.hideAxis("left")
        plot.hideAxis("bottom")
        plot.setContentsMargins(0, 0, 0, 0)
        self.setMouseEnabled(x=False, y=False)
        box = self.getViewBox()
        box.setAspectLocked(True)
        box.setRange(QRectF(-2, -1, 4, 2), padding=0.02)
        follow_width(self)
        self.image = pg.ImageItem(axisOrder="row-major")
        self.points = pg.ScatterPlotItem(pen=None, pxMode=True, size=3)
        self.grid = [pg.PlotCurveItem(*line) for line in _graticule()]
        self.rim = pg.PlotCurveItem(*_rim())
        self.here = pg.ScatterPlotItem(pxMode=True, size=13, brush=(0, 0, 0, 0))
        self.circle = pg.PlotCurveItem(connect="finite")
        for item in (self.image, *self.grid, self.rim, self.points, self.circle, self.here):
            self.addItem(item, ignoreBounds=True)
        self.scene().sigMouseClicked.connect(self._on_click)
        self.setToolTip(
            "Directions that the selected particles are seen from: longitude is RELION's rot, the "
            "poles are tilt 0 and 180.\nClick to pick the particle seen most nearly from there."
        )
        self.set_colors(colors)
        self.show_map(None)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Small: the scene's own hint would make the dock wide."""
        return QSize(340, 170)

    def hasHeightForWidth(self) -> bool:  # noqa: N802
        """The map is twice as wide as high."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802
        """Half the width."""
        return width // 2

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.setBackground(colors.background)
        dim = pg.mkColor(colors.dim)
        self.rim.setPen(pg.mkPen(dim, width=1))
        dim.setAlpha(70)
        for line in self.grid:
            line.setPen(pg.mkPen(dim, width=1))
        self.points.setBrush(pg.mkBrush(255, 255, 255, 130))
        self.here.setPen(pg.mkPen(colors.orange, width=2.5))
        self.circle.setPen(pg.mkPen("w", width=1.5))

    def show_map(self, drawn: DirectionMap | None) -> None:
        """Draw a map, or none; the mark goes."""
        self.here.setVisible(False)
        if drawn is None:
            self.show_image(None, 0.0)
        else:
            self.show_image(drawn.density, drawn.peak)
            self.show_points(drawn.points if drawn.n <= _FEW else drawn.points[:0])

    def show_image(self, image: np.ndarray | None, peak: float) -> None:
        """Draw a map (y, x) in colours from 0 to ``peak``, or none; points and circle go."""
        self.image.setVisible(image is not None)
        self.points.setVisible(False)
        self.circle.setVisible(False)
        if image is not None:
            self.image.setImage(image, lut=TABLE, levels=(0, peak or 1.0))
            self.image.setRect(QRectF(-2, -1, 4, 2))

    def show_points(self, places: np.ndarray) -> None:
        """Draw dots at places (n, 2) of the map."""
        self.points.setVisible(len(places) > 0)
        self.points.setData(places[:, 0], places[:, 1])

    def show_circle(self, axis: np.ndarray | None, degrees: float = 0.0) -> None:
        """Draw the circle of some degrees about a direction (3,), or none."""
        self.circle.setVisible(axis is not None)
        if axis is not None:
            line = circle_on_map(axis, degrees)
            self.circle.setData(line[:, 0], line[:, 1])

    def mark(self, axis: np.ndarray) -> None:
        """Mark a direction (3,)."""
        ((x, y),) = on_map(np.asarray(axis)[None])
        self.here.setData([x], [y])
        self.here.setVisible(True)

    def _on_click(self, event: object) -> None:
        position = event.scenePos()  # type: ignore[attr-defined]
        if event.button() != Qt.MouseButton.LeftButton or not self.image.isVisible():  # type: ignore[attr-defined]
            return
        point = self.getViewBox().mapSceneToView(position)
        direction = from_map(point.x(), point.y())
        if direction is not None:
            event.accept()  # type: ignore[attr-defined]
            self.clicked.emit(direction)

    def _on_drag(self, start: QPointF, now: QPointF, over: bool) -> None:
        axis = from_map(start.x(), start.y())
        if axis is None or not self.image.isVisible():
            return
        # Beyond the rim its nearest place stands for it.
        beyond = max(np.hypot(now.x() / 2, now.y()) * 1.001, 1.0)
        edge = from_map(now.x() / beyond, now.y() / beyond)
        if edge is None:
            return
        degrees = max(angle_between(axis, edge), _LEAST_DEGREES)
        self.show_circle(axis, degrees)
        if over:
            self.circled.emit(axis, degrees)


def _rim() -> tuple[np.ndarray, np.ndarray]:
    angle = np.linspace(0, 2 * np.pi, 181)
    return 2 * np.cos(angle), np.sin(angle)


def _graticule() -> list[tuple[np.ndarray, np.ndarray]]:
    """Meridians every 60 degrees and parallels every 30."""
    along = np.linspace(-np.pi / 2, np.pi / 2, 91)
    lines = [
        (2 * share * np.cos(along), np.sin(along)) for share in (-2 / 3, -1 / 3, 0, 1 / 3, 2 / 3)
    ]
    for latitude in np.deg2rad((-60, -30, 0, 30, 60)):
        ((_, y),) = on_map(np.array([[1.0, 0.0, np.sin(latitude)]]))
        lines.append((np.array([-2, 2]) * np.sqrt(1 - y**2), np.array([y, y])))
    return lines
