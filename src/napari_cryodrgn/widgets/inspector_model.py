"""What the Particle inspector looks at, without Qt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from .background import Background, Deliver
from .shared_images import SharedImages

if TYPE_CHECKING:
    from ..analysis import Run

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


class InspectorModel:
    """A run, one of its particles, and a selection of them: what all views of it show.

    All methods and signals belong to the thread that made this object.

    Parameters
    ----------
    deliver
        Brings answers to that thread, see `Background`.
    open_run
        Opens a run folder; `analysis.Run.open` if absent.
    """

    run_changed = Signal()
    particle_changed = Signal()
    mask_changed = Signal()
    busy_changed = Signal()
    failed = Signal(object)

    def __init__(self, deliver: Deliver, open_run: Callable[[Path], Run] | None = None) -> None:
        self._background = Background(deliver)
        self._open_run = open_run or _open_run
        self.run: Run | None = None
        self.particle = 0
        self.mask: Mask | None = None
        self.images = SharedImages()

    @property
    def busy(self) -> bool:
        """Whether a run is being opened."""
        return self._background.waits_for("open")

    @property
    def z(self) -> Array | None:
        """Latent (zdim,) of the particle; None where the run has none."""
        run = self.run
        if run is None or run.latents is None:
            return None
        return np.asarray(run.latents.mu[self.particle], np.float32)

    def open(self, folder: Path) -> None:
        """Open a run folder in the background."""

        def done(run: Run) -> None:
            self.set_run(run)
            self.busy_changed.emit()

        def failed(error: Exception) -> None:
            self.busy_changed.emit()
            self.failed.emit(error)

        self._background.ask("open", lambda: self._open_run(folder), done, failed)
        self.busy_changed.emit()

    def set_run(self, run: Run) -> None:
        """Look at a run; of the folder seen last, at the same particle and selection."""
        # One that is being opened would come in its place.
        if self.busy:
            self._background.forget("open")
            self.busy_changed.emit()
        old = self.run
        self.run = run
        if (
            old is None
            or old.folder != run.folder
            or old.n_particles != run.n_particles
            or self.particle >= run.n_particles
        ):
            self.particle, self.mask = 0, None
        if run is not old:
            self.images.drop()
        self.run_changed.emit()

    def set_particle(self, particle: int) -> None:
        """Look at a particle; beyond the last one, at that."""
        if self.run is None or not self.run.n_particles:
            return
        particle = int(np.clip(particle, 0, self.run.n_particles - 1))
        if particle != self.particle:
            self.particle = particle
            self.particle_changed.emit()

    def set_mask(self, mask: Mask | None) -> None:
        """Select particles (n,), or none; a selection of other particles is none."""
        if mask is not None and (self.run is None or len(mask) != self.run.n_particles):
            mask = None
        if mask is None and self.mask is None:
            return
        self.mask = mask
        self.mask_changed.emit()

    def close(self) -> None:
        """Stop what runs in the background."""
        self._background.close()


def _open_run(folder: Path) -> Run:
    from ..analysis import Run

    return Run.open(folder)
