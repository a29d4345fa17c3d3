"""The Import particles dock."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTabWidget,
    QWidget,
)

from ..errors import CryodrgnError
from ..particles import CsTable
from . import notify
from .docks import show_dock
from .form_parts import LABEL_WIDTH, empty, text_lines
from .import_check import CheckPanel, Preflight, run_preflight
from .import_form import ImportForm
from .import_model import ImportModel, Source, found, open_source
from .import_preprocess import Preprocess, PreprocessPanel, run_preprocess
from .import_preview import PreviewPanel
from .layers import stack_layer
from .opengl import is_software
from .preflight_words import NAMES
from .qt_tools import Dock, GuiThread, colors, note
from .volume_view import Mode, VolumeView

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..particles import ParticleSet

NAME = "Import particles"
_KINDS = {".star": "RELION (*.star)", ".cs": "cryoSPARC (*.cs)"}
_HINT = (
    "<p><b>No particles are open.</b></p>"
    "<p>Choose a RELION .star, a cryoSPARC .cs, an .mrcs stack, or a .txt list of stacks. "
    "cryoDRGN's poses, CTF and indices (.pkl) and passthrough files go under <i>More files</i>.</p>"
    "<p>Without data of your own: <i>File › Open Sample › cryoDRGN</i>, then the Train dock.</p>"
)


class ImportDock(Dock):
    """Opens particles of any kind, shows what was found, and checks it before anything long.

    Parameters
    ----------
    napari_viewer
        Where layers go.
    open_source
        Reads the files; `import_model.open_source` if absent.
    preflight
        Looks at the particles; `import_check.run_preflight` if absent.
    preprocess
        Writes a smaller set; `import_preprocess.run_preprocess` if absent.
    """

    def __init__(
        self,
        napari_viewer: ViewerModel,
        open_source: Callable[[Source], ParticleSet] = open_source,
        preflight: Preflight = run_preflight,
        preprocess: Preprocess = run_preprocess,
    ) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._gui = GuiThread()
        self.model = ImportModel(self._gui.post, open_source)
        self.on_end.append(self.model.close)
        mode: Mode = "surface" if is_software(napari_viewer) else "volume"
        self.volume = VolumeView(napari_viewer, self._gui.post, mode, normalize=True)
        self.on_end.append(self.volume.close)
        theme = colors(napari_viewer.theme)
        self._build(theme, preflight, preprocess)
        self.on_end += [self.check.job.close_job, self.preprocess.job.close_job]
        self._failed = False
        self._train_after_saving = False
        self.form.edited.connect(self._open)
        self.model.changed.connect(self._update)
        self.model.failed.connect(self._on_failed)
        self.model.saved.connect(self._on_saved)
        self.preprocess.made.connect(self.use_file)
        napari_viewer.events.theme.connect(self._follow_theme)
        self._update()

    def use_file(self, path: Path | str) -> None:
        """Fill in a particle file and open it."""
        path = Path(path)
        if self.form.path.value == path:
            self._open()
        else:
            self.form.use_file(path)

    # What the buttons do

    def add_to_viewer(self) -> Any:
        """Show the set as a layer, as opening its file does; one that is there already is kept."""
        particles, layers = self.model.particles, self._viewer.layers
        if particles is None:
            return None
        layer = next((one for one in layers if one.metadata.get("particles") is particles), None)
        if layer is None:
            try:
                data, options, _ = stack_layer(particles, self.model.name, layers)
            except CryodrgnError as error:
                notify.error(error)
                return None
            layer = self._viewer.add_image(data, **options)
        self._bring_forward(layer)
        return layer

    def _bring_forward(self, layer: Any) -> None:
        """Show a layer of particles where a volume may have been looked at."""
        layer.visible = True
        if self.volume.layer is not None:
            self.volume.layer.visible = False
        dims = self._viewer.dims
        dims.ndisplay = 2
        # Images lie in the plane z = 0, and napari keeps the slice that it was at.
        dims.set_point(dims.ndim - 3, 0)
        self._viewer.reset_view()

    def save(self, then_train: bool = False) -> None:
        """Ask for a file and write the set as it is here; ``then_train`` opens the Train dock."""
        particles = self.model.particles
        if particles is None:
            return
        source = Path(particles.source)
        kind = ".cs" if isinstance(particles.table, CsTable) else ".star"
        start = str(source.with_name(f"{source.stem}_imported{kind}"))
        path, _ = QFileDialog.getSaveFileName(
            self, "Save the particles as they are here", start, _KINDS[kind]
        )
        if path:
            self._train_after_saving = then_train
            self.model.save(Path(path))

    def train(self) -> None:
        """Open the Train dock on the set, saved first where no single file holds it."""
        if not self.model.in_one_file:
            self.save(then_train=True)
            return
        if self.add_to_viewer() is not None:
            show_train(self._viewer, self.model.particles, self.model.inverted)

    def _open(self) -> None:
        self.form.complain("", None, colors(self._viewer.theme))
        self._failed = False
        source = self.form.source
        if source is None:
            self.model.clear()
        else:
            self.model.open(source)

    # Showing

    def _update(self) -> None:
        model = self.model
        particles, there = model.particles, model.particles is not None
        # After a failure its field says all there is to say.
        self.hint.setVisible(not there and not self._failed)
        if model.opening and model.source is not None:
            self.hint.setText(f"<p>Opening {html.escape(model.source.path.name)} …</p>")
        else:
            self.hint.setText(_HINT)
        self.table.setVisible(there)
        self.tabs.setVisible(there)
        empty(self._rows)
        if particles is not None:
            self._fill(particles)
        corrected = there and bool(model.changes)
        names = ", ".join(NAMES[change] for change in model.changes)
        theme = colors(self._viewer.theme)
        self.corrections.setText(
            f'<span style="color: {theme.warning}">Corrected here, not in the file: '
            f"{html.escape(names)}.</span>"
        )
        self.corrections.setVisible(corrected)
        for button in (self.add_button, self.train_button, self.save_button):
            button.setEnabled(there and not model.saving)
        self.save_button.setVisible(there and not model.in_one_file)
        self.train_button.setText("Train on these" if model.in_one_file else "Save and train …")

    def _fill(self, particles: ParticleSet) -> None:
        entries = {**found(particles)}
        if self.model.inverted:
            entries["Contrast"] = "taken as dark on light"
        for number, (label, text) in enumerate(entries.items()):
            name = QLabel(label)
            name.setStyleSheet(f"color: {colors(self._viewer.theme).dim}")
            name.setFixedWidth(LABEL_WIDTH)
            value = text_lines(text)
            self._rows.addWidget(name, number, 0, Qt.AlignmentFlag.AlignTop)
            self._rows.addWidget(value, number, 1)

    def _on_failed(self, field: str, error: Exception) -> None:
        notify.error(error)
        self._failed = self.model.particles is None
        self._update()
        self.form.complain(field, error, colors(self._viewer.theme))

    def _on_saved(self) -> None:
        source = self.model.source
        if source is not None:
            self.form.blockSignals(True)
            self.form.use_file(source.path)
            self.form.blockSignals(False)
        if self._train_after_saving:
            self.train()

    def _follow_theme(self, _: object = None) -> None:
        theme = colors(self._viewer.theme)
        self.preview.set_colors(theme)
        self.check.set_colors(theme)
        self._update()

    def _fit_tabs(self, _: object = None) -> None:
        """Let the page that is shown alone say how much room it needs."""
        for page in range(self.tabs.count()):
            shown = page == self.tabs.currentIndex()
            policy = QSizePolicy.Policy.Preferred if shown else QSizePolicy.Policy.Ignored
            self.tabs.widget(page).setSizePolicy(QSizePolicy.Policy.Preferred, policy)

    # Building

    def _build(self, theme: Any, preflight: Preflight, preprocess: Preprocess) -> None:
        self.form = ImportForm()
        self.body.addWidget(self.form)
        self.hint = note()
        self.body.addWidget(self.hint)
        self.table = QWidget()
        self._rows = QGridLayout(self.table)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setVerticalSpacing(0)
        self._rows.setColumnStretch(1, 1)
        self.body.addWidget(self.table)
        self.corrections = text_lines()
        self.body.addWidget(self.corrections)
        self.preview = PreviewPanel(self.model, theme)
        self.check = CheckPanel(self.model, self.volume, theme, preflight)
        self.preprocess = PreprocessPanel(self.model, preprocess)
        self.tabs = QTabWidget()
        self.tabs.addTab(self.preview, "Preview")
        self.tabs.addTab(self.check, "Check")
        self.tabs.addTab(self.preprocess, "Preprocess")
        self.tabs.currentChanged.connect(self._fit_tabs)
        self._fit_tabs()
        self.body.addWidget(self.tabs, stretch=1)
        buttons = QHBoxLayout()
        buttons.setSpacing(4)
        self.add_button = QPushButton("Add to viewer")
        self.add_button.setToolTip("Show the particles as a layer.")
        self.add_button.clicked.connect(self.add_to_viewer)
        self.save_button = QPushButton("Save …")
        self.save_button.setToolTip(
            "Write the set as it is here, with poses and corrections, as one .star or .cs file."
        )
        self.save_button.clicked.connect(lambda _: self.save())
        self.train_button = QPushButton("Train on these")
        self.train_button.setToolTip("Open the Train dock on these particles.")
        self.train_button.clicked.connect(self.train)
        for button in (self.add_button, self.save_button, self.train_button):
            buttons.addWidget(button)
        self.body.addLayout(buttons)
        self.body.addStretch()


def show_train(viewer: Any, particles: ParticleSet | None, inverted: bool) -> Any:
    """Open the Train dock, or bring the open one forward, with a layer's particles chosen."""
    train = show_dock(viewer, "Train")
    for layer in viewer.layers:
        if layer.metadata.get("particles") is particles:
            train.form.source.setCurrentText(layer.name)
    train.form.advanced.invert.setChecked(inverted)
    if inverted:
        # Not to be overlooked.
        train.form.more.expand(animate=False)
    if particles is not None and particles.has_poses:
        train.form.poses.setCurrentIndex(train.form.poses.findData("given"))
    return train
