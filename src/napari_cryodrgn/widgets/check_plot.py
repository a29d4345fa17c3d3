"""Curves over spatial frequency: the FSC of half maps, or spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Qt

from .qt_tools import Colors
from .still_plot import StillPlot


class CheckPlot(StillPlot):
    """Shows one kind of curves at a time, with a legend."""

    def __init__(self, colors: Colors) -> None:
        super().__init__(height=150, axis_width=44)
        self._legend = self.addLegend(offset=(-4, 4), labelTextSize="8pt")
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        super().set_colors(colors)
        self._colors = colors
        self._legend.setLabelTextColor(colors.text)

    def show_spectra(
        self,
        frequency: NDArray[Any],
        power: NDArray[np.float32],
        noise: NDArray[np.float32],
        unit: str,
    ) -> None:
        """Power of images and of their noise, in units of the noise; ``unit`` of the frequency."""
        self._begin("power / noise", unit, float(frequency[-1]))
        self.setLogMode(y=True)
        self._curve(frequency, power, self._colors.blue, "images")
        self._curve(frequency, noise, self._colors.orange, "noise")
        self.enableAutoRange(axis="y")

    def add_fsc(
        self, frequency: NDArray[Any], curve: NDArray[np.float32], unit: str, name: str
    ) -> None:
        """An FSC, beside one that is there already."""
        first = not self.listDataItems()
        if first:
            self._begin("FSC of half maps", unit, float(frequency[-1]))
            pen = pg.mkPen(self._colors.dim, style=Qt.PenStyle.DotLine)
            self.addItem(pg.InfiniteLine(0.143, angle=0, pen=pen))
        self._curve(frequency, curve, self._colors.dim if first else self._colors.blue, name)
        self.setYRange(-0.1, 1.08, padding=0)

    def _begin(self, label: str, unit: str, end: float) -> None:
        self.clear()
        self._legend.clear()
        self.setLogMode(y=False)
        for side, text in (("left", label), ("bottom", unit)):
            self.setLabel(side, text, color=self._colors.text, **{"font-size": "8pt"})
        self.setXRange(0, end, padding=0)
        self.show()

    def _curve(self, x: NDArray[Any], y: NDArray[Any], color: str, name: str) -> None:
        self.plot(x, y, pen=pg.mkPen(color, width=2), name=name)
