"""Chooses one of many particles by its number."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QSlider, QSpinBox, QToolButton, QWidget


class ParticleBar(QWidget):
    """A number, a slider, and a step to either side; `chosen` tells the particle, from 0."""

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(QLabel("Particle"))
        self.number = QSpinBox()
        self.number.setKeyboardTracking(False)
        self.number.setToolTip("Number of the particle in the run, from 0.")
        self.number.valueChanged.connect(self._choose)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.slider.valueChanged.connect(self._choose)
        self.before = self._step("◀", "The particle before.", -1)
        self.after = self._step("▶", "The next particle.", 1)
        layout.addWidget(self.number)
        layout.addWidget(self.before)
        layout.addWidget(self.slider, stretch=1)
        layout.addWidget(self.after)

    def show_particle(self, particle: int, count: int) -> None:
        """Show one of ``count`` particles."""
        for widget in (self.number, self.slider):
            with QSignalBlocker(widget):
                widget.setRange(0, max(count - 1, 0))
                widget.setValue(particle)
        self.before.setEnabled(particle > 0)
        self.after.setEnabled(particle < count - 1)
        self.setEnabled(count > 0)

    def _choose(self, particle: int) -> None:
        self.chosen.emit(particle)

    def _step(self, text: str, tip: str, step: int) -> QToolButton:
        button = QToolButton()
        button.setText(text)
        button.setToolTip(tip)
        button.setAutoRepeat(True)
        button.clicked.connect(lambda: self.chosen.emit(self.number.value() + step))
        return button
