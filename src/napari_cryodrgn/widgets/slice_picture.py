"""A square picture of a plane with its scale in Å."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, QSize
from qtpy.QtGui import QPainter

from .qt_tools import Colors, disable_menu, follow_width

Array = NDArray[np.float32]
_AXIS = 34
_BOTTOM = 20
_LARGEST = 320


class _Smooth(pg.ImageItem):
    """An image whose pixels run into one another, as in the other pictures."""

    def paint(self, painter: QPainter, *args: object) -> None:
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        super().paint(painter, *args)


class SlicePicture(pg.PlotWidget):
    """An image (y, x) about its centre, rows downwards, that does not answer the mouse.

    Parameters
    ----------
    colors
        Of the theme.
    colormap
        Its name in pyqtgraph; grey if absent.
    """

    def __init__(self, colors: Colors, colormap: str | None = None) -> None:
        super().__init__()
        plot = self.getPlotItem()
        disable_menu(plot, self)
        plot.hideButtons()
        plot.setContentsMargins(0, 4, 4, 0)
        self.setMouseEnabled(x=False, y=False)
        self.getAxis("left").setWidth(_AXIS)
        self.getAxis("bottom").setHeight(_BOTTOM)
        for side in ("left", "bottom"):
            self.getAxis(side).enableAutoSIPrefix(False)
        box = self.getViewBox()
        box.setAspectLocked(True)
        box.invertY(True)
        follow_width(self)
        self.image = _Smooth(axisOrder="row-major")
        if colormap is not None:
            self.image.setColorMap(pg.colormap.get(colormap))
        self.addItem(self.image)
        self.set_colors(colors)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Small: the scene's own hint would make the dock wide."""
        return QSize(120, 120)

    def hasHeightForWidth(self) -> bool:  # noqa: N802
        """The image is square."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802
        """What leaves the image square between its axes; it is not to fill the dock."""
        return min(width - _AXIS, _LARGEST) + _BOTTOM

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.setBackground(colors.background)
        for side in ("left", "bottom"):
            self.getAxis(side).setPen(colors.dim)
            self.getAxis(side).setTextPen(colors.text)

    def show_image(self, image: Array, step: float, levels: tuple[float, float]) -> None:
        """Show an image with pixels of ``step`` in the unit of the axes."""
        n = len(image)
        self.image.setImage(image, levels=levels, autoLevels=False)
        # Pixel n // 2 is about zero.
        start = -(n // 2 + 0.5) * step
        rect = QRectF(start, start, n * step, n * step)
        self.image.setRect(rect)
        self.getViewBox().setRange(rect, padding=0)
