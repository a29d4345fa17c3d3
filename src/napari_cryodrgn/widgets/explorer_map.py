"""The map of the Latent explorer with its axes, colours and tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSignalBlocker, Qt, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget
from superqt import QDoubleRangeSlider

from .background import Background, Deliver
from .explorer_model import UMAP_AXES, ExplorerModel, Pick
from .form_parts import combo_box, small_button
from .job_bar import JobBar
from .latent_plot import LatentPlot
from .map_tools import MapTools
from .qt_tools import Colors, Soon

if TYPE_CHECKING:
    from ..analysis import Run

Array = NDArray[np.float32]
_TIP = (
    "Click or drag: the volume at that point. The axes shown are taken from the point, all other "
    "dimensions from the particle nearest to it.\nRight or middle button, or Shift and drag: move. "
    "Wheel: zoom. Double click or A: show all."
)
# A mouse held still for so long while it drags rests.
_REST_MS = 150


class ExplorerMap(QWidget):
    """Draws the particles of an explorer's run, and picks and selects with the mouse.

    `path_drawn` gives the axes and the points (m, 1 or 2) of a path drawn with the mouse.

    Parameters
    ----------
    model
        What is drawn.
    deliver
        Brings answers of other threads to this one, see `Background`.
    colors
        Of the theme.
    """

    path_drawn = Signal(object, object)

    def __init__(self, model: ExplorerModel, deliver: Deliver, colors: Colors) -> None:
        super().__init__()
        self.model = model
        # The map's own: images of it must not wait for anything.
        self._background = Background(deliver)
        self._drawn: object = None
        self._ranged: object = None
        self._embedded: Array | None = None
        self._dragged: tuple[Sequence[float], Sequence[float]] | None = None
        self._build(colors)
        model.axes_changed.connect(self._draw)
        model.values_changed.connect(self._colour)
        model.clusters_changed.connect(self._on_clusters)
        model.selection_changed.connect(self._select)
        model.path_changed.connect(self._show_path)
        self._marking = Soon(self, self._mark)
        model.picked.connect(self._on_pick)

    def close_map(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self.umap.close_job()
        self._background.close()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.plot.set_colors(colors)
        self.tools.set_colors(colors)

    def show_run(self) -> None:
        """Offer the axes and colours of the model's run, and draw it."""
        space = self.model.space
        self._rest.stop()
        if space is None:
            self.plot.clear_points()
            self._drawn = None
            return
        for combo, axis in ((self.x_axis, self.model.axes[0]), (self.y_axis, self.model.axes[-1])):
            with QSignalBlocker(combo):
                combo.clear()
                combo.addItems(space.names)
                combo.setCurrentText(axis)
        several = len(self.model.axes) > 1
        for widget in (self.x_label, self.x_axis, self.y_label, self.y_axis):
            widget.setVisible(several)
        self.umap.setVisible(space.zdim > 2 and UMAP_AXES[0] not in space.names)
        self._list_colours()
        self._draw()

    def mark_z(self, z: Array | None) -> None:
        """Mark a z (zdim,) that is shown, or the pick again."""
        space = self.model.space
        if z is None or space is None:
            self._mark()
        else:
            self.plot.mark(list(space.project(self.model.axes, z)))

    # What the controls do

    def _choose_axes(self, _: object = None) -> None:
        self.model.set_axes((self.x_axis.currentText(), self.y_axis.currentText()))

    def _choose_colour(self, _: object = None) -> None:
        self.model.set_colour(self.colour.currentText())

    def _choose_limits(self, limits: Sequence[float]) -> None:
        low, high = limits
        whole = (low, high) == (self.limits.minimum(), self.limits.maximum())
        self.model.set_limits(None if whole else (low, high))

    def _drag(self, point: Sequence[float], unit: Sequence[float]) -> None:
        self._dragged = point, unit
        self._rest.start()
        self.model.pick_at(point, unit, moving=True)

    def _settle(self) -> None:
        if self._dragged is not None:
            self.model.pick_at(*self._dragged)

    def _release(self, point: Sequence[float], unit: Sequence[float]) -> None:
        self._rest.stop()
        self.model.pick_at(point, unit)

    def _lasso(self, polygon: Array) -> None:
        self.model.select_inside(polygon)

    def _clear(self) -> None:
        self.model.set_current(None)

    def _embed(self) -> None:
        run, space = self.model.run, self.model.space
        if run is not None and space is not None:
            self._embedded = space.mu
            self.umap.start(partial(_umap, run, space.mu))

    def _on_embedded(self, results: list[float | Array]) -> None:
        for result in results:
            if isinstance(result, float):
                self.umap.progress(result, "Embedding the latents")
            # Another run, or other latents, may have been opened since.
            elif self._is_embedded():
                self.model.add_umap(result)

    def _is_embedded(self) -> bool:
        """Whether the latents of the open run are those that were embedded."""
        space, embedded = self.model.space, self._embedded
        return space is not None and embedded is not None and np.array_equal(space.mu, embedded)

    # Showing

    def _draw(self) -> None:
        points, run, axes = self.model.coordinates(), self.model.run, self.model.axes
        if points is None or run is None:
            return
        drawn = (run.folder, axes)
        self.plot.set_points(points, axes, keep_view=drawn == self._drawn)
        self._drawn = drawn
        for combo, axis in ((self.x_axis, axes[0]), (self.y_axis, axes[-1])):
            with QSignalBlocker(combo):
                combo.setCurrentText(axis)
        self._colour()
        self._select()
        self._show_path()
        self._show_centres()
        self._mark()

    def _list_colours(self) -> None:
        with QSignalBlocker(self.colour):
            self.colour.clear()
            self.colour.addItems(self.model.colours())
            self.colour.setCurrentText(self.model.colour)
        problem = None if self.model.values is None else self.model.values.problem
        self.colour.setToolTip(
            "What the colours of the particles tell."
            + (f"\nWhat the particles' file says is missing: {problem}" if problem else "")
        )

    def _colour(self) -> None:
        shown = self.model.shown
        with QSignalBlocker(self.colour):
            self.colour.setCurrentText(self.model.colour)
        self.plot.set_values(shown)
        self.plot.set_mask(_not(self.model.within_limits()))
        numbers = shown is not None and shown.labels is None
        self.limits.setVisible(numbers)
        self.limits_text.setVisible(numbers and self.model.limits is not None)
        if self.model.limits is not None:
            low, high = self.model.limits
            self.limits_text.setText(f"{low:.3g} to {high:.3g}")
        if shown is not None and numbers and shown is not self._ranged:
            self._ranged = shown
            values = shown.data[np.isfinite(shown.data)]
            if len(values):
                low, high = float(values.min()), float(values.max())
                with QSignalBlocker(self.limits):
                    self.limits.setRange(low, max(high, low + 1e-6))  # type: ignore[arg-type]
                    self.limits.setValue(self.model.limits or (low, high))

    def _on_clusters(self) -> None:
        self._list_colours()
        self._show_centres()

    def _show_centres(self) -> None:
        clusters, space = self.model.clusters, self.model.space
        if clusters is None or space is None or len(self.model.axes) < 2:
            self.plot.set_centres(np.zeros((0, 2)), ())
            return
        points = [space.project(self.model.axes, z) for z in clusters.centres]
        # Their numbers will do: with many of them names would hide the particles.
        names = [name.removeprefix("Cluster ") for name in clusters.names]
        self.plot.set_centres(np.array(points), names)

    def _select(self) -> None:
        mask = self.model.current_mask
        self.plot.set_selection(mask)
        self.chosen.setVisible(mask is not None)
        self.clear_button.setVisible(mask is not None)
        if mask is not None:
            self.chosen.setText(f"{np.count_nonzero(mask):,} selected")

    def _show_path(self) -> None:
        path, space = self.model.path, self.model.space
        if path is None or space is None:
            self.plot.set_path(None)
        else:
            self.plot.set_path(np.array([space.project(self.model.axes, z) for z in path]))

    def _on_pick(self, _: Pick) -> None:
        self._marking.start()

    def _mark(self) -> None:
        pick, space = self.model.pick, self.model.space
        if pick is None or space is None:
            self.plot.clear_marks()
            return
        axes = self.model.axes
        nearest = space.place(axes, pick.particle)
        self.plot.mark(list(space.project(axes, pick.z)), list(nearest))

    # Building

    def _build(self, colors: Colors) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        axes = QHBoxLayout()
        self.x_label, self.y_label = QLabel("x"), QLabel("y")
        self.x_axis, self.y_axis, self.colour = combo_box({}), combo_box({}), combo_box({})
        for label, combo in ((self.x_label, self.x_axis), (self.y_label, self.y_axis)):
            combo.currentIndexChanged.connect(self._choose_axes)
            combo.setMinimumContentsLength(4)
            axes.addWidget(label)
            axes.addWidget(combo, stretch=1)
        layout.addLayout(axes)
        self.colour.setMinimumContentsLength(4)
        self.colour.currentIndexChanged.connect(self._choose_colour)
        self.limits = QDoubleRangeSlider(Qt.Orientation.Horizontal)
        self.limits.setToolTip("Particles outside this range are drawn faintly.")
        self.limits.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.limits.valueChanged.connect(self._choose_limits)
        self.limits.hide()
        self.plot = LatentPlot(colors, self._background.ask)
        self.plot.setToolTip(_TIP)
        self.plot.clicked.connect(self.model.pick_at)
        self.plot.dragged.connect(self._drag)
        self.plot.released.connect(self._release)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._settle)
        self.plot.lassoed.connect(self._lasso)
        self.plot.path_drawn.connect(lambda points: self.path_drawn.emit(self.model.axes, points))
        self.tools = MapTools(self.plot, colors)
        row = QHBoxLayout()
        row.addWidget(self.tools)
        row.addWidget(QLabel("Colour"))
        row.addWidget(self.colour, stretch=1)
        layout.addLayout(row)
        layout.addWidget(self.plot, stretch=1)
        self.limits_text = QLabel()
        ranges = QHBoxLayout()
        ranges.addWidget(self.limits, stretch=1)
        ranges.addWidget(self.limits_text)
        layout.addLayout(ranges)
        selected = QHBoxLayout()
        self.chosen = QLabel()
        self.clear_button = small_button("Clear", "Select nothing.")
        self.clear_button.clicked.connect(self._clear)
        selected.addWidget(self.chosen, stretch=1)
        selected.addWidget(self.clear_button)
        layout.addLayout(selected)
        self.umap = JobBar(
            "Compute UMAP",
            "Embed the latents in two dimensions; the result is kept with the run.",
        )
        self.umap.asked.connect(self._embed)
        self.umap.results.connect(self._on_embedded)
        layout.addWidget(self.umap)
        self._select()


def _not(mask: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    return None if mask is None else ~mask


def _umap(run: Run, mu: Array) -> Iterator[float | Array]:
    from ..analysis import save_umap, umap_embedding

    for outcome in umap_embedding(mu):
        yield outcome
        # Shown already, should the folder be read-only.
        if not isinstance(outcome, float):
            save_umap(run.folder, mu, outcome)
