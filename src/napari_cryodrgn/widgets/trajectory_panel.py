"""The panel that makes trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from ..errors import CryodrgnError
from . import notify
from .background import Deliver
from .decode_bar import DecodeBar
from .form_parts import add_row, combo_box, new_form, small_button, spin_box, text_lines
from .trajectory import Trajectory
from .trajectory_model import MOST_STEPS, Explorer, TrajectoryModel
from .trajectory_player import TrajectoryPlayer
from .trajectory_view import TrajectoryView
from .volume_view import VolumeView

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..analysis import Run

_SHORT = 84
_SOURCES = {
    "along axis": "axis",
    "drawn on the map": "drawn",
    "through particles": "particles",
    "shortest through the data": "shortest",
}


class TrajectoryPanel(QWidget):
    """Asks for a path and decodes it; its `player` plays and saves it.

    Parameters
    ----------
    explorer
        The open run and its map.
    viewer
        Where trajectories are shown.
    volume
        Shows them there.
    deliver
        Runs a callable in the thread of the window, from any thread.
    """

    def __init__(
        self, explorer: Explorer, viewer: ViewerModel, volume: VolumeView, deliver: Deliver
    ) -> None:
        super().__init__()
        self._boxes_of: Path | None = None
        self.model = model = TrajectoryModel(explorer, deliver)
        self.view = view = TrajectoryView(viewer, volume, deliver)
        self._volume = volume
        self._decoding: Run | None = None
        self._build()
        self.player = TrajectoryPlayer(model, view, viewer, deliver)
        layout = self.layout()
        layout.addWidget(self.player)
        layout.addStretch()
        explorer.run_changed.connect(self._on_run)
        model.changed.connect(self._on_model)
        model.failed.connect(notify.error)
        self._on_model()

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Show the path on the map while the panel is to be seen."""
        super().showEvent(event)
        self.model.show_path(True)

    def hideEvent(self, event: Any) -> None:  # noqa: N802
        """Take the path off the map."""
        super().hideEvent(event)
        self.model.show_path(False)
        self.pick_button.setChecked(False)

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self.job.close_job()
        self.player.close_jobs()
        self.model.close()
        self.view.close()

    # What the controls do

    def _choose_source(self, _: object = None) -> None:
        self.model.set_source(self.source.currentData())

    def _choose_axis(self, _: object = None) -> None:
        self.model.set_axis(self.axis.currentText())

    def _collect(self, on: bool) -> None:
        self.model.collecting = on

    def _remove_last(self) -> None:
        self.model.set_anchors(self.model.anchors[:-1])

    def _clear(self) -> None:
        self.model.set_anchors([])

    def _decode(self) -> None:
        try:
            job = self.model.decode(self.box.currentData())
        except CryodrgnError as error:
            self.job.say(notify.error(error))
            return
        self._decoding = self.model.explorer.run
        self.job.run(job)

    # Showing

    def _on_run(self) -> None:
        run, before = self.model.explorer.run, self._decoding
        if before is not None and (run is None or run.folder != before.folder):
            self.job.drop()

    def _on_results(self, results: list[float | Trajectory]) -> None:
        for result in results:
            if isinstance(result, float):
                self.job.progress(result)
            else:
                self.player.on_surface = self._volume.mode == "surface"
                self.view.show(result)
                self.model.show(result)

    def _on_model(self) -> None:
        model = self.model
        run = model.explorer.run
        by_particles = model.source in ("particles", "shortest")
        for combo, chosen in ((self.source, model.source), (self.axis, model.axis)):
            combo.blockSignals(True)
            if combo is self.axis and self._items(combo) != model.axes:
                combo.clear()
                for name in model.axes:
                    combo.addItem(name, name)
            combo.setCurrentIndex(combo.findData(chosen))
            combo.blockSignals(False)
        self.axis.setVisible(model.source == "axis")
        self.anchors.setVisible(by_particles)
        if not by_particles:
            self.pick_button.setChecked(False)
        for button in (self.remove_button, self.clear_button):
            button.setEnabled(bool(model.anchors))
        arrows = " → ".join(str(particle) for particle in model.anchors)
        wait = "Looking for the path …" if model.busy and model.source == "shortest" else ""
        lines = [arrows if by_particles else "", model.missing or wait]
        self.hint.setText("<br>".join(line for line in lines if line))
        self.hint.setVisible(any(lines))
        self._fill_boxes()
        can_decode = run is not None and run.can_decode
        self.job.button.setEnabled(model.path is not None and can_decode and not self.job.running)

    def _fill_boxes(self) -> None:
        boxes, run = self.model.boxes(), self.model.explorer.run
        folder = None if run is None else run.folder
        # What was chosen for one run says nothing about another.
        chosen = self.box.currentData() if folder == self._boxes_of else None
        if chosen is not None and self._items(self.box) == boxes:
            return
        self._boxes_of = folder
        self.box.clear()
        for box in boxes:
            self.box.addItem(f"{box} px", box)
        keep = chosen if chosen in boxes else self.model.default_box()
        self.box.setCurrentIndex(self.box.findData(keep))

    @staticmethod
    def _items(combo: Any) -> list[Any]:
        return [combo.itemData(i) for i in range(combo.count())]

    # Building

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(6)
        form = new_form()
        self.source = combo_box(_SOURCES)
        self.source.currentIndexChanged.connect(self._choose_source)
        self.axis = combo_box({})
        self.axis.setFixedWidth(_SHORT)
        self.axis.currentIndexChanged.connect(self._choose_axis)
        add_row(
            form,
            "Path",
            self.source,
            self.axis,
            tip="Along an axis through the mean; drawn with the map's path tool; straight from "
            "particle to particle; or from one to the next through particles that are neighbours.",
        )
        layout.addLayout(form)
        layout.addWidget(self._build_anchors())
        self.hint = text_lines()
        layout.addWidget(self.hint)
        form = new_form()
        self.steps = spin_box(2, MOST_STEPS, self.model.steps)
        self.steps.valueChanged.connect(self.model.set_steps)
        self.box = combo_box({})
        for widget in (self.source, self.steps, self.box):
            # By their own wish two of them side by side would widen the dock.
            widget.setMinimumWidth(_SHORT)
        add_row(
            form,
            "Volumes",
            self.steps,
            self.box,
            tip="How many, at equal distances along the path, and their box. A small box is "
            "decoded quickly; files are saved with the full one.",
        )
        layout.addLayout(form)
        self.job = DecodeBar(
            "Decode path", "Decode volumes along the path, as a layer with a slider."
        )
        self.job.asked.connect(self._decode)
        self.job.results.connect(self._on_results)
        self.job.ended.connect(lambda _: self._on_model())
        layout.addWidget(self.job)

    def _build_anchors(self) -> QWidget:
        self.anchors = QWidget()
        row = QHBoxLayout(self.anchors)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        self.pick_button = QPushButton("Pick on the map")
        self.pick_button.setCheckable(True)
        self.pick_button.setToolTip("While this is pressed each click on the map adds a particle.")
        self.pick_button.toggled.connect(self._collect)
        self.remove_button = small_button("Undo", "Take the last particle away.")
        self.remove_button.clicked.connect(self._remove_last)
        self.clear_button = small_button("Clear", "Take all particles away.")
        self.clear_button.clicked.connect(self._clear)
        row.addWidget(self.pick_button, stretch=1)
        row.addWidget(self.remove_button)
        row.addWidget(self.clear_button)
        return self.anchors
