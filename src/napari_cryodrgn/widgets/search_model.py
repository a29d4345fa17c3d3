"""The search for the pose of the inspected particle, without Qt."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from ..analysis import Run, RunImages
    from ..analysis.pose_evidence import PoseEvidence, PoseFinder

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

    Nothing is computed while `active` is off.

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
    failed = Signal(object)

    def __init__(
        self,
        inspector: InspectorModel,
        deliver: Deliver,
        make_finder: Callable[[RunImages], PoseFinder] | None = None,
    ) -> None:
        self.inspector = inspector
        self._make_finder = make_finder or _make_finder
        self._background = Background(deliver)
        # Of the run opened last; belongs to the background's thread.
        self._finder: tuple[Run, PoseFinder] | None = None
        self._active = False
        self._stale = True
        self._source: Source = "own"
        self.found: PoseEvidence | None = None
        self.candidates: Candidates | None = None
        #: Level of the search that is shown; beyond the last one, the posterior.
        self.level = 0
        #: Which of the candidates is looked at.
        self.chosen: int | None = None
        inspector.run_changed.connect(self._renew)
        inspector.particle_changed.connect(self._renew)

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        self._background.close()

    @property
    def active(self) -> bool:
        """Whether anybody looks."""
        return self._active

    @active.setter
    def active(self, on: bool) -> None:
        self._active = on
        if on and self._stale:
            self._renew()

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

    def _renew(self) -> None:
        if not self._active:
            self._stale = True
            return
        self._stale = False
        run = self.inspector.run
        if run is None:
            self._background.forget("search")
            self._take(None)
            return
        job = partial(self._search, run, self.inspector.particle, self._source)
        self._background.ask("search", job, self._take, self._failed)
        self.busy_changed.emit()

    def _search(self, run: Run, particle: int, source: Source) -> PoseEvidence:
        """In the background: decode and search."""
        if self._finder is None or self._finder[0] is not run:
            self._finder = None
            self._finder = run, self._make_finder(self.inspector.images.of(run))
        return self._finder[1](particle, _volumes(run, particle, source))

    def _take(self, found: PoseEvidence | None) -> None:
        before, self.found = self.n_levels, found
        # The posterior at first, then what the user has chosen.
        if self.n_levels != before:
            self.level = max(self.n_levels - 1, 0)
        self.found_changed.emit()
        self._show()
        self.busy_changed.emit()

    def _failed(self, error: Exception) -> None:
        self._take(None)
        self.failed.emit(error)

    def _show(self) -> None:
        self.chosen = None
        self.candidates = None if self.found is None else _candidates(self.found, self.level)
        self.level_changed.emit()
        self.chosen_changed.emit()


def _make_finder(images: RunImages) -> PoseFinder:
    from ..analysis.pose_evidence import PoseFinder

    return PoseFinder(images)


def _volumes(run: Run, particle: int, source: Source) -> Array:
    """Volumes (k, z, y, x) to compare with."""
    from ..analysis.clusters import kept_clusters

    if run.latents is None:
        return np.array(run.consensus().data)[None]
    if source == "own":
        return run.decode(run.latents.mu[particle])[None]
    clusters = kept_clusters(run, run.latents.mu)
    if clusters is None:
        raise RunFolderError(
            run.folder,
            "no clusters are kept with this run.",
            remedy="Find clusters in the Latent explorer first.",
        )
    return np.stack([run.decode(z) for z in clusters.centres])


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
