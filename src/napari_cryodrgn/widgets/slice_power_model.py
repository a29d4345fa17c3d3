"""Power of a volume's central slices beside that of images, without Qt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from ..errors import CryodrgnError
from .background import Background, Deliver
from .densities import Density
from .import_model import random_rows
from .inspector_model import InspectorModel
from .slice_model import SliceModel

if TYPE_CHECKING:
    from ..analysis import Run
    from ..analysis.slice_power import CentralSlices, SlicePower

#: Images that a mean is of at most.
AVERAGED = 200


@dataclass(frozen=True, eq=False)
class ShownPower:
    """Power of the slices of a volume called ``name``, and of images called ``what``.

    ``pixel_size`` is that of the run in Å. ``fault`` says why there is none of images.
    """

    power: SlicePower
    name: str
    what: str
    pixel_size: float | None
    fault: CryodrgnError | None


class PowerModel:
    """Power across the view of the inspected particle, or across those of a selection.

    Nothing is read or computed while `active` is off.

    Parameters
    ----------
    slices
        Whose first volume is looked at.
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    """

    #: `ShownPower`, or why there is none, as an exception.
    drawn = Signal(object)

    def __init__(self, slices: SliceModel, deliver: Deliver) -> None:
        self._slices = slices
        self._inspector = slices.inspector
        self._background = Background(deliver)
        self._worker = _Worker(self._inspector)
        self._active = self._mean = False
        slices.volume_changed.connect(self._refresh)
        self._inspector.mask_changed.connect(self._on_mask)
        self._inspector.run_changed.connect(self._on_run)

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        self._background.close()

    def set_active(self, active: bool) -> None:
        """Start to look, or rest."""
        changed, self._active = active != self._active, active
        if changed:
            self._refresh()

    def set_mean(self, mean: bool) -> None:
        """Look at the mean over the selection, over all without one, or at one particle."""
        self._mean = mean
        self._refresh()

    def _on_run(self) -> None:
        # The transform of a volume of another run must not stay in memory.
        self._worker = _Worker(self._inspector)

    def _on_mask(self) -> None:
        if self._mean:
            self._refresh()

    def _refresh(self) -> None:
        density, run = self._slices.first, self._inspector.run
        if not self._active or density is None or not density.final:
            return
        if run is None:
            self._tell(CryodrgnError("There are no views to lie across: open a run."))
        elif not density.framed:
            self._tell(CryodrgnError("This volume is on another cube than the run's images."))
        elif run.rotations is None:
            self._tell(CryodrgnError("There are no views to lie across: the run has no poses yet."))
        else:
            rows, what = self._rows(run)
            job = partial(self._worker.power, run, density, rows, what)
            self._background.ask("power", job, self.drawn.emit, self.drawn.emit)

    def _tell(self, error: CryodrgnError) -> None:
        self._background.forget("power")
        self.drawn.emit(error)

    def _rows(self, run: Run) -> tuple[list[int], str]:
        mask, particle = self._inspector.mask, self._inspector.particle
        if not self._mean:
            return [particle], f"image {particle}"
        if mask is None or not mask.any():
            rows = random_rows(run.n_particles, AVERAGED, 0)
            return rows, f"mean of {len(rows)} of all {run.n_particles:,} images"
        chosen = np.flatnonzero(mask)
        places = random_rows(len(chosen), AVERAGED, 0)
        what = f"mean of {len(places)} of {len(chosen):,} selected images"
        return chosen[places].tolist(), what


class _Worker:
    """What is done in the thread; the transform of the last volume is kept."""

    def __init__(self, inspector: InspectorModel) -> None:
        self._images = inspector.images
        self._last: tuple[Density, CentralSlices] | None = None

    def power(self, run: Run, density: Density, rows: list[int], what: str) -> ShownPower:
        from ..analysis.slice_power import CentralSlices

        if self._last is None or self._last[0] is not density:
            self._last = None  # its memory is needed
            self._last = density, CentralSlices(density.data, run.box)
        slices, fault = self._last[1], None
        try:
            power = slices.compare(self._images.of(run), rows)
        except CryodrgnError as error:
            assert run.rotations is not None
            power, fault = slices.alone(run.rotations[rows[0]]), error
        return ShownPower(power, density.name, what, run.pixel_size, fault)
