"""One of two maps that stand beside each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSignalBlocker, QSize, Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from .background import Background, Deliver
from .compare_work import Side
from .form_parts import combo_box
from .latent_plot import LatentPlot
from .qt_tools import Colors

_HEIGHT = 190
_AXIS = 30


class CompareMap(QWidget):
    """The map of a run's particles on two axes, or one, which can be chosen.

    `clicked` gives the axes, the point on them and the size of a screen pixel.

    Parameters
    ----------
    colors
        Of the theme.
    deliver
        Brings images of many particles to this thread, see `Background`.
    """

    clicked = Signal(object, object, object)
    axes_changed = Signal()

    def __init__(self, colors: Colors, deliver: Deliver) -> None:
        super().__init__()
        self._background = Background(deliver)
        self._side: Side | None = None
        self.plot = LatentPlot(colors, self._background.ask)
        self.plot.setMinimumHeight(_HEIGHT)
        self.plot.setMinimumWidth(120)
        self.plot.getAxis("left").setWidth(_AXIS)
        self.plot.clicked.connect(self._on_click)
        self.axes_choice = combo_box({})
        self.axes_choice.setMinimumContentsLength(6)
        self.axes_choice.currentIndexChanged.connect(self._choose)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.plot)
        layout.addWidget(self.axes_choice)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Two of them are as wide as a dock."""
        return QSize(165, _HEIGHT + 30)

    def close_map(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self._background.close()

    @property
    def axes(self) -> tuple[str, ...]:
        """Those shown."""
        return tuple(self.axes_choice.currentData() or ())

    def show_side(self, side: Side) -> None:
        """Show the particles of another run."""
        self._side = side
        names, space = side.space.names, side.space
        with QSignalBlocker(self.axes_choice):
            self.axes_choice.clear()
            pairs = [space.default_axes]
            for kind in ("PC", "z"):
                known = [name for name in names if name.startswith(kind)]
                pairs += [tuple(known[i : i + 2]) for i in range(0, len(known) - 1, 2)]
            for pair in dict.fromkeys(pairs):
                self.axes_choice.addItem(" · ".join(pair), pair)
        self.axes_choice.setVisible(self.axes_choice.count() > 1)
        self._choose()

    def mark(self, z: NDArray[np.floating]) -> None:
        """Mark a latent (zdim,)."""
        if self._side is not None:
            self.plot.mark(list(self._side.space.project(self.axes, z)), None)

    def _choose(self, _: object = None) -> None:
        if self._side is not None:
            self.plot.set_points(self._side.space.coordinates(self.axes), self.axes)
            self.axes_changed.emit()

    def _on_click(self, point: object, unit: object) -> None:
        self.clicked.emit(self.axes, point, unit)
