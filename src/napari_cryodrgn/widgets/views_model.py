"""Where the particles of the inspected run are seen from, without Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from ..particles import euler_from_rotations
from .background import Background, Deliver
from .map_histogram import Counts as Bars
from .sphere import MOST_SIDE
from .view_directions import nearest_direction, on_map, view_axes

if TYPE_CHECKING:
    from ..analysis import Run
    from ..analysis.orientations import Counts, OrientationBias
    from .inspector_model import InspectorModel

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
_DOTS = 500
_CHUNK = 2**18
_ANGLE_BINS, _SHIFT_BINS = 36, 30


@dataclass(frozen=True, eq=False)
class Views:
    """Views of all n particles of a run.

    ``axes`` (n, 3) are the directions they are seen along, ``psi`` (n,) their angles in the plane
    in degrees and ``shift`` (n,) how far they lie off the centre, in ``unit``. ``counts`` are the
    views in each HEALPix pixel, of ``spacing`` degrees; ``bars`` are those for a sphere.
    """

    run: Run
    axes: Array
    psi: Array
    shift: Array
    unit: str
    counts: Counts
    spacing: float
    bars: Counts
    bias: OrientationBias | None

    @classmethod
    def of(cls, run: Run) -> Views | None:
        """Look through the poses of a run; None if it has none yet."""
        from ..analysis.orientations import (
            count_side,
            count_views,
            orientation_bias,
            pixel_spacing,
        )

        if run.rotations is None or not len(run.rotations):
            return None
        rotations, n = run.rotations, len(run.rotations)
        axes = np.ascontiguousarray(view_axes(rotations), np.float32)
        psi = np.empty(n, np.float32)
        for first in range(0, n, _CHUNK):
            part = slice(first, first + _CHUNK)
            psi[part] = euler_from_rotations(rotations[part])[:, 2]
        shifts = np.zeros((n, 2), np.float32) if run.shifts is None else run.shifts
        shift = np.hypot(shifts[:, 0], shifts[:, 1]) * np.float32(run.pixel_size or 1)
        side = count_side(n)
        return cls(
            run,
            axes,
            psi,
            shift.astype(np.float32),
            "Å" if run.pixel_size else "pixels",
            count_views(axes, side),
            pixel_spacing(side),
            count_views(axes, min(side, MOST_SIDE)),
            orientation_bias(axes),
        )


@dataclass(frozen=True, eq=False)
class Shown:
    """What there is to see of views, and of those that are selected.

    ``dots`` (m, 2) are places on the map: of all if they are few, or of some that are selected.
    In the histograms those selected are as high as all, to compare their shapes.
    """

    views: Views
    chosen: OrientationBias | None
    dots: Array
    psi: Bars
    shift: Bars

    @classmethod
    def of(cls, views: Views, mask: Mask | None) -> Shown:
        """Count what is to be shown, with a selection (n,) if there is one."""
        from ..analysis.orientations import orientation_bias

        axes = views.axes if mask is None else views.axes[mask]
        dots = axes
        if len(axes) > _DOTS:
            sample = np.random.default_rng(0).choice(len(axes), _DOTS, replace=False)
            dots = axes[:0] if mask is None else axes[sample]
        # A few shifts that are far off would squeeze the rest.
        end = max(1.05 * float(np.quantile(views.shift, 0.999)), 1e-3)
        return cls(
            views,
            None if mask is None else orientation_bias(axes),
            on_map(dots),
            _bars(views.psi, np.linspace(-180, 180, _ANGLE_BINS + 1), mask),
            _bars(np.minimum(views.shift, end), np.linspace(0, end, _SHIFT_BINS + 1), mask),
        )


class ViewsModel:
    """Views of the particles, and the choice of some by them.

    Nothing is computed while `active` is off.

    Parameters
    ----------
    inspector
        Whose run, particle and selection are followed.
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    """

    #: There is something else in `shown`.
    changed = Signal()
    #: The direction (3,) of the inspected particle, or None.
    pointed = Signal(object)
    #: The view should turn to the pose (3, 3) of a particle.
    turned = Signal(object)
    failed = Signal(object)

    def __init__(self, inspector: InspectorModel, deliver: Deliver) -> None:
        self.inspector = inspector
        self._background = Background(deliver)
        self._active = False
        self._stale = True
        self._views: Views | None = None
        self._circle: tuple[Array, float, Mask] | None = None
        self.shown: Shown | None = None
        inspector.run_changed.connect(self._on_run)
        inspector.mask_changed.connect(self._on_mask)
        inspector.particle_changed.connect(self._point)

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        for signal, slot in (
            (self.inspector.run_changed, self._on_run),
            (self.inspector.mask_changed, self._on_mask),
            (self.inspector.particle_changed, self._point),
        ):
            signal.disconnect(slot)
        self._background.close()

    @property
    def busy(self) -> bool:
        """Whether something is being computed."""
        return self._background.waits_for("views")

    @property
    def active(self) -> bool:
        """Whether anybody looks."""
        return self._active

    @active.setter
    def active(self, active: bool) -> None:
        self._active = active
        if active and self._stale:
            self._refresh()
        else:
            self._point()

    @property
    def axis(self) -> Array | None:
        """The direction (3,) that the inspected particle is seen along; None without poses."""
        rotation = self.rotation
        return None if rotation is None else view_axes(rotation[None])[0]

    @property
    def rotation(self) -> Array | None:
        """The pose (3, 3) of the inspected particle; None without poses."""
        run = self.inspector.run
        if run is None or run.rotations is None:
            return None
        return np.asarray(run.rotations[self.inspector.particle], np.float32)

    @property
    def circle(self) -> tuple[Array, float] | None:
        """Direction (3,) and angle in degrees that the present selection is within, if any."""
        if self._circle is None or self.inspector.mask is not self._circle[2]:
            return None
        return self._circle[:2]

    def pick(self, direction: Array) -> None:
        """Inspect the particle seen most nearly along a direction (3,), and turn to its view."""
        axes = self._axes()
        if axes is not None:
            self.inspector.set_particle(nearest_direction(axes, direction))
            self.turn()

    def turn(self) -> None:
        """Turn to the view of the inspected particle."""
        if self.rotation is not None:
            self.turned.emit(self.rotation)

    def select_within(self, direction: Array, degrees: float) -> None:
        """Select the particles seen along directions within an angle of one (3,)."""
        axes = self._axes()
        if axes is not None:
            near = axes @ np.asarray(direction, np.float32)
            mask = near >= np.float32(np.cos(np.deg2rad(degrees)))
            self._circle = direction, degrees, mask
            self.inspector.set_mask(mask)

    def _axes(self) -> Array | None:
        """Directions (n, 3) of what is shown, if they are of the particles of the run."""
        run, shown = self.inspector.run, self.shown
        if run is None or shown is None or len(shown.views.axes) != run.n_particles:
            return None
        return shown.views.axes

    def _on_run(self) -> None:
        run, shown = self.inspector.run, self.shown
        # Of a run that goes on, the views of before are shown until the new ones are counted.
        if (
            run is None
            or run.rotations is None
            or shown is None
            or shown.views.run.folder != run.folder
            or len(shown.views.axes) != len(run.rotations)
        ):
            self.shown = None
        self._views = None
        self._background.forget("views")
        self._refresh()

    def _on_mask(self) -> None:
        self._refresh()

    def _refresh(self) -> None:
        run, mask, known = self.inspector.run, self.inspector.mask, self._views
        self._stale = not self._active
        if self._active and run is not None and run.rotations is not None:

            def job() -> Shown | None:
                views = Views.of(run) if known is None else known
                return None if views is None else Shown.of(views, mask)

            self._background.ask("views", job, self._done, self._failed)
        self.changed.emit()
        self._point()

    def _done(self, shown: Shown | None) -> None:
        self.shown = shown
        self._views = None if shown is None else shown.views
        self.changed.emit()
        self._point()

    def _failed(self, error: Exception) -> None:
        self.changed.emit()
        self.failed.emit(error)

    def _point(self) -> None:
        if self._active:
            self.pointed.emit(self.axis)


def _bars(values: Array, edges: NDArray[np.float64], mask: Mask | None) -> Bars:
    everything = np.histogram(values, edges)[0]
    chosen = None
    if mask is not None:
        some = np.histogram(values[mask], edges)[0]
        # A hundredth of the particles could not be seen beside all of them.
        scale = int(everything.max()) / max(int(some.max()), 1)
        chosen = np.round(some * scale).astype(np.intp)
    return Bars(edges, everything, everything, chosen, None)
