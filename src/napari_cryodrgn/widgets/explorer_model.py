"""What the Latent explorer knows, without Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from ..errors import RunFolderError
from .background import Background, Deliver
from .latent_space import LatentSpace

if TYPE_CHECKING:
    from ..analysis import Run

Array = NDArray[np.float32]
_WALK_STEPS = 20
_WALK_BYTES = 2**29


@dataclass(frozen=True)
class Pick:
    """A clicked point: its z (zdim,), the particle drawn nearest, and how far that one is in z."""

    z: Array
    particle: int
    distance: float


@dataclass(frozen=True)
class Decoded:
    """A volume (z, y, x) or a walk (step, z, y, x) of a run, with voxels of ``pixel_size`` Å."""

    folder: Path
    data: Array
    pixel_size: float | None
    contour: float | None
    seconds: float
    caption: str


@dataclass(frozen=True)
class _Opened:
    run: Run
    space: LatentSpace | None


class ExplorerModel:
    """An open run, the chosen axes, and what was clicked.

    Parameters
    ----------
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    open_run
        Opens a run folder; `analysis.Run.open` if absent.
    pca
        Coordinates (N, k) of latents (N, zdim) on their principal axes; `analysis.pca` if absent.
    """

    run_changed = Signal()
    axes_changed = Signal()
    picked = Signal(object)
    decoded = Signal(object)
    walked = Signal(object)
    busy_changed = Signal()
    failed = Signal(object)

    def __init__(
        self,
        deliver: Deliver,
        open_run: Callable[[Path], Run] | None = None,
        pca: Callable[[Array], Array] | None = None,
    ) -> None:
        self.open_run = open_run or _open_run
        self.pca = pca or _pca
        self._background = Background(deliver)
        self.run: Run | None = None
        self.space: LatentSpace | None = None
        self.axes: tuple[str, ...] = ()
        self.pick: Pick | None = None
        self.snap = False
        self._contour: float | None = None
        self._walk: list[Array] = []
        self._walk_path: Array = np.zeros((0, 0), np.float32)

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        self._background.close()

    # Opening

    def open(self, folder: Path) -> None:
        """Open a run folder in the background; a failure leaves the open run as it is."""
        self._background.ask("open", partial(self._load, folder), self._opened, self._failed)
        self.busy_changed.emit()

    def follow(self) -> None:
        """Open the run again if its files have changed since, unless it is finished."""
        run = self.run
        if run is None or run.finished or self._background.waits_for("open"):
            return

        def reload() -> _Opened | None:
            return self._load(run.folder) if run.changed() else None

        # A folder in progress may be caught between two files: the next look will do.
        self._background.ask("open", reload, self._reopened, lambda _: None)

    def _load(self, folder: Path) -> _Opened:
        run = self.open_run(folder)
        latents = run.latents
        if run.zdim == 0 or latents is None or not len(latents.mu):
            return _Opened(run, None)
        if not np.isfinite(latents.mu).all():
            raise RunFolderError(
                folder, "some latents are not finite.", remedy="The training diverged; train again."
            )
        return _Opened(run, LatentSpace(np.asarray(latents.mu), self.pca))

    def _reopened(self, opened: _Opened | None) -> None:
        if opened is not None:
            self._opened(opened)

    def _opened(self, opened: _Opened) -> None:
        before = self.run
        same = before is not None and before.folder == opened.run.folder
        self.run, self.space = opened.run, opened.space
        if not same:
            self.cancel_walk()
            self._background.forget("decode")
            self._contour = None
        if not same or self.space is None:
            self.pick = None
        names = self.space.names if self.space is not None else []
        if not same or not self.axes or not set(self.axes) <= set(names):
            self.axes = self.space.default_axes if self.space is not None else ()
        self.run_changed.emit()
        self.busy_changed.emit()

    # Looking

    def set_axes(self, axes: Sequence[str]) -> None:
        """Choose the axes of the drawing."""
        if tuple(axes) != self.axes:
            self.axes = tuple(axes)
            self.axes_changed.emit()

    def coordinates(self) -> Array | None:
        """Coordinates (N, 1 or 2) of the particles on the chosen axes."""
        return None if self.space is None else self.space.coordinates(self.axes)

    # Clicking

    def pick_at(self, point: Sequence[float], unit: Sequence[float]) -> None:
        """Pick a point of the drawing and decode its z.

        Parameters
        ----------
        point
            On the chosen axes.
        unit
            Size of a screen pixel on these axes: nearness is what the eye sees.
        """
        if self.space is None:
            return
        particle = self.space.nearest(self.axes, point, unit)
        base = self.space.mu[particle]
        z = base if self.snap else self.space.z_at(self.axes, point, base)
        self.pick = Pick(z, particle, float(np.linalg.norm(z - base)))
        self.picked.emit(self.pick)
        run = self.run
        if run is not None and run.can_decode:
            self._ask(run, partial(run.decode, z), f"particle {particle}" if self.snap else "z")

    def show_structure(self) -> None:
        """Show the consensus volume of the run."""
        run = self.run
        if run is not None:
            self._ask(run, lambda: np.asarray(run.consensus().data), "structure")

    def _ask(self, run: Run, volume: Callable[[], Array], caption: str) -> None:
        def job() -> Decoded:
            start = perf_counter()
            data = volume()
            seconds = perf_counter() - start
            return Decoded(run.folder, data, run.pixel_size, self._level(run), seconds, caption)

        self._background.ask("decode", job, self._show, self._failed)
        self.busy_changed.emit()

    def _level(self, run: Run) -> float:
        if self._contour is None:
            self._contour = run.contour()
        return self._contour

    def _show(self, decoded: Decoded) -> None:
        self.decoded.emit(decoded)
        self.busy_changed.emit()

    # Walking

    @property
    def walk_axis(self) -> str:
        """The axis that `walk` follows."""
        return "z0" if self.space is None or "PC1" not in self.space.names else "PC1"

    @property
    def walk_progress(self) -> tuple[int, int] | None:
        """Steps done and to do, while walking."""
        return (len(self._walk), len(self._walk_path)) if len(self._walk_path) else None

    def walk(self) -> None:
        """Decode volumes along the main axis, from the 5th to the 95th percentile.

        Step by step, so that clicks are answered in between.
        """
        if self.run is None or self.space is None or not self.run.can_decode:
            return
        steps = min(_WALK_STEPS, max(_WALK_BYTES // (4 * self.run.box**3), 2))
        self._walk, self._walk_path = [], self.space.walk(self.walk_axis, steps)
        self._walk_on(self.run)

    def cancel_walk(self) -> None:
        """Give up a walk."""
        self._background.forget("walk")
        self._walk, self._walk_path = [], np.zeros((0, 0), np.float32)
        self.busy_changed.emit()

    def _walk_on(self, run: Run) -> None:
        z = self._walk_path[len(self._walk)]

        def done(volume: Array) -> None:
            self._walk.append(volume)
            if len(self._walk) < len(self._walk_path):
                self._walk_on(run)
            else:
                self._arrive(run)

        def job() -> Array:
            self._level(run)
            return run.decode(z)

        self._background.ask("walk", job, done, self._failed_walk)
        self.busy_changed.emit()

    def _arrive(self, run: Run) -> None:
        caption = f"Walk along {self.walk_axis}"
        data = np.stack(self._walk)
        self.cancel_walk()
        self.walked.emit(Decoded(run.folder, data, run.pixel_size, self._contour, 0.0, caption))

    # Waiting

    @property
    def busy(self) -> str:
        """What is being computed, as a word for the dock; empty if nothing."""
        if self._background.waits_for("open"):
            return "Opening ..."
        if self._background.waits_for("decode"):
            return "Decoding ..."
        return ""

    def _failed(self, error: Exception) -> None:
        self.busy_changed.emit()
        self.failed.emit(error)

    def _failed_walk(self, error: Exception) -> None:
        self.cancel_walk()
        self._failed(error)


def _open_run(folder: Path) -> Run:
    from ..analysis import Run

    return Run.open(folder)


def _pca(mu: Array) -> Any:
    from ..analysis import pca

    return pca(mu)
