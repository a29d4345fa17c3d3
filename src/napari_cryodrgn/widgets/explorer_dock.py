"""The Latent explorer dock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from .decode_model import Decoded
from .docks import show_inspector
from .explorer_link import ExplorerLink
from .explorer_map import ExplorerMap
from .explorer_model import ExplorerModel
from .explorer_tabs import ExplorerTabs
from .explorer_words import HINT, about_pick, why_no_map
from .form_parts import small_button
from .latent_plot import LatentPlot
from .opengl import is_software
from .qt_tools import Dock, GuiThread, ShowAs, Soon, colors, note
from .run_head import RunHead
from .run_link import run_link
from .volume_view import Mode, VolumeView

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..analysis import Run
    from .explorer_model import Pick

Array = NDArray[np.float32]
_FOLLOW_MS = 3000
_LEAST_HEIGHT = 480


class ExplorerDock(Dock):
    """Shows the latent space of a run; a click in it decodes a volume.

    Parameters
    ----------
    napari_viewer
        Where volumes are shown.
    open_run
        Opens a run folder; `analysis.Run.open` if absent.
    pca
        Coordinates of latents on their principal axes; `analysis.pca` if absent.
    """

    def __init__(
        self,
        napari_viewer: ViewerModel,
        open_run: Callable[[Path], Run] | None = None,
        pca: Callable[[Array], Array] | None = None,
    ) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._gui = GuiThread()
        self.model = ExplorerModel(self._gui.post, open_run, pca)
        mode: Mode = "surface" if is_software(napari_viewer) else "volume"
        self.volume = VolumeView(napari_viewer, self._gui.post, mode)
        self._build()
        # The last is called first: panels save before the model is closed.
        ends = (self.volume.close, self.model.close, self.map.close_map, self.tabs.close_tabs)
        self.on_end.extend(ends)
        self.timer = QTimer(self)
        self.timer.setInterval(_FOLLOW_MS)
        self.timer.timeout.connect(self.model.follow)
        self.model.run_changed.connect(self._on_run)
        self._telling = Soon(self, self._tell_pick)
        self.model.picked.connect(self._on_pick)
        self.model.decode.decoded.connect(self._on_decoded)
        self.model.busy_changed.connect(self._on_busy)
        self.model.failed.connect(self._on_failed)
        napari_viewer.events.theme.connect(self._follow_theme)
        self._link = ExplorerLink(self, self.model, run_link(napari_viewer))
        self.on_end.append(self._link.close_link)
        self._on_run()

    @property
    def plot(self) -> LatentPlot:
        """The map's plot."""
        return self.map.plot

    def open_folder(self, folder: Path | str) -> None:
        """Open a run folder in the background; one that is no run becomes a notification."""
        self.model.open(Path(folder))

    def shut_down(self) -> None:
        """Stop following."""
        self.timer.stop()

    # What the controls do

    def _inspect(self) -> None:
        run, pick = self.model.run, self.model.pick
        if run is not None and pick is not None:
            show_inspector(self._viewer, run.folder, pick.particle)

    def _choose_snap(self, on: bool) -> None:
        self.model.snap = on

    def _choose_follow(self, _: object = None) -> None:
        run = self.model.run
        if self.follow.isChecked() and run is not None and not run.finished:
            self.timer.start()
        else:
            self.timer.stop()

    # Showing

    def _on_run(self) -> None:
        run, space = self.model.run, self.model.space
        self.head.show_run(run)
        self.follow.setVisible(run is not None and not run.finished)
        self._choose_follow()
        self.inspect_button.setEnabled(self.model.pick is not None)
        if self.model.pick is None:
            self.pick_text.clear()
        else:
            self._tell_pick()
        if run is None or space is None:
            self.hint.setText(HINT if run is None else why_no_map(run))
            self.show_button.setVisible(run is not None)
        self.pages.setCurrentIndex(0 if space is None else 1)
        self.map.show_run()
        self._on_busy()

    def _on_pick(self, _: Pick) -> None:
        self._telling.start()
        self.inspect_button.setEnabled(True)

    def _tell_pick(self) -> None:
        if self.model.pick is not None:
            self.pick_text.setText(about_pick(self.model.pick, colors(self._viewer.theme)))

    def _on_decoded(self, decoded: Decoded) -> None:
        self.volume.show(
            decoded.data,
            decoded.pixel_size,
            "Decoded volume",
            source=decoded.folder,
            contour=decoded.contour,
            front=True,
            step=decoded.step,
        )
        if decoded.final:
            kept = decoded.seconds == 0
            self.status.setText("" if kept else f"Decoded in {1000 * decoded.seconds:.0f} ms")

    def _on_busy(self) -> None:
        run = self.model.run
        if self.model.busy:
            self.head.message.hide()
            self.status.setText(self.model.busy)
        elif self.status.text().endswith("…"):
            self.status.clear()
        if run is not None and self.model.space is not None and not run.can_decode:
            self.status.setText("No decoder is saved yet: volumes come with the next checkpoint.")

    def _on_failed(self, error: Exception) -> None:
        self.head.show_error(error, self._viewer.theme)

    def _follow_theme(self, _: object = None) -> None:
        palette = colors(self._viewer.theme)
        self.map.set_colors(palette)
        self.tabs.set_colors(palette)

    # Building

    def _build(self) -> None:
        self.head = RunHead()
        self.head.asked.connect(self.open_folder)
        self.body.addWidget(self.head)
        self.follow = QCheckBox("in progress: follow this run")
        self.follow.setChecked(True)
        self.follow.setToolTip("Show new checkpoints as the run saves them.")
        self.follow.toggled.connect(self._choose_follow)
        self.body.addWidget(self.follow)
        self.pages = QStackedWidget()
        # As high as the dock allows, but no reason to scroll before it must.
        self.pages.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Ignored)
        self.pages.setMinimumHeight(_LEAST_HEIGHT)
        self.pages.addWidget(self._build_hint())
        self.pages.addWidget(self._build_explorer())
        self.body.addWidget(self.pages, stretch=1)
        self.status = note()
        self.body.addWidget(self.status)

    def _build_hint(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 12, 0, 0)
        self.hint = note()
        self.hint.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.show_button = QPushButton("Show the structure")
        self.show_button.setToolTip("Show the consensus volume of this run.")
        self.show_button.clicked.connect(lambda: self.model.decode.show_structure())
        layout.addWidget(self.hint)
        layout.addWidget(self.show_button)
        layout.addStretch()
        return page

    def _build_explorer(self) -> QWidget:
        palette = colors(self._viewer.theme)
        top = QWidget()
        layout = QVBoxLayout(top)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self.map = ExplorerMap(self.model, self._gui.post, palette)
        layout.addWidget(self.map, stretch=1)
        self.pick_text = note("", selectable=True)
        layout.addWidget(self.pick_text)
        row = QHBoxLayout()
        row.addWidget(ShowAs(self.volume), stretch=1)
        self.snap = QCheckBox("snap to particle")
        self.snap.setToolTip("Decode the nearest particle's own z instead of the clicked point.")
        self.snap.toggled.connect(self._choose_snap)
        row.addWidget(self.snap)
        self.inspect_button = small_button(
            "Inspect", "The nearest particle in the Particle inspector: image, pose, evidence."
        )
        self.inspect_button.setEnabled(False)
        self.inspect_button.clicked.connect(self._inspect)
        row.addWidget(self.inspect_button)
        layout.addLayout(row)
        self.tabs = ExplorerTabs(self.model, self.map, self._viewer, self.volume, self._gui.post)
        page = QSplitter(Qt.Orientation.Vertical)
        page.addWidget(top)
        page.addWidget(self.tabs)
        page.setStretchFactor(0, 3)
        page.setStretchFactor(1, 2)
        page.setChildrenCollapsible(False)
        return page
