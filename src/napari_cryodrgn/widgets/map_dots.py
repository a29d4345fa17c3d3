"""Many dots on a map, in many colours."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from pyqtgraph.Qt import internals
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QBrush, QColor, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QWidget

Array = NDArray[np.float32]


class MapDots(pg.GraphicsObject):
    """Dots with a colour each, drawn as copies of one small picture per colour.

    pyqtgraph's own scatter plot handles each dot in Python: 20,000 new ones hold the window up for
    50 ms, and five times that when Python collects its garbage.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fragments = internals.PrimitiveArray(QPainter.PixmapFragment, 10)
        self._pixmap: QPixmap | None = None
        self._ratio = self._size = 1.0
        self.colors: list[QColor] = []
        self._edge: QColor | None = None
        empty = np.zeros(0, np.float32)
        self.set_dots(empty, empty, np.zeros(0, np.int32), [QColor()], 1.0)

    def set_dots(
        self,
        x: Array,
        y: Array,
        codes: NDArray[np.int32],
        colors: list[QColor],
        size: float,
        edge: QColor | None = None,
    ) -> None:
        """Draw dots at (N,) places in data units.

        Parameters
        ----------
        codes
            Place in ``colors`` of each dot (N,).
        size
            Diameter in pixels.
        edge
            Colour of a line around each dot.
        """
        self._x, self._y, self.codes = x, y, codes
        if (self.colors, self._size, self._edge) != (colors, size, edge):
            self.colors, self._size, self._edge = list(colors), size, edge
            self._pixmap = None
        self.update()

    def getData(self) -> tuple[Array, Array]:  # noqa: N802
        """Coordinates (N,) in data units, as pyqtgraph's plots give them."""
        return self._x, self._y

    def boundingRect(self) -> QRectF:  # noqa: N802
        """What is in view."""
        return QRectF(self.viewRect())

    def viewTransformChanged(self) -> None:  # noqa: N802
        """Another part of the map came into view."""
        super().viewTransformChanged()
        self.prepareGeometryChange()

    def paint(self, painter: QPainter, option: object, widget: QWidget | None = None) -> None:
        """Draw the dots in view."""
        device = widget or painter.device()
        ratio = device.devicePixelRatioF() if device is not None else 1.0
        if self._pixmap is None or ratio != self._ratio:
            self._ratio = ratio
            self._pixmap = self._draw_strip()
        view = self.viewRect()
        across, up = self.pixelVectors()
        more_x = self._size * (across.x() if across is not None else 0)
        more_y = self._size * (abs(up.y()) if up is not None else 0)
        seen = (
            (self._x > view.left() - more_x)
            & (self._x < view.right() + more_x)
            & (self._y > view.top() - more_y)
            & (self._y < view.bottom() + more_y)
        )
        transform = painter.transform()
        cell = self._cell() * ratio
        self._fragments.resize(int(np.count_nonzero(seen)))
        parts = self._fragments.ndarray()
        parts[:, 0] = transform.m11() * self._x[seen] + transform.dx()
        parts[:, 1] = transform.m22() * self._y[seen] + transform.dy()
        parts[:, 2] = cell * self.codes[seen]
        parts[:, 3:10] = (0, cell, cell, 1 / ratio, 1 / ratio, 0, 1)
        painter.resetTransform()
        painter.drawPixmapFragments(*self._fragments.drawargs(), self._pixmap)  # type: ignore[call-arg]

    def _cell(self) -> int:
        return int(np.ceil(self._size)) + 3

    def _draw_strip(self) -> QPixmap:
        """A dot of each colour, side by side."""
        cell = self._cell()
        strip = QPixmap(round(cell * len(self.colors) * self._ratio), round(cell * self._ratio))
        strip.setDevicePixelRatio(self._ratio)
        strip.fill(Qt.GlobalColor.transparent)
        painter = QPainter(strip)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        edge = QPen(self._edge, 1.0) if self._edge is not None else QPen(Qt.PenStyle.NoPen)
        painter.setPen(edge)
        radius = self._size / 2
        for i, color in enumerate(self.colors):
            painter.setBrush(QBrush(color))
            painter.drawEllipse(QPointF((i + 0.5) * cell, 0.5 * cell), radius, radius)
        painter.end()
        # Its parts are told in pixels of the screen.
        strip.setDevicePixelRatio(1)
        return strip
