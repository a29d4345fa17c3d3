"""Picks and selections of the Latent explorer, shared with other docks of its viewer."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject

from .explorer_model import ExplorerModel
from .qt_tools import Soon
from .run_link import Mask, RunLink

# Other docks look at a particle when the mouse rests, as theirs would slow its volumes down.
_PASS_ON_MS = 200


class ExplorerLink(QObject):
    """Passes on what is picked and selected in an explorer, and takes over what is elsewhere.

    Parameters
    ----------
    parent
        Owns this.
    model
        The explorer's.
    link
        Of its viewer.
    """

    def __init__(self, parent: QObject, model: ExplorerModel, link: RunLink) -> None:
        super().__init__(parent)
        self._model, self._link = model, link
        self._soon = Soon(self, self._pass_particle, _PASS_ON_MS)
        model.run_changed.connect(self._pass_run)
        model.picked.connect(self._pass_soon)
        model.selection_changed.connect(self._pass_mask)
        link.particle_changed.connect(self._take_particle)
        link.mask_changed.connect(self._take_mask)

    def close_link(self) -> None:
        """Neither tell nor listen any more; touches no Qt object."""
        link = self._link
        link.particle_changed.disconnect(self._take_particle)
        link.mask_changed.disconnect(self._take_mask)
        link.set_run(None)

    def _pass_run(self) -> None:
        self._link.set_run(self._model.run)

    def _pass_soon(self, _: object) -> None:
        self._soon.start()

    def _pass_particle(self) -> None:
        run, pick = self._model.run, self._model.pick
        if run is not None and pick is not None:
            self._link.set_particle(run.folder, pick.particle)

    def _pass_mask(self) -> None:
        if self._model.run is not None:
            self._link.set_mask(self._model.run.folder, self._model.current_mask)

    def _take_particle(self, folder: Path, particle: int) -> None:
        model = self._model
        known = model.pick is not None and model.pick.particle == particle
        if model.run is not None and model.run.folder == folder and not known:
            model.pick_particle(particle)

    def _take_mask(self, folder: Path, mask: Mask | None) -> None:
        model = self._model
        known = mask is model.current_mask
        if model.run is not None and model.run.folder == folder and not known:
            model.set_current(mask, elsewhere=True)
