"""Chooses the resolution that is left of pictures or volumes."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QWidget

_STEPS = 200


class LowPassBar(QWidget):
    """A slider over resolutions, even in frequency, the finest to the left; tells the one chosen.

    Parameters
    ----------
    width
        Of the text beside it, in pixels.
    """

    chosen = Signal(float)

    def __init__(self, width: int) -> None:
        super().__init__()
        self._ends = 1.0, 2.0
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _STEPS)
        self.slider.valueChanged.connect(self._choose)
        self.text = QLabel()
        self.text.setFixedWidth(width)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.slider, stretch=1)
        layout.addWidget(self.text)

    def show_low_pass(self, low_pass: float | None, ends: tuple[float, float], unit: str) -> None:
        """Show a resolution between the ``ends``, finest first; None is none."""
        self._ends = ends
        finest, coarsest = ends
        share = 0.0 if low_pass is None else (1 / finest - 1 / low_pass)
        with QSignalBlocker(self.slider):
            self.slider.setValue(round(_STEPS * share / (1 / finest - 1 / coarsest)))
        self.text.setText("none" if low_pass is None else f"{low_pass:.3g} {unit}")

    def _choose(self, step: int) -> None:
        finest, coarsest = self._ends
        share = step / _STEPS
        self.chosen.emit(1 / ((1 - share) / finest + share / coarsest))
