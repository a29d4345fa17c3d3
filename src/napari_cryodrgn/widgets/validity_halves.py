"""What two halves of the particles agree on, in the Validity tab."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton

from ..analysis.half_sets import HalfCurve
from ..errors import CryodrgnError
from . import docks
from .form_parts import combo_box
from .job_bar import JobBar
from .qt_tools import Colors, note
from .validity_model import ValidityModel
from .validity_parts import Part, start
from .validity_plots import ShellPlot
from .validity_words import legend

if TYPE_CHECKING:
    from napari.components import ViewerModel

_NO_CLUSTERS = "Find clusters in the Latent explorer first"


class HalvesPart(Part):
    """Half maps, the two half sets as files, and the comparison with another run.

    Parameters
    ----------
    model
        Of the tab.
    viewer
        Where training is opened.
    palette
        Colours of the theme.
    """

    def __init__(self, model: ValidityModel, viewer: ViewerModel, palette: Colors) -> None:
        super().__init__("What two halves agree on")
        self._model, self._viewer = model, viewer
        self._curves: list[HalfCurve] = []
        self._of_clusters = False
        self._written: tuple[Path, Path] | None = None
        self._trouble = ""
        self._build(palette)

    @property
    def jobs(self) -> tuple[JobBar, ...]:
        """What may run in the background."""
        return self.job, self.files_job

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.shells.set_colors(colors)

    def forget(self) -> None:
        """Drop what is of another run."""
        self._curves, self._written = [], None

    def show_state(self) -> None:
        """Show what was found."""
        self._show_clusters()
        self.shells.setVisible(bool(self._curves))
        self.shells.show_curves(self._curves)
        self.legend.setText(legend(self._curves, chosen_here=self._of_clusters))
        files = ""
        if self._written is not None:
            names = " and ".join(path.name for path in self._written)
            files = (
                f"Written: {names} in {self._written[0].parent}. Train each of them with its own "
                "pose search, not at the poses in the file, which were found with both halves; "
                "then compare the two runs."
            )
        self.files_text.setText(files)
        for button in self.train:
            button.setVisible(self._written is not None)
        for text in (self.legend, self.files_text):
            text.setVisible(bool(text.text()))

    # What the controls do

    def _start(self) -> None:
        what = self.halves_of.currentData()
        self._curves, self._of_clusters = [], what == "clusters"
        self.show_state()
        start(self.job, lambda: self._model.half_maps(what))

    def _write(self) -> None:
        folder = self._ask_folder("Folder for the two half sets")
        if folder is not None:
            start(self.files_job, lambda: self._model.write_halves(folder))

    def _compare(self) -> None:
        folder = self._ask_folder("Run to compare with")
        if folder is not None:
            self._trouble = ""
            start(self.files_job, lambda: self._model.compare(folder))

    def _train(self, half: int) -> None:
        if self._written is not None:
            docks.show_training(self._viewer, self._written[half])

    def _ask_folder(self, title: str) -> Path | None:
        run = self._model.run
        at = "" if run is None else str(run.folder.parent)
        chosen = QFileDialog.getExistingDirectory(self, title, at)
        return Path(chosen) if chosen else None

    # Showing

    def _take(self, results: list[Any], job: JobBar) -> None:
        for result in results:
            if isinstance(result, float):
                job.progress(result)
            elif isinstance(result, HalfCurve):
                self._curves.append(result)
            elif isinstance(result, CryodrgnError):
                self._trouble = str(result)
            else:
                self._written = result
        self.show_state()

    def _on_files_end(self, _: bool) -> None:
        # The bar has taken back what stood beneath it.
        if self._trouble:
            self.files_job.say(self._trouble)
        self._trouble = ""

    def _show_clusters(self) -> None:
        """Let clusters be chosen if there are any."""
        items = self.halves_of.model()
        assert isinstance(items, QStandardItemModel)
        row, there = self.halves_of.findData("clusters"), self._model.has_clusters
        item = items.item(row)
        assert item is not None
        item.setEnabled(there)
        tip = "" if there else _NO_CLUSTERS
        self.halves_of.setItemData(row, tip, Qt.ItemDataRole.ToolTipRole)
        if not there and self.halves_of.currentIndex() == row:
            self.halves_of.setCurrentIndex(0)

    # Building

    def _build(self, palette: Colors) -> None:
        self.halves_of = combo_box(
            {"All particles": "all", "Selection": "selection", "Each cluster": "clusters"}
        )
        self.job = JobBar(
            "Half-map FSC",
            "Back-project two halves of the particles at the run's poses. The halves are those "
            "of the file, if it has any, else every other particle. The poses are shared, so the "
            "curve is optimistic.",
        )
        self.job.asked.connect(self._start)
        self.files_job = JobBar(
            "Compare with another run…",
            "FSC between the consensus volumes of this run and of another, turned onto this one's. "
            "Of two trainings on the two half sets, each with its own pose search, it is the gold "
            "standard.",
        )
        self.files_job.asked.connect(self._compare)
        self.files_job.ended.connect(self._on_files_end)
        self.write = QPushButton("Write the two half sets…")
        self.write.setToolTip("Two files of particles, to be trained apart.")
        self.write.clicked.connect(self._write)
        self.train = []
        halves = QHBoxLayout()
        for half in (0, 1):
            button = QPushButton(f"Train half {half + 1}")
            button.setToolTip("Open the Train dock on this half of the particles.")
            button.clicked.connect(lambda _, half=half: self._train(half))
            halves.addWidget(button)
            self.train.append(button)
        self.files_text = note(selectable=True)
        self.shells = ShellPlot(palette)
        self.legend = note(selectable=True)
        for widget in (
            self.halves_of, self.job, self.shells, self.legend, self.write, self.files_text
        ):  # fmt: skip
            self.column.addWidget(widget)
        self.column.addLayout(halves)
        self.column.addWidget(self.files_job)
        for job in self.jobs:
            job.say("")
            job.results.connect(lambda results, job=job: self._take(results, job))
