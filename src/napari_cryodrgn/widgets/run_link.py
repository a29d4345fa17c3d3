"""What the docks of one viewer tell each other about the run that they look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

if TYPE_CHECKING:
    from ..analysis import Run

Mask = NDArray[np.bool_]


class RunLink:
    """The run that is explored, the particle that was picked, and the selection.

    Each method is for who has changed something, and does nothing if that is known already: docks
    may pass on what they are told.
    """

    run_changed = Signal()
    particle_changed = Signal(Path, int)
    mask_changed = Signal(Path, object)

    def __init__(self) -> None:
        self.run: Run | None = None
        self._particle: tuple[Path, int] | None = None
        self._mask: tuple[Path, Mask | None] | None = None

    def set_run(self, run: Run | None) -> None:
        """A run was opened for exploring, again, or closed."""
        if run is not self.run:
            self.run = run
            self.run_changed.emit()

    def set_particle(self, folder: Path, particle: int) -> None:
        """A particle of a run was picked."""
        if (folder, particle) != self._particle:
            self._particle = folder, particle
            self.particle_changed.emit(folder, particle)

    def set_mask(self, folder: Path, mask: Mask | None) -> None:
        """Particles of a run, (n,), were selected, or none."""
        if self._mask is None or folder != self._mask[0] or mask is not self._mask[1]:
            self._mask = folder, mask
            self.mask_changed.emit(folder, mask)

    def particle_of(self, folder: Path) -> int | None:
        """The particle picked last, if it is of this run."""
        return self._particle[1] if self._particle and self._particle[0] == folder else None

    def mask_of(self, folder: Path) -> Mask | None:
        """The selection, if it is of this run."""
        return self._mask[1] if self._mask and self._mask[0] == folder else None


_LINKS: WeakValueDictionary[int, RunLink] = WeakValueDictionary()


def run_link(viewer: Any) -> RunLink:
    """The link of the docks of a viewer: one as long as one of them holds it."""
    # A plugin gets napari's viewer behind a proxy, and each dock another one.
    key = id(getattr(viewer, "__wrapped__", viewer))
    link = _LINKS.get(key)
    if link is None:
        link = _LINKS[key] = RunLink()
    return link
