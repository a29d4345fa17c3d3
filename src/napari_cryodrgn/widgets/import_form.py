"""The fields of the Import particles dock: which files make the set."""

from __future__ import annotations

import html
from pathlib import Path

from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit, FloatSpinBox
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget
from superqt import QCollapsible

from ..errors import ParticleFileError
from .form_parts import LABEL_WIDTH
from .import_model import Source
from .qt_tools import Colors, note

_PARTICLES = "Particles (*.star *.cs *.csg *.mrcs *.mrc *.txt);;All files (*)"
_PICKLES = "cryoDRGN (*.pkl);;All files (*)"
_CS = "cryoSPARC (*.cs);;All files (*)"


class Field(QWidget):
    """A labelled field with room for an error beneath it."""

    def __init__(self, label: str, field: QWidget, tip: str) -> None:
        super().__init__()
        self.setToolTip(tip)
        name = QLabel(label)
        name.setFixedWidth(LABEL_WIDTH)
        self.problem = note(selectable=True)
        self.problem.hide()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(2)
        grid.setHorizontalSpacing(4)
        grid.addWidget(name, 0, 0, Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(field, 0, 1)
        grid.addWidget(self.problem, 1, 0, 1, 2)
        grid.setColumnStretch(1, 1)

    def complain(self, error: Exception | None, colors: Colors) -> None:
        """Show a problem beneath the field; None removes it."""
        self.problem.setText("" if error is None else _problem(error, colors))
        self.problem.setVisible(error is not None)


class FileField(Field):
    """A file, folder or several files, typed or chosen; `edited` once that is done."""

    edited = Signal()

    def __init__(self, label: str, mode: str, empty: str, tip: str, files: str = "") -> None:
        self.edit = FileEdit(
            mode=FileDialogMode(mode), filter=files or None, nullable=True, value=None
        )
        self.edit.margins = (0, 0, 0, 0)
        self.edit.choose_btn.text = "…"
        self.edit.choose_btn.max_width = 28
        self._line = self.edit.line_edit.native
        self._line.setPlaceholderText(empty)
        self._line.setClearButtonEnabled(True)
        # Else the longest path would set the width of the dock.
        self._line.setMinimumWidth(60)
        super().__init__(label, self.edit.native, tip)
        self._last = self.edit.value
        self._typing = False
        # Comes before the change that it tells of.
        self._line.textEdited.connect(self._type)
        self._line.editingFinished.connect(self._done)
        self.edit.changed.connect(self._chosen)

    @property
    def value(self) -> Path | tuple[Path, ...] | None:
        """What was filled in."""
        return self.edit.value

    @property
    def one(self) -> Path | None:
        """The path; None where there is none, or are several."""
        return self.value.expanduser() if isinstance(self.value, Path) else None

    def set(self, path: Path | None) -> None:
        """Fill in a path, as a user would."""
        self.edit.value = path
        self._done()

    def _chosen(self, _: object) -> None:
        # While somebody types, nothing is opened.
        if not self._typing:
            self._done()

    def _type(self, text: str) -> None:
        # The button that empties the field counts as typing; nothing is typed after it.
        self._typing = bool(text)

    def _done(self) -> None:
        self._typing = False
        if self.edit.value != self._last:
            self._last = self.edit.value
            self._line.setToolTip(self._line.text())
            self.edited.emit()


class ImportForm(QWidget):
    """Asks for files; opens none. `edited` comes when a field was changed."""

    edited = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.path = FileField(
            "Particles",
            "r",
            ".star, .cs, .mrcs, .txt",
            "A RELION STAR file, a cryoSPARC .cs file, an MRC stack, or a list of stacks (.txt).",
            _PARTICLES,
        )
        self.data_folder = FileField(
            "Data folder",
            "d",
            "beside the file and above it",
            "Where to look for stacks that the file names and that are neither beside it nor in "
            "a folder above it.",
        )
        self.poses = FileField(
            "Poses", "r", "those of the file", "cryoDRGN poses (.pkl) for these images.", _PICKLES
        )
        self.ctf = FileField(
            "CTF", "r", "that of the file", "cryoDRGN CTF parameters (.pkl).", _PICKLES
        )
        self.indices = FileField(
            "Indices", "r", "all particles", "cryoDRGN indices (.pkl) of the particles.", _PICKLES
        )
        self.passthrough = FileField(
            "Passthrough",
            "rm",
            "none",
            "cryoSPARC passthrough files (.cs) of the same particles, joined on their uid.",
            _CS,
        )
        self.amplitude_contrast = _number(1.0, 0.01, 3)
        self.pixel_size = _number(1000.0, 0.1, 4)
        amplitude = Field(
            "Amp. contrast",
            self.amplitude_contrast.native,
            "Amplitude contrast, where the file has a defocus but not this (usually 0.1 or 0.07).",
        )
        size = Field("Pixel size", self.pixel_size.native, "In Å per pixel, where no file says it.")
        self.fields: dict[str, Field] = {
            "path": self.path,
            "data_folder": self.data_folder,
            "poses": self.poses,
            "ctf": self.ctf,
            "indices": self.indices,
            "passthrough": self.passthrough,
            "amplitude_contrast": amplitude,
            "pixel_size": size,
        }
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.path)
        layout.addWidget(self.data_folder)
        self.more = QCollapsible("More files", expandedIcon="▾", collapsedIcon="▸")
        self.more.layout().setContentsMargins(0, 0, 0, 0)
        inner = QWidget()
        rest = QVBoxLayout(inner)
        rest.setContentsMargins(0, 0, 0, 0)
        rest.setSpacing(4)
        # Else its fields would stand to the right of those above.
        self.more.content().layout().setContentsMargins(0, 0, 0, 0)
        for name in list(self.fields)[2:]:
            rest.addWidget(self.fields[name])
        self.more.addWidget(inner)
        layout.addWidget(self.more)
        for field in self.fields.values():
            if isinstance(field, FileField):
                field.edited.connect(self.edited)
        for number in (self.amplitude_contrast, self.pixel_size):
            number.changed.connect(lambda _: self.edited.emit())

    @property
    def source(self) -> Source | None:
        """What was filled in; None without a particle file."""
        path = self.path.one
        if path is None:
            return None
        several = self.passthrough.value
        return Source(
            path,
            data_folder=self.data_folder.one,
            poses=self.poses.one,
            ctf=self.ctf.one,
            indices=self.indices.one,
            passthrough=several if isinstance(several, tuple) else (),
            amplitude_contrast=self.amplitude_contrast.value or None,
            pixel_size=self.pixel_size.value or None,
        )

    def use_file(self, path: Path) -> None:
        """Fill in a particle file that needs no others."""
        for field in self.fields.values():
            if isinstance(field, FileField) and field is not self.path:
                field.blockSignals(True)
                field.set(None)
                field.blockSignals(False)
        for number in (self.amplitude_contrast, self.pixel_size):
            with number.changed.blocked():
                number.value = 0
        self.path.set(path)

    def complain(self, field: str, error: Exception | None, colors: Colors) -> None:
        """Show a problem beneath its field, opening what hides it; None takes all away."""
        for name, one in self.fields.items():
            one.complain(error if name == field else None, colors)
        if error is not None and field in list(self.fields)[2:]:
            self.more.expand(animate=False)


def _problem(error: Exception, colors: Colors) -> str:
    """An error as rich text: the problem, places that were tried, and the way out."""
    if not isinstance(error, ParticleFileError):
        return f'<span style="color: {colors.error}">{html.escape(str(error))}</span>'
    lines = [line for line in error.problem.split("\n") if line.strip()]
    first = html.escape(lines[0])
    # What follows is a list; paths may be broken at any slash.
    rest = "".join(
        f'<br><span style="font-size: 8pt; color: {colors.dim}">'
        f"• {html.escape(line.strip()).replace('/', '/&#8203;')}</span>"
        for line in lines[1:]
    )
    name = html.escape(error.path.name + (f" [{error.field}]" if error.field else ""))
    return (
        f'<span style="color: {colors.error}">{name}: {first}</span>{rest}'
        f"<br>{html.escape(error.remedy)}"
    )


def _number(high: float, step: float, decimals: int) -> FloatSpinBox:
    spin = FloatSpinBox(min=0, max=high, step=step, value=0)
    spin.native.setDecimals(decimals)
    spin.native.setSpecialValueText("from the file")
    # What is typed counts once it is complete.
    spin.native.setKeyboardTracking(False)
    return spin
