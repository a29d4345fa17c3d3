"""A plane through volumes in the 3D viewer, with their density on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from .layers import surface_layer
from .sphere import SPHERE

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from .slice_work import Slices

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
_TAG = "napari-cryodrgn slice"
# Metadata of layers that are no volumes.
_NO_VOLUMES = frozenset({_TAG, SPHERE, "particles"})
# A steeper view onto the plane decides which side lies in front; edge on, it stays as it is.
_EDGE_ON = 0.05
# Cosine of the angle to its normal from which on a view is straight onto it.
_STRAIGHT_ON = 0.97
_ASIDE = np.radians(55)
# Points of the plane so many steps of its grid beyond the rim are drawn onto it.
_BEYOND = 1.5


class SlicePlane:
    """Shows one plane, as a layer that is moved in place, and cuts volumes open there.

    Contrast and colours are the user's after the first picture of a volume.

    Parameters
    ----------
    viewer
        Where the layer goes.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Any = None
        self._slices: Slices | None = None
        self._source: object = None
        self._shown, self._open = True, False
        self._side = 1.0
        self._looked = False
        self._cut: WeakSet[Layer] = WeakSet()
        viewer.scene.camera.events.angles.connect(self._on_turn)
        viewer.layers.events.inserted.connect(self._cut_open)

    @property
    def layer(self) -> Any:
        """The layer, if it is in the viewer."""
        return self._layer if self._layer in self._viewer.layers else None

    def set_shown(self, shown: bool) -> None:
        """Show the plane, or hide it and close the volumes again."""
        if shown != self._shown:
            self._shown = shown
            if shown and self._slices is not None:
                self.show(self._slices, self._source)
            if self.layer is not None:
                self.layer.visible = shown
            self._cut_open()

    def set_open(self, cut_open: bool) -> None:
        """Hide what of the volumes lies in front of the plane, or show all of them."""
        self._open = cut_open
        self._cut_open()

    def show(self, slices: Slices | None, source: object) -> None:
        """Show other densities or another place; a ``source`` gets its contrast limits once."""
        self._slices = slices
        if slices is None:
            self._clear()
        elif self._shown:
            self._place(slices, source)
            self._cut_open()

    def close(self) -> None:
        """Follow the camera no longer; what is in the viewer stays."""
        self._viewer.scene.camera.events.angles.disconnect(self._on_turn)
        self._viewer.layers.events.inserted.disconnect(self._cut_open)

    def _clear(self) -> None:
        if self.layer is not None:
            self._viewer.layers.remove(self.layer)
        self._slices = self._layer = None
        self._cut_open()

    def _place(self, slices: Slices, source: object) -> None:
        layer = self.layer
        (vertices, faces), values = _disc(slices), slices.values.reshape(-1)
        if layer is None:
            layer = self._add(vertices, faces, values)
            self._turn_aside(slices)
        else:
            layer.data = vertices, faces, values
        if source != self._source:
            self._source = source
            # Widened first: napari clips the limits to their range.
            layer.contrast_limits_range = layer.contrast_limits = slices.limits

    def _add(self, *data: Any) -> Any:
        viewer = self._viewer
        # Points are in Å already.
        data, options, _ = surface_layer(data, 1.0, "slice", viewer.layers)
        options |= {"shading": "none", "colormap": "gray", "metadata": {_TAG: True}}
        added: Any = viewer.add_surface(data, **options)
        # A plugin gets napari's objects behind a proxy, which is not what the list holds.
        self._layer, self._source = getattr(added, "__wrapped__", added), None
        viewer.dims.ndisplay = 3
        return self._layer

    def _turn_aside(self, slices: Slices) -> None:
        """Once, turn a view that is straight onto the plane, or edge on: it would hide things."""
        if self._looked:
            return
        self._looked = True
        camera = self._viewer.scene.camera
        normal = slices.plane.normal[::-1].astype(np.float64)
        along, up = np.array(camera.view_direction), np.array(camera.up_direction)
        straight = float(along @ normal)
        if _EDGE_ON < abs(straight) < _STRAIGHT_ON:
            return
        aside = normal if abs(straight) <= _EDGE_ON else np.cross(along, up) - 0.7 * up
        aside = aside / np.linalg.norm(aside)
        direction = np.cos(_ASIDE) * along + np.sin(_ASIDE) * aside
        camera.set_view_direction(tuple(direction.tolist()), tuple(up.tolist()))

    # Cutting open

    def _on_turn(self, _: object = None) -> None:
        if self._slices is not None and self._open and self._shown:
            side = self._side
            self._look()
            if side != self._side:
                self._cut_open()

    def _look(self) -> None:
        """Find out which side of the plane is turned to the eye."""
        assert self._slices is not None
        normal = self._slices.plane.normal[::-1]
        along = float(np.dot(self._viewer.scene.camera.view_direction, normal))
        if abs(along) > _EDGE_ON:
            self._side = 1.0 if along > 0 else -1.0

    def _cut_open(self, _: object = None) -> None:
        slices = self._slices
        if slices is None or not (self._open and self._shown):
            for layer in list(self._cut):
                layer.experimental_clipping_planes = []
            self._cut.clear()
            return
        self._look()
        normal = self._side * slices.plane.normal[::-1]
        place = np.array(slices.first.centre) + slices.plane.offset * slices.plane.normal[::-1]
        where = {"position": tuple(place.tolist()), "normal": tuple(normal.tolist())}
        for layer in self._viewer.layers:
            theirs = layer.experimental_clipping_planes and layer not in self._cut
            if theirs or not _solid(layer):
                continue
            # In coordinates of the viewer, whatever napari's documentation says; and moved in
            # place: for another list the layer's shader would be compiled anew.
            planes = layer.experimental_clipping_planes
            if planes:
                planes[0].update(where)
            else:
                layer.experimental_clipping_planes = [where]
            self._cut.add(layer)


def _solid(layer: Layer) -> bool:
    """Whether a layer shows volumes or their surfaces."""
    from napari.layers import Image, Surface

    return (
        isinstance(layer, Image | Surface)
        and layer.ndim >= 3
        and _NO_VOLUMES.isdisjoint(layer.metadata)
    )


def _disc(slices: Slices) -> tuple[Floats, Ints]:
    """Points (m², 3) of the plane's grid, and triangles between those with density about.

    A whole square would hide the volume. Points just beyond the rim are drawn onto it.
    """
    plane, m = slices.plane, len(slices.values)
    middle = np.array(slices.first.centre) + plane.offset * plane.normal[::-1]
    across = slices.points - middle.astype(np.float32)
    away = np.linalg.norm(across, axis=-1)
    rim = float(max(slices.reach**2 - plane.offset**2, 0.0)) ** 0.5
    step = float(np.linalg.norm(slices.points[0, 1] - slices.points[0, 0]))
    beyond = rim + _BEYOND * step if rim > step else 0.0
    corners = np.stack([away[:-1, :-1], away[:-1, 1:], away[1:, :-1], away[1:, 1:]]).max(0)
    inside = corners <= beyond
    # napari cannot draw a surface without faces.
    inside[(m - 1) // 2, (m - 1) // 2] = True
    onto = np.minimum(1, rim / np.maximum(away, 1e-6))[..., None]
    points = middle + np.where(away[..., None] <= beyond, onto, 1) * across
    corner = np.flatnonzero(np.pad(inside, ((0, 0), (0, 1))))
    triangles = np.array([[0, 1, m], [1, m + 1, m]])
    faces = (corner[:, None, None] + triangles).reshape(-1, 3).astype(np.int32)
    return points.reshape(-1, 3).astype(np.float32), faces
