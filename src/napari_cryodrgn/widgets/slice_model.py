"""A plane through volumes: which, where it lies, and what is on it; without Qt."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from .background import Background, Deliver
from .decode_model import Decoded, DecodeModel
from .densities import Density, of_consensus, of_layer, of_particle, volume_layers
from .inspector_model import InspectorModel
from .slice_work import Pair, Slices, cut_through

if TYPE_CHECKING:
    from napari.components import LayerList

    from ..analysis.slices import Plane

Array = NDArray[np.float32]
Across = Literal["z", "y", "x", "view"]
#: Keys of volumes that are no layers.
PARTICLE, CONSENSUS, KEPT = "particle", "consensus", "kept"


class SliceModel:
    """A plane that moves through a volume, and through a second one at the same place.

    Volumes are the one at the latent of the inspected particle, the run's consensus, one that was
    kept, and layers of the viewer. Nothing is computed while `active` is off.

    Parameters
    ----------
    inspector
        Whose run and particle are followed.
    layers
        Of the viewer.
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    """

    #: `Slices`, or None if there is no volume.
    drawn = Signal(object)
    #: The first volume is another, or another one is inspected.
    volume_changed = Signal()
    #: What there is to choose from, or the choice.
    choices_changed = Signal()
    busy_changed = Signal()
    failed = Signal(object)

    def __init__(self, inspector: InspectorModel, layers: LayerList, deliver: Deliver) -> None:
        self.inspector = inspector
        self._layers = layers
        self._background = Background(deliver)
        self.decode = DecodeModel(deliver)
        self.decode.decoded.connect(self._decoded)
        self.decode.busy_changed.connect(self.busy_changed.emit)
        self.decode.failed.connect(self.failed.emit)
        self.across: Across = "z"
        self.offset = 0.0
        #: What is cut: `PARTICLE`, `CONSENSUS`, `KEPT` or a layer; None is nothing.
        self.keys: list[Any] = [PARTICLE, None]
        self.kept: Density | None = None
        self.slices: Slices | None = None
        self._densities: list[Density | None] = [None, None]
        self._consensus: Density | None = None
        self._pair: Pair | None = None
        self._cut_again = False
        self._active = False
        self._run: Any = None
        self._heard: list[Any] = []
        inspector.run_changed.connect(self._on_run)
        inspector.particle_changed.connect(self._on_particle)
        layers.events.inserted.connect(self._on_layers)
        layers.events.removed.connect(self._on_layers)

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        self._layers.events.inserted.disconnect(self._on_layers)
        self._layers.events.removed.disconnect(self._on_layers)
        self._hear([])
        self.decode.close()
        self._background.close()

    @property
    def active(self) -> bool:
        """Whether anybody looks."""
        return self._active

    @active.setter
    def active(self, active: bool) -> None:
        changed, self._active = active != self._active, active
        if changed and active:
            self._on_run()

    @property
    def busy(self) -> bool:
        """Whether a volume is being decoded or read."""
        return self.decode.busy or self._background.waits_for("consensus")

    @property
    def first(self) -> Density | None:
        """The volume that is cut."""
        return self._densities[0]

    @property
    def rotation(self) -> Array | None:
        """Rotation (3, 3), object to image, of the inspected particle, if the run has poses."""
        run = self.inspector.run
        return None if run is None or run.rotations is None else run.rotations[self._particle]

    @property
    def _particle(self) -> int:
        return self.inspector.particle

    # What is chosen

    def choices(self) -> dict[Any, str]:
        """Keys of the volumes there are, and what they are called."""
        found: dict[Any, str] = {}
        run = self.inspector.run
        if run is not None:
            if run.latents is not None and run.can_decode:
                found[PARTICLE] = "this particle's"
            found[CONSENSUS] = "consensus"
        if self.kept is not None:
            found[KEPT] = self.kept.name
        return found | {layer: layer.name for layer in volume_layers(self._layers)}

    def choose(self, side: int, key: Any) -> None:
        """Cut another volume: the first (0), or the second (1), which may be None."""
        if key != self.keys[side]:
            self.keys[side] = key
            self._densities[side] = None
            self._load(side)
            self.choices_changed.emit()

    def keep(self) -> None:
        """Keep the first volume as it is now, and compare others with it."""
        if self.first is not None:
            self.kept = self.first.kept()
            self.keys[1] = KEPT
            self._load(1)
            self.choices_changed.emit()

    def set_across(self, across: Across) -> None:
        """Lay the plane across an axis, or across the view of the particle."""
        self.across = across
        self._cut()

    def set_offset(self, offset: float) -> None:
        """Move the plane to a distance in Å from the volume's centre."""
        self.offset = offset
        self._cut()

    # Volumes

    def _load(self, side: int) -> None:
        """Get the volume of a side, now or soon."""
        key, run = self.keys[side], self.inspector.run
        if not self._active:
            return
        if key == PARTICLE:
            z = self.inspector.z
            if z is not None and side == 0:
                self.decode.settle(z)
            return
        if key == CONSENSUS and run is not None and self._consensus is None:
            self._background.ask(
                "consensus", partial(of_consensus, run), self._read_consensus, self._not_read
            )
            self.busy_changed.emit()
            return
        density = {None: None, CONSENSUS: self._consensus, KEPT: self.kept}.get(key)
        self._take(side, of_layer(key, run) if key in list(self._layers) else density)

    def _take(self, side: int, density: Density | None) -> None:
        self._densities[side] = density
        if side == 0:
            self.volume_changed.emit()
        self._cut()

    def _decoded(self, decoded: Decoded) -> None:
        if self.keys[0] == PARTICLE and self._active:
            self._take(0, of_particle(decoded, self._particle))

    def _read_consensus(self, density: Density) -> None:
        self._consensus = density
        self.busy_changed.emit()
        for side in (0, 1):
            if self.keys[side] == CONSENSUS:
                self._take(side, density)

    def _not_read(self, error: Exception) -> None:
        self.busy_changed.emit()
        if self.keys[0] == CONSENSUS:
            self._show(None)
        self.failed.emit(error)

    # Following

    def _on_run(self) -> None:
        run = self.inspector.run
        if not self._active:
            return
        if run is not self._run:
            if self._run is None or run is None or run.folder != self._run.folder:
                self.kept = None
            self._run, self._consensus = run, None
            self._background.forget("consensus")
            self.decode.set_run(run)
        self._on_layers()
        for side in (0, 1):
            self._densities[side] = None
            self._load(side)

    def _on_particle(self) -> None:
        if self.keys[0] == PARTICLE:
            self._load(0)
        elif self._active:
            self.volume_changed.emit()
            if self.across == "view":
                self._cut()

    def _on_layers(self, _: object = None) -> None:
        """Take in what layers there are; what has gone is chosen no longer."""
        if not self._active:
            return
        choices = self.choices()
        self._hear(volume_layers(self._layers))
        if self.keys[0] not in choices:
            self.keys[0], self._densities[0] = next(iter(choices), None), None
            self._load(0)
        if self.keys[1] is not None and self.keys[1] not in choices:
            self.keys[1] = None
            self._load(1)
        self.choices_changed.emit()

    def _hear(self, layers: list[Any]) -> None:
        """Follow the content and the names of layers."""
        for layer in self._heard:
            for event in (layer.events.set_data, layer.events.data):
                event.disconnect(self._on_layer_data)
            layer.events.name.disconnect(self._on_layer_name)
        self._heard = layers
        for layer in layers:
            for event in (layer.events.set_data, layer.events.data):
                event.connect(self._on_layer_data)
            layer.events.name.connect(self._on_layer_name)

    def _on_layer_name(self, _: object = None) -> None:
        self.choices_changed.emit()

    def _on_layer_data(self, event: Any) -> None:
        for side in (0, 1):
            if self.keys[side] is event.source:
                self._load(side)

    # Cutting

    def plane(self) -> Plane:
        """The plane; across z where there is no view to lie across."""
        from ..analysis.slices import axis_plane, view_plane

        rotation = self.rotation
        if self.across != "view":
            return axis_plane(self.across, self.offset)
        return axis_plane("z") if rotation is None else view_plane(rotation, self.offset)

    def _cut(self) -> None:
        if not self._active:
            return
        # Not thrown away for a later one: while the plane moves fast nothing would ever be shown.
        if self._background.waits_for("cut"):
            self._cut_again = True
            return
        first, second = self._densities
        if first is None:
            if self.keys[0] is None:
                self._show(None)
            return
        job = partial(cut_through, first, second, self.plane(), self._pair)
        self._background.ask("cut", job, self._on_cut, self.failed.emit)

    def _on_cut(self, answer: tuple[Slices, Pair | None]) -> None:
        slices, self._pair = answer
        self._show(slices)
        if self._cut_again:
            self._cut_again = False
            self._cut()

    def _show(self, slices: Slices | None) -> None:
        self.slices = slices
        self.drawn.emit(slices)
