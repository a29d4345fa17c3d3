"""Clusters of the open run and their centre volumes, without Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal, SignalInstance

from ..errors import RunFolderError
from .background import Background, Deliver
from .decode_bar import Stop, decode_each
from .latent_space import LatentSpace

if TYPE_CHECKING:
    from ..analysis import Run
    from ..analysis.clusters import Clusters
    from ..analysis.particle_values import Values

Array = NDArray[np.float32]
Method = Literal["k-means", "gaussian mixture"]
# Bytes of all centre volumes together; with more the box gets smaller.
_BYTES = 2**29


class Explorer(Protocol):
    """What is used of the explorer's model."""

    run_changed: SignalInstance
    clusters_changed: SignalInstance

    @property
    def run(self) -> Run | None:
        """The open run."""

    @property
    def space(self) -> LatentSpace | None:
        """Its latent space, if it has one."""

    @property
    def clusters(self) -> Clusters | None:
        """Clusters of the particles, if they were found."""

    def set_clusters(self, clusters: Clusters | None) -> None:
        """Take over clusters, and tell everyone."""

    def set_current(self, mask: NDArray[np.bool_]) -> None:
        """Select particles."""

    def pick_particle(self, particle: int) -> None:
        """Show a particle and its volume everywhere."""


@dataclass(frozen=True)
class CentreVolume:
    """The volume (z, y, x) at the centre of a run's cluster, with voxels of ``pixel_size`` Å."""

    folder: Path
    cluster: int
    name: str
    data: Array
    pixel_size: float | None
    contour: float


class ClusterModel:
    """Finds clusters, keeps them with the run, and decodes their centres.

    Clusters that a run has from before are there as soon as it is open.

    Parameters
    ----------
    explorer
        The open run; its clusters are the ones shown.
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    """

    #: The clusters are no longer those there were: what is made of them is worth nothing.
    replaced = Signal()
    busy_changed = Signal()
    failed = Signal(object)

    def __init__(self, explorer: Explorer, deliver: Deliver) -> None:
        self.explorer = explorer
        self._background = Background(deliver)
        # The run folder and the latents that clusters are of.
        self._of: tuple[Path, Array] | None = None
        explorer.run_changed.connect(self._load)
        self._load()

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        self._background.close()

    @property
    def busy(self) -> bool:
        """Whether clusters are being looked for."""
        return self._background.waits_for("find")

    def find(self, k: int, method: Method) -> None:
        """Find clusters in the background and keep them with the run."""
        run, space = self.explorer.run, self.explorer.space
        if run is None or space is None:
            return

        def done(clusters: Clusters) -> None:
            self.replaced.emit()
            self.explorer.set_clusters(clusters)
            self._keep(clusters)
            self.busy_changed.emit()

        self._background.forget("load")
        self._background.ask("find", partial(_find, space.mu, k, method), done, self._failed)
        self.busy_changed.emit()

    @property
    def named(self) -> list[str]:
        """Names that the user gave to clusters."""
        clusters = self.explorer.clusters
        if clusters is None:
            return []
        first = (clusters.renamed(i, "").names[i] for i in range(len(clusters.names)))
        return [name for name, old in zip(clusters.names, first, strict=True) if name != old]

    def rename(self, cluster: int, name: str) -> None:
        """Give a cluster another name; its first one if that is empty."""
        clusters = self.explorer.clusters
        if clusters is not None and name.strip() != clusters.names[cluster]:
            renamed = clusters.renamed(cluster, name)
            self.explorer.set_clusters(renamed)
            self._keep(renamed)

    def show_centre(self, cluster: int) -> None:
        """Show the particle in the middle of a cluster everywhere."""
        if self.explorer.clusters is not None:
            self.explorer.pick_particle(int(self.explorer.clusters.particles[cluster]))

    def select(self, chosen: list[int]) -> None:
        """Select the particles of some clusters."""
        if self.explorer.clusters is not None:
            self.explorer.set_current(np.isin(self.explorer.clusters.labels, chosen))

    def values(self) -> Values | None:
        """The clusters as something to colour the map by."""
        from ..analysis.particle_values import Values

        clusters = self.explorer.clusters
        if clusters is None:
            return None
        return Values("cluster", clusters.labels.astype(np.int32), clusters.names)

    def centre_volumes(self) -> Callable[[Stop], Iterator[CentreVolume]]:
        """A job that decodes the centre of every cluster, see `DecodeBar`.

        Raises
        ------
        RunFolderError
            If there is no run that can decode, or no clusters.
        """
        run, clusters = self.explorer.run, self.explorer.clusters
        if run is None or clusters is None or not run.can_decode:
            folder = run.folder if run is not None else Path()
            raise RunFolderError(folder, "there are no clusters, or no decoder is saved yet.")
        return partial(_decode, run, clusters)

    # What happens

    def _load(self) -> None:
        run, space = self.explorer.run, self.explorer.space
        before, self._of = self._of, None
        if run is not None and space is not None:
            self._of = run.folder, space.mu
            # A run that is followed is read again and again, mostly with the same latents.
            if before is not None and before[0] == run.folder and _same(before[1], space.mu):
                return
        self._background.forget("find")
        self._background.forget("load")
        self.replaced.emit()
        if self.explorer.clusters is not None:
            # They may be of earlier latents, or of another run.
            self.explorer.set_clusters(None)
        if run is not None and space is not None:
            job = partial(_load, run, space.mu)
            self._background.ask("load", job, self._loaded, self._failed)
        self.busy_changed.emit()

    def _loaded(self, clusters: Clusters | None) -> None:
        if clusters is not None:
            self.explorer.set_clusters(clusters)

    def _keep(self, clusters: Clusters) -> None:
        run, space = self.explorer.run, self.explorer.space
        if run is not None and space is not None:
            job = partial(_save, run, clusters, space.mu)
            self._background.ask("save", job, lambda _: None, self._failed)

    def _failed(self, error: Exception) -> None:
        self.busy_changed.emit()
        self.failed.emit(error)


def _same(a: Array, b: Array) -> bool:
    return a is b or np.array_equal(a, b)


def centre_box(box: int, count: int) -> int:
    """The full box of ``count`` volumes, or about half of it and so on until memory allows."""
    while 4 * box**3 * count > _BYTES:
        box = box // 4 * 2
    return box


def _decode(run: Run, clusters: Clusters, stop: Stop) -> Iterator[CentreVolume]:
    contour = run.contour()
    box = centre_box(run.box, len(clusters.centres))
    size = run.pixel_size * run.box / box if run.pixel_size is not None else None
    for i, data in enumerate(decode_each(run, clusters.centres, box, stop)):
        yield CentreVolume(run.folder, i, clusters.names[i], data, size, contour)


def _find(mu: Array, k: int, method: Method) -> Clusters:
    from ..analysis.clusters import find_clusters

    return find_clusters(mu, k, method)


def _load(run: Run, mu: Array) -> Clusters | None:
    from ..analysis.clusters import kept_clusters

    return kept_clusters(run, mu)


def _save(run: Run, clusters: Clusters, mu: Array) -> None:
    from ..analysis.clusters import save_clusters

    save_clusters(run.folder, clusters, mu)
