"""Plots of what goes with the latent, and of Fourier shell correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Qt

from .qt_tools import Colors
from .still_plot import StillPlot, resolution_ticks
from .validity_model import ALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..analysis.confounding import Confounder
    from ..analysis.half_sets import HalfCurve

_MOST_POINTS = 3000
_BINS = 20
#: Of curves, in turn: told apart by everyone on dark and on light ground.
CURVES = ("#3d8bd9", "#d9822b", "#2fa36b", "#b05fc0", "#c94f5d", "#8c6d46", "#b5a12a", "#38a9b5")
#: Of all particles, which others are compared with.
REFERENCE = "#7f8a96"
THRESHOLDS = (0.143, 0.5)
_LINES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine)


def curve_styles(curves: Sequence[HalfCurve]) -> list[tuple[str, Qt.PenStyle]]:
    """Colours and lines of curves: colours that come again do so on other lines.

    All particles are a grey reference beside other curves.
    """
    found, number = [], 0
    for curve in curves:
        if curve.name == ALL and len(curves) > 1:
            found.append((REFERENCE, _LINES[0]))
            continue
        again, place = divmod(number, len(CURVES))
        found.append((CURVES[place], _LINES[min(again, len(_LINES) - 1)]))
        number += 1
    return found


def binned(
    x: NDArray[np.floating], y: NDArray[np.floating], *, whole: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean x and y in bins, and the standard errors of the latter.

    Bins hold as many particles each; of ``whole`` numbers, up to 60, each number is a bin.
    """
    values = np.unique(x)
    if whole and len(values) <= 3 * _BINS:
        bins = np.searchsorted(values, x)
    else:
        edges = np.unique(np.quantile(x, np.linspace(0, 1, _BINS + 1)[1:-1]))
        bins = np.searchsorted(edges, x, side="right")
    _, bins = np.unique(bins, return_inverse=True)
    counts = np.bincount(bins)
    mean_x, mean_y = (np.bincount(bins, v) / counts for v in (x, y))
    variance = np.bincount(bins, (y - mean_y[bins]) ** 2) / np.maximum(counts - 1, 1)
    return mean_x, mean_y, np.sqrt(variance / counts)


class ConfounderPlot(StillPlot):
    """A component of the latent over what foretells it: particles, and means with their errors.

    Parameters
    ----------
    colors
        Of the theme.
    """

    def __init__(self, colors: Colors) -> None:
        super().__init__(height=170, axis_width=44)
        self._dots = pg.ScatterPlotItem(size=2.5, pen=None, pxMode=True)
        self._bars = pg.ErrorBarItem()
        self._means = pg.PlotDataItem(symbol="o", symbolSize=6, symbolPen=None)
        for item in (self._dots, self._bars, self._means):
            self.addItem(item)
        self._labels = "", ""
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        super().set_colors(colors)
        self._colors = colors
        self._dots.setBrush(pg.mkBrush(colors.blue + "66"))
        self._bars.setData(pen=pg.mkPen(colors.orange, width=2))
        self._means.setPen(pg.mkPen(colors.orange, width=2))
        self._means.setSymbolBrush(colors.orange)
        self._write()

    def show_confounder(self, confounder: Confounder) -> None:
        """Draw it."""
        x, y = confounder.x, confounder.y
        some = slice(None, _MOST_POINTS)  # they are in a random order
        self._dots.setData(x[some], y[some])
        place, mean, error = binned(x, y, whole=confounder.groups is not None)
        self._bars.setData(x=place, y=mean, top=error, bottom=error)
        self._means.setData(place, mean)
        component = f"PC{confounder.axis + 1}"
        name = confounder.name + (f" ({confounder.unit})" if confounder.unit else "")
        if confounder.groups is not None:
            name += ", in the order of names"
        elif confounder.name == "viewing direction":
            name = f"{component} predicted from viewing direction"
        self._labels = name, component
        self._write()
        low, high = np.quantile(y, (0.005, 0.995))
        self.setXRange(float(x.min()), float(x.max()), padding=0.03)
        self.setYRange(float(low), float(high), padding=0.05)

    def _write(self) -> None:
        for side, text in zip(("bottom", "left"), self._labels, strict=True):
            self.setLabel(side, text, color=self._colors.text, **{"font-size": "8pt"})


class ShellPlot(StillPlot):
    """Fourier shell correlations over the spatial frequency, labelled in Å, or px if unknown.

    Parameters
    ----------
    colors
        Of the theme.
    """

    def __init__(self, colors: Colors) -> None:
        super().__init__(height=180, axis_width=48)
        self._unit = "Å"
        self._lines = [pg.InfiniteLine(at, angle=0) for at in THRESHOLDS]
        for line in self._lines:
            self.addItem(line)
        self.curves: list[pg.PlotDataItem] = []
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        super().set_colors(colors)
        for line in self._lines:
            line.setPen(pg.mkPen(colors.dim, style=Qt.PenStyle.DashLine))
        style = {"color": colors.text, "font-size": "8pt"}
        self._style = style
        self.setLabel("bottom", f"resolution ({self._unit})", **style)
        self.setLabel("left", "FSC", **style)

    def show_curves(self, curves: Sequence[HalfCurve]) -> None:
        """Draw curves as `curve_styles` says."""
        for curve in self.curves:
            self.removeItem(curve)
        self.curves = []
        top = 0.0
        for curve, (color, line) in zip(curves, curve_styles(curves), strict=True):
            frequency = np.arange(len(curve.fsc)) / (curve.box * (curve.pixel_size or 1.0))
            pen = pg.mkPen(color, width=2, style=line)
            self.curves.append(self.plot(frequency, curve.fsc, pen=pen))
            top = max(top, float(frequency[-1]))
        if not curves:
            return
        self._unit = "px" if curves[0].pixel_size is None else "Å"
        self.setLabel("bottom", f"resolution ({self._unit})", **self._style)
        self.getAxis("bottom").setTicks([resolution_ticks(top)])
        self.getAxis("left").setTicks([[(v, f"{v:g}") for v in (0, *THRESHOLDS, 1)]])
        self.setXRange(0, 1.03 * top, padding=0)
        self.setYRange(-0.1, 1.05, padding=0)
