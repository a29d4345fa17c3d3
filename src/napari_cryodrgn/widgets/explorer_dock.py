"""The Latent explorer dock."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from . import notify
from .explorer_model import Decoded, ExplorerModel, Pick
from .latent_plot import LatentPlot
from .opengl import is_software
from .qt_tools import Dock, GuiThread, ShowAs, colors, note
from .volume_view import Mode, VolumeView

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..analysis import Run

Array = NDArray[np.float32]
NAME = "Latent explorer"
_FOLLOW_MS = 3000
_HINT = (
    "<p><b>No run is open.</b></p>"
    "<p>Open the folder of a run, finished or in progress, trained here, on a cluster or by "
    "cryoDRGN.</p>"
    "<p>To make one: <i>Plugins › cryoDRGN › Train</i>.</p>"
)
_ONE_STRUCTURE = (
    "<p><b>This run has one structure and no latent.</b></p>"
    "<p>It was trained with 0 latent dimensions, so there is nothing to choose from.</p>"
)
_NOT_YET = (
    "<p><b>This run has saved no latent yet.</b></p>"
    "<p>It is still at an earlier stage. The picture appears here with its first checkpoint.</p>"
)


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
        self.on_end.append(self.model.close)
        mode: Mode = "surface" if is_software(napari_viewer) else "volume"
        self.volume = VolumeView(napari_viewer, self._gui.post, mode)
        self.on_end.append(self.volume.close)
        self._drawn: object = None
        self._build()
        self.timer = QTimer(self)
        self.timer.setInterval(_FOLLOW_MS)
        self.timer.timeout.connect(self.model.follow)
        self.model.run_changed.connect(self._on_run)
        self.model.axes_changed.connect(self._draw)
        self.model.picked.connect(self._on_pick)
        self.model.decoded.connect(self._on_decoded)
        self.model.walked.connect(self._on_walked)
        self.model.busy_changed.connect(self._on_busy)
        self.model.failed.connect(self._on_failed)
        napari_viewer.events.theme.connect(self._follow_theme)
        self._on_run()

    def open_folder(self, folder: Path | str) -> None:
        """Open a run folder in the background; one that is no run becomes a notification."""
        self.model.open(Path(folder))

    def shut_down(self) -> None:
        """Stop following."""
        self.timer.stop()

    # What the controls do

    def _browse(self) -> None:
        run = self.model.run
        start = str(run.folder) if run is not None else ""
        folder = QFileDialog.getExistingDirectory(self, "Open a run folder", start)
        if folder:
            self.open_folder(folder)

    def _choose_axes(self, _: object = None) -> None:
        names = [self.x_axis.currentText()]
        if self.y_axis.isVisibleTo(self):
            names.append(self.y_axis.currentText())
        self.model.set_axes(names)

    def _choose_snap(self, on: bool) -> None:
        self.model.snap = on

    def _choose_follow(self, _: object = None) -> None:
        run = self.model.run
        if self.follow.isChecked() and run is not None and not run.finished:
            self.timer.start()
        else:
            self.timer.stop()

    def _toggle_walk(self) -> None:
        if self.model.walk_progress is None:
            self.model.walk()
        else:
            self.model.cancel_walk()

    # Showing

    def _on_run(self) -> None:
        run, space = self.model.run, self.model.space
        self.folder.setText(run.folder.name if run is not None else "")
        self.folder.setToolTip(str(run.folder) if run is not None else "")
        self.about.setText(_about(run))
        self.about.setVisible(run is not None)
        self.follow.setVisible(run is not None and not run.finished)
        self._choose_follow()
        self.pick_text.clear()
        if run is None or space is None:
            zero = run is not None and run.zdim == 0
            self.hint.setText(_HINT if run is None else _ONE_STRUCTURE if zero else _NOT_YET)
            self.show_button.setVisible(run is not None)
            self.pages.setCurrentIndex(0)
            return
        self.pages.setCurrentIndex(1)
        for combo in (self.x_axis, self.y_axis):
            combo.blockSignals(True)
            combo.clear()
            combo.addItems(space.names)
        self.x_axis.setCurrentText(self.model.axes[0])
        self.y_axis.setCurrentText(self.model.axes[-1])
        several = len(self.model.axes) > 1
        for widget in (self.x_label, self.x_axis, self.y_label, self.y_axis):
            widget.setVisible(several)
        for combo in (self.x_axis, self.y_axis):
            combo.blockSignals(False)
        self._draw()

    def _draw(self) -> None:
        points = self.model.coordinates()
        if points is not None:
            run, axes = self.model.run, self.model.axes
            drawn = (run.folder if run is not None else None, axes)
            self.plot.set_points(points, axes, keep_view=drawn == self._drawn)
            self._drawn = drawn
        self._mark()
        self._on_busy()

    def _mark(self) -> None:
        pick, space = self.model.pick, self.model.space
        if pick is None or space is None:
            self.plot.clear_marks()
            return
        axes = self.model.axes
        nearest = space.coordinates(axes)[pick.particle]
        self.plot.mark(list(space.project(axes, pick.z)), list(nearest))

    def _on_pick(self, pick: Pick) -> None:
        self._mark()
        z = ", ".join(f"{v:.2f}" for v in pick.z)
        where = "exactly here" if pick.distance == 0 else f"{pick.distance:.3g} away in z"
        self.pick_text.setText(f"z = ({z})<br>Nearest: particle <b>{pick.particle}</b>, {where}")

    def _on_decoded(self, decoded: Decoded) -> None:
        self.volume.show(
            decoded.data,
            decoded.pixel_size,
            "Decoded volume",
            source=decoded.folder,
            contour=decoded.contour,
            front=True,
        )
        self.status.setText(f"Decoded in {1000 * decoded.seconds:.0f} ms")

    def _on_walked(self, walk: Decoded) -> None:
        assert walk.contour is not None
        self.volume.show_walk(
            walk.data, walk.pixel_size, walk.caption, walk.contour, str(walk.folder)
        )
        self.status.setText("Walk ready: play it with the slider below the picture.")

    def _on_busy(self) -> None:
        run = self.model.run
        can_decode = run is not None and run.can_decode
        walk = self.model.walk_progress
        self.walk_button.setEnabled(can_decode)
        self.show_button.setEnabled(run is not None)
        self.walk_button.setText(
            f"Walk along {self.model.walk_axis}"
            if walk is None
            else f"Cancel walk ({walk[0]} of {walk[1]})"
        )
        if self.model.busy:
            self.message.hide()
            self.status.setText(self.model.busy)
        elif self.status.text().endswith("..."):
            self.status.clear()
        if run is not None and self.model.space is not None and not can_decode:
            self.status.setText("No decoder is saved yet: volumes come with the next checkpoint.")

    def _on_failed(self, error: Exception) -> None:
        message = html.escape(notify.error(error))
        color = colors(self._viewer.theme).error
        self.message.setText(f'<span style="color: {color}">{message}</span>')
        self.message.show()

    def _follow_theme(self, _: object = None) -> None:
        self.plot.set_colors(colors(self._viewer.theme))
        self._draw()

    # Building

    def _build(self) -> None:
        top = QHBoxLayout()
        self.folder = QLabel()
        self.folder.setStyleSheet("font-weight: bold")
        self.folder.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.open_button = QPushButton("Open run…")
        self.open_button.setToolTip("Open a run folder, finished or in progress.")
        self.open_button.clicked.connect(self._browse)
        top.addWidget(self.folder, stretch=1)
        top.addWidget(self.open_button)
        self.body.addLayout(top)
        self.message = note(selectable=True)
        self.message.hide()
        self.body.addWidget(self.message)
        self.about = note()
        self.body.addWidget(self.about)
        self.follow = QCheckBox("in progress: follow this run")
        self.follow.setChecked(True)
        self.follow.setToolTip("Show new checkpoints as the run saves them.")
        self.follow.toggled.connect(self._choose_follow)
        self.body.addWidget(self.follow)
        self.pages = QStackedWidget()
        self.pages.addWidget(self._build_hint())
        self.pages.addWidget(self._build_explorer())
        self.body.addWidget(self.pages, stretch=1)
        self.body.addWidget(ShowAs(self.volume))
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
        self.show_button.clicked.connect(self.model.show_structure)
        layout.addWidget(self.hint)
        layout.addWidget(self.show_button)
        layout.addStretch()
        return page

    def _build_explorer(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        axes = QHBoxLayout()
        self.x_label, self.y_label = QLabel("x"), QLabel("y")
        self.x_axis, self.y_axis = QComboBox(), QComboBox()
        for label, combo in ((self.x_label, self.x_axis), (self.y_label, self.y_axis)):
            combo.currentIndexChanged.connect(self._choose_axes)
            axes.addWidget(label)
            axes.addWidget(combo, stretch=1)
        layout.addLayout(axes)
        self.plot = LatentPlot(colors(self._viewer.theme))
        self.plot.setToolTip(
            "Click to decode the volume at a point. The axes shown are taken from the point, all "
            "other dimensions from the particle nearest to it.\nDrag to pan, wheel to zoom."
        )
        self.plot.clicked.connect(self.model.pick_at)
        layout.addWidget(self.plot, stretch=1)
        self.pick_text = note("", selectable=True)
        layout.addWidget(self.pick_text)
        bottom = QHBoxLayout()
        self.snap = QCheckBox("snap to particle")
        self.snap.setToolTip("Decode the nearest particle's own z instead of the clicked point.")
        self.snap.toggled.connect(self._choose_snap)
        self.walk_button = QPushButton()
        self.walk_button.setToolTip(
            "Decode volumes along this axis through the mean, from the 5th to the 95th percentile "
            "of the particles, as a layer with a slider."
        )
        self.walk_button.clicked.connect(self._toggle_walk)
        bottom.addWidget(self.snap, stretch=1)
        bottom.addWidget(self.walk_button)
        layout.addLayout(bottom)
        return page


def _about(run: Run | None) -> str:
    if run is None:
        return ""
    parts = [
        f"{run.n_particles:,} particles",
        f"zdim {run.zdim}",
        f"{run.box} px",
    ]
    if run.pixel_size is not None:
        parts.append(f"{run.pixel_size:.3g} Å/px")
    parts.append(f"epoch {run.epoch}")
    return ", ".join(parts)


def show_explorer(viewer: Any, folder: Path) -> None:
    """Open the Latent explorer dock on a run folder, or bring the open one there."""
    try:
        dock, explorer = viewer.window.add_plugin_dock_widget("napari-cryodrgn", NAME, tabify=True)
    except (KeyError, ValueError):
        # napari does not know the plugin: a checkout that is not installed.
        explorer = ExplorerDock(viewer)
        dock = viewer.window.add_dock_widget(explorer, name=NAME, tabify=True)
    dock.show()
    dock.raise_()
    explorer.open_folder(folder)
