"""Small plots of the views: a scale of colours, and histograms."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from .direction_plot import TABLE
from .map_histogram import CountAxis, Counts, MapHistogram
from .qt_tools import Colors
from .still_plot import StillPlot

_BAR, _EDGE, _GAP = 8, 4, 5


class CountScale(QWidget):
    """What the colours of a map of the roots of counts mean: a strip from 0 to the most."""

    def __init__(self, colors: Colors) -> None:
        super().__init__()
        self._most, self._what = 0, ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.set_colors(colors)

    def sizeHint(self) -> QSize:  # noqa: N802
        """One line."""
        return QSize(200, self.fontMetrics().height() + 2)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._text = QColor(colors.text)
        self.update()

    def show_scale(self, most: int, what: str) -> None:
        """Show what the brightest colour is, and of what."""
        self._most, self._what = most, what
        self.setAccessibleName(f"0 to {most:,} {what}")
        self.setToolTip(self.accessibleName())
        self.update()

    def paintEvent(self, _: QPaintEvent | None) -> None:  # noqa: N802
        """Draw it, with the count that has the colour in the middle."""
        painter = QPainter(self)
        painter.setPen(self._text)
        metrics = self.fontMetrics()
        line = self.rect().adjusted(_EDGE, 0, -_EDGE, 0)
        texts = ("0", f"{round(self._most / 4):,}", f"{self._most:,} {self._what}")
        widths = [metrics.horizontalAdvance(text) for text in texts]
        long = (line.width() - sum(widths) - 4 * _GAP) / 2
        colors = TABLE.astype(np.uint8).tobytes()
        strip = QImage(colors, len(TABLE), 1, QImage.Format.Format_RGBA8888)
        top, left, half = (self.height() - _BAR) / 2, float(line.left()), len(TABLE) / 2
        for i, (text, width) in enumerate(zip(texts, widths, strict=True)):
            place = QRectF(left, 0, width + 1, self.height())
            painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, text)
            if i < 2 and long > 0:
                bar = QRectF(left + width + _GAP, top, long, _BAR)
                painter.drawImage(bar, strip, QRectF(i * half, 0, half, 1))
            left += width + long + 2 * _GAP


class ViewHistogram(StillPlot):
    """Numbers of particles over an angle or a distance; those selected are highlighted.

    Parameters
    ----------
    colors
        Of the theme.
    """

    def __init__(self, colors: Colors) -> None:
        super().__init__(height=116, axis_width=36)
        self.setAxisItems({"left": CountAxis("left")})
        self.getAxis("left").setWidth(36)
        self._label = ""
        self.bars = MapHistogram(self)
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        super().set_colors(colors)
        self._colors = colors
        self.bars.set_colors(colors)
        # A line only: filled, two colours that are both transparent would make a third.
        self.bars.chosen.setBrush(None)
        self._write()

    def show_counts(self, counts: Counts, label: str, step: float | None = None) -> None:
        """Draw counts; ``step`` is the distance between ticks."""
        self._label = label
        self._write()
        self.bars.show(counts)
        edges = counts.edges
        self.setXRange(edges[0], edges[-1], padding=0)
        self.setYRange(0, max(int(counts.everything.max()), 1) * 1.05, padding=0)
        axis: pg.AxisItem = self.getAxis("bottom")
        if step is None:
            axis.setTicks(None)
        else:
            values = np.arange(edges[0], edges[-1] + step / 2, step)
            axis.setTicks([[(v, f"{v:g}") for v in values]])

    def _write(self) -> None:
        self.setLabel("bottom", self._label, color=self._colors.text, **{"font-size": "8pt"})
