"""What can be done with the latent space, in tabs under the map."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QTabWidget

from .background import Deliver
from .cluster_panel import ClusterPanel
from .docks import show_training
from .explorer_map import ExplorerMap
from .explorer_model import ExplorerModel
from .linked_panel import LinkedPanel
from .qt_tools import Colors, colors
from .selection_panel import SelectionPanel
from .trajectory_panel import TrajectoryPanel
from .volume_view import VolumeView

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from .linked_model import MeanVolume

# Its place among the tabs.
_TRAJECTORY = 2


class ExplorerTabs(QTabWidget):
    """Clusters, trajectories, selections and linked views of an explorer's run.

    Parameters
    ----------
    model
        The open run.
    map_
        Where it is drawn.
    viewer
        Where layers go.
    volume
        Shows volumes there.
    deliver
        Brings answers of other threads to this one, see `Background`.
    """

    def __init__(
        self,
        model: ExplorerModel,
        map_: ExplorerMap,
        viewer: ViewerModel,
        volume: VolumeView,
        deliver: Deliver,
    ) -> None:
        super().__init__()
        palette = colors(viewer.theme)
        has_window = getattr(viewer, "window", None) is not None
        train = partial(show_training, viewer) if has_window else None
        self._volume = volume
        self.clusters = ClusterPanel(model, viewer, volume, deliver)
        self.trajectory = TrajectoryPanel(model, viewer, volume, deliver)
        self.selection = SelectionPanel(model, deliver, palette, train)
        self.views = LinkedPanel(model, deliver, palette, self._show_mean)
        self.clusters.colour_asked.connect(model.show_values)
        map_.path_drawn.connect(self._take_path)
        self.trajectory.model.stepped.connect(map_.mark_z)
        for name, panel in (
            ("Views", self.views),
            ("Clusters", self.clusters),
            ("Trajectory", self.trajectory),
            ("Selection", self.selection),
        ):
            panel.layout().setContentsMargins(6, 6, 6, 6)
            scroll = QScrollArea()
            scroll.setWidgetResizable(True)
            scroll.setFrameShape(QFrame.Shape.NoFrame)
            scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            scroll.setWidget(panel)
            self.addTab(scroll, name)
        self.setDocumentMode(True)

    def close_tabs(self) -> None:
        """Save and stop what runs in the background; touches no widget."""
        for panel in (self.clusters, self.trajectory, self.selection, self.views):
            panel.close_panel()

    def set_colors(self, palette: Colors) -> None:
        """Follow the theme."""
        self.selection.set_colors(palette)
        self.views.set_colors(palette)

    def _take_path(self, axes: Any, points: Any) -> None:
        self.setCurrentIndex(_TRAJECTORY)
        self.trajectory.model.draw(axes, points)

    def _show_mean(self, mean: MeanVolume, name: str) -> None:
        self._volume.show(mean.data, mean.pixel_size, name, mean.folder, mean.contour, front=True)
