"""A plane through volumes: where it lies, and what is on it; without Qt."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from .background import Background, Deliver
from .decode_model import DecodeModel
from .densities import Density
from .inspector_model import InspectorModel
from .slice_volumes import KEPT, PARTICLE, SliceVolumes
from .slice_work import Prepared, Slices, cut_through

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..analysis import Run
    from ..analysis.slices import Plane

Array = NDArray[np.float32]
Across = Literal["z", "y", "x", "view"]
# The coarsest low-pass leaves so many waves in a volume's edge.
_WAVES = 5


class SliceModel:
    """A plane that moves through a volume, and through a second one at the same place.

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
        See `SliceVolumes`.
    """

    #: `Slices`, or None if there is no volume.
    drawn = Signal(object)
    #: The first volume is another, or another one is inspected.
    volume_changed = Signal()
    #: What there is to choose from, or the choice.
    choices_changed = Signal()
    low_pass_changed = Signal()
    failed = Signal(object)

    def __init__(
        self,
        inspector: InspectorModel,
        viewer: ViewerModel,
        deliver: Deliver,
        decode: DecodeModel | None = None,
    ) -> None:
        self.inspector = inspector
        self._background = Background(deliver)
        self.volumes = SliceVolumes(inspector, viewer, deliver, decode)
        self.across: Across = "z"
        self.offset = 0.0
        #: What is cut: a key of `choices` or None for each side.
        self.keys: list[Any] = [None, None]
        # What the user wants there, which may come back.
        self._wished: list[Any] = [PARTICLE, None]
        #: Resolution that volumes are blurred to; None leaves them as they are.
        self.low_pass: float | None = None
        self.slices: Slices | None = None
        self._densities: list[Density | None] = [None, None]
        self._prepared: Prepared | None = None
        self._cut_again = False
        self._active = False
        self._run: Run | None = None
        self._limited: Path | None = None
        inspector.run_changed.connect(self._on_run)
        inspector.particle_changed.connect(self._on_particle)
        self.volumes.choices_changed.connect(self._on_choices)
        self.volumes.brought.connect(self._take)
        self.volumes.failed.connect(self._not_brought)

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        self.volumes.close()
        self._background.close()

    @property
    def active(self) -> bool:
        """Whether anybody looks."""
        return self._active

    @active.setter
    def active(self, active: bool) -> None:
        if active == self._active:
            return
        self._active = self.volumes.active = active
        if active:
            self._follow_run()
        else:
            self.volumes.give_up()

    @property
    def first(self) -> Density | None:
        """The volume that is cut."""
        return self._densities[0]

    @property
    def rotation(self) -> Array | None:
        """Rotation (3, 3), object to image, of the inspected particle, if the run has poses."""
        run = self.inspector.run
        if run is None or run.rotations is None:
            return None
        return run.rotations[self.inspector.particle]

    # What is chosen

    def choices(self) -> dict[Any, str]:
        """Keys of the volumes there are, and what they are called."""
        return self.volumes.choices()

    def choose(self, side: int, key: Any) -> None:
        """Cut another volume: the first (0), or the second (1), which may be None."""
        self._wished[side] = key
        if key != self.keys[side]:
            self.keys[side] = key
            self._bring(side)
            self.choices_changed.emit()

    def keep(self) -> None:
        """Keep the first volume as it is now, and compare others with it."""
        if self.first is not None:
            self.volumes.kept = self.first.kept()
            self.keys[1] = self._wished[1] = KEPT
            self._bring(1)
            self.choices_changed.emit()

    def set_across(self, across: Across) -> None:
        """Lay the plane across an axis, or across the view of the particle."""
        self.across = across
        self._cut()

    def set_offset(self, offset: float) -> None:
        """Move the plane to a distance in Å from the volume's centre."""
        self.offset = offset
        self._cut()

    def low_passes(self) -> tuple[float, float]:
        """Finest and coarsest resolution that volumes can be blurred to."""
        if self.first is None:
            return 1.0, 2.0
        finest = 2 * min(self.first.size)
        return finest, max(self.first.edge / _WAVES, 1.5 * finest)

    def set_low_pass(self, low_pass: float) -> None:
        """Blur volumes to another resolution in Å; at the finest, not at all."""
        finest, coarsest = self.low_passes()
        value = None if low_pass <= finest else min(low_pass, coarsest)
        if value != self.low_pass:
            self.low_pass = value
            self.low_pass_changed.emit()
            self._cut()

    # Volumes

    def _bring(self, side: int) -> None:
        self._densities[side] = None
        if self._active:
            self.volumes.bring(side, self.keys[side])

    def _take(self, side: int, density: Density | None) -> None:
        self._densities[side] = density
        if side == 0:
            self.volume_changed.emit()
        self._cut()

    def _not_brought(self, side: int, error: Exception) -> None:
        if side == 0:
            self._show(None)
        self.failed.emit(error)

    def _on_choices(self) -> None:
        """Take in what there is to choose from; what has gone is chosen no longer."""
        choices = self.volumes.choices()
        for side, key in enumerate(self._wished):
            # A layer that was removed does not come back; what a run lacks, the next may have.
            if not (key is None or isinstance(key, str) or key in choices):
                self._wished[side] = key = None if side else PARTICLE
            if key not in choices:
                key = None if side else next(iter(choices), None)
            if key != self.keys[side]:
                self.keys[side] = key
                self._bring(side)
        self.choices_changed.emit()

    # Following

    def _on_run(self) -> None:
        if self._active:
            self._follow_run()
        elif self.inspector.run is not self._run:
            self._forget_run()
            self._show(None)

    def _follow_run(self) -> None:
        run = self.inspector.run
        if run is not self._run:
            self._forget_run()
        self.volumes.set_run(run)
        if run is not None and run.folder != self._limited:
            self._limited = run.folder
            self._ask_limit(run)
        # What is brought below is to be brought once.
        self.keys = [None, None]
        self._on_choices()
        if self.keys[0] is None:
            self._show(None)

    def _forget_run(self) -> None:
        run = self.inspector.run
        if self._run is None or run is None or run.folder != self._run.folder:
            self.volumes.kept = self.low_pass = self._limited = None
            self._background.forget("limit")
        self._background.forget("cut")
        self._cut_again = False
        self._run, self._densities, self._prepared = run, [None, None], None
        self.volumes.set_run(run)

    def _ask_limit(self, run: Run) -> None:
        """Blur volumes to what the half maps of a run vouch for."""
        from ..analysis.evidence import half_map_resolution

        def done(resolution: float | None) -> None:
            finest = 2 * (run.pixel_size or 1.0)
            if self.low_pass is None and resolution is not None and resolution > finest:
                self.low_pass = resolution
                self.low_pass_changed.emit()
                self._cut()

        # Volumes of a run without half maps, or with damaged ones, are left as they are.
        job = partial(half_map_resolution, run)
        self._background.ask("limit", job, done, lambda _: None)

    def _on_particle(self) -> None:
        if not self._active:
            return
        if self.keys[0] == PARTICLE:
            self.volumes.bring(0, PARTICLE)
        else:
            self.volume_changed.emit()
            if self.across == "view":
                self._cut()

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
        job = partial(cut_through, first, second, self.plane(), self.low_pass, self._prepared)
        self._background.ask("cut", job, self._on_cut, self._on_failed)

    def _on_cut(self, answer: tuple[Slices, Prepared]) -> None:
        slices, prepared = answer
        self._prepared = prepared
        self._show(slices)
        if self._cut_again:
            self._cut_again = False
            self._cut()

    def _on_failed(self, error: Exception) -> None:
        self.failed.emit(error)

    def _show(self, slices: Slices | None) -> None:
        self.slices = slices
        self.drawn.emit(slices)
