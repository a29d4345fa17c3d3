"""The Compare runs dock."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from . import notify
from .compare_clusters import CompareClusters
from .compare_map import CompareMap
from .compare_model import Compare, CompareModel
from .compare_words import about_latents, about_particles, about_pick, short_names
from .compare_work import Pair, compare
from .form_parts import combo_box, small_button
from .opengl import is_software
from .pair_view import PairView
from .qt_tools import Colors, Dock, GuiThread, ShowAs, colors, note
from .volume_view import Mode

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..analysis import Run

_HINT = (
    "<p><b>Two runs of the same particles.</b></p><p>Open two run folders: of other settings, "
    "another seed, or cryoDRGN's and this program's. A click in one map shows the same particle "
    "and its volume in both.</p>"
)


class CompareDock(Dock):
    """Shows two runs of the same particles side by side.

    Parameters
    ----------
    napari_viewer
        Where volumes are shown.
    open_run
        Opens a run folder; `analysis.Run.open` if absent.
    compare
        Compares two runs.
    """

    def __init__(
        self,
        napari_viewer: ViewerModel,
        open_run: Callable[[Path], Run] | None = None,
        compare: Compare = compare,
    ) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._gui = GuiThread()
        self.model = CompareModel(self._gui.post, open_run, compare)
        self.on_end.append(self.model.close)
        mode: Mode = "surface" if is_software(napari_viewer) else "volume"
        self.pair = PairView(napari_viewer, self._gui.post, mode)
        self.on_end.append(self.pair.close)
        self._shown: Pair | None = None
        self._drawn: Any = None
        self._build()
        self.model.changed.connect(self._on_changed)
        self.model.picked.connect(self._on_picked)
        self.model.decoded.connect(self._on_decoded)
        self.model.failed.connect(self._on_failed)
        napari_viewer.events.theme.connect(self._follow_theme)
        self._on_changed()

    def open_folder(self, side: int, folder: Path | str) -> None:
        """Open a run folder as the first (0) or the second run (1)."""
        self.message.hide()
        self.model.open(side, Path(folder))

    # What the controls do

    def _browse(self, side: int) -> None:
        known = [run for run in (self.model.runs[side], self.model.runs[1 - side]) if run]
        start = str(known[0].folder.parent) if known else ""
        folder = QFileDialog.getExistingDirectory(self, "Open a run folder", start)
        if folder:
            self.open_folder(side, folder)

    def _choose_colors(self, _: object = None) -> None:
        self._color()

    def _choose_beside(self, on: bool) -> None:
        self.pair.beside = on

    # Showing

    def _on_changed(self) -> None:
        model, comparison = self.model, self.model.comparison
        for label, run in zip(self.folders, model.runs, strict=True):
            label.setText(run.folder.name if run is not None else "no run")
            label.setToolTip(str(run.folder) if run is not None else "")
        self.status.setText(model.busy)
        self.hint.setVisible(comparison is None and not model.busy)
        self.content.setVisible(comparison is not None)
        if comparison is None:
            self._drawn = None
            return
        if comparison is not self._drawn:
            self._drawn, self._shown = comparison, None
            self.about.setText(
                "<br>".join((about_particles(comparison), about_latents(comparison)))
            )
            for number, drawn in enumerate(self.maps):
                drawn.show_side(comparison.sides[number])
            self._color()
            self._on_picked()
        self._tell_pick()

    def _color(self) -> None:
        from ..analysis.particle_values import Values

        comparison, chosen = self.model.comparison, self.color_by.currentData()
        if comparison is None:
            return
        values = None
        if chosen is not None:
            side = comparison.sides[chosen]
            values = Values("AB"[chosen], side.labels, short_names(side.clusters.names))
        for drawn in self.maps:
            drawn.plot.set_values(values)

    def _on_picked(self) -> None:
        model = self.model
        if model.latents is None:
            for drawn in self.maps:
                drawn.plot.clear_marks()
        else:
            for drawn, z in zip(self.maps, model.latents, strict=True):
                drawn.mark(z)
        self._shown = None
        self._tell_pick()

    def _tell_pick(self) -> None:
        self.status.setText(self.model.busy)
        self.pick_text.setText(about_pick(self.model, self._shown))

    def _on_decoded(self, pair: Pair) -> None:
        comparison = self.model.comparison
        assert comparison is not None
        self._shown = pair
        first, second = (side.run.folder for side in comparison.sides)
        self.pair.show(pair, (first, second))
        self._tell_pick()

    def _on_failed(self, error: Exception) -> None:
        color = colors(self._viewer.theme).error
        text = html.escape(notify.error(error))
        self.message.setText(f'<span style="color: {color}">{text}</span>')
        self.message.show()

    def _follow_theme(self, _: object = None) -> None:
        now = colors(self._viewer.theme)
        for drawn in self.maps:
            drawn.plot.set_colors(now)
        self.clusters.set_colors(now)

    # Building

    def _build(self) -> None:
        now = colors(self._viewer.theme)
        self.folders = [QLabel(), QLabel()]
        self.open_buttons: list[QPushButton] = []
        for side, label in enumerate(self.folders):
            row = QHBoxLayout()
            name = QLabel("AB"[side])
            label.setStyleSheet("font-weight: bold")
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button = small_button("Open run…", "Open a run folder, finished or in progress.")
            button.clicked.connect(partial(self._browse, side))
            self.open_buttons.append(button)
            row.addWidget(name)
            row.addWidget(label, stretch=1)
            row.addWidget(button)
            self.body.addLayout(row)
        self.message = note(selectable=True)
        self.message.hide()
        self.hint = note(_HINT)
        self.status = note()
        self.content = QWidget()
        layout = QVBoxLayout(self.content)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        self._build_maps(layout, now)
        self.clusters = CompareClusters(self.model, now)
        self.on_end.append(self.clusters.close_panel)
        layout.addWidget(self.clusters)
        for widget in (self.message, self.hint, self.content, self.status):
            self.body.addWidget(widget)
        self.body.addStretch()

    def _build_maps(self, layout: QVBoxLayout, now: Colors) -> None:
        self.about = note()
        layout.addWidget(self.about)
        maps = QHBoxLayout()
        maps.setSpacing(4)
        self.maps = [CompareMap(now, self._gui.post) for _ in "AB"]
        for side, drawn in enumerate(self.maps):
            self.on_end.append(drawn.close_map)
            drawn.clicked.connect(partial(self.model.pick_at, side))
            drawn.axes_changed.connect(self._on_picked)
            maps.addWidget(drawn, stretch=1)
        layout.addLayout(maps)
        row = QHBoxLayout()
        self.color_by = combo_box({})
        for text, data in (("clusters of A", 0), ("clusters of B", 1), ("density", None)):
            self.color_by.addItem(text, data)
        self.color_by.setToolTip("Both maps show the same particles in the same colours.")
        self.color_by.currentIndexChanged.connect(self._choose_colors)
        self.beside = QCheckBox("side by side")
        self.beside.setToolTip(
            "Both volumes beside each other, turned together: napari's grid, with a place for each "
            "visible layer."
        )
        self.beside.toggled.connect(self._choose_beside)
        row.addWidget(QLabel("Colour"))
        row.addWidget(self.color_by, stretch=1)
        row.addWidget(self.beside)
        layout.addLayout(row)
        self.pick_text = note(selectable=True)
        layout.addWidget(self.pick_text)
        self.show_as = ShowAs(self.pair)
        layout.addWidget(self.show_as)
