"""Images in a grid that answers clicks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QWidget

from .qt_tools import Colors, follow_width

_GAP = 2


def gray_image(values: NDArray[np.uint8]) -> QImage:
    """An image (y, x) for Qt, with a memory of its own."""
    height, width = values.shape
    data = values.tobytes()
    return QImage(data, width, height, width, QImage.Format.Format_Grayscale8).copy()


class Montage(QWidget):
    """Images in a grid that answers clicks with the number of the cell.

    Parameters
    ----------
    colors
        Of the theme.
    columns
        Of the grid; its rows are as many as there are images for.
    rows
        Of the grid while it is empty.
    """

    clicked = Signal(int)

    def __init__(self, colors: Colors, columns: int, rows: int) -> None:
        super().__init__()
        self._images: list[QImage] = []
        self._titles: list[str] = []
        self._chosen: int | None = None
        self._columns, self._rows = columns, rows
        self.colors = colors
        follow_width(self)
        self.setMinimumHeight(80)

    def hasHeightForWidth(self) -> bool:  # noqa: N802
        """Cells are square."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802
        """As many rows as there are images for."""
        return width * self._n_rows // self._columns

    @property
    def _n_rows(self) -> int:
        return -(-len(self._images) // self._columns) or self._rows

    def sizeHint(self) -> QSize:  # noqa: N802
        """For a dock of usual width."""
        return QSize(340, self.heightForWidth(340))

    def show_images(self, images: Sequence[NDArray[np.uint8]], titles: Sequence[str]) -> None:
        """Show other images, each (y, x), none of them chosen."""
        self._images = [gray_image(image) for image in images]
        self._titles, self._chosen = list(titles), None
        self.updateGeometry()
        self.update()

    def choose(self, cell: int | None) -> None:
        """Mark a cell, or none."""
        self._chosen = cell
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw the cells."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        font = painter.font()
        font.setPointSize(7)
        painter.setFont(font)
        for cell in range(self._n_rows * self._columns):
            where = self._cell(cell)
            if cell >= len(self._images):
                painter.fillRect(where, QColor(128, 128, 128, 30))
                continue
            painter.drawImage(where, self._images[cell])
            text = QRect(where.x() + 1, where.bottom() - 13, where.width(), 13)
            painter.setPen(QColor("black"))
            painter.drawText(text.translated(3, 1), Qt.AlignmentFlag.AlignLeft, self._titles[cell])
            painter.setPen(QColor("white"))
            painter.drawText(text.translated(2, 0), Qt.AlignmentFlag.AlignLeft, self._titles[cell])
            if cell == self._chosen:
                painter.setPen(QPen(QColor(self.colors.orange), 2))
                painter.drawRect(where.adjusted(1, 1, -1, -1))
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Choose the cell under the mouse."""
        if event is None:
            return
        point = event.position().toPoint()
        for cell in range(len(self._images)):
            if self._cell(cell).contains(point):
                self.clicked.emit(cell)

    def _cell(self, number: int) -> QRect:
        edge = min(self.width() // self._columns, self.height() // self._n_rows)
        row, column = divmod(number, self._columns)
        return QRect(column * edge, row * edge, edge - _GAP, edge - _GAP)
