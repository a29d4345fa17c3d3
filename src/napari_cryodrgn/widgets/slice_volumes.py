"""Volumes that can be cut, brought from wherever they are; without Qt."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from .background import Background, Deliver
from .decode_model import Decoded, DecodeModel
from .densities import Density, of_consensus, of_latent, of_layer, of_particle, volume_layers
from .inspector_model import InspectorModel

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..analysis import Run
    from ..analysis.clusters import Clusters

#: Keys of volumes that are no layers; that of a cluster has its number behind it.
PARTICLE, MEAN, CONSENSUS, KEPT, CLUSTER = "particle", "mean", "consensus", "kept", "cluster "


class SliceVolumes:
    """Volumes of a run, one that was kept, and layers of the viewer.

    Nothing is computed while `active` is off.

    Parameters
    ----------
    inspector
        Whose run and particle are followed.
    viewer
        Whose layers can be cut.
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    decode
        Decodes the volume of the particle. One that others use too is given the run by them.
    """

    #: What there is to choose from.
    choices_changed = Signal()
    #: A side, and the `Density` that was asked for there.
    brought = Signal(int, object)
    #: Layers have changed: `reload_layers` is to be called in a moment.
    layers_changed = Signal()
    busy_changed = Signal()
    #: A side, and what went wrong.
    failed = Signal(int, object)

    def __init__(
        self,
        inspector: InspectorModel,
        viewer: ViewerModel,
        deliver: Deliver,
        decode: DecodeModel | None = None,
    ) -> None:
        self._inspector, self._layers = inspector, viewer.layers
        self._background = Background(deliver)
        self._owns = decode is None
        self._decode = DecodeModel(deliver) if decode is None else decode
        self._decode.decoded.connect(self._on_decoded)
        self._decode.busy_changed.connect(self.busy_changed.emit)
        self._decode.failed.connect(self._on_not_decoded)
        self.active = False
        self.kept: Density | None = None
        self._run: Run | None = None
        self._decodes: Run | None = None
        self._last: Decoded | None = None
        self._clusters: Clusters | None = None
        # What each side shows or waits for, and what tells its job that it is not wanted.
        self._keys: list[Any] = [None, None]
        self._given_up = [threading.Event(), threading.Event()]
        self._heard: list[Any] = []
        self._changed: set[Any] = set()
        # What was read of a layer at each side.
        self._read: list[Density | None] = [None, None]
        self._layers.events.inserted.connect(self._on_layers)
        self._layers.events.removed.connect(self._on_layers)

    def close(self) -> None:
        """Drop what is being computed; the object cannot be used afterwards."""
        self._layers.events.inserted.disconnect(self._on_layers)
        self._layers.events.removed.disconnect(self._on_layers)
        self._hear([])
        self.give_up()
        self._decode.decoded.disconnect(self._on_decoded)
        if self._owns:
            self._decode.close()
        self._background.close()

    @property
    def busy(self) -> bool:
        """Whether a volume is being decoded or read."""
        waits = self._background.waits_for
        return self._decode.busy or waits("volume 0") or waits("volume 1")

    def choices(self) -> dict[Any, str]:
        """Keys of the volumes there are, and what they are called."""
        found: dict[Any, str] = {}
        run = self._run
        if run is not None:
            decodes = run.latents is not None and run.can_decode
            if decodes:
                found[PARTICLE] = "this particle's"
            found[CONSENSUS] = "consensus"
            if decodes:
                found[MEAN] = "mean of all latents"
                names = () if self._clusters is None else self._clusters.names
                found |= {f"{CLUSTER}{i}": name for i, name in enumerate(names)}
        if self.kept is not None:
            found[KEPT] = self.kept.name
        return found | {layer: layer.name for layer in volume_layers(self._layers)}

    def set_run(self, run: Run | None) -> None:
        """Bring volumes of another run, or of the same one with new weights."""
        if run is not self._run:
            self._run = run
            self._last = self._clusters = None
            self.give_up()
        decodes = run if self.active else None
        if self._owns and decodes is not self._decodes:
            self._decodes = decodes
            self._decode.set_run(decodes)
        self._look_for_clusters()

    def _look_for_clusters(self) -> None:
        from ..analysis.clusters import kept_clusters

        run = self._run
        if not self.active or run is None or run.latents is None:
            self._background.forget("clusters")
            return

        def done(clusters: Clusters | None) -> None:
            self._clusters = clusters
            self.choices_changed.emit()

        job = partial(kept_clusters, run, run.latents.mu)
        # Damaged ones are told of in the explorer.
        self._background.ask("clusters", job, done, lambda _: done(None))

    def give_up(self) -> None:
        """Bring nothing that was asked for so far."""
        for side in (0, 1):
            self._give_up(side)

    def bring(self, side: int, key: Any) -> None:
        """Get a volume, now or soon; None is none."""
        self._give_up(side)
        self._keys[side] = key
        run = self._run
        if key is None or key == KEPT:
            self.brought.emit(side, None if key is None else self.kept)
        elif key == PARTICLE:
            self._bring_particle()
        elif not isinstance(key, str):
            self._read_layer(side, key)
        elif run is not None and key == CONSENSUS:
            self._ask(side, partial(of_consensus, run))
        elif run is not None and run.latents is not None:
            mu, name = run.latents.mu, self.choices()[key]
            z = None if key == MEAN else self._centre(key)
            stop = self._given_up[side].is_set
            self._ask(side, lambda: of_latent(run, name, mu.mean(0) if z is None else z, stop))

    def reload_layers(self) -> None:
        """Bring the layers that have changed again."""
        changed, self._changed = self._changed, set()
        for side, key in enumerate(self._keys):
            if key in changed and self.active:
                self._read_layer(side, key)

    def _read_layer(self, side: int, layer: Any) -> None:
        self._ask(side, partial(of_layer(layer, self._run), self._read[side]))

    def _centre(self, key: str) -> Any:
        assert self._clusters is not None
        return self._clusters.centres[int(key.removeprefix(CLUSTER))]

    def _ask(self, side: int, job: Any) -> None:
        def done(density: Density) -> None:
            self.busy_changed.emit()
            # napari tells the same of a layer that was changed and of another slice of it.
            if density is not self._read[side]:
                self._read[side] = None if isinstance(self._keys[side], str) else density
                self.brought.emit(side, density)

        def failed(error: Exception) -> None:
            self.busy_changed.emit()
            self.failed.emit(side, error)

        self._background.ask(f"volume {side}", job, done, failed)
        self.busy_changed.emit()

    def _give_up(self, side: int) -> None:
        self._given_up[side].set()
        self._given_up[side] = threading.Event()
        self._background.forget(f"volume {side}")
        self._keys[side] = self._read[side] = None

    # The particle's volume

    def _bring_particle(self) -> None:
        last, z = self._last, self._inspector.z
        if z is None:
            return
        if last is not None and self._is_wanted(last):
            self.brought.emit(0, of_particle(last, self._inspector.particle))
            if last.final or self._decode.busy:
                return
        self._decode.settle(z)

    def _is_wanted(self, decoded: Decoded) -> bool:
        """Whether this is the particle's volume, and not that of one before."""
        run, z = self._run, self._inspector.z
        if run is None or z is None or decoded.z is None or decoded.folder != run.folder:
            return False
        return bool(np.array_equal(decoded.z, z))

    def _on_decoded(self, decoded: Decoded) -> None:
        if self._is_wanted(decoded):
            self._last = decoded
            if self.active and self._keys[0] == PARTICLE:
                self.brought.emit(0, of_particle(decoded, self._inspector.particle))

    def _on_not_decoded(self, error: Exception) -> None:
        if self.active and self._keys[0] == PARTICLE:
            self.failed.emit(0, error)

    # Layers

    def _on_layers(self, _: object = None) -> None:
        self._hear(volume_layers(self._layers))
        self.choices_changed.emit()

    def _hear(self, layers: list[Any]) -> None:
        """Follow the content and the names of layers."""
        calls = {"data": self._on_data, "set_data": self._on_data, "name": self._on_name}
        for layer in self._heard:
            for name, call in calls.items():
                getattr(layer.events, name).disconnect(call)
        self._heard = layers
        for layer in layers:
            for name, call in calls.items():
                getattr(layer.events, name).connect(call)
        self._changed &= set(layers)

    def _on_name(self, _: object = None) -> None:
        self.choices_changed.emit()

    def _on_data(self, event: Any) -> None:
        if event.source in self._keys:
            self._changed.add(event.source)
            self.layers_changed.emit()
