"""How the clusters of two runs correspond, as a table of colours that answers clicks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QFont,
    QFontMetricsF,
    QHelpEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from .map_colors import category_color
from .qt_tools import Colors

_HEAD = 20
_HIGHEST = 30
_LOWEST = 12


class ClusterTable(QWidget):
    """Rows are the first run's clusters, columns the second's, in an order of their own.

    Both are numbered from 1.

    `clicked` gives the clusters of both runs at a cell.
    """

    clicked = Signal(int, int)

    def __init__(self, colors: Colors) -> None:
        super().__init__()
        self.colors = colors
        self._values: NDArray[np.floating] = np.zeros((0, 0))
        self._texts: list[list[str]] = []
        self._tips: list[list[str]] = []
        self._order: NDArray[np.intp] = np.zeros(0, np.intp)
        self._chosen: tuple[int, int] | None = None
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def show_values(
        self,
        values: NDArray[np.floating],
        texts: Sequence[Sequence[str]],
        tips: Sequence[Sequence[str]],
        order: NDArray[np.intp],
    ) -> None:
        """Show values (ka, kb) from 0 to 1, what is written in each cell, and told beside it.

        ``order`` (kb,) are the columns from left to right.
        """
        self._values, self._order = values, order
        self._texts = [list(row) for row in texts]
        self._tips = [list(row) for row in tips]
        self._chosen = None
        self.updateGeometry()
        self.update()

    def choose(self, cell: tuple[int, int] | None) -> None:
        """Mark the cell of two clusters, or none."""
        self._chosen = cell
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """For a dock of usual width."""
        return QSize(340, self.heightForWidth(340))

    def hasHeightForWidth(self) -> bool:  # noqa: N802
        """Cells are square as far as they are not too high."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802
        """As many rows as there are clusters."""
        return round(_HEAD + self._edges(width)[1] * len(self._values)) + 2

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw the cells and the clusters' colours and numbers beside them."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = QFont(self.font())
        font.setPointSizeF(7.5)
        painter.setFont(font)
        rows, columns = self._values.shape
        blue, background = QColor(self.colors.blue), QColor(self.colors.background)
        for row in range(rows):
            self._paint_head(painter, self._cell(row, -1), row)
            for place in range(columns):
                column = int(self._order[place])
                value = float(np.clip(self._values[row, column], 0, 1))
                fill = _between(background, blue, 0.06 + 0.94 * value)
                where = self._cell(row, place).adjusted(0.5, 0.5, -0.5, -0.5)
                painter.fillRect(where, fill)
                text = self._texts[row][column]
                if QFontMetricsF(font).horizontalAdvance(text) <= where.width():
                    painter.setPen(QColor("black" if fill.lightness() > 140 else "white"))
                    painter.drawText(where, Qt.AlignmentFlag.AlignCenter, text)
                if self._chosen == (row, column):
                    painter.setPen(QPen(QColor(self.colors.orange), 2))
                    painter.drawRect(where.adjusted(1, 1, -1, -1))
        for place in range(columns):
            self._paint_head(painter, self._cell(-1, place), int(self._order[place]))
        painter.end()

    def _paint_head(self, painter: QPainter, where: QRectF, cluster: int) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(category_color(cluster)))
        edge = min(where.width(), where.height(), 16.0)
        dot = QRectF(0, 0, edge, edge)
        dot.moveCenter(where.center())
        painter.drawEllipse(dot.adjusted(1, 1, -1, -1))
        painter.setPen(QColor("white"))
        painter.drawText(where, Qt.AlignmentFlag.AlignCenter, str(cluster + 1))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Give out the clusters of the cell under the mouse."""
        cell = None if event is None else self._at(event.position())
        if cell is not None:
            self.clicked.emit(*cell)

    def event(self, event: QEvent | None) -> bool:
        """Tell what stands behind the cell under the mouse."""
        if isinstance(event, QHelpEvent):
            cell = self._at(QPointF(event.pos()))
            text = "" if cell is None else self._tips[cell[0]][cell[1]]
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    def _edges(self, width: int) -> tuple[float, float]:
        """Width and height of a cell."""
        wide = (width - _HEAD) / max(self._values.shape[1], 1)
        return wide, float(np.clip(wide, _LOWEST, _HIGHEST))

    def _cell(self, row: int, place: int) -> QRectF:
        """A cell; of row or place -1 that of the head."""
        wide, high = self._edges(self.width())
        x, w = (0.0, float(_HEAD)) if place < 0 else (_HEAD + place * wide, wide)
        y, h = (0.0, float(_HEAD)) if row < 0 else (_HEAD + row * high, high)
        return QRectF(x, y, w, h)

    def _at(self, point: QPointF) -> tuple[int, int] | None:
        rows, columns = self._values.shape
        for row in range(rows):
            for place in range(columns):
                if self._cell(row, place).contains(point):
                    return row, int(self._order[place])
        return None


def _between(a: QColor, b: QColor, share: float) -> QColor:
    mix = [round((1 - share) * x + share * y) for x, y in zip(a.getRgb(), b.getRgb(), strict=True)]
    return QColor(*mix)
