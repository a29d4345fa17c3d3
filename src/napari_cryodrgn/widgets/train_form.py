"""The fields of the Train dock: which particles, and the settings of the run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QLineEdit, QSizePolicy, QVBoxLayout, QWidget
from superqt import QCollapsible

from ..training.settings import Settings
from . import notify
from .background import Background, Deliver
from .form_parts import add_row, combo_box, new_form, setting_box, small_button, spin_box
from .qt_tools import note
from .train_advanced import AdvancedFields
from .train_model import check_output, is_run, make_settings, next_output

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..particles import ParticleSet

_FILES = "Particles (*.star *.cs *.csg *.mrcs *.mrc *.txt);;All files (*)"
_BOXES = (320, 256, 224, 192, 160, 128, 96, 80, 64, 48, 32)


class TrainForm(QWidget):
    """Asks for particles and settings; starts nothing.

    The particles are those of an open layer, which carries them in its metadata, or of a file.
    """

    output_changed = Signal()

    def __init__(
        self,
        viewer: ViewerModel,
        deliver: Deliver,
        read: Callable[[Path], ParticleSet] | None = None,
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._read = read or _read
        self._background = Background(deliver)
        self._files: list[tuple[str, ParticleSet]] = []
        self._sources: list[tuple[str, ParticleSet]] = []
        self._suggested = ""
        self._build()
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.connect(self._find_sources)
        self._find_sources()

    # What was filled in

    @property
    def particles(self) -> ParticleSet | None:
        """The chosen particles."""
        index = self.source.currentIndex()
        return self._sources[index][1] if 0 <= index < len(self._sources) else None

    def settings(self) -> Settings:
        """Settings for a new run.

        Raises
        ------
        TrainingError
            If the output folder cannot be used or a field is out of its range.
        """
        values = self._values()
        return make_settings({**values, "output": check_output(self.output.text())})

    @property
    def run_folder(self) -> Path | None:
        """The output folder, if it holds a run already."""
        text = self.output.text().strip()
        folder = Path(text).expanduser().absolute()
        return folder if text and is_run(folder) else None

    def add_file(self, path: Path) -> None:
        """Read a file and take its particles; one that cannot be read becomes a notification."""
        self.about.setText(f"Reading {path.name}…")
        self._background.ask(
            "particles", partial(self._read, path), partial(self._add, path.name), self._refuse
        )

    def close_files(self) -> None:
        """Forget the file that is being read."""
        self._background.close()

    def _refuse(self, error: Exception) -> None:
        self._describe(self.particles)
        notify.error(error)

    def _add(self, name: str, particles: ParticleSet) -> None:
        self._files = [item for item in self._files if item[1].source != particles.source]
        self._files.append((name, particles))
        self._find_sources()
        self.source.setCurrentIndex(len(self._sources) - 1)

    def suggest_output(self) -> None:
        """Suggest a new output folder, unless the user wrote one."""
        particles = self.particles
        if particles is None or self.output.text() not in ("", self._suggested):
            return
        self._suggested = str(next_output(Path(particles.source)))
        self.output.setText(self._suggested)

    def use_folder(self, folder: Path) -> None:
        """Set the output folder."""
        self.output.setText(str(folder))

    def _values(self) -> dict[str, Any]:
        return {
            "poses": self.poses.currentData(),
            "zdim": self.zdim.value(),
            "box": self.box.currentData(),
            "epochs": self.epochs.value() or None,
            "device": self.device.currentData(),
            **self.advanced.values,
        }

    # Following the viewer

    def _find_sources(self, _: object = None) -> None:
        before = self.particles
        self._sources = [
            (layer.name, layer.metadata["particles"])
            for layer in self._viewer.layers
            if "particles" in layer.metadata
        ]
        self._sources += self._files
        self.source.blockSignals(True)
        self.source.clear()
        for name, particles in self._sources:
            self.source.addItem(name)
            self.source.setItemData(self.source.count() - 1, str(particles.source), 3)
        if not self._sources:
            self.source.addItem("none")
        self.source.setEnabled(bool(self._sources))
        kept = [i for i, (_, particles) in enumerate(self._sources) if particles is before]
        self.source.setCurrentIndex(kept[0] if kept else max(len(self._sources) - 1, 0))
        self.source.blockSignals(False)
        if before is None or not kept:
            self._on_source()

    def _on_source(self, _: object = None) -> None:
        particles = self.particles
        self._describe(particles)
        box = self.box.currentData()
        self.box.clear()
        self.box.addItem("original" + (f" ({particles.box} px)" if particles else ""), None)
        for smaller in _BOXES:
            if particles is not None and smaller < particles.box:
                self.box.addItem(f"{smaller} px", smaller)
        self.box.setCurrentIndex(max(self.box.findData(box), 0))
        has_poses = particles is not None and particles.has_poses
        given = self.poses.findData("given")
        self.poses.model().item(given).setEnabled(has_poses)
        if not has_poses:
            self.poses.setCurrentIndex(self.poses.findData("search"))
        # What was said of other particles does not hold for these.
        self.advanced.invert.setChecked(particles is not None and bool(particles.dark))
        self.suggest_output()

    def _on_poses(self, _: object = None) -> None:
        self.advanced.set_given(self.poses.currentData() == "given")

    def _describe(self, particles: ParticleSet | None) -> None:
        if particles is None:
            self.about.setText(
                "Open particles in napari (File › Open Sample has some), or browse for a file."
            )
            return
        size = particles.pixel_size
        parts = [
            f"{len(particles):,} particles",
            f"{particles.box} px",
            f"{size:.3g} Å/px" if size is not None else "pixel size unknown",
            "poses" if particles.has_poses else "no poses",
            "CTF" if particles.ctf is not None else "no CTF",
        ]
        self.about.setText(", ".join(parts))

    def _browse_particles(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open particles", "", _FILES)
        if path:
            self.add_file(Path(path))

    def _browse_output(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Run folder", self.output.text())
        if not path:
            return
        folder, particles = Path(path), self.particles
        if particles is not None and not is_run(folder) and any(folder.iterdir()):
            # A run wants a folder of its own: make one in the folder that was chosen.
            folder = next_output(folder / Path(particles.source).name)
        self.output.setText(str(folder))

    # Building

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        form = new_form()
        layout.addLayout(form)

        self.source = combo_box({})
        self.source.currentIndexChanged.connect(self._on_source)
        self.about = note()
        self.about.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        browse = small_button(
            "Browse…", "Take particles from a .star, .cs, .mrcs, .mrc or .txt file."
        )
        browse.clicked.connect(self._browse_particles)
        add_row(
            form, "Particles", self.source, browse, tip="An open layer of particles, or a file."
        )
        form.addRow(self.about)

        self.poses = combo_box({"Search": "search", "From the file": "given"})
        add_row(
            form,
            "Poses",
            self.poses,
            tip="Search: orientations and shifts are found from the images alone. "
            "From the file: those that came with the particles are used.",
        )
        self.zdim = setting_box("zdim")
        self.zdim.setSpecialValueText("0 (one structure)")
        add_row(
            form,
            "Latent dims",
            self.zdim,
            tip="Dimensions of the latent variable that describes how particles differ. "
            "1 suits one motion; up to 8 for unknown heterogeneity; 0 for a single structure.",
        )
        self.box = combo_box({})
        add_row(
            form, "Box", self.box, tip="Crop in Fourier space to a smaller box: faster, coarser."
        )
        self.epochs = spin_box(0, 10_000, 0)
        self.epochs.setSpecialValueText("auto")
        add_row(form, "Epochs", self.epochs, tip="Passes over all particles; auto suits most sets.")
        self.device = combo_box({"auto": "auto", "CPU": "cpu", "GPU (CUDA)": "cuda"})
        add_row(form, "Device", self.device, tip="Auto takes the GPU if there is one.")
        self.output = QLineEdit()
        self.output.setPlaceholderText("run folder")
        self.output.textChanged.connect(self.output_changed)
        choose = small_button(
            "Browse…", "Choose a folder: new for a new run, a run's to resume it."
        )
        choose.clicked.connect(self._browse_output)
        add_row(form, "Output", self.output, choose, tip="Run folder: new, or of a run to resume.")

        self.advanced = AdvancedFields()
        self.poses.currentIndexChanged.connect(self._on_poses)
        self._on_poses()
        self.more = QCollapsible("Advanced", expandedIcon="▾", collapsedIcon="▸")
        self.more.layout().setContentsMargins(0, 0, 0, 0)
        # Else its fields would stand to the right of those above.
        self.more.content().layout().setContentsMargins(0, 0, 0, 0)
        self.more.addWidget(self.advanced)
        layout.addWidget(self.more)


def _read(path: Path) -> ParticleSet:
    from ..particles import read

    return read(path)
