"""One 3D layer that shows volume after volume, as a surface or as a volume."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from . import notify
from .background import Background, Deliver
from .layers import TOP, surface_layer, volume_layer
from .opengl import paint
from .surfaces import mesh, stacked
from .volume_work import Answer, Array, Mode, Question, prepared

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["Mode", "VolumeView"]

# Share of the canvas that the longest side of the first molecule takes: later ones may be larger.
_FILLED = 0.7
_TAG = "napari-cryodrgn volume"
# Metadata of layers that hide a volume, or that it hides.
_IN_THE_WAY = frozenset({"particles", "walk", "napari-cryodrgn centre", _TAG})


class VolumeView:
    """Shows volume after volume in place, in one layer.

    All arithmetic is done in a thread; of volumes that come while it works, only the last counts.
    Camera and contour are set for the first volume of a ``source`` and then left to the user:
    further ones may be on boxes of other sizes that cover the same cube. A layer that the user
    deleted comes back with the next volume.

    Parameters
    ----------
    viewer
        Where the layer goes.
    deliver
        Brings answers to the thread that owns the viewer, see `Background`.
    mode
        A mesh, which is quick to draw on any machine, or napari's own rendering of volumes, whose
        contour can be changed, but which takes seconds a frame without a GPU.
    normalize
        Show volumes in units of their `bright_level`, so that the contour stays in place while
        densities grow by orders of magnitude.
    """

    #: The box of the volume that the layer has got.
    shown = Signal(int)

    def __init__(
        self, viewer: ViewerModel, deliver: Deliver, mode: Mode, *, normalize: bool = False
    ) -> None:
        self._viewer = viewer
        self._deliver = deliver
        self._background = Background(deliver)
        self._empty = False
        self._mode: Mode = mode
        self._normalize = normalize
        self._layer: Layer | None = None
        self._layer_mode: Mode = mode
        self._source: object = None
        self._named = ""
        self._contour: float | None = None
        self._last: Question | None = None
        self._waiting: Question | None = None

    @property
    def layer(self) -> Layer | None:
        """The layer, if it is in the viewer."""
        return self._layer if self._layer in self._viewer.layers else None

    @property
    def mode(self) -> Mode:
        """Whether volumes are shown as surfaces or as volumes."""
        return self._mode

    def set_mode(self, mode: Mode) -> None:
        """Show volumes another way, the present one included."""
        if mode == self._mode:
            return
        self._mode = mode
        if self._last is not None and (self.layer or self._background.waits_for("volume")):
            self._ask(self._last)

    def prepare(self, name: str, pixel_size: float | None) -> None:
        """Add a layer without content now; `discard` takes it back.

        That takes napari half a second, and OpenGL a third of one to compile what it draws with
        when it first does.
        """
        if self.layer is None:
            small = np.zeros((4, 4, 4), np.float32)
            small[1:3, 1:3, 1:3] = 2.0
            surface = mesh(small, 1.0) if self._mode == "surface" else None
            corner = np.zeros(3, np.float32)
            question = Question(small, pixel_size, pixel_size or 1.0, name, object(), 1.0, False)
            camera = self._viewer.scene.camera
            view = camera.center, camera.zoom, camera.angles
            answer = Answer(question, self._mode, small, surface, 1.0, corner, corner)
            self._draw_once(self._add(answer, None))
            self._empty = True
            camera.center, camera.zoom, camera.angles = view

    def discard(self) -> None:
        """Remove the layer if it is still empty."""
        if self._empty and self.layer is not None and not self._background.waits_for("volume"):
            self._viewer.layers.remove(self.layer)
        self._empty = False

    def show(
        self,
        volume: Array,
        pixel_size: float | None,
        name: str,
        source: object,
        contour: float | None = None,
        *,
        front: bool = False,
        step: float = 1.0,
    ) -> None:
        """Show a volume (z, y, x), soon.

        ``contour`` counts only for the first of a ``source``; the layer is called by ``name``
        anew when that or the source is another. ``front`` hides other volumes. ``step``, the edge
        of a voxel in any unit of the source, stands in for the pixel size where that is not known.
        """
        size = pixel_size or step
        self._last = Question(volume, pixel_size, size, name, source, contour, front)
        self._ask(self._last)

    def show_walk(
        self, volumes: Array, pixel_size: float | None, name: str, contour: float, tag: object
    ) -> None:
        """Add volumes (t, z, y, x), soon, as a layer with a slider.

        They are shown in the present mode, and ``tag`` becomes the layer's ``metadata["walk"]``.
        """
        mode = self._mode

        def job() -> Any:
            if mode == "volume":
                return None
            return stacked([mesh(volume, contour) for volume in volumes])

        def done(surface: Any) -> None:
            layers = self._viewer.layers
            if mode == "surface":
                data, options, _ = surface_layer(surface, pixel_size, name, layers)
            else:
                data, options, _ = volume_layer(volumes, pixel_size, name, layers, contour)
            camera = self._viewer.scene.camera
            view = camera.center, camera.zoom, camera.angles
            framed = self.layer is not None and self._viewer.dims.ndisplay == 3
            add = self._viewer.add_surface if mode == "surface" else self._viewer.add_image
            added = add(data, **options, metadata={"walk": tag})
            self._hide_others(getattr(added, "__wrapped__", added))
            self._viewer.dims.ndisplay = 3
            if framed:  # the same molecule stays where it was: napari shows all of a box anew
                camera.center, camera.zoom, camera.angles = view

        self._background.ask("walk", job, done, _tell)

    def close(self) -> None:
        """Drop what is being prepared; the view cannot be used afterwards."""
        self._background.close()

    # In the thread

    def _ask(self, question: Question) -> None:
        # Not thrown away for a later one: with a fast enough stream nothing would ever be shown.
        if self._background.waits_for("volume"):
            self._waiting = question
            return
        self._keep_contour()
        contour = self._contour if question.source == self._source else None
        contour = question.contour if contour is None else contour
        job = partial(prepared, question, self._mode, contour, self._normalize)
        self._background.ask("volume", job, self._placed, self._failed)

    def _ask_waiting(self) -> None:
        question, self._waiting = self._waiting, None
        if question is not None:
            self._ask(question)

    # In the GUI

    def _keep_contour(self) -> None:
        """Take over the contour that the user may have set on the layer."""
        if self.layer is not None and self._layer_mode == "volume" and not self._empty:
            self._contour = float(self.layer.iso_threshold)

    def _placed(self, answer: Answer) -> None:
        self._place(answer)
        self.shown.emit(len(answer.volume))
        self._ask_waiting()

    def _failed(self, error: Exception) -> None:
        _tell(error)
        self._ask_waiting()

    def _place(self, answer: Answer) -> None:
        question, old = answer.question, self.layer
        first = old is None or self._empty
        new_source = first or question.source != self._source
        self._source, self._contour, self._empty = question.source, answer.contour, False
        if old is not None and answer.mode == self._layer_mode:
            layer = old
            self._update(layer, answer, new_source)
        else:
            layer = self._add(answer, old)
        # One thing at a time, with the window's own events in between.
        if first or question.front:
            # napari refreshes also a layer that is visible already.
            if not layer.visible:
                layer.visible = True
            self._deliver(partial(self._hide_others, layer))
        if first:
            self._deliver(self._turn_to_3d)
        if new_source:
            self._deliver(partial(self._frame, answer))

    def _draw_once(self, layer: Layer) -> None:
        """Have the layer drawn in 3D, alone, and then hide it; moves the camera."""
        shown = [one for one in self._viewer.layers if one.visible]
        ndisplay = self._viewer.dims.ndisplay
        for one in shown:
            one.visible = one is layer
        self._viewer.dims.ndisplay = 3
        self._viewer.scene.camera.center = layer.extent.world.mean(0)
        paint(self._viewer)
        self._viewer.dims.ndisplay = ndisplay
        for one in shown:
            one.visible = one is not layer

    def _turn_to_3d(self) -> None:
        self._viewer.dims.ndisplay = 3

    def _update(self, layer: Any, answer: Answer, new_source: bool) -> None:
        if answer.surface is not None:
            if new_source:
                _rescale(layer, answer.question.size)
            vertices, faces, values = answer.surface
            # Another scale of the layer would take napari as long as all the rest.
            layer.data = vertices * (answer.question.size / layer.scale[0]), faces, values
        elif layer.data.shape == answer.volume.shape:
            layer.data[...] = answer.volume
            layer.refresh(extent=False, thumbnail=False, highlight=False)
        else:
            layer.data = answer.volume
        if answer.surface is None:
            _rescale(layer, answer.question.size)
        # A name that the user gave stays while the same is shown.
        if new_source or answer.question.name != self._named:
            layer.name = self._named = answer.question.name
        if new_source and answer.surface is None:
            # Widened first: napari clips the threshold to the limits.
            layer.contrast_limits_range = layer.contrast_limits = (0.0, TOP * answer.contour)
            layer.iso_threshold = answer.contour

    def _add(self, answer: Answer, old: Layer | None) -> Layer:
        question, layers = answer.question, self._viewer.layers
        self._named = question.name
        visible = old is None or old.visible
        if old is not None:
            layers.remove(old)
        if answer.surface is not None:
            data, options, _ = surface_layer(
                answer.surface, question.pixel_size, question.name, layers
            )
            added: Any = self._viewer.add_surface(data, **options, metadata={_TAG: True})
        else:
            data, options, _ = volume_layer(
                answer.volume, question.pixel_size, question.name, layers, answer.contour
            )
            added = self._viewer.add_image(data, **options, metadata={_TAG: True})
        # A plugin gets napari's objects behind a proxy, which is not what the list holds.
        layer: Layer = getattr(added, "__wrapped__", added)
        layer.visible = visible
        _rescale(layer, question.size)
        self._layer, self._layer_mode = layer, answer.mode
        return layer

    def _hide_others(self, shown: Layer) -> None:
        """Take flat particle images and other volumes out of the way."""
        for layer in self._viewer.layers:
            in_the_way = not _IN_THE_WAY.isdisjoint(layer.metadata)
            if layer is not shown and in_the_way and layer.visible:
                layer.visible = False

    def _frame(self, answer: Answer) -> None:
        """Let the molecule, rather than its box, fill the canvas."""
        # Not napari's `reset_view(layers=...)`: it fails while there are layers of more dimensions.
        size = answer.question.size
        camera = self._viewer.scene.camera
        camera.center = tuple(size * (answer.low + answer.high) / 2)
        edge = size * (float(np.max(answer.high - answer.low)) + 1)
        camera.zoom = _FILLED * min(self._viewer.canvas.size) / edge


def _rescale(layer: Any, size: float) -> None:
    """Give voxels their size: voxel n // 2 of a box of n stays where it is on all boxes."""
    if not np.allclose(layer.scale, size):
        layer.scale = (size,) * 3


def _tell(error: Exception) -> None:
    notify.error(error)
