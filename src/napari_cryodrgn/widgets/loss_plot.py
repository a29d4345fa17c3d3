"""Loss curves that grow while a run trains."""

from __future__ import annotations

from collections.abc import Sequence

import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt

from ..training.events import EpochDone
from .qt_tools import Colors, disable_menu


class LossPlot(pg.GraphicsLayoutWidget):
    """Total and reconstruction loss above, KL divergence below: their units differ.

    The epochs share one axis; a dotted line marks where a stage begins.
    """

    def __init__(self, colors: Colors) -> None:
        super().__init__()
        self.setMinimumHeight(230)
        self._upper = self.addPlot(0, 0)
        self._lower = self.addPlot(1, 0)
        self._lower.setXLink(self._upper)
        self.ci.layout.setRowStretchFactor(0, 3)
        self.ci.layout.setRowStretchFactor(1, 2)
        self.ci.setContentsMargins(0, 0, 4, 0)
        self.ci.layout.setVerticalSpacing(4)
        for plot in (self._upper, self._lower):
            disable_menu(plot, self)
            plot.hideButtons()
            plot.setMouseEnabled(x=False, y=False)
            plot.getAxis("left").setWidth(64)
            plot.getAxis("left").enableAutoSIPrefix(False)
            plot.getAxis("bottom").enableAutoSIPrefix(False)
        self._upper.getAxis("bottom").setStyle(showValues=False)
        self._legend = self._upper.addLegend(offset=(-6, 4), labelTextSize="8pt")
        self.total = self._upper.plot(name="total")
        self.reconstruction = self._upper.plot(name="reconstruction")
        self.kl = self._lower.plot(name="KL")
        self._marks: list[pg.InfiniteLine] = []
        self._colors = colors
        self.set_colors(colors)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Small: the scene's own hint would make the dock scroll."""
        return QSize(320, 260)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._colors = colors
        self.setBackground(colors.background)
        for plot, label in ((self._upper, "loss per pixel"), (self._lower, "KL (nats)")):
            plot.setLabel("left", label, color=colors.text, **{"font-size": "8pt"})
            for side in ("left", "bottom"):
                plot.getAxis(side).setPen(colors.dim)
                plot.getAxis(side).setTextPen(colors.text)
        self._lower.setLabel("bottom", "epoch", color=colors.text, **{"font-size": "8pt"})
        self._legend.setLabelTextColor(colors.text)
        for _, label in self._legend.items:
            label.setText(label.text, color=colors.text)
        # Wide below narrow: the two are often close together.
        self.total.setPen(pg.mkPen(colors.blue, width=3.5))
        self.reconstruction.setPen(pg.mkPen(colors.orange, width=1.5))
        self.kl.setPen(pg.mkPen(colors.green, width=2))
        for curve, color in (
            (self.total, colors.blue),
            (self.reconstruction, colors.orange),
            (self.kl, colors.green),
        ):
            curve.setSymbolBrush(color)
            curve.setSymbolPen(None)
            curve.setSymbolSize(5)
        self._legend.setBrush(pg.mkBrush(colors.background + "c0"))

    def set_losses(
        self, losses: Sequence[EpochDone], stage_starts: Sequence[tuple[int, str]]
    ) -> None:
        """Draw the losses so far, and a line at the first epoch of each stage but the first."""
        epochs = [loss.epoch for loss in losses]
        # A lone point has no line to be seen by.
        symbol = "o" if len(losses) < 30 else None
        for curve, name in (
            (self.total, "total"),
            (self.reconstruction, "reconstruction"),
            (self.kl, "kl"),
        ):
            curve.setData(epochs, [getattr(loss, name) for loss in losses], symbol=symbol)
        if epochs:
            self._upper.setXRange(epochs[0] - 0.5, max(epochs[-1] + 0.5, epochs[0] + 4), padding=0)
        for line in self._marks:
            line.getViewBox().removeItem(line)
        self._marks.clear()
        for epoch, _ in stage_starts:
            if epochs and epoch > epochs[0]:
                for plot in (self._upper, self._lower):
                    pen = pg.mkPen(self._colors.dim, style=Qt.PenStyle.DotLine)
                    line = pg.InfiniteLine(epoch - 0.5, pen=pen)
                    plot.addItem(line, ignoreBounds=True)
                    self._marks.append(line)
