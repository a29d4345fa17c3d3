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
# Of the FRC; lower if a curve goes there.
_LOW, _HIGH = -0.5, 1.03


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
        self._zoomed = False
        for box in self.boxes:
            box.sigRangeChangedManually.connect(self._on_zoom)
            box.sigResized.connect(self._on_resized)
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

    def _on_zoom(self, _: object) -> None:
        self._zoomed = True

    def _on_resized(self, _: object) -> None:
        # Boxes that are linked would shrink what they show.
        if not self._zoomed and self._size:
            self._show_all()

    def _show_all(self) -> None:
        self._zoomed = False
        self.boxes[0].setRange(QRectF(0, 0, self._size, self._size), padding=0)


class FrcPlot(StillPlot):
    """Fourier ring correlation of image and projection against resolution."""

    def __init__(self, colors: Colors) -> None:
        super().__init__(160, 44)
        self.beyond = pg.LinearRegionItem(movable=False, pen=pg.mkPen(None))
        self.addItem(self.beyond, ignoreBounds=True)
        self.zero = pg.InfiniteLine(0, angle=0)
        self.addItem(self.zero, ignoreBounds=True)
        self.level, self.mean_level = self.plot(), self.plot()
        self.frc, self.mean, self.expected = self.plot(), self.plot(), self.plot()
        self._unit = "Å"
        self._colors = colors
        self.getAxis("left").setTicks([[(v, f"{v:g}") for v in (-1, -0.5, 0, 0.5, 1)]])
        self.setToolTip(
            "Correlation of the Fourier rings of image and projection, from coarse to fine.\n"
            "Below what is expected: the projection shows what the image does not, as of a wrong "
            "pose or z.\nAbove the noise where the half maps no longer agree (shaded): the volume "
            "repeats the noise of the images that it is made of."
        )
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        super().set_colors(colors)
        self._colors = colors
        faint = pg.mkColor(colors.dim)
        faint.setAlpha(120)
        self.zero.setPen(pg.mkPen(faint, width=1))
        faint.setAlpha(50)
        self.beyond.setBrush(faint)
        for curve, color, width, style in (
            (self.level, colors.dim, 1.4, Qt.PenStyle.DotLine),
            (self.mean_level, colors.orange, 1.4, Qt.PenStyle.DotLine),
            (self.frc, colors.blue, 2, Qt.PenStyle.SolidLine),
            (self.mean, colors.orange, 2, Qt.PenStyle.SolidLine),
            (self.expected, colors.text, 1.4, Qt.PenStyle.DashLine),
        ):
            curve.setPen(pg.mkPen(color, width=width, style=style))
        for side, text in (("left", "FRC"), ("bottom", f"resolution ({self._unit})")):
            self.setLabel(side, text, color=colors.text, **{"font-size": "8pt"})

    def show_curves(
        self, one: Curves | None, mean: Curves | None, unit: str, limit: float | None
    ) -> None:
        """Draw the curves of a particle and of many, either or none; frequencies in 1/unit.

        What is expected is drawn of the many if there are. Beyond ``limit`` in units it is shaded.
        """
        if unit != self._unit:
            self._unit = unit
            self.set_colors(self._colors)
        for curves, frc, level in (
            (one, self.frc, self.level),
            (mean, self.mean, self.mean_level),
        ):
            _draw(frc, curves, None if curves is None else curves.frc)
            _draw(level, curves, None if curves is None else curves.level)
        of = mean or one
        _draw(self.expected, of, None if of is None else of.expected)
        self.beyond.setVisible(one is not None and limit is not None)
        if one is not None:
            last = float(one.frequency[-1])
            self.setXRange(0, last, padding=0.01)
            lowest = float(one.frc.min())
            self.setYRange(_LOW if lowest > _LOW else lowest - 0.05, _HIGH, padding=0)
            self.getAxis("bottom").setTicks([resolution_ticks(last)])
            if limit is not None:
                self.beyond.setRegion((1 / limit, 1.1 * last))


def _draw(item: pg.PlotDataItem, curves: Curves | None, values: NDArray[np.float32] | None) -> None:
    if curves is None or values is None:
        item.setData([], [])
    else:
        item.setData(curves.frequency, values)
