"""A plane that moves through volumes, flat and in the viewer."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from ..errors import CryodrgnError
from . import notify
from .background import Deliver
from .decode_model import DecodeModel
from .form_parts import add_row, combo_box, new_form, number_box, small_button
from .inspector_model import InspectorModel
from .low_pass_bar import LowPassBar
from .qt_tools import Colors, Soon, note
from .slice_model import SliceModel
from .slice_pictures import SlicePictures
from .slice_plane import SlicePlane
from .slice_power_model import PowerModel
from .slice_power_panel import PowerPanel
from .slice_volumes import PARTICLE
from .slice_work import Slices
from .view_camera import turn_to

if TYPE_CHECKING:
    from napari.components import ViewerModel

_ACROSS = {
    "across z": "z",
    "across y": "y",
    "across x": "x",
    "across the view": "view",
}
# Steps of the slider in a volume's edge.
_STEPS = 256
_NUMBER = 116
# Layers that change rest this long before they are read again.
_RELOAD_MS = 120


class SlicePanel(QWidget):
    """Slices of volumes, their difference, and the power across the view.

    Parameters
    ----------
    model
        Whose run and particle are followed.
    viewer
        Where the plane goes, and where layers come from.
    deliver
        Brings answers of other threads to this one, see `Background`.
    palette
        Colours of the theme.
    decode
        Decodes the volume of the particle; if others use it too, they set its run.
    """

    def __init__(
        self,
        model: InspectorModel,
        viewer: ViewerModel,
        deliver: Deliver,
        palette: Colors,
        decode: DecodeModel | None = None,
    ) -> None:
        super().__init__()
        self.inspector = model
        self._viewer = viewer
        self.model = SliceModel(model, viewer, deliver, decode)
        self._reload = Soon(self, self.model.volumes.reload_layers, _RELOAD_MS)
        self.plane = SlicePlane(viewer)
        self.power = PowerPanel(PowerModel(self.model, deliver), palette)
        self._reach = 0.0
        self._build(palette)
        self.model.drawn.connect(self._on_drawn)
        self.model.choices_changed.connect(self._on_choices)
        self.model.volume_changed.connect(self._on_volume)
        self.model.low_pass_changed.connect(self._on_low_pass)
        self.model.volumes.layers_changed.connect(self._reload_soon)
        self.model.volumes.busy_changed.connect(self._say)
        self.model.failed.connect(self._on_failed)
        self.plane.set_shown(False)
        self._on_choices()
        self._on_drawn(None)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.pictures.set_colors(colors)
        self.power.set_colors(colors)

    def set_active(self, active: bool) -> None:
        """Work, or rest: the plane is in the viewer only while this is seen."""
        self.model.active = active
        self.power.set_active(active)
        self.plane.set_shown(active and self.in_viewer.isChecked())

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self.power.model.close()
        self.model.close()
        self.plane.close()

    def leave_viewer(self) -> None:
        """Take the plane away and close the volumes again; for when the dock alone is closed."""
        self.plane.show(None, None)

    # What the controls do

    def _choose(self, side: int, combo: QComboBox) -> None:
        self.model.choose(side, combo.currentData())

    def _choose_across(self, _: object = None) -> None:
        across = self.across.currentData()
        self.turn.setVisible(across == "view")
        self.model.set_across(across)

    def _slide(self, value: int) -> None:
        self.offset.setValue(value / _STEPS * 2 * self._reach)

    def _set_offset(self, offset: float) -> None:
        with QSignalBlocker(self.slider):
            self.slider.setValue(round(offset / max(2 * self._reach, 1e-6) * _STEPS))
        self.model.set_offset(offset)

    def _turn(self) -> None:
        if self.model.rotation is not None:
            turn_to(self._viewer, self.model.rotation)

    def _reload_soon(self) -> None:
        self._reload.start()

    def _show_in_viewer(self, shown: bool) -> None:
        self.plane.set_shown(shown and self.model.active)
        self.open.setEnabled(shown)

    # Showing

    def _on_choices(self) -> None:
        choices, keys = self.model.choices(), self.model.keys
        for side, combo in enumerate((self.first, self.second)):
            # The volume of the particle moves on with it: it is compared once it is kept.
            items: list[tuple[Any, str]] = [
                (key, text) for key, text in choices.items() if not side or key != PARTICLE
            ]
            if side:
                items.insert(0, (None, "nothing"))
            with QSignalBlocker(combo):
                combo.clear()
                for key, text in items:
                    combo.addItem(text, key)
                here = [i for i, (key, _) in enumerate(items) if key == keys[side]]
                combo.setCurrentIndex(here[0] if here else -1)
            combo.setEnabled(bool(choices))
        self._fault = ""
        self._enable_view()
        self._say()

    def _on_volume(self) -> None:
        self._fault = ""
        self._enable_view()
        self._on_low_pass()
        self._say()

    def _on_low_pass(self) -> None:
        first = self.model.first
        self.low_pass.setEnabled(first is not None)
        if first is not None:
            self.low_pass.show_low_pass(self.model.low_pass, self.model.low_passes(), first.unit)

    def _enable_view(self) -> None:
        has_view = self.model.rotation is not None
        item = self.across.model().item(self.across.findData("view"))  # type: ignore[union-attr]
        item.setEnabled(has_view)
        if not has_view and self.across.currentData() == "view":
            self.across.setCurrentIndex(0)

    def _on_failed(self, error: Exception) -> None:
        self._fault = str(error) if isinstance(error, CryodrgnError) else notify.error(error)
        self._say()

    def _say(self) -> None:
        """Tell what is wrong, missing or going on, in this order."""
        if self._fault:
            text = html.escape(self._fault)
        elif not self.model.choices():
            text = "There is no volume to cut. Open a run, or add a volume to the viewer."
        elif self.model.volumes.busy:
            text = "Decoding …"
        else:
            text = ""
        self.text.setText(text)
        self.text.setVisible(bool(text) and (text != "Decoding …" or self.model.slices is None))

    def _on_drawn(self, slices: Slices | None) -> None:
        for widget in (self.pictures, self.power, self.keep):
            widget.setVisible(slices is not None)
        for control in (self.slider, self.offset):
            control.setEnabled(slices is not None)
        self.plane.show(slices, None if slices is None else slices.first.edge)
        self._say()
        if slices is None:
            return
        self._set_reach(slices)
        self.pictures.show_slices(slices)

    def _set_reach(self, slices: Slices) -> None:
        first = slices.first
        reach = first.edge / 2
        if abs(reach - self._reach) < 1e-3 and self.offset.suffix() == f" {first.unit}":
            return
        self._reach = reach
        self.offset.setSuffix(f" {first.unit}")
        self.offset.setRange(-reach, reach)
        self.offset.setSingleStep(slices.step)
        self._set_offset(self.offset.value())

    # Building

    def _build(self, colors: Colors) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.setSpacing(4)
        form = new_form()
        self.first, self.second = combo_box({}), combo_box({})
        self.first.currentIndexChanged.connect(lambda _: self._choose(0, self.first))
        self.second.currentIndexChanged.connect(lambda _: self._choose(1, self.second))
        self.keep = small_button(
            "Keep…", "Keep for comparison: this volume stays, and others are compared with it."
        )
        self.keep.clicked.connect(self.model.keep)
        self.across = combo_box(_ACROSS)
        self.across.currentIndexChanged.connect(self._choose_across)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(-_STEPS // 2, _STEPS // 2)
        self.slider.valueChanged.connect(self._slide)
        self.offset = number_box(0, 0, 0, 1)
        self.offset.setKeyboardTracking(False)
        self.offset.setFixedWidth(_NUMBER)
        self.offset.valueChanged.connect(self._set_offset)
        add_row(form, "Volume", self.first, self.keep, tip="What is cut.")
        add_row(form, "Compare with", self.second, tip="A second volume, cut at the same place.")
        add_row(
            form,
            "Plane",
            self.across,
            tip="Across an axis of the volume, or across the direction the particle is seen along: "
            "then it lies as the particle's image does.",
        )
        add_row(
            form,
            "Offset",
            self.slider,
            self.offset,
            tip="Distance of the plane from the volume's centre. Across a view, more is farther "
            "from the eye.",
        )
        self.low_pass = LowPassBar(_NUMBER)
        self.low_pass.chosen.connect(self.model.set_low_pass)
        add_row(
            form,
            "Low-pass",
            self.low_pass,
            tip="Resolution that is left of both volumes, finest to the left; at first that of the "
            "run's half maps. Volumes differ in sharpness and noise, which is no motion.",
        )
        layout.addLayout(form)
        self.turn = QPushButton("Turn the volume to this view")
        self.turn.setToolTip("As the particle's image shows it: x to the right, y down.")
        self.turn.clicked.connect(self._turn)
        self.turn.hide()
        layout.addWidget(self.turn)
        row = QHBoxLayout()
        self.in_viewer = QCheckBox("Show the plane in the viewer")
        self.in_viewer.setChecked(True)
        self.in_viewer.toggled.connect(self._show_in_viewer)
        self.open = QCheckBox("Cut the volume open")
        self.open.setToolTip("Hide what of the volumes lies in front of the plane.")
        self.open.toggled.connect(self.plane.set_open)
        self.open.setChecked(True)
        row.addWidget(self.in_viewer)
        row.addWidget(self.open)
        row.addStretch()
        layout.addLayout(row)
        self.text = note(selectable=True)
        layout.addWidget(self.text)
        self.pictures = SlicePictures(colors)
        layout.addWidget(self.pictures)
        layout.addWidget(self.power)
        layout.addStretch()
