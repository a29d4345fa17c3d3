"""What a plane shows of one or two volumes, and how they differ."""

from __future__ import annotations

import html

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from .form_parts import text_lines
from .qt_tools import Colors, note
from .slice_picture import SlicePicture
from .slice_work import Slices


class SlicePictures(QWidget):
    """Pictures of A and B with one grey scale, and of their difference.

    Parameters
    ----------
    colors
        Of the theme.
    """

    def __init__(self, colors: Colors) -> None:
        super().__init__()
        self.a, self.b = SlicePicture(colors), SlicePicture(colors)
        self.difference = SlicePicture(colors, "CET-D1")
        self.a_text, self.b_text, self.numbers = note(), note(), text_lines()
        self.b_box = _under(self.b_text, self.b)
        pair = QHBoxLayout()
        pair.setSpacing(4)
        pair.addWidget(_under(self.a_text, self.a), stretch=1)
        pair.addWidget(self.b_box, stretch=1)
        self.difference_box = QWidget()
        below = QHBoxLayout(self.difference_box)
        below.setContentsMargins(0, 0, 0, 0)
        below.setSpacing(4)
        below.addWidget(_under(note("A minus B"), self.difference), stretch=1)
        below.addWidget(self.numbers, stretch=1, alignment=Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(pair)
        layout.addWidget(self.difference_box)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        for picture in (self.a, self.b, self.difference):
            picture.set_colors(colors)

    def show_slices(self, slices: Slices) -> None:
        """Show other slices."""
        two = slices.b is not None
        for widget in (self.b_box, self.difference_box):
            widget.setVisible(two)
        name = html.escape(slices.first.name)
        self.a_text.setText(f"A: {name}" if two else name[:1].upper() + name[1:])
        self.a.show_image(slices.a, slices.step, slices.limits)
        if slices.b is None or slices.second is None:
            return
        self.b_text.setText(f"B: {html.escape(slices.second.name)}")
        self.b_text.setToolTip("In the scale of A, by least squares.")
        self.b.show_image(slices.b, slices.step, slices.limits)
        level = slices.level
        self.difference.show_image(slices.a - slices.b, slices.step, (-level, level))
        here, all_over = slices.correlations
        share = level / max(abs(limit) for limit in slices.limits)
        self.numbers.setText(
            f"Red: more in A<br>Blue: more in B<br>Strongest colour: {share:.0%} of the brightest "
            f"density<br>Correlation:<br>{here:.3f} in this plane<br>{all_over:.3f} in the volume"
        )


def _under(text: QWidget, picture: QWidget) -> QWidget:
    box = QWidget()
    layout = QVBoxLayout(box)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addWidget(text)
    layout.addWidget(picture)
    return box
