"""The row of buttons that goes with a map."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPainterPath, QPen, QPixmap
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QToolButton, QWidget

from .map_view import TOOLS, Tool
from .qt_tools import Colors

if TYPE_CHECKING:
    from .latent_plot import LatentPlot

_SIZE = 20
_TIPS = {
    "decode": "Click or drag: show the volume there  (D)",
    "lasso": "Draw around particles to select them  (L)",
    "rectangle": "Select the particles in a rectangle  (R)",
    "path": "Draw a path to walk along  (P)",
}
_MOVE = "\n\nMove the map: right or middle button, or Shift and drag. Wheel: zoom."


class MapTools(QWidget):
    """Chooses the tool of a `LatentPlot`, and shows all of it."""

    def __init__(self, plot: LatentPlot, colors: Colors) -> None:
        super().__init__()
        self._plot = plot
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        group = QButtonGroup(self)
        self.buttons: dict[str, QToolButton] = {}
        for tool in TOOLS:
            button = self._button(tool, _TIPS[tool] + _MOVE)
            button.setCheckable(True)
            button.setChecked(tool == plot.tool)
            button.clicked.connect(partial(self._choose, tool))
            group.addButton(button)
            layout.addWidget(button)
        layout.addSpacing(8)
        everything = self._button("all", "Show all particles  (A, or double click)")
        everything.clicked.connect(plot.show_all)
        layout.addWidget(everything)
        layout.addStretch()
        plot.tool_changed.connect(self._follow)
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        for name, button in self.buttons.items():
            button.setIcon(_icon(name, colors))
        accent = QColor(colors.blue)
        rgb = f"{accent.red()}, {accent.green()}, {accent.blue()}"
        self.setStyleSheet(
            "QToolButton { background: transparent; border: 1px solid transparent;"
            " border-radius: 4px; padding: 3px; }"
            f"QToolButton:hover {{ background: rgba({rgb}, 40); }}"
            f"QToolButton:checked {{ background: rgba({rgb}, 70); border-color: {colors.blue}; }}"
        )

    def _button(self, name: str, tip: str) -> QToolButton:
        button = QToolButton()
        button.setIconSize(QSize(_SIZE, _SIZE))
        button.setToolTip(tip)
        button.setAccessibleName(tip.partition("  (")[0])
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.buttons[name] = button
        return button

    def _choose(self, tool: Tool) -> None:
        self._plot.tool = tool

    def _follow(self, tool: str) -> None:
        self.buttons[tool].setChecked(True)


def _icon(name: str, colors: Colors) -> QIcon:
    ratio = 3
    pixmap = QPixmap(_SIZE * ratio, _SIZE * ratio)
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    pen = QPen(QColor(colors.text), 1.5)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    painter.setPen(pen)
    _DRAWINGS[name](painter, QColor(colors.orange))
    painter.end()
    return QIcon(pixmap)


def _target(painter: QPainter, accent: QColor) -> None:
    painter.drawEllipse(QRectF(5, 5, 10, 10))
    for angle in range(4):
        x, y = ((1, 0), (0, 1), (-1, 0), (0, -1))[angle]
        painter.drawLine(QPointF(10 + 5 * x, 10 + 5 * y), QPointF(10 + 8.5 * x, 10 + 8.5 * y))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(accent)
    painter.drawEllipse(QRectF(8, 8, 4, 4))


def _lasso(painter: QPainter, accent: QColor) -> None:
    path = QPainterPath(QPointF(6.5, 14))
    path.cubicTo(0, 10.5, 2.5, 3, 10.5, 3)
    path.cubicTo(18.5, 3, 20, 10.5, 14.5, 13)
    path.cubicTo(11.5, 14.4, 8.5, 13.2, 6.5, 14)
    path.cubicTo(4.5, 14.8, 4.5, 16.5, 7.5, 18)
    painter.drawPath(path)
    _dots(painter, accent, (8, 8), (12.5, 9.5))


def _rectangle(painter: QPainter, accent: QColor) -> None:
    pen = painter.pen()
    pen.setDashPattern([2.2, 2.2])
    painter.setPen(pen)
    painter.drawRect(QRectF(3, 4.5, 14, 11))
    _dots(painter, accent, (8, 9), (12.5, 11.5))


def _path(painter: QPainter, accent: QColor) -> None:
    path = QPainterPath(QPointF(3.5, 15.5))
    path.cubicTo(7, 2, 12, 18, 16.5, 4.5)
    painter.drawPath(path)
    _dots(painter, accent, (3.5, 15.5), (16.5, 4.5))


def _all(painter: QPainter, accent: QColor) -> None:
    for x, y in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        corner = QPointF(10 + 7 * x, 10 + 7 * y)
        painter.drawLine(corner, QPointF(10 + 3.2 * x, 10 + 7 * y))
        painter.drawLine(corner, QPointF(10 + 7 * x, 10 + 3.2 * y))
    _dots(painter, accent, (10, 10))


def _dots(painter: QPainter, color: QColor, *places: tuple[float, float]) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    for x, y in places:
        painter.drawEllipse(QPointF(x, y), 1.9, 1.9)


_DRAWINGS = {
    "decode": _target,
    "lasso": _lasso,
    "rectangle": _rectangle,
    "path": _path,
    "all": _all,
}
