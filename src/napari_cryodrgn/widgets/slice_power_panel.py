"""Power of a volume's central slices beside that of images."""

from __future__ import annotations

import html

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QCheckBox, QGridLayout, QVBoxLayout, QWidget

from ..errors import CryodrgnError
from . import notify
from .form_parts import add_row, combo_box, new_form
from .qt_tools import Colors, disable_menu, note
from .slice_picture import SlicePicture
from .slice_power_model import AVERAGED, PowerModel, ShownPower
from .still_plot import resolution_ticks

Array = NDArray[np.float32]
# Percentiles of log power that are black and white.
_ENDS = (2, 99.8)
# Powers of ten below the highest that are drawn.
_DECADES = 6.0


class PowerPlot(pg.GraphicsLayoutWidget):
    """Rotational averages: log power above, CTF² below, over one axis of frequencies."""

    def __init__(self, colors: Colors) -> None:
        super().__init__()
        self.setFixedHeight(240)
        self._upper, self._lower = self.addPlot(0, 0), self.addPlot(1, 0)
        self._lower.setXLink(self._upper)
        self.ci.layout.setRowStretchFactor(0, 5)
        self.ci.layout.setRowStretchFactor(1, 2)
        self.ci.setContentsMargins(0, 0, 4, 0)
        self.ci.layout.setVerticalSpacing(4)
        for plot in (self._upper, self._lower):
            disable_menu(plot, self)
            plot.hideButtons()
            plot.setMouseEnabled(x=False, y=False)
            plot.getAxis("left").setWidth(46)
            for side in ("left", "bottom"):
                plot.getAxis(side).enableAutoSIPrefix(False)
        self._upper.getAxis("bottom").setStyle(showValues=False)
        self._lower.setYRange(0, 1)
        self._lower.getAxis("left").setTicks([[(0, "0"), (0.5, "0.5"), (1, "1")]])
        self._legend = self._upper.addLegend(offset=(-2, 2), labelTextSize="8pt", colCount=3)
        self.images = self._upper.plot(name="images")
        self.expected = self._upper.plot(name="slice × CTF²")
        self.volume = self._upper.plot(name="slice")
        self.ctf = self._lower.plot()
        self.noise = pg.InfiniteLine(angle=90)
        self._upper.addItem(self.noise, ignoreBounds=True)
        self._unit = "Å"
        self.set_colors(colors)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Small: the scene's own hint would make the dock wide."""
        return QSize(320, 240)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._text = colors.text
        self.setBackground(colors.background)
        for plot, label in ((self._upper, "log₁₀ power"), (self._lower, "CTF²")):
            plot.setLabel("left", label, color=colors.text, **{"font-size": "8pt"})
            for side in ("left", "bottom"):
                plot.getAxis(side).setPen(colors.dim)
                plot.getAxis(side).setTextPen(colors.text)
        self._name_axis()
        self._legend.setLabelTextColor(colors.text)
        for _, label in self._legend.items:
            label.setText(label.text, color=colors.text)
        self._legend.setBrush(pg.mkBrush(colors.background + "c0"))
        self.images.setPen(pg.mkPen(colors.blue, width=2))
        self.expected.setPen(pg.mkPen(colors.orange, width=2))
        self.volume.setPen(pg.mkPen(colors.dim, width=1.5, style=Qt.PenStyle.DashLine))
        self.noise.setPen(pg.mkPen(colors.text, width=1, style=Qt.PenStyle.DotLine))
        self.ctf.setPen(pg.mkPen(colors.green, width=1.5))

    def show_power(self, shown: ShownPower) -> None:
        """Draw other averages."""
        power = shown.power
        self._unit = "px" if shown.pixel_size is None else "Å"
        self._name_axis()
        unit = power.lattice.box * (shown.pixel_size or 1.0)
        for curve, values, log in (
            (self.images, power.images, True),
            (self.expected, power.expected, True),
            (self.volume, power.volume, True),
            (self.ctf, power.ctf, False),
        ):
            rings = np.zeros(0, np.float32) if values is None else power.rings(values)
            x = (np.arange(len(rings)) + 1) / unit
            curve.setData(x, _log(rings) if log else rings)
        logs = [_log(power.rings(v)) for v in (power.images, power.volume) if v is not None]
        low, high = float(np.min(logs)), float(np.max(logs))
        # Room for the legend above, and less of what is next to nothing below.
        self._upper.setYRange(max(low, high - _DECADES), high + 0.2 * min(high - low, _DECADES))
        last = power.lattice.limit / unit
        self._upper.setXRange(0, last, padding=0)
        self.noise.setVisible(power.noise_from is not None)
        self.noise.setValue((power.noise_from or 0) / unit)
        for plot in (self._upper, self._lower):
            plot.getAxis("bottom").setTicks([resolution_ticks(last)])

    def _name_axis(self) -> None:
        self._lower.setLabel(
            "bottom", f"resolution ({self._unit})", color=self._text, **{"font-size": "8pt"}
        )


class PowerPanel(QWidget):
    """Power of the central Fourier slice across the view and of the data, if wanted.

    Parameters
    ----------
    model
        What is shown.
    colors
        Of the theme.
    """

    def __init__(self, model: PowerModel, colors: Colors) -> None:
        super().__init__()
        self.model = model
        self._active = False
        self._shown: ShownPower | None = None
        self._build(colors)
        model.drawn.connect(self._on_drawn)
        self._show_wanted()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.plot.set_colors(colors)
        for picture in (self.slice, self.data):
            picture.set_colors(colors)

    def set_active(self, active: bool) -> None:
        """Work, or rest."""
        self._active = active
        self.model.set_active(active and self.wanted.isChecked())

    def _show_wanted(self, _: object = None) -> None:
        self.content.setVisible(self.wanted.isChecked())
        self.set_active(self._active)

    def _choose_rows(self, _: object = None) -> None:
        self.model.set_mean(self.rows.currentData() == "mean")

    def _on_drawn(self, shown: ShownPower | Exception) -> None:
        there = isinstance(shown, ShownPower)
        pictures = (self.slice, self.slice_text, self.data, self.data_text)
        for widget in (*pictures, self.plot, self.noise, self.with_ctf):
            widget.setVisible(there)
        if not isinstance(shown, ShownPower):
            if not isinstance(shown, CryodrgnError):
                notify.error(shown)
            self._shown = None
            self.text.setText(html.escape(str(shown)))
            self.text.setVisible(True)
            return
        self._shown = shown
        fault = shown.fault
        self.text.setText(f"The images cannot be read. {html.escape(str(fault))}" if fault else "")
        self.text.setVisible(fault is not None)
        for widget in (self.data, self.data_text):
            widget.setVisible(fault is None)
        self.plot.show_power(shown)
        self._tell_noise(shown)
        self._draw()

    def _tell_noise(self, shown: ShownPower) -> None:
        ring, size = shown.power.noise_from, shown.pixel_size
        if shown.power.images is None:
            self.noise.hide()
        elif ring is None:
            self.noise.setText("The signal reaches to the end of the plot.")
        else:
            at = shown.power.lattice.box * (size or 1.0) / ring
            self.noise.setText(f"Noise dominates beyond {at:.3g} {'px' if size is None else 'Å'}.")
            self.noise.setToolTip("There the images have ten times the power of the slice × CTF².")

    def _draw(self, _: object = None) -> None:
        shown = self._shown
        if shown is None:
            return
        power = shown.power
        step = 1 / (power.lattice.box * (shown.pixel_size or 1.0))
        times = self.with_ctf.isChecked() and power.expected is not None
        values = power.expected if times and power.expected is not None else power.volume
        name, unit = html.escape(shown.name), "px" if shown.pixel_size is None else "Å"
        what = "Slices" if power.n > 1 else "Slice"
        self.slice_text.setText(f"{what} of {name} (1/{unit})")
        self._draw_one(self.slice, power.picture(values), step)
        if power.images is not None:
            self.data_text.setText(f"{shown.what.capitalize()} (1/{unit})")
            self._draw_one(self.data, power.picture(power.images), step)

    def _draw_one(self, picture: SlicePicture, power: Array, step: float) -> None:
        image = _log(power)
        low, high = np.nanpercentile(image, _ENDS).tolist()
        picture.show_image(image, step, (low, max(high, low + 1e-6)))

    def _build(self, colors: Colors) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self.wanted = QCheckBox("Power across the view")
        self.wanted.setToolTip(
            "The volume's central slice in Fourier space, across the direction a particle is seen "
            "along, is what its image would be without CTF and noise."
        )
        self.wanted.toggled.connect(self._show_wanted)
        layout.addWidget(self.wanted)
        self.content = QWidget()
        layout.addWidget(self.content)
        inner = QVBoxLayout(self.content)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.setSpacing(4)
        self.rows = combo_box({"this particle": "one", "mean of the selection": "mean"})
        self.rows.currentIndexChanged.connect(self._choose_rows)
        form = new_form()
        add_row(
            form,
            "Images",
            self.rows,
            tip=f"One image is hardly more than noise. The mean is of up to {AVERAGED} of the "
            "selection, of all without one, and of as many slices of this one volume.",
        )
        inner.addLayout(form)
        self.text = note(selectable=True)
        inner.addWidget(self.text)
        self.plot = PowerPlot(colors)
        self.plot.setToolTip(
            "Means over rings. Signal to noise is orange over what blue has more than orange; "
            "where orange is far below blue, one image says nothing."
        )
        inner.addWidget(self.plot)
        self.noise = note()
        inner.addWidget(self.noise)
        self.slice, self.data = SlicePicture(colors), SlicePicture(colors)
        self.slice_text, self.data_text = note(), note()
        grid = QGridLayout()
        grid.setSpacing(2)
        for column, (text, picture) in enumerate(
            ((self.slice_text, self.slice), (self.data_text, self.data))
        ):
            grid.addWidget(text, 0, column, Qt.AlignmentFlag.AlignBottom)
            grid.addWidget(picture, 1, column)
            grid.setColumnStretch(column, 1)
        inner.addLayout(grid)
        self.with_ctf = QCheckBox("Multiply the slice by CTF²")
        self.with_ctf.setToolTip("With the dark rings that the microscope leaves.")
        self.with_ctf.setChecked(True)
        self.with_ctf.toggled.connect(self._draw)
        inner.addWidget(self.with_ctf)


def _log(values: Array) -> Array:
    """Decimal logarithm; zeros get that of the smallest positive value."""
    positive = values[values > 0]
    if not positive.size:
        return np.zeros_like(values)
    return np.log10(np.maximum(values, positive.min()))
