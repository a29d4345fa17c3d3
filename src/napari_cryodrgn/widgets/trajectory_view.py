"""The layer of a trajectory in the viewer: its step and its colours."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils import Colormap
from numpy.typing import NDArray
from psygnal import Signal

from . import notify
from .background import Background, Deliver
from .trajectory import Colouring, Trajectory, vertex_values
from .volume_view import VolumeView

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

#: Colours as (position, '#rrggbb'), where they mean something.
RAMPS: dict[Colouring, list[tuple[float, str]]] = {
    "step": [(0.0, "#3d7fd6"), (0.5, "#c9ced6"), (1.0, "#e8862e")],
    "change": [(0.0, "#587090"), (0.35, "#8fa3b8"), (0.7, "#f2b33d"), (1.0, "#e2452f")],
}
_MAPS = {
    name: Colormap([c for _, c in ramp], controls=[p for p, _ in ramp], name=f"path {name}")
    for name, ramp in RAMPS.items()
}


class TrajectoryView:
    """Shows one trajectory as a layer with a slider, and follows that slider.

    A layer of an earlier trajectory stays as it is. In a layer of volumes only the way along the
    path has a colour: napari draws each of them in one.

    Parameters
    ----------
    viewer
        Where the layer is.
    volume
        Adds it, as a surface or as volumes.
    deliver
        Brings answers to the thread that owns the viewer, see `Background`.
    """

    #: The step that the viewer shows, when it changes.
    stepped = Signal(int)

    def __init__(self, viewer: ViewerModel, volume: VolumeView, deliver: Deliver) -> None:
        self._viewer = viewer
        self._volume = volume
        self._background = Background(deliver)
        self._numbers = itertools.count(1)
        self._tag = ""
        self._trajectory: Trajectory | None = None
        self._layer: Layer | None = None
        self._colouring: Colouring = "plain"
        self._plain: Any = None
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.dims.events.point.connect(self._on_dims)

    def close(self) -> None:
        """Drop what is being computed; the view cannot be used afterwards."""
        self._background.close()

    @property
    def layer(self) -> Any:
        """The layer, if it is in the viewer."""
        return self._layer if self._layer in self._viewer.layers else None

    def show(self, trajectory: Trajectory) -> None:
        """Add a trajectory, soon."""
        self._trajectory, self._layer = trajectory, None
        self._tag = f"{trajectory.folder} {next(self._numbers)}"
        self._volume.show_walk(
            trajectory.data,
            trajectory.pixel_size,
            trajectory.caption,
            trajectory.contour,
            self._tag,
        )

    def go(self, step: int) -> None:
        """Have the viewer show a step, if the layer is there."""
        if self.layer is not None:
            dims = self._viewer.dims
            axis = dims.ndim - 4
            if round(dims.point[axis]) != step:
                dims.set_point(axis, step)

    def set_colouring(self, colouring: Colouring) -> None:
        """Colour the surface by what changes along the path, or by the way along it."""
        self._colouring = colouring
        self._colour()

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        if self._tag and layer.metadata.get("walk") == self._tag:
            self._layer = layer
            self._plain = layer.colormap
            self.go(0)
            if self._colouring != "plain":
                self._colour()

    def _on_dims(self, _: Any = None) -> None:
        if self.layer is None or self._trajectory is None or self._viewer.dims.ndim < 4:
            return
        step = round(self._viewer.dims.point[self._viewer.dims.ndim - 4])
        step = min(max(step, 0), len(self._trajectory.data) - 1)
        if not hasattr(self._layer, "vertex_values"):
            self._colour_volume(step)
        self.stepped.emit(step)

    def _colour(self) -> None:
        layer, trajectory, colouring = self.layer, self._trajectory, self._colouring
        if layer is None or trajectory is None:
            return
        if not hasattr(layer, "vertex_values"):
            self._colour_volume(round(self._viewer.dims.point[self._viewer.dims.ndim - 4]))
            return

        def done(answer: tuple[NDArray[np.float32], tuple[float, float]]) -> None:
            if self.layer is layer:
                values, limits = answer
                layer.vertex_values = values
                layer.colormap = _MAPS.get(colouring, self._plain)
                layer.contrast_limits_range = layer.contrast_limits = limits

        vertices = layer.vertices
        self._background.ask(
            "colour", lambda: vertex_values(trajectory, vertices, colouring), done, _tell
        )

    def _colour_volume(self, step: int) -> None:
        """Give volumes, drawn in one colour each, that of their step."""
        assert self._trajectory is not None
        layer: Any = self._layer
        if self._colouring != "step":
            if layer.colormap != self._plain:
                layer.colormap = self._plain
            return
        ramp = _MAPS["step"]
        bright = ramp.map(np.array([step / max(len(self._trajectory.data) - 1, 1)]))[0]
        dark = bright * [0.15, 0.15, 0.15, 1]
        layer.colormap = Colormap([dark, bright], name=f"step {step}")


def _tell(error: Exception) -> None:
    notify.error(error)
