"""What the mouse does on a map: choose a point, draw a line around particles, move the map."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtGui import QPainterPath, QPen
from qtpy.QtWidgets import QGraphicsPathItem

from .qt_tools import Colors

Tool = Literal["decode", "lasso", "rectangle", "path"]
TOOLS: tuple[Tool, ...] = get_args(Tool)
# A stroke keeps points that are so many pixels apart.
_THIN = 2.0
_DRAG = 3


class MapView(pg.ViewBox):
    """The area of a map in which the mouse works.

    The left button does what `tool` says: "decode" follows the mouse, the others draw a stroke.
    The middle and right button move the map, and so does the left one with Shift, or while
    `left_moves` is set. The wheel zooms. A double click asks for everything to be shown.
    """

    #: A click, and a drag with the tool "decode": a point (x, y) in data units.
    clicked = Signal(float, float)
    dragged = Signal(float, float)
    released = Signal(float, float)
    #: A stroke (m, 2) in data units that was drawn with another tool: a path, or the corners of an
    #: area; where there is one axis, the area is a range on it and holds what lies at y = 0.
    stroked = Signal(object)
    #: Double click.
    all_wanted = Signal()

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self._left_moves = False
        self._tool: Tool = "decode"
        # What the drag does that is under way; nothing once it has been given up.
        self._doing: Tool | Literal["move"] | None = None
        self._points: list[QPointF] = []
        #: Whether there is only one axis to choose on, so that a stroke is a range of it.
        self.flat = False
        self.stroke = QGraphicsPathItem()
        self.stroke.setZValue(100)
        self.addItem(self.stroke, ignoreBounds=True)

    @property
    def tool(self) -> Tool:
        """What the left button does."""
        return self._tool

    @tool.setter
    def tool(self, tool: Tool) -> None:
        self.drop_stroke()
        self._doing = None
        self._tool = tool
        self.show_cursor()

    @property
    def left_moves(self) -> bool:
        """Whether the left button moves the map, whatever the tool is."""
        return self._left_moves

    @left_moves.setter
    def left_moves(self, moves: bool) -> None:
        self._left_moves = moves
        self.show_cursor()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        pen = QPen(pg.mkColor(colors.orange), 2)
        pen.setCosmetic(True)
        self.stroke.setPen(pen)
        self._fill = pg.mkColor(colors.orange)
        self._fill.setAlpha(45)

    def show_cursor(self) -> None:
        """Tell by the cursor what the left button would do."""
        if self._doing == "move":
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        elif self._left_moves:
            self.setCursor(Qt.CursorShape.OpenHandCursor)
        elif self._tool == "decode":
            self.setCursor(Qt.CursorShape.ArrowCursor)
        else:
            self.setCursor(Qt.CursorShape.CrossCursor)

    def drop_stroke(self) -> bool:
        """Give up the stroke that is being drawn; whether there was one."""
        drawing = bool(self._points)
        if drawing:
            self._doing = None
        self._points = []
        self.stroke.setPath(QPainterPath())
        return drawing

    def mouseClickEvent(self, event: object) -> None:  # noqa: N802
        """Choose a point, or show everything."""
        if event.button() != Qt.MouseButton.LeftButton:  # type: ignore[attr-defined]
            return
        event.accept()  # type: ignore[attr-defined]
        if event.double():  # type: ignore[attr-defined]
            self.all_wanted.emit()
        elif self._tool == "decode" and not self._left_moves:
            point = self.mapToView(event.pos())  # type: ignore[attr-defined]
            self.clicked.emit(point.x(), point.y())

    def mouseDragEvent(self, event: object, axis: int | None = None) -> None:  # noqa: N802
        """Move the map, follow the mouse or draw."""
        if axis is not None:
            super().mouseDragEvent(event, axis)
            return
        event.accept()  # type: ignore[attr-defined]
        if event.isStart():  # type: ignore[attr-defined]
            left = event.button() == Qt.MouseButton.LeftButton  # type: ignore[attr-defined]
            shift = event.modifiers() & Qt.KeyboardModifier.ShiftModifier  # type: ignore[attr-defined]
            self._doing = "move" if not left or shift or self._left_moves else self._tool
        if self._doing == "move":
            self._move(event)
        elif self._doing == "decode":
            self._follow(event)
        elif self._doing is not None:
            self._draw(event)
        if event.isFinish():  # type: ignore[attr-defined]
            self._doing = None
        self.show_cursor()

    def _move(self, event: object) -> None:
        here = self.mapToView(event.pos())  # type: ignore[attr-defined]
        before = self.mapToView(event.lastPos())  # type: ignore[attr-defined]
        free_x, free_y = self.state["mouseEnabled"]
        self.translateBy(
            x=before.x() - here.x() if free_x else None,
            y=before.y() - here.y() if free_y else None,
        )
        self.sigRangeChangedManually.emit(self.state["mouseEnabled"])

    def _follow(self, event: object) -> None:
        point = self._within(event.pos())  # type: ignore[attr-defined]
        signal = self.released if event.isFinish() else self.dragged  # type: ignore[attr-defined]
        signal.emit(point.x(), point.y())

    def _draw(self, event: object) -> None:
        point = self._within(event.pos())  # type: ignore[attr-defined]
        if event.isStart():  # type: ignore[attr-defined]
            self._points = [self._within(event.buttonDownPos())]  # type: ignore[attr-defined]
        if self.flat or self._tool == "rectangle":
            self._points = [self._points[0], point]
        elif self._apart(self._points[-1], point) >= _THIN:
            self._points.append(point)
        if event.isFinish():  # type: ignore[attr-defined]
            self._finish()
        else:
            self._show_stroke()

    def _finish(self) -> None:
        outline = self._outline()
        length = self._apart(self._points[0], self._points[-1])
        stroke = np.array([[p.x(), p.y()] for p in outline])
        self.drop_stroke()
        if self._tool == "path":
            enough = len(stroke) > 1
        elif self._tool == "lasso" and not self.flat:
            enough = len(stroke) > 2
        else:
            enough = length > _DRAG
        if enough:
            self.stroked.emit(stroke)

    def _outline(self) -> list[QPointF]:
        points = self._points
        if self._tool == "path" or (self._tool == "lasso" and not self.flat):
            return points
        left, right = sorted((points[0].x(), points[-1].x()))
        low, high = sorted((points[0].y(), points[-1].y()))
        if self.flat:
            low, high = -self.viewRange()[1][1], self.viewRange()[1][1]
        return [QPointF(x, y) for x, y in ((left, low), (right, low), (right, high), (left, high))]

    def _show_stroke(self) -> None:
        path = QPainterPath()
        outline = self._outline()
        path.moveTo(outline[0])
        for point in outline[1:]:
            path.lineTo(point)
        if self._tool != "path":
            path.closeSubpath()
        self.stroke.setBrush(self._fill if self._tool != "path" else pg.mkBrush(None))
        self.stroke.setPath(path)

    def _within(self, position: QPointF) -> QPointF:
        """The point of the data at a place of this area, or at its border next to it."""
        area = self.rect()
        x = min(max(position.x(), area.left()), area.right())
        y = min(max(position.y(), area.top()), area.bottom())
        return self.mapToView(QPointF(x, y))

    def _apart(self, a: QPointF, b: QPointF) -> float:
        """Distance in pixels of two points in data units."""
        across, up = self.viewPixelSize()
        return float(np.hypot((a.x() - b.x()) / across, (a.y() - b.y()) / up))
