"""The panel that finds clusters, names them and shows their centres."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from . import notify
from .background import Deliver
from .cluster_model import CentreVolume, ClusterModel, Explorer
from .decode_bar import DecodeBar, Stop
from .form_parts import combo_box, small_button, spin_box, text_lines
from .layers import surface_layer, volume_layer
from .map_colors import category_color
from .surfaces import Mesh, mesh
from .volume_view import VolumeView

if TYPE_CHECKING:
    from napari.components import ViewerModel

_METHODS = {"k-means": "k-means", "Gaussian mixture": "gaussian mixture"}
_EMPTY = "Clusters split the particles into groups of similar latents. Find some to see them here."
#: Key of the metadata of layers of centre volumes.
CENTRE = "centre"
# Share of its place in the grid that the longest side of a molecule takes.
_FILLED = 0.8


class ClusterPanel(QWidget):
    """Asks for clusters, lists them, and shows their centre volumes as named layers.

    `colour_asked` gives `Values` by which the map is to be coloured.

    Parameters
    ----------
    explorer
        The open run; its clusters are the ones shown.
    viewer
        Where the layers go.
    volume
        Says whether volumes are shown as surfaces or as volumes.
    deliver
        Brings answers of other threads to this one, see `Background`.
    """

    colour_asked = Signal(object)

    def __init__(
        self, explorer: Explorer, viewer: ViewerModel, volume: VolumeView, deliver: Deliver
    ) -> None:
        super().__init__()
        self.model = model = ClusterModel(explorer, deliver)
        self._viewer, self._volume = viewer, volume
        self._before: tuple[Any, float] | None = None
        self._build()
        explorer.run_changed.connect(self._on_busy)
        model.latents_changed.connect(self.job.drop)
        explorer.clusters_changed.connect(self._on_clusters)
        model.busy_changed.connect(self._on_busy)
        model.failed.connect(self._on_failed)
        self._on_clusters()

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self.job.close_job()
        self.model.close()

    # What the controls do

    def _find(self) -> None:
        self.message.hide()
        self.model.find(self.number.value(), self.method.currentData())

    def _choose(self) -> None:
        chosen = self._chosen()
        self.select_button.setEnabled(bool(chosen))
        if len(chosen) == 1:
            self.model.show_centre(chosen[0])

    def _rename(self, item: QTreeWidgetItem, column: int) -> None:
        if column == 0:
            self.model.rename(self.list.indexOfTopLevelItem(item), item.text(0))

    def _colour(self) -> None:
        self.colour_asked.emit(self.model.values())

    def _select(self) -> None:
        self.model.select(self._chosen())

    def _decode(self) -> None:
        decode, mode = self.model.centre_volumes(), self._volume.mode

        def job(stop: Stop) -> Iterator[tuple[CentreVolume, Mesh | None]]:
            for centre in decode(stop):
                surface = mesh(centre.data, centre.contour) if mode == "surface" else None
                yield centre, surface

        for layer in self.layers():
            self._viewer.layers.remove(layer)
        self.job.run(job)

    def _side_by_side(self, on: bool) -> None:
        """Put the centre volumes into a grid of their own, alone."""
        viewer, centres = self._viewer, self.layers()
        grid, camera = viewer.canvas.grid, viewer.scene.camera
        if on:
            self._before = camera.center, camera.zoom
            for layer in viewer.layers:
                layer.visible = layer in centres
            # The first cluster in the first place.
            grid.stride = -1
        else:
            for layer in centres[1:]:
                layer.visible = False
        grid.enabled = on
        if on:
            self._frame()
        elif self._before is not None:
            camera.center, camera.zoom = self._before

    # Showing

    def layers(self) -> list[Any]:
        """The layers of centre volumes, in the order of the clusters."""
        return [layer for layer in self._viewer.layers if CENTRE in layer.metadata]

    def _frame(self) -> None:
        """Let each centre volume fill its place in the grid."""
        viewer, centres = self._viewer, self.layers()
        if not centres:
            return
        extents = np.array([layer.extent.world[:, -3:] for layer in centres])
        low, high = extents[:, 0].min(0), extents[:, 1].max(0)
        places = viewer.canvas.grid.actual_shape(viewer.layers)
        room = np.min(np.array(viewer.canvas.size) / places)
        viewer.scene.camera.center = tuple((low + high) / 2)
        viewer.scene.camera.zoom = _FILLED * room / max(float((high - low).max()), 1e-6)

    def _chosen(self) -> list[int]:
        return sorted(self.list.indexOfTopLevelItem(item) for item in self.list.selectedItems())

    def _on_results(self, results: list[tuple[CentreVolume, Mesh | None]]) -> None:
        for centre, surface in results:
            self._add(centre, surface)
            total = self.list.topLevelItemCount()
            self.job.progress((centre.cluster + 1) / total, centre.name)

    def _add(self, centre: CentreVolume, surface: Mesh | None) -> None:
        viewer = self._viewer
        name, size = centre.name, centre.pixel_size
        if surface is not None:
            data, options, _ = surface_layer(surface, size, name, viewer.layers)
            add: Any = viewer.add_surface
        else:
            data, options, _ = volume_layer(centre.data, size, name, viewer.layers, centre.contour)
            add = viewer.add_image
        added = add(data, **options, metadata={CENTRE: centre.cluster})
        layer = getattr(added, "__wrapped__", added)
        if centre.cluster == 0:
            for other in viewer.layers:
                other.visible = other is layer
            viewer.dims.ndisplay = 3
        layer.visible = centre.cluster == 0 or self.side_by_side.isChecked()
        if self.side_by_side.isChecked():
            self._frame()

    def _on_clusters(self) -> None:
        clusters = self.model.explorer.clusters
        chosen = self._chosen()
        self.list.blockSignals(True)
        self.list.clear()
        if clusters is not None:
            total = max(len(clusters.labels), 1)
            for i, (name, count) in enumerate(zip(clusters.names, clusters.counts, strict=True)):
                item = QTreeWidgetItem([name, f"{count:,}", f"{100 * count / total:.0f} %"])
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
                item.setIcon(0, _swatch(category_color(i)))
                for column in (1, 2):
                    item.setTextAlignment(
                        column, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.list.addTopLevelItem(item)
                item.setSelected(i in chosen)
        self.list.blockSignals(False)
        self._on_busy()

    def _on_busy(self) -> None:
        run, clusters = self.model.explorer.run, self.model.explorer.clusters
        space, busy = self.model.explorer.space, self.model.busy
        self.find_button.setEnabled(space is not None and not busy)
        self.find_button.setText("Finding …" if busy else "Find")
        if space is not None:
            self.number.setMaximum(min(len(space), 100))
        self.hint.setVisible(clusters is None)
        self.results.setVisible(clusters is not None)
        can_decode = run is not None and run.can_decode and not self.job.running
        self.job.button.setEnabled(can_decode)
        self.select_button.setEnabled(bool(self._chosen()))

    def _on_failed(self, error: Exception) -> None:
        self.message.setText(notify.error(error))
        self.message.show()

    # Building

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(6)
        row = QHBoxLayout()
        row.setSpacing(4)
        self.method = combo_box(_METHODS)
        self.method.setToolTip(
            "k-means: compact groups of similar size. Gaussian mixture: groups of any extent."
        )
        self.number = spin_box(2, 100, 10)
        self.number.setToolTip("How many clusters.")
        self.find_button = small_button("Find", "Find clusters, and keep them with the run.")
        self.find_button.clicked.connect(self._find)
        row.addWidget(self.method, stretch=1)
        row.addWidget(self.number)
        row.addWidget(self.find_button)
        layout.addLayout(row)
        self.message = text_lines()
        self.message.hide()
        layout.addWidget(self.message)
        self.hint = text_lines(_EMPTY)
        layout.addWidget(self.hint)
        self.results = QWidget()
        below = QVBoxLayout(self.results)
        below.setContentsMargins(0, 0, 0, 0)
        below.setSpacing(6)
        below.addWidget(self._build_list(), stretch=1)
        row = QHBoxLayout()
        row.setSpacing(4)
        self.colour_button = QPushButton("Colour map")
        self.colour_button.setToolTip("Colour the particles on the map by their cluster.")
        self.colour_button.clicked.connect(self._colour)
        self.select_button = QPushButton("Select")
        self.select_button.setToolTip("Select the particles of the chosen clusters.")
        self.select_button.clicked.connect(self._select)
        row.addWidget(self.colour_button)
        row.addWidget(self.select_button)
        below.addLayout(row)
        self.job = DecodeBar(
            "Decode centre volumes", "Decode the centre of each cluster, as layers with its name."
        )
        self.job.asked.connect(self._decode)
        self.job.results.connect(self._on_results)
        self.job.ended.connect(lambda _: self._on_busy())
        below.addWidget(self.job)
        self.side_by_side = QPushButton("Centres side by side")
        self.side_by_side.setCheckable(True)
        self.side_by_side.setToolTip("Show the centre volumes in a grid; they turn together.")
        self.side_by_side.toggled.connect(self._side_by_side)
        below.addWidget(self.side_by_side)
        layout.addWidget(self.results, stretch=1)
        layout.addStretch()

    def _build_list(self) -> QTreeWidget:
        self.list = QTreeWidget()
        self.list.setHeaderLabels(["Cluster", "Particles", ""])
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setMinimumHeight(140)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setToolTip(
            "Click: show the centre. Double click: rename. With Ctrl or Shift choose several."
        )
        header = self.list.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.list.itemSelectionChanged.connect(self._choose)
        self.list.itemChanged.connect(self._rename)
        return self.list


def _swatch(color: str) -> QIcon:
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(color))
    return QIcon(pixmap)
