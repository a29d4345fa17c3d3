"""A histogram whose range can be dragged, or categories that can be ticked."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from .qt_tools import Colors
from .still_plot import StillPlot
from .value_model import Histogram

_CODE = Qt.ItemDataRole.UserRole
#: Categories listed at most; the others are found by their name.
_LISTED = 500


class RangePlot(StillPlot):
    """A histogram with a range on it.

    `moved` while an end is dragged, `chosen` when it is let go.
    """

    moved = Signal()
    chosen = Signal()

    def __init__(self, colors: Colors) -> None:
        super().__init__(height=86, axis_width=1)
        self.hideAxis("left")
        self.bars = pg.PlotCurveItem(fillLevel=0)
        self.region = pg.LinearRegionItem(swapMode="block")
        self.addItem(self.bars)
        self.addItem(self.region, ignoreBounds=True)
        self.region.sigRegionChanged.connect(lambda _: self.moved.emit())
        self.region.sigRegionChangeFinished.connect(lambda _: self.chosen.emit())
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        super().set_colors(colors)
        blue = pg.mkColor(colors.blue)
        self.bars.setPen(pg.mkPen(blue, width=1))
        blue.setAlpha(90)
        self.bars.setBrush(pg.mkBrush(blue))
        orange = pg.mkColor(colors.orange)
        for line in self.region.lines:
            line.setPen(pg.mkPen(orange, width=2))
            line.setHoverPen(pg.mkPen(orange, width=4))
        orange.setAlpha(45)
        self.region.setBrush(pg.mkBrush(orange))
        self.region.setHoverBrush(pg.mkBrush(orange))

    def show_counts(self, counts: np.ndarray, edges: np.ndarray) -> None:
        """Draw a histogram with the range around all of it."""
        self.bars.setData(edges, counts, stepMode="center")
        self.setXRange(float(edges[0]), float(edges[-1]), padding=0.04)
        self.setYRange(0, max(float(counts.max()), 1.0), padding=0.04)
        self.set_range(float(edges[0]), float(edges[-1]))

    def set_range(self, low: float, high: float) -> None:
        """Move the range, without a signal."""
        with QSignalBlocker(self.region):
            self.region.setRegion((low, high))

    @property
    def bounds(self) -> tuple[float, float]:
        """Both ends."""
        low, high = self.region.getRegion()
        return float(low), float(high)


class ValueRange(QWidget):
    """Asks which values are wanted: a range of numbers, or some categories.

    `moved` tells of each change, `chosen` when one is made that counts.
    """

    moved = Signal()
    chosen = Signal()

    def __init__(self, colors: Colors) -> None:
        super().__init__()
        self._histogram: Histogram | None = None
        self._error = colors.error
        self.plot = RangePlot(colors)
        self.plot.moved.connect(self._on_moved)
        self.plot.chosen.connect(self.chosen)
        self.low, self.high = QLineEdit(), QLineEdit()
        for field, tip in ((self.low, "Lowest value"), (self.high, "Highest value")):
            field.setToolTip(f"{tip} that is selected, a number; empty for no bound.")
            field.setMinimumWidth(50)
            field.editingFinished.connect(self._on_typed)
        self.unit = QLabel()
        self.ends = QWidget()
        row = QHBoxLayout(self.ends)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.low, stretch=1)
        row.addWidget(QLabel("to"))
        row.addWidget(self.high, stretch=1)
        row.addWidget(self.unit)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find …")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._list)
        self.categories = QListWidget()
        self.categories.setFixedHeight(112)
        self.categories.itemChanged.connect(self._on_ticked)
        self._ticked: set[int] = set()
        #: Lowest and highest number wanted, infinite where there is no bound.
        self.bounds = (-np.inf, np.inf)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.plot, self.ends, self.search, self.categories):
            layout.addWidget(widget)
        self.show_histogram(None)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._error = colors.error
        self.plot.set_colors(colors)
        self._read_bounds()

    @property
    def codes(self) -> list[int]:
        """Categories ticked."""
        return sorted(self._ticked)

    def show_histogram(self, histogram: Histogram | None) -> None:
        """Show other values, none of them chosen."""
        self._histogram = histogram
        numbers = histogram is not None and histogram.edges is not None
        labels = histogram is not None and histogram.edges is None
        self.plot.setVisible(numbers)
        self.ends.setVisible(numbers)
        self.categories.setVisible(labels)
        self._ticked = set()
        self.search.clear()
        self.search.setVisible(labels and histogram is not None and len(histogram.counts) > 8)
        if histogram is None:
            return
        self.unit.setText(histogram.values.unit)
        self.low.clear()
        self.high.clear()
        self._read_bounds()
        if histogram.edges is not None:
            self.plot.show_counts(histogram.counts, histogram.edges)
        else:
            self._list()

    def _on_moved(self) -> None:
        assert self._histogram is not None
        edges = self._histogram.edges
        assert edges is not None
        low, high = self.plot.bounds
        # At the ends of the histogram there is no bound: wild values lie beyond.
        self.low.setText("" if low <= edges[0] else f"{low:.4g}")
        self.high.setText("" if high >= edges[-1] else f"{high:.4g}")
        self._read_bounds()
        self.moved.emit()

    def _on_typed(self) -> None:
        if self._histogram is None or self._histogram.edges is None:
            return
        if not self._read_bounds():
            return
        low, high = self.bounds
        edges = self._histogram.edges
        self.plot.set_range(max(low, edges[0]), min(high, edges[-1]))
        self.moved.emit()
        self.chosen.emit()

    def _read_bounds(self) -> bool:
        """Take over what the fields say, unless one of them is no number: that one gets red."""
        found = _number(self.low.text(), -np.inf), _number(self.high.text(), np.inf)
        for field, number in zip((self.low, self.high), found, strict=True):
            wrong = number is None
            field.setStyleSheet(f"border: 1px solid {self._error};" if wrong else "")
        low, high = found
        if low is None or high is None:
            return False
        self.bounds = low, high
        return True

    def _list(self, _: object = None) -> None:
        if self._histogram is None or self._histogram.values.labels is None:
            return
        wanted = self.search.text().strip().lower()
        with QSignalBlocker(self.categories):
            self.categories.clear()
            for code, label in enumerate(self._histogram.values.labels):
                if wanted in label.lower():
                    self.categories.addItem(self._item(code, label))
                if self.categories.count() == _LISTED:
                    break

    def _item(self, code: int, label: str) -> QListWidgetItem:
        assert self._histogram is not None
        item = QListWidgetItem(f"{label}   ({self._histogram.counts[code]:,})")
        item.setData(_CODE, code)
        ticked = code in self._ticked
        item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        return item

    def _on_ticked(self, item: QListWidgetItem) -> None:
        code = int(item.data(_CODE))
        if item.checkState() == Qt.CheckState.Checked:
            self._ticked.add(code)
        else:
            self._ticked.discard(code)
        self.moved.emit()
        self.chosen.emit()


def _number(text: str, otherwise: float) -> float | None:
    """What a text says: ``otherwise`` if it is empty, None if that is no number."""
    if not text.strip():
        return otherwise
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return None if np.isnan(number) else number
