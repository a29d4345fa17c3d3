"""Whether what the inspected run shows is real, in the Particle inspector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ..analysis.half_sets import HalfCurve
from ..analysis.validity import Verdict
from ..errors import CryodrgnError
from . import docks, notify
from .background import Deliver
from .decode_bar import DecodeBar
from .form_parts import combo_box
from .inspector_model import InspectorModel
from .job_bar import JobBar
from .qt_tools import Colors, note
from .validity_layer import SpreadLayer
from .validity_model import DRAWS, SpreadSurface, ValidityModel
from .validity_plots import ConfounderPlot, ShellPlot
from .validity_table import ConfounderTable
from .validity_words import legend, motion, variability, warning

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..analysis import Run


class ValidityPanel(QWidget):
    """Heterogeneity or none, what the latent goes with, half maps, and where volumes differ.

    Parameters
    ----------
    inspector
        Whose run, particle and selection are followed.
    viewer
        Where the standard deviation is shown.
    deliver
        Brings answers of other threads to this one, see `Background`.
    palette
        Colours of the theme.
    """

    def __init__(
        self, inspector: InspectorModel, viewer: ViewerModel, deliver: Deliver, palette: Colors
    ) -> None:
        super().__init__()
        self.model = ValidityModel(inspector, deliver)
        self._viewer, self._colors = viewer, palette
        self.layer = SpreadLayer(viewer)
        self._run: Run | None = None
        self._verdict: Verdict | None = None
        self._curves: list[HalfCurve] = []
        self._spread: SpreadSurface | None = None
        self._all_spread: SpreadSurface | None = None
        self._written: tuple[Path, Path] | None = None
        self._build()
        self.model.changed.connect(self._show)
        self.model.failed.connect(notify.error)
        self._show()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._colors = colors
        self.plot.set_colors(colors)
        self.shells.set_colors(colors)
        self._show()

    def set_active(self, active: bool) -> None:
        """Work only while the tab is shown."""
        self.model.active = active

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        for job in self._jobs:
            job.close_job()
        self.model.close()

    @property
    def _jobs(self) -> tuple[JobBar, ...]:
        return self.motion_job, self.half_job, self.files_job, self.spread_job

    # What the controls do

    def _start(self, job: JobBar, make: Callable[[], Callable[[], Iterator[Any]]]) -> None:
        try:
            job.start(make())
        except CryodrgnError as error:
            job.say(str(error))

    def _start_motion(self) -> None:
        self._start(self.motion_job, self.model.heterogeneity)

    def _start_halves(self) -> None:
        self._curves = []
        self._show()
        self._start(self.half_job, lambda: self.model.half_maps(self.halves_of.currentData()))

    def _start_spread(self) -> None:
        try:
            self.spread_job.run(self.model.spread(self.spread_of.currentData()))
        except CryodrgnError as error:
            self.spread_job.say(str(error))

    def _write_halves(self) -> None:
        folder = self._ask_folder("Folder for the two half sets")
        if folder is not None:
            self._start(self.files_job, lambda: self.model.write_halves(folder))

    def _compare(self) -> None:
        folder = self._ask_folder("Run to compare with")
        if folder is not None:
            self._start(self.files_job, lambda: self.model.compare(folder))

    def _train(self, half: int) -> None:
        if self._written is not None:
            docks.show_training(self._viewer, self._written[half])

    def _ask_folder(self, title: str) -> Path | None:
        run = self.model.run
        start = "" if run is None else str(run.folder.parent)
        chosen = QFileDialog.getExistingDirectory(self, title, start)
        return Path(chosen) if chosen else None

    # Showing

    def _take(self, results: list[Any], job: JobBar) -> None:
        for result in results:
            if isinstance(result, float):
                job.progress(result)
            elif isinstance(result, Verdict):
                self._verdict = result
            elif isinstance(result, HalfCurve):
                self._curves.append(result)
            elif isinstance(result, SpreadSurface):
                self._spread = result
                if self.spread_of.currentData() == "all":
                    self._all_spread = result
                self.layer.show(result)
            else:
                self._written = result
        self._show()

    def _show(self) -> None:
        run = self.model.run
        if run is not self._run:
            self._forget(run)
        self.nothing.setVisible(run is None)
        self.content.setVisible(run is not None)
        self.motion_text.setText(
            "" if self._verdict is None else motion(self._verdict, self._colors)
        )
        self._show_confounders()
        self.shells.setVisible(bool(self._curves))
        self.shells.show_curves(self._curves)
        self.legend.setText(legend(self._curves))
        self.spread_text.setText(
            "" if self._spread is None else variability(self._spread, self._all_spread)
        )
        for button in self.train:
            button.setVisible(self._written is not None)
        if self._written is not None:
            names = " and ".join(path.name for path in self._written)
            self.files_text.setText(
                f"Written: {names} in {self._written[0].parent}. Train each of them with its own "
                "pose search, then compare the two runs."
            )
        for text in (self.motion_text, self.legend, self.spread_text, self.files_text):
            text.setVisible(bool(text.text()))

    def _forget(self, run: Run | None) -> None:
        """Drop what is of another run; one that is followed has changed as well."""
        self._run = run
        for job in self._jobs:
            job.drop()
            job.say("")
        self._verdict, self._spread, self._all_spread, self._written = None, None, None, None
        self._curves = []
        self.files_text.setText("")

    def _show_confounders(self) -> None:
        found, trouble = self.model.confounders, self.model.trouble
        if found is not None:
            self.warning.setText(warning(found, self._colors))
        else:
            self.warning.setText(trouble or "Looking for what the latent goes with …")
        for widget in (self.table, self.plot):
            widget.setVisible(bool(found))
        self.table.show_confounders(found or [])

    # Building

    def _build(self) -> None:
        self.nothing = note("Open a run to see whether what it shows is real.")
        self.content = QWidget()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 6, 0, 0)
        outer.addWidget(self.nothing)
        outer.addWidget(self.content)
        outer.addStretch()
        layout = QVBoxLayout(self.content)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self._build_motion(layout)
        self._build_confounders(layout)
        self._build_halves(layout)
        self._build_spread(layout)

    def _build_motion(self, layout: QVBoxLayout) -> None:
        layout.addWidget(_heading("Do the particles differ?"))
        self.motion_job = JobBar(
            "Look for heterogeneity",
            "Learn motion from each half of the images, at the run's poses, and see whether the "
            "other half shows it too. The latent has no part in this.",
        )
        self.motion_text = note(selectable=True)
        self.motion_job.asked.connect(self._start_motion)
        self._add_job(layout, self.motion_job)
        layout.addWidget(self.motion_text)

    def _build_confounders(self, layout: QVBoxLayout) -> None:
        layout.addWidget(_heading("What the latent goes with"))
        self.warning = note(selectable=True)
        self.table = ConfounderTable()
        self.plot = ConfounderPlot(self._colors)
        self.table.chosen.connect(self.plot.show_confounder)
        self.plot.setToolTip("Blue: particles. Orange: means, with their standard errors.")
        for widget in (self.warning, self.table, self.plot):
            layout.addWidget(widget)

    def _build_halves(self, layout: QVBoxLayout) -> None:
        layout.addWidget(_heading("What two halves agree on"))
        self.halves_of = combo_box(
            {"All particles": "all", "Selection": "selection", "Each cluster": "clusters"}
        )
        self.half_job = JobBar(
            "Half-map FSC",
            "Back-project two halves of the particles at the run's poses. The halves are those "
            "of the file, if it has any, else every other particle. The poses are shared, so the "
            "curve is optimistic.",
        )
        self.half_job.asked.connect(self._start_halves)
        layout.addWidget(self.halves_of)
        self._add_job(layout, self.half_job)
        self.files_job = JobBar(
            "Compare with another run…",
            "FSC between the consensus volumes of this run and of another, turned onto this one's. "
            "Of two trainings on the two half sets it is the gold standard.",
        )
        self.files_job.asked.connect(self._compare)
        self.write = QPushButton("Write the two half sets…")
        self.write.setToolTip("Two files of particles, to be trained apart.")
        self.write.clicked.connect(self._write_halves)
        self.train = []
        halves = QHBoxLayout()
        for half in (0, 1):
            button = QPushButton(f"Train half {half + 1}")
            button.setToolTip("Open the Train dock on this half of the particles.")
            button.clicked.connect(lambda _, half=half: self._train(half))
            halves.addWidget(button)
            self.train.append(button)
        self.files_text = note(selectable=True)
        self.shells = ShellPlot(self._colors)
        self.legend = note(selectable=True)
        for widget in (self.shells, self.legend, self.write, self.files_text):
            layout.addWidget(widget)
        layout.addLayout(halves)
        self._add_job(layout, self.files_job)

    def _build_spread(self, layout: QVBoxLayout) -> None:
        layout.addWidget(_heading("Where volumes differ"))
        self.spread_of = combo_box(
            {
                "This particle's posterior": "particle",
                "Selection": "selection",
                "All particles": "all",
            }
        )
        self.spread_job = DecodeBar(
            "Standard deviation",
            f"Decode {DRAWS} volumes, drawn from the posterior of this particle's latent, or of "
            "as many particles, and colour the surface of their mean by how much they differ.",
        )
        self.spread_job.asked.connect(self._start_spread)
        self.spread_text = note(selectable=True)
        layout.addWidget(self.spread_of)
        self._add_job(layout, self.spread_job)
        layout.addWidget(self.spread_text)

    def _add_job(self, layout: QVBoxLayout, job: JobBar) -> None:
        job.say("")
        job.results.connect(lambda results: self._take(results, job))
        layout.addWidget(job)


def _heading(text: str) -> QLabel:
    label = QLabel(f"<b>{text}</b>")
    label.setContentsMargins(0, 6, 0, 0)
    return label
