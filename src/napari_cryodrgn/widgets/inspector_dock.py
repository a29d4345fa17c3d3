"""The Particle inspector dock: why the program believes what it shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFrame,
    QScrollArea,
    QSizePolicy,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from .decode_model import Decoded, DecodeModel
from .evidence_panel import EvidencePanel
from .inspector_model import InspectorModel
from .opengl import is_software
from .particle_bar import ParticleBar
from .qt_tools import Colors, Dock, GuiThread, Soon, colors, note
from .run_head import RunHead
from .run_link import Mask, run_link
from .search_panel import SearchPanel
from .slice_panel import SlicePanel
from .validity_panel import ValidityPanel
from .views_panel import ViewsPanel
from .volume_view import Mode, VolumeView

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..analysis import Run

_HINT = (
    "<p><b>No run is open.</b></p>"
    "<p>Open the folder of a run, or a run in the <i>Latent explorer</i>: its picks and selections "
    "are shown here.</p>"
)
_LEAST_HEIGHT = 520
_WIDTH = 430
# A slider that has not moved for so long rests.
_REST_MS = 200
_LAYER = "Volume of the particle"


class Panel(Protocol):
    """A view in the inspector."""

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""

    def set_active(self, active: bool) -> None:
        """Whether it is seen: it works only then."""

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""


class InspectorDock(Dock):
    """Shows the evidence for each particle of a run, its pose, and whether the result is valid.

    Parameters
    ----------
    napari_viewer
        Where volumes, planes and spheres are shown.
    open_run
        Opens a run folder; `analysis.Run.open` if absent.
    """

    def __init__(
        self, napari_viewer: ViewerModel, open_run: Callable[[Path], Run] | None = None
    ) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._gui = GuiThread()
        self.model = InspectorModel(self._gui.post, open_run)
        self.decode = DecodeModel(self._gui.post)
        # Before the panels, one of which asks it for volumes of the new run.
        self.model.run_changed.connect(self._on_other_run)
        mode: Mode = "surface" if is_software(napari_viewer) else "volume"
        self.volume = VolumeView(napari_viewer, self._gui.post, mode)
        self._wanted: tuple[Path, int] | None = None
        self._told = ""
        self._shows = False
        self._resting = Soon(self, self._settle, _REST_MS)
        self._build()
        self.link = run_link(napari_viewer)
        self.on_end.extend((self.volume.close, self.decode.close, self.model.close, self._unlink))
        self.on_end.extend(panel.close_panel for panel in self.panels)
        self.model.run_changed.connect(self._on_run)
        self.model.particle_changed.connect(self._on_particle)
        self.model.particle_changed.connect(self._pass_particle)
        self.model.mask_changed.connect(self._pass_mask)
        self.model.mask_changed.connect(self._show_bar)
        self.model.busy_changed.connect(self._on_busy)
        self.model.failed.connect(self._on_failed)
        self.decode.decoded.connect(self._on_decoded)
        self.decode.failed.connect(self._on_undecoded)
        self.link.run_changed.connect(self._follow_run)
        self.link.particle_changed.connect(self._take_particle)
        self.link.mask_changed.connect(self._take_mask)
        napari_viewer.events.theme.connect(self._follow_theme)
        self._on_run()
        self._follow_run()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Wider than other docks: three pictures stand in a row."""
        return QSize(_WIDTH, super().sizeHint().height())

    def inspect(self, folder: Path | str, particle: int = 0) -> None:
        """Look at a particle of a run, which is opened if it is not open."""
        folder = Path(folder)
        run = self.link.run
        if self.model.run is not None and self.model.run.folder == folder:
            self.model.set_particle(particle)
            return
        self._wanted = folder, particle
        if run is not None and run.folder == folder:
            self.model.set_run(run)
        else:
            self.model.open(folder)

    def shut_down(self) -> None:
        """Take the sphere and the plane out of the viewer."""
        self._resting.stop()
        self.views.sphere.remove()
        self.slices.leave_viewer()

    # Other docks

    def _follow_run(self) -> None:
        """Take over the run that is explored, if none is open or it is the same one."""
        found, run = self.link.run, self.model.run
        if found is not None and (run is None or run.folder == found.folder):
            particle = self.link.particle_of(found.folder)
            if self._wanted is None and particle is not None:
                self._wanted = found.folder, particle
            if run is not found:
                self.model.set_run(found)
            self.model.set_mask(self.link.mask_of(found.folder))
        # The explorer may show this run's volumes from now on, or no longer.
        self._show_volume()

    def _take_particle(self, folder: Path, particle: int) -> None:
        if self.model.run is not None and self.model.run.folder == folder:
            self.model.set_particle(particle)

    def _take_mask(self, folder: Path, mask: Mask | None) -> None:
        if self.model.run is not None and self.model.run.folder == folder:
            self.model.set_mask(mask)

    def _pass_particle(self) -> None:
        if self.model.run is not None:
            self.link.set_particle(self.model.run.folder, self.model.particle)

    def _pass_mask(self) -> None:
        if self.model.run is not None:
            self.link.set_mask(self.model.run.folder, self.model.mask)

    def _unlink(self) -> None:
        self.link.run_changed.disconnect(self._follow_run)
        self.link.particle_changed.disconnect(self._take_particle)
        self.link.mask_changed.disconnect(self._take_mask)

    # What the controls do

    def _choose_tab(self, _: object = None) -> None:
        shown = self.tabs.currentIndex() if self.pages.currentIndex() == 1 else -1
        for i, panel in enumerate(self.panels):
            panel.set_active(i == shown)

    # Showing

    def _on_other_run(self) -> None:
        self.decode.set_run(self.model.run)

    def _on_run(self) -> None:
        run = self.model.run
        self.head.show_run(run)
        self.pages.setCurrentIndex(0 if run is None else 1)
        wanted, self._wanted, self._told = self._wanted, None, ""
        if run is not None and wanted is not None and wanted[0] == run.folder:
            self.model.set_particle(wanted[1])
        self._on_particle()
        self._choose_tab()

    def _on_particle(self) -> None:
        run = self.model.run
        if run is None:
            return
        self._show_bar()
        self._show_volume()

    def _show_bar(self) -> None:
        if self.model.run is not None:
            n, mask = self.model.run.n_particles, self.model.mask
            self.bar.show_particle(self.model.particle, n, mask)

    def _show_volume(self) -> None:
        """Decode the particle's volume, unless the explorer shows it anyway."""
        run, explored = self.model.run, self.link.run
        decodes = run is not None and self.model.z is not None and run.can_decode
        shared = decodes and explored is not None and explored.folder == run.folder
        self.show_volume.setVisible(not shared)
        self._resting.stop()
        self._shows = not shared and self.show_volume.isChecked()
        if run is None or not self._shows:
            return
        if self.model.z is None or not run.can_decode:
            self.decode.show_structure()
        else:
            # While the slider moves there is no time for more than a small one; beside the
            # evidence, which is to follow at once, not for any.
            if self.tabs.currentIndex() == 0:
                self.decode.give_way()
            else:
                self.decode.look(self.model.z)
            self._resting.start()

    def _settle(self) -> None:
        if self.model.z is not None:
            self.decode.settle(self.model.z)

    def _on_decoded(self, decoded: Decoded) -> None:
        if not self._shows:
            return  # only the slices have asked for it
        self.volume.show(
            decoded.data,
            decoded.pixel_size,
            _LAYER,
            source=decoded.folder,
            contour=decoded.contour,
            front=True,
            step=decoded.step,
        )

    def _on_busy(self) -> None:
        if self.model.busy:
            self.head.message.hide()
        self.status.setText("Opening …" if self.model.busy else "")
        self.status.setVisible(self.model.busy)

    def _on_failed(self, error: Exception) -> None:
        self._wanted = None
        self.head.show_error(error, self._viewer.theme)

    def _on_undecoded(self, error: Exception) -> None:
        # The same for every particle: once is enough.
        if str(error) != self._told:
            self._told = str(error)
            self._on_failed(error)

    def _follow_theme(self, _: object = None) -> None:
        palette = colors(self._viewer.theme)
        for panel in self.panels:
            panel.set_colors(palette)

    # Building

    def _build(self) -> None:
        self.head = RunHead()
        self.head.asked.connect(self.model.open)
        self.body.addWidget(self.head)
        self.status = note()
        self.status.hide()
        self.body.addWidget(self.status)
        self.pages = QStackedWidget()
        self.pages.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Ignored)
        self.pages.setMinimumHeight(_LEAST_HEIGHT)
        hint = note(_HINT)
        hint.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.pages.addWidget(hint)
        self.pages.addWidget(self._build_inspector())
        self.body.addWidget(self.pages, stretch=1)

    def _build_inspector(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self.bar = ParticleBar()
        self.bar.chosen.connect(self.model.set_particle)
        layout.addWidget(self.bar)
        self.show_volume = QCheckBox("show its volume")
        self.show_volume.setChecked(True)
        self.show_volume.setToolTip("Decode the volume at the particle's latent.")
        self.show_volume.toggled.connect(self._show_volume)
        layout.addWidget(self.show_volume)
        make = (self.model, self._viewer, self._gui.post, colors(self._viewer.theme))
        self.evidence = EvidencePanel(*make)
        self.views = ViewsPanel(*make)
        self.search = SearchPanel(*make)
        self.slices = SlicePanel(*make, self.decode)
        self.validity = ValidityPanel(*make)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.panels: list[Panel] = []
        for name, panel in (
            ("Evidence", self.evidence),
            ("Views", self.views),
            ("Search", self.search),
            ("Slices", self.slices),
            ("Validity", self.validity),
        ):
            scroll = QScrollArea()
            scroll.setWidgetResizable(True)
            scroll.setFrameShape(QFrame.Shape.NoFrame)
            scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            scroll.setWidget(panel)
            self.tabs.addTab(scroll, name)
            self.panels.append(panel)
        self.tabs.currentChanged.connect(self._choose_tab)
        layout.addWidget(self.tabs, stretch=1)
        return page
