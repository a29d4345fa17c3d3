"""Buttons that write selected particles for other programs and for training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from . import notify
from .background import Deliver
from .hand_on_model import HandOnModel
from .job_bar import JobBar
from .save_dialog import ask_path
from .selection_model import SelectionModel

_KINDS = "RELION (*.star);;cryoSPARC (*.cs);;cryoDRGN's indices (*.pkl)"


class HandOnPanel(QWidget):
    """Exports the current selection, or opens the training on it.

    Parameters
    ----------
    selections
        Whose current selection is written.
    deliver
        Brings answers of other threads to this one, see `Background`.
    train
        Opens the training on a STAR file; without it there is no button.
    """

    def __init__(
        self,
        selections: SelectionModel,
        deliver: Deliver,
        train: Callable[[Path], None] | None,
    ) -> None:
        super().__init__()
        self._selections = selections
        self.model = HandOnModel(selections, deliver)
        self._written: Path | None = None
        self.original = QCheckBox("as rows of the original file")
        self.original.setToolTip(
            "The particles as they were before they were preprocessed: in the box, and with the "
            "stacks, of the file they were made from."
        )
        self.job = JobBar(
            "Export…",
            "Write the current selection for RELION (.star), cryoSPARC (.cs) or cryoDRGN (.pkl).",
        )
        self.job.say("")
        self.job.asked.connect(self._export)
        self.job.results.connect(self._on_written)
        self.job.ended.connect(self._on_end)
        self.train_button = QPushButton("Train on this selection")
        self.train_button.setToolTip("Open the Train dock on the selected particles.")
        self.train_button.clicked.connect(self.model.train)
        self.train_button.setVisible(train is not None)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.original, self.job, self.train_button):
            layout.addWidget(widget)
        if train is not None:
            self.model.training_written.connect(train)
        self.model.failed.connect(lambda error: self.job.say(notify.error(error)))
        self.model.changed.connect(self._enable)
        selections.changed.connect(self._enable)
        self._enable()

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self.job.close_job()
        self.model.close()

    def _export(self) -> None:
        start = self.model.suggested_path(".star")
        path = ask_path(self, "Export the selection", start or "", _KINDS)
        if path is None:
            return
        original = self.original.isChecked() and self.model.has_original
        self._written = None
        self.job.start(lambda: self.model.export(path, original))
        self.job.progress(0, f"Writing {path.name} …")

    def _on_written(self, paths: list[Path]) -> None:
        self._written = paths[-1]

    def _on_end(self, complete: bool) -> None:
        if complete and self._written is not None:
            self.job.say(f"Written: {self._written}")
        self._enable()

    def _enable(self) -> None:
        some = bool(self._selections.count)
        self.job.button.setEnabled(some and not self.job.running)
        self.train_button.setEnabled(some)
        self.original.setVisible(self.model.has_original)
