"""Playing, colouring and saving the trajectory that is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..errors import CryodrgnError
from . import notify
from .background import Deliver
from .decode_bar import DecodeBar
from .form_parts import add_row, combo_box, new_form, text_lines
from .job_bar import JobBar
from .movie import FRAME_RATE, canvas_shots, film_writer, series_paths, write_film
from .save_dialog import ask_path
from .trajectory_model import TrajectoryModel
from .trajectory_view import RAMPS, TrajectoryView

if TYPE_CHECKING:
    from napari.components import ViewerModel

_COLOURINGS = {"one colour": "plain", "way along the path": "step", "where it changes": "change"}
_ENDS = {"step": ("start", "end"), "change": ("still", "moves")}
_NO_SURFACE = "Shown on surfaces only: choose Show as surface and decode the path again."


class TrajectoryPlayer(QWidget):
    """Plays a trajectory in the viewer, and saves it as volumes or as a film of the canvas.

    Parameters
    ----------
    model
        Its trajectory, and the step that is marked on the map.
    view
        The layer of the trajectory.
    viewer
        What a film is taken from.
    deliver
        Runs a callable in the thread of the window, from any thread.
    """

    def __init__(
        self, model: TrajectoryModel, view: TrajectoryView, viewer: ViewerModel, deliver: Deliver
    ) -> None:
        super().__init__()
        self.model, self.view = model, view
        self._viewer, self._deliver = viewer, deliver
        self._direction = 1
        self._saved: dict[JobBar, Path] = {}
        #: Whether the trajectory is shown as a surface.
        self.on_surface = True
        self.timer = QTimer(self)
        self.timer.setInterval(round(1000 / FRAME_RATE))
        self.timer.timeout.connect(self._play_on)
        self._build()
        model.changed.connect(self._on_model)
        model.stepped.connect(self._on_step)
        view.stepped.connect(model.go)
        self._on_model()

    def close_jobs(self) -> None:
        """Stop saving and wait for it; touches no widget."""
        self.series_job.close_job()
        self.film_job.close_job()

    def play(self, on: bool) -> None:
        """Play, over and over, or stop."""
        if on:
            self.timer.start()
        else:
            self.timer.stop()
        self.play_button.setChecked(on)
        self.play_button.setText("■" if on else "▶")

    def hideEvent(self, event: Any) -> None:  # noqa: N802
        """Stop playing when it is out of sight."""
        self.play(False)
        super().hideEvent(event)

    # What the controls do

    def _play_on(self) -> None:
        at, last = self.slider.value(), self.slider.maximum()
        if not self.back.isChecked():
            self._direction = 1
            self.slider.setValue(0 if at == last else at + 1)
            return
        if not 0 <= at + self._direction <= last:
            self._direction = -self._direction
        self.slider.setValue(at + self._direction)

    def _choose_colouring(self, _: object = None) -> None:
        self.view.set_colouring(self.colouring.currentData())
        self._show_legend()

    def _show_legend(self) -> None:
        colouring = self.colouring.currentData()
        drawn = self.on_surface or colouring != "change"
        self.no_surface.setVisible(not drawn)
        self.legend.setVisible(drawn and colouring in RAMPS)
        if colouring in RAMPS:
            stops = ", ".join(f"stop: {at} {color}" for at, color in RAMPS[colouring])
            self.strip.setStyleSheet(
                f"background: qlineargradient(x1: 0, y1: 0, x2: 1, y2: 0, {stops}); "
                "border-radius: 3px;"
            )
            for label, text in zip((self.low, self.high), _ENDS[colouring], strict=True):
                label.setText(text)

    def _save_series(self) -> None:
        walk = self.model.trajectory
        if walk is None:
            return
        steps = len(walk.path)

        def written(path: Path) -> list[Path]:
            return [*series_paths(path, steps), path.with_suffix(".cxc")]

        path = self._ask_path("Save volumes", ".mrc", "Volumes (*.mrc)", written)
        if path is not None:
            self._saved.pop(self.series_job, None)
            self.series_job.run(self.model.series(path))

    def _save_film(self) -> None:
        path = self._ask_path("Save film", ".gif", "Films (*.gif *.mp4)")
        walk = self.model.trajectory
        if path is None or walk is None:
            return
        try:
            # The job would find out too, but only once it runs.
            film_writer(path)
        except CryodrgnError as error:
            self.film_job.say(notify.error(error))
            return
        self.play(False)
        steps = list(range(len(walk.path)))
        if self.back.isChecked():
            steps += steps[-2:0:-1]
        shoot = canvas_shots(self._viewer, self._deliver, self.view.go)
        self._saved.pop(self.film_job, None)
        self.film_job.start(lambda: write_film(path, steps, shoot))

    def _ask_path(
        self,
        title: str,
        ending: str,
        kinds: str,
        written: Callable[[Path], Sequence[Path]] | None = None,
    ) -> Path | None:
        walk = self.model.trajectory
        if walk is None:
            return None
        name = walk.caption.lower().replace(",", "").replace(" ", "_") + ending
        return ask_path(self, title, walk.folder / name, kinds, written)

    # Showing

    def _on_model(self) -> None:
        walk = self.model.trajectory
        self.setVisible(walk is not None)
        if walk is None:
            if self.series_job.running or self.film_job.running:
                notify.warning("Saving was stopped: another run was opened.")
            self.series_job.drop()
            self.film_job.drop()
            return
        self.slider.blockSignals(True)
        self.slider.setMaximum(len(walk.path) - 1)
        self.slider.setValue(self.model.step)
        self.slider.blockSignals(False)
        self._say_step()
        self._show_legend()

    def _on_step(self, z: object) -> None:
        if z is not None:
            self.slider.setValue(self.model.step)
            self._say_step()

    def _on_slider(self, step: int) -> None:
        self.model.go(step)
        self.view.go(step)

    def _say_step(self) -> None:
        self.count.setText(f"{self.model.step + 1} / {self.slider.maximum() + 1}")

    def _on_series(self, results: list[Any]) -> None:
        self._on_saving(self.series_job, results)

    def _on_film(self, results: list[Any]) -> None:
        self._on_saving(self.film_job, results)

    def _on_saving(self, job: JobBar, results: list[Any]) -> None:
        for result in results:
            if isinstance(result, float):
                job.progress(result)
            else:
                self._saved[job] = result[-1] if isinstance(result, list) else result

    def _series_ended(self, complete: bool) -> None:
        if complete:
            path = self._saved[self.series_job]
            self.series_job.say(f"Saved in {path.parent}. To play them: open {path.name}")

    def _film_ended(self, complete: bool) -> None:
        if complete:
            self.film_job.say(f"Saved: {self._saved[self.film_job]}")

    # Building

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        row = QHBoxLayout()
        self.play_button = QToolButton()
        self.play_button.setCheckable(True)
        self.play_button.setFixedWidth(28)
        self.play_button.setToolTip("Play or stop.")
        self.play_button.clicked.connect(self.play)
        self.play(False)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setToolTip(
            "The step shown. napari's own slider below the canvas does the same."
        )
        self.slider.valueChanged.connect(self._on_slider)
        self.count = QLabel()
        self.count.setMinimumWidth(self.count.fontMetrics().horizontalAdvance("200 / 200"))
        self.count.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self.play_button)
        row.addWidget(self.slider, stretch=1)
        row.addWidget(self.count)
        layout.addLayout(row)
        form = new_form()
        self.back = QCheckBox("there and back")
        add_row(form, "Play", self.back, tip="When the end is reached: back again, not from start.")
        self.colouring = combo_box(_COLOURINGS)
        self.colouring.currentIndexChanged.connect(self._choose_colouring)
        add_row(
            form,
            "Colour",
            self.colouring,
            tip="Where it changes: the standard deviation of the density along the path; "
            "for trajectories shown as a surface.",
        )
        layout.addLayout(form)
        layout.addWidget(self._build_legend())
        self.no_surface = text_lines(_NO_SURFACE)
        self.no_surface.hide()
        layout.addWidget(self.no_surface)
        self.series_job = DecodeBar(
            "Save volumes…",
            "Decode the path once more with the full box, into numbered .mrc files and a script "
            "that plays them in ChimeraX.",
        )
        self.series_job.asked.connect(self._save_series)
        self.series_job.results.connect(self._on_series)
        self.series_job.ended.connect(self._series_ended)
        self.film_job = JobBar(
            "Save film…", "Film the canvas as it looks now, step by step, as .gif or .mp4."
        )
        self.film_job.asked.connect(self._save_film)
        self.film_job.results.connect(self._on_film)
        self.film_job.ended.connect(self._film_ended)
        self.film_job.say("")
        layout.addWidget(self.series_job)
        layout.addWidget(self.film_job)

    def _build_legend(self) -> QWidget:
        self.legend = QWidget()
        row = QHBoxLayout(self.legend)
        row.setContentsMargins(0, 0, 0, 0)
        self.low, self.strip, self.high = QLabel(), QLabel(), QLabel()
        self.strip.setFixedHeight(10)
        row.addWidget(self.low)
        row.addWidget(self.strip, stretch=1)
        row.addWidget(self.high)
        self.legend.hide()
        return self.legend
