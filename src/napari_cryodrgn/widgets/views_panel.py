"""Viewing directions of the inspected run, in the Particle inspector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from . import notify
from .background import Deliver
from .direction_plot import DirectionPlot
from .form_parts import number_box, small_button
from .inspector_model import InspectorModel
from .qt_tools import Colors, note
from .sphere import DirectionSphere
from .view_camera import turn_to
from .view_directions import count_image
from .views_model import Array, Shown, ViewsModel
from .views_plots import CountScale, ViewHistogram
from .views_words import seen_from, selected, table, verdicts

if TYPE_CHECKING:
    from napari.components import ViewerModel


class ViewsPanel(QWidget):
    """Where particles are seen from, on a map and on a sphere around the volume.

    A click on the map inspects the particle seen most nearly from there, and turns the volume to
    its view; a drag selects the particles seen from within a circle.

    Parameters
    ----------
    inspector
        Whose run, particle and selection are followed.
    viewer
        Where the sphere goes, and whose camera turns.
    deliver
        Brings answers of other threads to this one, see `Background`.
    palette
        Colours of the theme.
    """

    def __init__(
        self, inspector: InspectorModel, viewer: ViewerModel, deliver: Deliver, palette: Colors
    ) -> None:
        super().__init__()
        self.model = ViewsModel(inspector, deliver)
        self._viewer = viewer
        self._drawn: Shown | None = None
        self._active = False
        self.sphere = DirectionSphere(viewer)
        self._build(palette)
        self.model.changed.connect(self._show)
        self.model.pointed.connect(self._point)
        self.model.turned.connect(self._turn)
        self.model.failed.connect(self._tell)
        self._show()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        for plot in (self.map, self.scale, self.angles, self.shifts):
            plot.set_colors(colors)

    def set_active(self, active: bool) -> None:
        """Work only while the tab is shown, and so long only show the sphere."""
        self._active = active
        self.model.active = active
        self._show_sphere()

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self.model.close()

    # What the controls do

    def _select_near(self) -> None:
        axis = self.model.axis
        if axis is not None:
            self.model.select_within(axis, self.degrees.value())

    def _clear(self) -> None:
        self.model.inspector.set_mask(None)

    def _turn(self, rotation: Array) -> None:
        turn_to(self._viewer, rotation)

    def _toggle_sphere(self, on: bool) -> None:
        self._show_sphere()
        if on:
            self._viewer.dims.ndisplay = 3

    # Showing

    def _show(self) -> None:
        model = self.model
        run, shown = model.inspector.run, model.shown
        self.content.setVisible(shown is not None)
        if shown is not None:
            self.text.setText("")
            if shown is not self._drawn:
                self._draw(shown)
        elif run is None:
            self.text.setText("Open a run to see where its particles are seen from.")
        elif run.rotations is None:
            self.text.setText("No viewing directions: the run has no poses yet.")
        else:
            self.text.setText("Counting views …" if model.busy else "")
        # What was drawn is kept no longer than it is shown.
        self._drawn = shown
        self.text.setVisible(bool(self.text.text()))
        self._show_selection()
        self._show_sphere()

    def _show_selection(self) -> None:
        mask = self.model.inspector.mask
        count = 0 if mask is None else int(mask.sum())
        self.count.setText(selected(count, self.model.circle))
        for widget in (self.count, self.clear):
            widget.setVisible(mask is not None)
        self.map.show_circle(*(self.model.circle or (None,)))

    def _show_sphere(self) -> None:
        shown = self.model.shown
        if shown is not None and self._active and self.around.isChecked():
            run = shown.views.run
            self.sphere.show(shown.views.bars, run.box, run.pixel_size)
            self._point(self.model.axis)
        else:
            self.sphere.remove()

    def _draw(self, shown: Shown) -> None:
        views = shown.views
        most = int(views.counts.max())
        # Beside a preferred direction the others would all look empty.
        self.map.show_image(np.sqrt(count_image(views.counts)), most**0.5)
        self.map.show_points(shown.dots)
        self.scale.show_scale(most, f"particles per {views.spacing:.0f}° patch")
        self.table.setText(table(shown))
        self.verdict.setText(verdicts(shown))
        self.scaled.setVisible(shown.psi.chosen is not None)
        self.angles.show_counts(shown.psi, "angle in the plane, psi (°)", 60)
        self.shifts.show_counts(shown.shift, f"distance from the centre ({views.unit})")

    def _point(self, axis: Array | None) -> None:
        run, rotation = self.model.inspector.run, self.model.rotation
        self.map.here.setVisible(axis is not None)
        if axis is None or run is None or rotation is None:
            self.sphere.point(None, 1, None)
            return
        self.map.mark(axis)
        particle = self.model.inspector.particle
        self.where.setText(seen_from(rotation, particle))
        self.near_what.setText(f"of particle {particle}")
        self.sphere.point(axis, run.box, run.pixel_size)

    def _tell(self, error: Exception) -> None:
        self.text.setText(notify.error(error))
        self.text.show()

    # Building

    def _build(self, colors: Colors) -> None:
        self.text = note(selectable=True)
        self.content = QWidget()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 6, 0, 0)
        outer.addWidget(self.text)
        outer.addWidget(self.content)
        outer.addStretch()
        layout = QVBoxLayout(self.content)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self.map = DirectionPlot(colors, circles=True)
        self.map.setToolTip(
            "How many particles are seen from each direction: longitude is RELION's rot, the poles "
            "are tilt 0 and 180.\nClick: inspect the particle seen most nearly from there. Drag: "
            "select the particles seen from within a circle."
        )
        self.map.clicked.connect(self.model.pick)
        self.map.circled.connect(self.model.select_within)
        self.scale = CountScale(colors)
        self.where = note(selectable=True)
        layout.addWidget(self.map)
        layout.addWidget(self.scale)
        layout.addWidget(self.where)
        layout.addLayout(self._selecting())
        self.turn = QPushButton("Turn the volume to this view")
        self.turn.setToolTip("As the particle's image shows it: x to the right, y down.")
        self.turn.clicked.connect(self.model.turn)
        self.around = QCheckBox("Show sphere around the volume")
        self.around.setChecked(True)
        self.around.setToolTip(
            "The colours of the map on a sphere; the arrow points the way this particle is seen."
        )
        self.around.toggled.connect(self._toggle_sphere)
        self.table, self.verdict = note(selectable=True), note(selectable=True)
        self.table.setToolTip(
            "E_od (Naydenova and Russo, 2017): how alike the widths of the point spread function "
            "are in all directions.\nSCF (Baldwin and Lyumkis, 2020): the share of the signal to "
            "noise that is left; 1/SCF times the particles make up for it.\n"
            "Few particles leave directions empty by chance."
        )
        self.scaled = note("Orange lines: the selected particles, scaled to the same height.")
        self.angles, self.shifts = ViewHistogram(colors), ViewHistogram(colors)
        for widget in (
            self.turn,
            self.around,
            self.verdict,
            self.table,
            self.scaled,
            self.angles,
            self.shifts,
        ):
            layout.addWidget(widget)

    def _selecting(self) -> QVBoxLayout:
        self.degrees: QDoubleSpinBox = number_box(1, 180, 10, 0)
        self.degrees.setSuffix("°")
        # In a narrow dock there is no room for buttons.
        self.degrees.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.degrees.setFixedWidth(self.fontMetrics().horizontalAdvance("180°") + 28)
        self.near = QPushButton("Select within")
        self.near.setToolTip(
            "Select the particles seen from nearly the same direction as the inspected one, which "
            "the orange ring marks."
        )
        self.near.clicked.connect(self._select_near)
        self.near_what = note()
        first = QHBoxLayout()
        first.addWidget(self.near)
        first.addWidget(self.degrees)
        first.addWidget(self.near_what, stretch=1)
        self.count = note()
        self.clear = small_button("Clear", "Select nothing.")
        self.clear.clicked.connect(self._clear)
        second = QHBoxLayout()
        second.addWidget(self.count, stretch=1)
        second.addWidget(self.clear)
        both = QVBoxLayout()
        both.setSpacing(4)
        both.addLayout(first)
        both.addLayout(second)
        return both
