"""Pictures and curves of a particle's evidence."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QMouseEvent

from .evidence_model import Curves
from .qt_tools import Colors, follow_width
from .still_plot import StillPlot, resolution_ticks

_TITLES = ("image", "projection", "residual")
# Height of a title with its margins.
_TITLE = 28


class EvidenceImages(pg.GraphicsLayoutWidget):
    """Three pictures in a row, of one grey scale; the wheel zooms into all of them at once."""

    def __init__(self, colors: Colors) -> None:
        super().__init__()
        self.ci.setContentsMargins(0, 0, 0, 0)
        self.ci.setSpacing(3)
        follow_width(self)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.titles = [self.addLabel(title, 0, i, size="8pt") for i, title in enumerate(_TITLES)]
        self.boxes, self.images = [], []
        for i in range(len(_TITLES)):
            self.ci.layout.setColumnStretchFactor(i, 1)
            self.ci.layout.setColumnPreferredWidth(i, 110)
            box = self.addViewBox(1, i, lockAspect=True, invertY=True, enableMenu=False)
            image = pg.ImageItem(axisOrder="row-major")
            box.addItem(image)
            self.boxes.append(box)
            self.images.append(image)
        for box in self.boxes[1:]:
            box.setXLink(self.boxes[0])
            box.setYLink(self.boxes[0])
        self._size = 0
        self.setToolTip(
            "The particle's image, the projection of its own volume at its pose with CTF and "
            "shift,\nand what is left when the projection is subtracted: pure noise if all is "
            "right.\nWheel: zoom. Drag: move. Double click: all of it."
        )
        self.set_colors(colors)

    def sizeHint(self) -> QSize:  # noqa: N802
        """For a dock of usual width."""
        return QSize(340, self.heightForWidth(340))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """It may be narrow."""
        return QSize(150, self.heightForWidth(150))

    def hasHeightForWidth(self) -> bool:  # noqa: N802
        """Pictures are square."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802
        """Of a row of squares with a title."""
        return width // len(_TITLES) + _TITLE

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.setBackground(colors.background)
        for title, text in zip(self.titles, _TITLES, strict=True):
            title.setText(text, color=colors.text, size="8pt")

    def show_pictures(self, pictures: NDArray[np.float32] | None) -> None:
        """Show image, projection and residual (3, y, x), or nothing; the zoom stays."""
        for image in self.images:
            image.setVisible(pictures is not None)
        if pictures is None:
            return
        low, high = np.percentile(pictures[0], (0.5, 99.5))
        # What is left of a faint image may not vanish between the ends of the scale.
        levels = (float(low), float(max(high, low + 1e-12)))
        for image, picture in zip(self.images, pictures, strict=True):
            image.setImage(picture, levels=levels)
        if self._size != pictures.shape[-1]:
            self._size = pictures.shape[-1]
            self._show_all()

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Show all of the pictures."""
        super().mouseDoubleClickEvent(event)
        self._show_all()

    def _show_all(self) -> None:
        self.boxes[0].setRange(QRectF(0, 0, self._size, self._size), padding=0)


class FrcPlot(StillPlot):
    """Fourier ring correlation of image and projection against resolution."""

    def __init__(self, colors: Colors) -> None:
        super().__init__(150, 44)
        self.level = self.plot()
        self.zero = pg.InfiniteLine(0, angle=0)
        self.addItem(self.zero, ignoreBounds=True)
        self.expected, self.frc = self.plot(), self.plot()
        self.mean_expected, self.mean = self.plot(), self.plot()
        self._unit = "Å"
        self._colors = colors
        self.setYRange(-0.3, 1, padding=0)
        self.getAxis("left").setTicks([[(v, f"{v:g}") for v in (0, 0.5, 1)]])
        self.setToolTip(
            "Correlation of the Fourier rings of image and projection, from coarse to fine.\n"
            "Below what is expected: the projection shows what the image does not, as of a wrong "
            "pose or z.\nAbove it at the fine end: the volume repeats the noise of the images that "
            "it is made of."
        )
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        super().set_colors(colors)
        self._colors = colors
        faint = pg.mkColor(colors.dim)
        faint.setAlpha(120)
        self.zero.setPen(pg.mkPen(faint, width=1))
        self.level.setPen(pg.mkPen(colors.dim, width=1, style=Qt.PenStyle.DotLine))
        for curve, color, style in (
            (self.frc, colors.blue, Qt.PenStyle.SolidLine),
            (self.expected, colors.blue, Qt.PenStyle.DashLine),
            (self.mean, colors.orange, Qt.PenStyle.SolidLine),
            (self.mean_expected, colors.orange, Qt.PenStyle.DashLine),
        ):
            solid = style == Qt.PenStyle.SolidLine
            curve.setPen(pg.mkPen(color, width=2 if solid else 1.2, style=style))
        for side, text in (("left", "FRC"), ("bottom", f"resolution ({self._unit})")):
            self.setLabel(side, text, color=colors.text, **{"font-size": "8pt"})

    def show_curves(self, one: Curves | None, mean: Curves | None, unit: str) -> None:
        """Draw the curves of a particle and of many, either or none; frequencies in 1/unit."""
        if unit != self._unit:
            self._unit = unit
            self.set_colors(self._colors)
        for curves, frc, expected in (
            (one, self.frc, self.expected),
            (mean, self.mean, self.mean_expected),
        ):
            _draw(frc, curves, None if curves is None else curves.frc)
            _draw(expected, curves, None if curves is None else curves.expected)
        _draw(self.level, one, None if one is None else one.level)
        if one is not None:
            last = float(one.frequency[-1])
            self.setXRange(0, last, padding=0.01)
            self.getAxis("bottom").setTicks([resolution_ticks(last)])


def _draw(item: pg.PlotDataItem, curves: Curves | None, values: NDArray[np.float32] | None) -> None:
    if curves is None or values is None:
        item.setData([], [])
    else:
        item.setData(curves.frequency, values)
