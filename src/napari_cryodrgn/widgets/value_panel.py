"""Asks by which value of theirs particles are selected."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from .background import Deliver
from .qt_tools import Colors, note
from .selection_model import SelectionModel
from .value_model import ValueModel
from .value_range import ValueRange

_NONE = "choose …"


class ValuePanel(QWidget):
    """Selects particles within a range of a value, or of some categories.

    Parameters
    ----------
    selections
        Where what is chosen becomes the current selection.
    deliver
        Brings answers of other threads to this one, see `Background`.
    colors
        Of the theme.
    """

    failed = Signal(object)

    def __init__(self, selections: SelectionModel, deliver: Deliver, colors: Colors) -> None:
        super().__init__()
        self.model = ValueModel(selections, deliver)
        self.value = QComboBox()
        self.value.setToolTip("Select particles by what is known of them.")
        self.value.setMinimumContentsLength(8)
        self.value.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.value.currentIndexChanged.connect(self._choose)
        self.text = QLabel()
        self.problem = note(selectable=True)
        self.range = ValueRange(colors)
        self.range.moved.connect(self._on_moved)
        self.range.chosen.connect(self._on_chosen)
        row = QHBoxLayout()
        row.addWidget(QLabel("By value"))
        row.addWidget(self.value, stretch=1)
        row.addWidget(self.text)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row)
        layout.addWidget(self.problem)
        layout.addWidget(self.range)
        self.model.changed.connect(self._fill)
        self.model.counted.connect(self._show)
        self.model.failed.connect(self.failed.emit)
        self._fill()
        self._show()

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self.model.close()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.range.set_colors(colors)

    def _choose(self, index: int) -> None:
        self.model.look_at(self.value.currentText() if index > 0 else None)

    def _fill(self) -> None:
        chosen = self.value.currentText()
        with QSignalBlocker(self.value):
            self.value.clear()
            self.value.addItems([_NONE, *self.model.names])
            self.value.setCurrentText(chosen)
        self.value.setEnabled(bool(self.model.names))
        self.problem.setText(self.model.problem)
        self.problem.setVisible(bool(self.model.problem))
        # A run that goes on has other values now.
        if self.model.names and self.value.currentIndex() > 0:
            self._choose(self.value.currentIndex())

    def _show(self) -> None:
        self.range.show_histogram(self.model.histogram)
        self._say("Counting …" if self.model.counting else "")

    def _on_moved(self) -> None:
        histogram = self.model.histogram
        if histogram is None:
            return
        if histogram.edges is None:
            count = int(histogram.counts[self.range.codes].sum())
        else:
            count = int(self.model.within(*self.range.bounds).sum())
        self._say(f"{count:,} particles")

    def _say(self, text: str) -> None:
        self.text.setText(text)
        self.text.setVisible(bool(text))

    def _on_chosen(self) -> None:
        histogram = self.model.histogram
        if histogram is None:
            return
        if histogram.edges is None:
            self.model.select_labels(self.range.codes)
        else:
            self.model.select_within(*self.range.bounds)
