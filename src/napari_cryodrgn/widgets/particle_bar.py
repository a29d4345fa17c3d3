"""Chooses one of many particles by its number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

Mask = NDArray[np.bool_]
# Clicks beside the slider's handle that go from one end to the other.
_PAGES = 20
# About a number in its field, in pixels.
_FRAME = 28


class ParticleBar(QWidget):
    """A number, a slider, and a step to either side; `chosen` tells the particle, from 0.

    While particles are selected, the steps go from one of them to the next.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._mask: Mask | None = None
        self._selected = np.zeros(0, np.intp)
        self.number = QSpinBox()
        self.number.setKeyboardTracking(False)
        self.number.setToolTip("Number of the particle in the run, from 0.")
        # The room that is left is for the slider, and the steps are beside it.
        self.number.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.number.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.number.valueChanged.connect(self._choose)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.slider.valueChanged.connect(self._choose)
        self.before, self.after = self._step("◀", -1), self._step("▶", 1)
        self.note = QLabel()
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(QLabel("Particle"))
        row.addWidget(self.number)
        row.addWidget(self.before)
        row.addWidget(self.slider, stretch=1)
        row.addWidget(self.after)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(row)
        layout.addWidget(self.note)
        self.show_particle(0, 0)

    def show_particle(self, particle: int, count: int, mask: Mask | None = None) -> None:
        """Show one of ``count`` particles, and where it stands in a selection (count,)."""
        self._count = count
        if mask is not self._mask:
            self._mask = mask
            self._selected = np.zeros(0, np.intp) if mask is None else np.flatnonzero(mask)
        for widget in (self.number, self.slider):
            with QSignalBlocker(widget):
                widget.setRange(0, max(count - 1, 0))
                widget.setValue(particle)
        digits = self.number.fontMetrics().horizontalAdvance("0" * len(str(max(count - 1, 0))))
        self.number.setFixedWidth(digits + _FRAME)
        self.slider.setPageStep(max(count // _PAGES, 1))
        what = " of the selection" if len(self._selected) else ""
        for button, step, which in ((self.before, -1, "before"), (self.after, 1, "after")):
            button.setEnabled(self._neighbour(step) is not None)
            button.setToolTip(f"The particle{what} {which} this one.")
        self.note.setText(self._standing())
        self.note.setVisible(mask is not None)
        self.setEnabled(count > 0)

    def _standing(self) -> str:
        if not len(self._selected):
            return "Nothing is selected."
        place = int(np.searchsorted(self._selected, self.number.value()))
        if place < len(self._selected) and self._selected[place] == self.number.value():
            return f"in the selection ({place + 1:,} of {len(self._selected):,})"
        return f"not in the selection (of {len(self._selected):,})"

    def _neighbour(self, step: int) -> int | None:
        """The particle a step before or after this one; None beyond the ends."""
        here, selected = self.number.value(), self._selected
        if len(selected):
            found = int(np.searchsorted(selected, here, "right" if step > 0 else "left"))
            found -= step < 0
            return int(selected[found]) if 0 <= found < len(selected) else None
        return here + step if 0 <= here + step < self._count else None

    def _choose(self, particle: int) -> None:
        self.chosen.emit(particle)

    def _go(self, step: int) -> None:
        particle = self._neighbour(step)
        if particle is not None:
            self.chosen.emit(particle)

    def _step(self, text: str, step: int) -> QToolButton:
        button = QToolButton()
        button.setText(text)
        button.setAutoRepeat(True)
        button.clicked.connect(lambda: self._go(step))
        return button
