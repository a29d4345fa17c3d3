"""The layers of centre volumes of clusters: one over the other, or side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from .cluster_model import CentreVolume
from .layers import surface_layer, volume_layer
from .opengl import remove_layers
from .surfaces import Mesh

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

#: Key of the metadata of these layers; its value is the run folder and the cluster.
CENTRE = "napari-cryodrgn centre"
# Share of its place in the grid that the longest side of a molecule takes.
_FILLED = 0.8


@dataclass
class _Before:
    """How the viewer was before the grid."""

    center: Any
    zoom: float
    enabled: bool
    stride: int
    visible: WeakKeyDictionary[Layer, bool]


class CentreLayers:
    """Shows centre volumes, each as a layer with the name of its cluster.

    Parameters
    ----------
    viewer
        Where the layers go.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._before: _Before | None = None

    def of(self, folder: Path) -> list[Any]:
        """Those of a run, in the order of its clusters."""
        layers = [one for one in self._viewer.layers if CENTRE in one.metadata]
        ours = [layer for layer in layers if layer.metadata[CENTRE][0] == folder]
        return sorted(ours, key=lambda layer: layer.metadata[CENTRE][1])

    def remove(self, folder: Path) -> None:
        """Remove those of a run."""
        remove_layers(self._viewer, self.of(folder))

    def add(self, centre: CentreVolume, surface: Mesh | None) -> None:
        """Add a volume, or its surface; the first of a run hides all that is there."""
        viewer = self._viewer
        name, size = centre.name, centre.pixel_size
        if surface is not None:
            data, options, _ = surface_layer(surface, size, name, viewer.layers)
            add: Any = viewer.add_surface
        else:
            data, options, _ = volume_layer(centre.data, size, name, viewer.layers, centre.contour)
            add = viewer.add_image
        added = add(data, **options, metadata={CENTRE: (centre.folder, centre.cluster)})
        layer = getattr(added, "__wrapped__", added)
        first, before = centre.cluster == 0, self._before
        layer.visible = first or before is not None
        if first:
            for other in viewer.layers:
                other.visible = other is layer
                if before is not None:
                    before.visible[other] = other is layer
            viewer.dims.ndisplay = 3
        if before is not None:
            self._frame(centre.folder)

    def put_side_by_side(self, folder: Path) -> None:
        """Put those of a run into a grid of their own, alone."""
        viewer, centres = self._viewer, self.of(folder)
        grid, camera = viewer.canvas.grid, viewer.scene.camera
        visible = WeakKeyDictionary({layer: layer.visible for layer in viewer.layers})
        self._before = _Before(camera.center, camera.zoom, grid.enabled, grid.stride, visible)
        for layer in viewer.layers:
            layer.visible = layer in centres
        # The first cluster in the first place.
        grid.stride = -1
        grid.enabled = True
        self._frame(folder)

    def put_back(self) -> None:
        """Show everything as it was before the grid."""
        before, self._before = self._before, None
        if before is None:
            return
        viewer = self._viewer
        for layer in viewer.layers:
            # One that came since stays as it is, but of centres only the first is shown.
            otherwise = layer.visible and CENTRE not in layer.metadata
            layer.visible = before.visible.get(layer, otherwise)
        grid, camera = viewer.canvas.grid, viewer.scene.camera
        grid.stride, grid.enabled = before.stride, before.enabled
        camera.center, camera.zoom = before.center, before.zoom

    def _frame(self, folder: Path) -> None:
        """Let each volume fill its place in the grid."""
        viewer, centres = self._viewer, self.of(folder)
        if not centres:
            return
        extents = np.array([layer.extent.world[:, -3:] for layer in centres])
        low, high = extents[:, 0].min(0), extents[:, 1].max(0)
        places = viewer.canvas.grid.actual_shape(viewer.layers)
        room = np.min(np.array(viewer.canvas.size) / places)
        viewer.scene.camera.center = tuple((low + high) / 2)
        viewer.scene.camera.zoom = _FILLED * room / max(float((high - low).max()), 1e-6)
