"""Preprocessing in the Import particles dock: a smaller, normalised set of its own on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, Container, FileEdit
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ..errors import CryodrgnError
from . import notify
from .import_model import ImportModel, check_folder
from .job_bar import JobBar
from .qt_tools import note

if TYPE_CHECKING:
    from ..particles import ParticleSet

#: Takes particles, folder, and box, window, normalise and invert by name.
Preprocess = Callable[["ParticleSet", Path, "dict[str, Any]"], "Iterator[float | ParticleSet]"]
_BOXES = (512, 384, 320, 256, 192, 160, 128, 96, 64, 48, 32)


def run_preprocess(
    particles: ParticleSet, folder: Path, options: dict[str, Any]
) -> Iterator[float | ParticleSet]:
    """Preprocess in the calling thread."""
    from ..particles import PreprocessSettings, preprocess

    return preprocess(particles, folder, PreprocessSettings(**options))


class PreprocessPanel(QWidget):
    """Asks what to do to the model's set, and does it in the background.

    `made` gives the file of the new set.
    """

    made = Signal(object)

    def __init__(self, model: ImportModel, preprocess: Preprocess = run_preprocess) -> None:
        super().__init__()
        self.model = model
        self.preprocess = preprocess
        self._suggested = ""
        self._of: ParticleSet | None = None
        self.box = ComboBox(
            label="Box",
            choices=[("original", 0)],
            tooltip="Crop in Fourier space to a smaller box: faster, coarser.",
        )
        self.normalise = CheckBox(
            value=True,
            text="Normalise: background to mean 0, deviation 1",
            tooltip="The background is what lies outside three quarters of the box's radius.",
        )
        self.fade = CheckBox(
            value=False,
            text="Window: fade out the corners",
            tooltip="Not for training: it measures the noise in the corners.",
        )
        self.invert = CheckBox(
            value=False,
            text="Invert: the particles are dark on light",
            tooltip="Turn the contrast, so that particles are bright on dark.",
        )
        self.folder = FileEdit(
            label="Folder",
            mode=FileDialogMode.EXISTING_DIRECTORY,
            nullable=True,
            value=None,
            tooltip="For the new set.",
        )
        self.folder.choose_btn.text = "…"
        self.folder.choose_btn.max_width = 28
        self.folder.line_edit.native.setMinimumWidth(60)
        self.fields: Container = Container(
            widgets=[self.box, self.normalise, self.fade, self.invert, self.folder],
            labels=True,
        )
        self.fields.margins = (0, 0, 0, 0)
        self.job = JobBar(
            "Preprocess", "Write the new set in the background; it is opened when it is ready."
        )
        self.job.asked.connect(self.start)
        self.job.results.connect(self._on_results)
        self.job.ended.connect(self._on_end)
        self._result: Path | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(
            note(
                "Writes a set of its own: a stack and a STAR file. If it is interrupted it goes "
                "on where it stopped; the same settings are not computed twice."
            )
        )
        layout.addWidget(self.fields.native)
        layout.addWidget(self.job)
        layout.addStretch()
        self.invert.changed.connect(self._on_invert)
        self.box.changed.connect(self._suggest)
        model.changed.connect(self._on_model)
        self._on_model()

    @property
    def options(self) -> dict[str, Any]:
        """What was chosen."""
        return {
            "box": self.box.value or None,
            "window": self.fade.value,
            "normalise": self.normalise.value,
            "invert": self.invert.value,
        }

    def start(self) -> None:
        """Start; a folder that cannot be used becomes a notification."""
        particles = self.model.particles
        if particles is None:
            return
        try:
            folder = check_folder(self.folder.line_edit.value)
        except CryodrgnError as error:
            self.job.say(notify.error(error))
            return
        options = self.options
        self._result = None
        self.fields.enabled = False
        self.job.start(lambda: self.preprocess(particles, folder, options))

    def _on_results(self, results: list[float | ParticleSet]) -> None:
        for result in results:
            if isinstance(result, float):
                n = len(self._of) if self._of is not None else 0
                self.job.progress(result, f"{round(result * n):,} of {n:,} particles")
            else:
                self._result = Path(result.source)

    def _on_end(self, complete: bool) -> None:
        self.fields.enabled = True
        if complete and self._result is not None:
            self.job.say(f"Written and opened: {self._result}")
            self.made.emit(self._result)

    def _on_invert(self, on: bool) -> None:
        self.model.set_inverted(on)
        self._suggest()

    def _on_model(self) -> None:
        particles = self.model.particles
        with self.invert.changed.blocked():
            self.invert.value = self.model.inverted
        if particles is not self._of:
            if self.job.running:
                self.job.drop()
                self.fields.enabled = True
            self._of = particles
            if particles is not None:
                smaller = [(f"{b} px", b) for b in _BOXES if b < particles.box]
                chosen = self.box.value
                with self.box.changed.blocked():
                    self.box.choices = [(f"original ({particles.box} px)", 0), *smaller]
                    if chosen in [b for _, b in smaller]:
                        self.box.value = chosen
        self.fields.enabled = particles is not None and not self.job.running
        self.job.button.setEnabled(particles is not None and not self.job.running)
        self._suggest()

    def _suggest(self, _: object = None) -> None:
        """Suggest a folder beside the particles, unless the user wrote one."""
        particles, written = self.model.particles, self.folder.line_edit.value
        if particles is None or written not in ("", self._suggested):
            return
        source = Path(particles.source).absolute()
        box = self.box.value or particles.box
        turned = "_inverted" if self.invert.value else ""
        self._suggested = str(source.parent / f"{source.stem}_box{box}{turned}")
        self.folder.line_edit.value = self._suggested
