"""What the colours of a map mean."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter, QPainterPath
from qtpy.QtWidgets import QWidget

from .map_colors import Coloring, Table, Values, category_color, sampled
from .qt_tools import Colors

_LINE = 15.0
_BAR = 5.0
_HILL = 14.0
_BINS = 64
_MARGIN = 6.0
_ROWS = 2
_SWATCH = 12.0
_GAP = 10.0
_NAME = 110.0


class MapLegend(pg.GraphicsWidget):
    """A strip below a map: a scale with the distribution of the values, or names of categories."""

    def __init__(self) -> None:
        super().__init__()
        self._font = QFont()
        self._font.setPointSizeF(8)
        self._metrics = QFontMetricsF(self._font)
        self.set_nothing()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._text, self._dim = QColor(colors.text), QColor(colors.dim)
        self.update()

    def set_nothing(self) -> None:
        """All particles have one colour."""
        self.title, self.ends = "", ("", "")
        self.names: tuple[str, ...] = ()
        self._table: Table | None = None
        self._hill: NDArray[np.float64] | None = None
        self._fix_height(0)

    def set_density(self, table: Table) -> None:
        """Colours (k, 3) tell how many particles lie at a place."""
        self.set_nothing()
        self.title, self.ends, self._table = "particles", ("few", "many"), table
        self._fix_height(_LINE)

    def set_values(self, values: Values, how: Coloring) -> None:
        """Colours tell values."""
        self.set_nothing()
        if values.labels is not None:
            self.title, self.names = values.name, values.labels
            self._fix_height(_LINE * self._rows())
            return
        some = sampled(values.data)
        below, above = bool(np.any(some < how.low)), bool(np.any(some > how.high))
        low, high = _numbers(how.low, how.high)
        round_ = how.kind == "angles"
        self.title = f"{values.name} ({values.unit})" if values.unit else values.name
        self.ends = (
            f"≤ {low}" if below and not round_ else low,
            f"≥ {high}" if above and not round_ else high,
        )
        self._table = how.table
        if len(some):
            clipped = some if round_ else np.clip(some, how.low, how.high)
            turned = (clipped - how.low) % 360 + how.low if round_ else clipped
            counts = np.histogram(turned, _BINS, (how.low, how.high))[0]
            # The many that are beyond the ends would flatten the rest.
            self._hill = np.minimum(counts / max(float(np.percentile(counts, 97)), 1), 1)
        self._fix_height(_HILL + _BAR + 2)

    def resizeEvent(self, event: object) -> None:  # noqa: N802
        """Names of categories may need another row."""
        super().resizeEvent(event)
        if self.names:
            self._fix_height(_LINE * self._rows())

    def paint(self, painter: QPainter, option: object, widget: QWidget | None = None) -> None:
        """Draw the strip."""
        painter.setFont(self._font)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self.names:
            self._paint_names(painter)
        elif self._table is not None:
            self._paint_scale(painter, self._table)

    def _width(self) -> float:
        return float(self.size().width()) or 320.0

    def _fix_height(self, height: float) -> None:
        self.setFixedHeight(height + 3 if height else 0)
        self.update()

    def _paint_scale(self, painter: QPainter, table: Table) -> None:
        width, height = self._width(), float(self.size().height())
        base = height - 3
        title = self._metrics.elidedText(
            self.title, Qt.TextElideMode.ElideMiddle, 0.36 * width - _MARGIN
        )
        left = _MARGIN + self._metrics.horizontalAdvance(title) + 10
        painter.setPen(self._text)
        painter.drawText(QPointF(_MARGIN, base - 1), title)
        painter.setPen(self._dim)
        painter.drawText(QPointF(left, base - 1), self.ends[0])
        left += self._metrics.horizontalAdvance(self.ends[0]) + 6
        right = width - _MARGIN - self._metrics.horizontalAdvance(self.ends[1])
        painter.drawText(QPointF(right, base - 1), self.ends[1])
        right -= 6
        shape = QPainterPath()
        bar = QRectF(left, base - _BAR, max(right - left, 10), _BAR)
        shape.addRect(bar)
        if self._hill is not None:
            step = bar.width() / len(self._hill)
            for i, tall in enumerate(self._hill):
                shape.addRect(
                    QRectF(bar.left() + i * step, bar.top() - _HILL * tall, step, _HILL * tall)
                )
        strip = QImage(table.tobytes(), len(table), 1, 3 * len(table), QImage.Format.Format_RGB888)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setClipPath(shape)
        painter.drawImage(bar.adjusted(0, -_HILL, 0, 0), strip)
        painter.setClipping(False)

    def _paint_names(self, painter: QPainter) -> None:
        painter.setPen(self._dim)
        painter.drawText(QPointF(_MARGIN, _LINE - 3), self._short_title())
        placed = self._placed()
        for i, (x, row, text) in enumerate(placed):
            base = _LINE * (row + 1) - 3
            if i < len(self.names) - 1 and i == len(placed) - 1:
                painter.setPen(self._dim)
                painter.drawText(QPointF(x, base), text)
                continue
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(category_color(i)))
            painter.drawRoundedRect(QRectF(x, base - 8, 8, 8), 2, 2)
            painter.setPen(self._text)
            painter.drawText(QPointF(x + _SWATCH, base), text)

    def _short_title(self) -> str:
        room = 0.3 * self._width()
        return self._metrics.elidedText(self.title, Qt.TextElideMode.ElideMiddle, room)

    def _rows(self) -> int:
        return 1 + max((row for _, row, _ in self._placed()), default=0)

    def _placed(self) -> list[tuple[float, int, str]]:
        """Left end, row and text of each name that has room, then of how many have none."""
        end = self._width() - _MARGIN
        start = _MARGIN + self._metrics.horizontalAdvance(self._short_title()) + _GAP
        x, row = start, 0
        placed: list[tuple[float, int, str]] = []
        for i, name in enumerate(self.names):
            text = self._metrics.elidedText(name, Qt.TextElideMode.ElideMiddle, _NAME)
            length = _SWATCH + self._metrics.horizontalAdvance(text)
            more = f"+{len(self.names) - i:,} more"
            last = row == _ROWS - 1 and i < len(self.names) - 1
            room = self._metrics.horizontalAdvance(more) + _GAP if last else 0
            if x + length + room > end and row < _ROWS - 1:
                x, row = start, row + 1
            elif x + length + room > end:
                return [*placed, (x, row, more)]
            placed.append((x, row, text))
            x += length + _GAP
        return placed


def _numbers(low: float, high: float) -> tuple[str, str]:
    """Both ends of a range, with digits that tell them apart."""
    largest = max(abs(low), abs(high))
    if largest >= 1e5 or largest < 1e-3:
        return f"{low:.2g}", f"{high:.2g}"
    digits = int(np.clip(1 - np.floor(np.log10(high - low)), 0, 6))
    return f"{low:,.{digits}f}", f"{high:,.{digits}f}"
