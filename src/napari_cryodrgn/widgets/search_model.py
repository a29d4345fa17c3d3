"""The search for the pose of the inspected particle, without Qt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from ..errors import RunFolderError
from .background import Background, Deliver
from .inspector_model import InspectorModel
from .shared_images import SharedImages

if TYPE_CHECKING:
    from ..analysis import Run, RunImages
    from ..analysis.pose_evidence import PoseEvidence, PoseFinder
    from ..poses.search import Stop

    MakeFinder = Callable[[RunImages, Stop], PoseFinder]

Array = NDArray[np.float32]
Source = Literal["own", "clusters"]
# Draws from the posterior that are shown.
_SHOWN = 600


@dataclass(frozen=True, eq=False)
class Candidates:
    """Poses to be shown, best first.

    ``rotations`` (m, 3, 3), ``shifts`` (m, 2) in pixels, ``states`` (m,); ``angles`` (m,) in
    degrees from the most likely pose; ``behind`` (m,) the logarithm of their likelihood over that
    of the best one of the level. The first ``kept`` went on to the next level.
    """

    rotations: Array
    shifts: Array
    states: NDArray[np.intp]
    angles: Array
    behind: Array
    kept: int


class SearchModel:
    """Searches the pose of the inspected particle anew and shows what every level left.

    Nothing is computed while `active` is off. A search that is no longer wanted is given up.

    Parameters
    ----------
    inspector
        The run and the particle.
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    make_finder
        Makes what searches; `analysis.pose_evidence.PoseFinder` if absent.
    """

    found_changed = Signal()
    busy_changed = Signal()
    #: The level shown is another one.
    level_changed = Signal()
    chosen_changed = Signal()
    #: `has_clusters` is known.
    clusters_changed = Signal()
    failed = Signal(object)

    def __init__(
        self, inspector: InspectorModel, deliver: Deliver, make_finder: MakeFinder | None = None
    ) -> None:
        self.inspector = inspector
        self._make_finder = make_finder or _make_finder
        self._background = Background(deliver)
        self._run: Run | None = None
        self._worker = _Worker(self._make_finder)
        self._given_up = threading.Event()
        self._active = False
        self._stale = True
        self._source: Source = "own"
        #: Whether clusters are kept with the run.
        self.has_clusters = False
        self.found: PoseEvidence | None = None
        #: Which cluster the particle's latent lies in, if it was searched against clusters.
        self.own_cluster: int | None = None
        self.candidates: Candidates | None = None
        #: Level of the search that is shown; beyond the last one, the posterior.
        self.level = 0
        self._last_level: int | None = None
        #: Which of the candidates is looked at.
        self.chosen: int | None = None
        inspector.run_changed.connect(self._on_run)
        inspector.particle_changed.connect(self._renew)

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        self._given_up.set()
        self._background.close()

    @property
    def active(self) -> bool:
        """Whether anybody looks."""
        return self._active

    @active.setter
    def active(self, on: bool) -> None:
        came, self._active = on and not self._active, on
        if came:
            self._look_for_clusters()
            if self._stale:
                self._renew()
        elif not on and self.busy:
            self._given_up.set()
            self._background.forget("search")
            self._stale = True
            self.busy_changed.emit()

    @property
    def busy(self) -> bool:
        """Whether a search is going on."""
        return self._background.waits_for("search")

    @property
    def source(self) -> Source:
        """Compare with the particle's own volume, or with those of all cluster centres."""
        return self._source

    def set_source(self, source: Source) -> None:
        """Compare with other volumes."""
        if source != self._source:
            self._source = source
            self._renew()

    @property
    def n_levels(self) -> int:
        """Levels of the search, and the posterior as one more."""
        return 0 if self.found is None else len(self.found.levels) + 1

    def set_level(self, level: int) -> None:
        """Show the candidates of a level, or draws from the posterior after the last."""
        if self.found is not None and level != self.level:
            self.level = level
            self._show()

    def choose(self, candidate: int | None) -> None:
        """Look at one of the candidates shown."""
        if candidate != self.chosen:
            self.chosen = candidate
            self.chosen_changed.emit()

    def _on_run(self) -> None:
        run = self.inspector.run
        if run is not self._run:
            # What was made of another run must not stay in memory.
            moved = run is None or self._run is None or run.folder != self._run.folder
            self._run, self._worker = run, _Worker(self._make_finder)
            if moved or not self._active:
                self._take((None, None))
            self._look_for_clusters()
        self._renew()

    def _look_for_clusters(self) -> None:
        run = self.inspector.run
        if not self._active or run is None:
            return

        def done(has: bool) -> None:
            self.has_clusters = has
            self.clusters_changed.emit()

        # What is wrong with them is told when they are asked for.
        ask = self._background.ask
        ask("clusters", partial(_has_clusters, run), done, lambda _: done(True))

    def _renew(self) -> None:
        self._given_up.set()
        self._stale = not self._active
        if not self._active:
            return
        run = self.inspector.run
        if run is None:
            self._background.forget("search")
            self._take((None, None))
            return
        self._given_up = threading.Event()
        job = partial(
            self._worker.search,
            run,
            self.inspector.images,
            self.inspector.particle,
            self._source,
            self._given_up.is_set,
        )
        self._background.ask("search", job, self._take, self._failed)
        self.busy_changed.emit()

    def _take(self, answer: tuple[PoseEvidence | None, int | None]) -> None:
        self.found, self.own_cluster = answer
        # The posterior at first, then what the user has chosen.
        if self.found is not None and self._last_level != len(self.found.levels):
            self.level = self._last_level = len(self.found.levels)
        self.found_changed.emit()
        self._show()
        self.busy_changed.emit()

    def _failed(self, error: Exception) -> None:
        self._take((None, None))
        self.failed.emit(error)

    def _show(self) -> None:
        self.chosen = None
        self.candidates = None if self.found is None else _candidates(self.found, self.level)
        self.level_changed.emit()
        self.chosen_changed.emit()


class _Worker:
    """What is done in the thread for one run; the preparation is kept."""

    def __init__(self, make_finder: MakeFinder) -> None:
        self._make_finder = make_finder
        self._finder: PoseFinder | None = None

    def search(
        self, run: Run, images: SharedImages, particle: int, source: Source, stop: Stop
    ) -> tuple[PoseEvidence, int | None]:
        if self._finder is None:
            self._finder = self._make_finder(images.of(run), stop)
        volumes, own = _volumes(run, particle, source, stop)
        return self._finder(particle, volumes, stop), own


def _make_finder(images: RunImages, stop: Stop) -> PoseFinder:
    from ..analysis.pose_evidence import PoseFinder

    return PoseFinder(images, stop)


def _has_clusters(run: Run) -> bool:
    from ..analysis.clusters import kept_clusters

    return run.latents is not None and kept_clusters(run, run.latents.mu) is not None


def _volumes(run: Run, particle: int, source: Source, stop: Stop) -> tuple[Array, int | None]:
    """Volumes (k, z, y, x) to compare with, and the particle's own cluster, if of clusters."""
    from ..analysis.clusters import kept_clusters

    if run.latents is None:
        return np.array(run.consensus().data)[None], None
    if source == "own":
        return run.decode(run.latents.mu[particle], stop=stop)[None], None
    clusters = kept_clusters(run, run.latents.mu)
    if clusters is None:
        raise RunFolderError(
            run.folder,
            "no clusters are kept with this run.",
            remedy="Find clusters in the Latent explorer first.",
        )
    volumes = [run.decode(z, stop=stop) for z in clusters.centres]
    return np.stack(volumes), int(clusters.labels[particle])


def _candidates(found: PoseEvidence, level: int) -> Candidates:
    from ..poses import angular_distance

    posterior = found.posterior
    if level < len(found.levels):
        traced = found.levels[level]
        poses = traced.rotations, traced.shifts, traced.states
        behind, kept = traced.scores - traced.scores.max(), traced.kept
    else:
        order = posterior.weights.argsort(descending=True)[:_SHOWN]
        poses = posterior.rotations[order], posterior.shifts[order], posterior.states[order]
        behind, kept = posterior.scores[order] - posterior.peaks[0].score, len(order)
    angles = angular_distance(poses[0], posterior.peaks[0].rotation).float()
    rotations, shifts, states = (x.numpy() for x in poses)
    return Candidates(rotations, shifts, states, angles.numpy(), behind.numpy(), kept)
