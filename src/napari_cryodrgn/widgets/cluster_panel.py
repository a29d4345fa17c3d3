"""The panel that finds clusters, names them and shows their centres."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QHBoxLayout,
    QPushButton,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from . import notify
from .background import Deliver
from .centre_layers import CentreLayers
from .cluster_model import CentreVolume, ClusterModel, Explorer
from .decode_bar import DecodeBar, Stop
from .form_parts import combo_box, small_button, spin_box, text_lines
from .map_colors import category_color
from .name_list import NameList
from .save_dialog import may_go_on
from .surfaces import Mesh, mesh
from .volume_view import VolumeView

if TYPE_CHECKING:
    from napari.components import ViewerModel

_METHODS = {"k-means": "k-means", "Gaussian mixture": "gaussian mixture"}
_EMPTY = "Clusters split the particles into groups of similar latents. Find some to see them here."
# Names told before they are lost.
_TOLD = 3


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
        self._centres, self._volume = CentreLayers(viewer), volume
        self._build()
        explorer.run_changed.connect(self._on_busy)
        model.replaced.connect(self._on_replaced)
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
        named = self.model.named
        if named:
            names = ", ".join(f"“{name}”" for name in named[:_TOLD])
            names += " …" if len(named) > _TOLD else ""
            question = f"Clusters with names that you gave will be lost: {names}. Find new ones?"
            if not may_go_on(self, "Find clusters", question):
                return
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

        run = self.model.explorer.run
        assert run is not None
        self._centres.remove(run.folder)
        self.job.run(job)

    def _side_by_side(self, on: bool) -> None:
        run = self.model.explorer.run
        if on and run is not None:
            self._centres.put_side_by_side(run.folder)
        else:
            self._centres.put_back()

    # Showing

    def layers(self) -> list[Any]:
        """The layers of the run's centre volumes, in the order of the clusters."""
        run = self.model.explorer.run
        return [] if run is None else self._centres.of(run.folder)

    def _chosen(self) -> list[int]:
        return sorted(self.list.indexOfTopLevelItem(item) for item in self.list.selectedItems())

    def _on_results(self, results: list[tuple[CentreVolume, Mesh | None]]) -> None:
        for centre, surface in results:
            self._centres.add(centre, surface)
            total = self.list.topLevelItemCount()
            self.job.progress((centre.cluster + 1) / total, centre.name)

    def _on_replaced(self) -> None:
        self.message.hide()
        self.job.drop()
        self._on_busy()

    def _on_clusters(self) -> None:
        clusters = self.model.explorer.clusters
        chosen = self._chosen()
        self.list.blockSignals(True)
        self.list.clear()
        if clusters is not None:
            total = max(len(clusters.labels), 1)
            for i, (name, count) in enumerate(zip(clusters.names, clusters.counts, strict=True)):
                item = self.list.add(name, f"{count:,}", f"{100 * count / total:.0f} %")
                item.setIcon(0, _swatch(category_color(i)))
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

    def _build_list(self) -> NameList:
        self.list = NameList(["Cluster", "Particles", ""])
        self.list.setMinimumHeight(140)
        self.list.setToolTip(
            "Click: show the centre. Double click: rename. With Ctrl or Shift choose several."
        )
        self.list.itemSelectionChanged.connect(self._choose)
        self.list.itemChanged.connect(self._rename)
        return self.list


def _swatch(color: str) -> QIcon:
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(color))
    return QIcon(pixmap)
