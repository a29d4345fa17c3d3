"""A small plot to look at, not to play with."""

from __future__ import annotations

import pyqtgraph as pg

from .qt_tools import Colors, disable_menu

# Resolutions worth a tick.
_TICKS = (400, 200, 100, 60, 40, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4, 3.5, 3, 2.5, 2, 1.5, 1)


class StillPlot(pg.PlotWidget):
    """A plot of a fixed height that does not answer the mouse; its colours come later.

    Parameters
    ----------
    height
        In pixels.
    axis_width
        Of the left axis in pixels, so that it does not change with the numbers.
    """

    def __init__(self, height: int, axis_width: int) -> None:
        super().__init__()
        self.setFixedHeight(height)
        plot = self.getPlotItem()
        disable_menu(plot, self)
        plot.setContentsMargins(0, 6, 4, 0)
        plot.hideButtons()
        self.setMouseEnabled(x=False, y=False)
        self.getAxis("left").setWidth(axis_width)
        for side in ("left", "bottom"):
            self.getAxis(side).enableAutoSIPrefix(False)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.setBackground(colors.background)
        for side in ("left", "bottom"):
            self.getAxis(side).setPen(colors.dim)
            self.getAxis(side).setTextPen(colors.text)


def resolution_ticks(last: float) -> list[tuple[float, str]]:
    """Frequencies of round resolutions up to a last one, with their texts, none near another."""
    found: list[tuple[float, str]] = []
    for value in _TICKS:
        place = 1 / value
        if 0.06 * last < place <= last and (not found or place - found[-1][0] > 0.09 * last):
            found.append((place, f"{value:g}"))
    return found
