"""Volumes of a run, soon and then in full, without Qt."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from psygnal import Signal

from .background import Background, Deliver
from .kept_volumes import KeptVolumes
from .previews import Previews

if TYPE_CHECKING:
    from ..analysis import Run

Array = NDArray[np.float32]
# Edge of the least volume that shows something, in voxels.
_SMALL = 32
# Seconds that a volume may take to decode while the mouse moves: to draw it takes as long again.
_QUICK = 0.03
# Seconds of a small volume from which on it is worth to show a preview of it.
_SLOW = 0.01
# Seconds that drawing it may take undisturbed.
_DRAWING = 0.05
_ROOM = 2**29


@dataclass(frozen=True)
class Decoded:
    """A volume (z, y, x) of a run.

    ``z`` (zdim,) is None for the run's consensus. ``box`` is the edge of ``data``, ``pixel_size``
    that of its voxels in Å, ``step`` the same in pixels of the run. ``contour`` is the run's, and
    the same for all boxes. ``seconds`` is how long it took, 0 if it was kept. ``final`` tells that
    no larger box follows or could, ``preview`` that it was not decoded but interpolated.
    """

    folder: Path
    z: Array | None
    data: Array
    box: int
    pixel_size: float | None
    step: float
    contour: float
    seconds: float
    caption: str
    final: bool
    preview: bool = False


class DecodeModel:
    """Decodes what is looked at: a small volume at once, the full one when the mouse rests.

    Give it a run with `set_run`. Call `look` for every point that the mouse passes and `settle`
    where it stops or clicks; `decoded` gives volumes of growing boxes, the last one with ``final``.
    Each is to be shown in place of the one before::

        decode.decoded.connect(
            lambda d: view.show(
                d.data, d.pixel_size, "Decoded volume", d.folder, d.contour, step=d.step
            )
        )

    The latest request wins: a larger box that is being decoded for an earlier one is given up, a
    small one is finished and shown, so that pictures follow each other however fast the mouse is.
    Where decoding is slow, previews take the place of small volumes as soon as there are any.
    Volumes are kept, and kept ones are shown within the call. All methods and signals belong to the
    thread that made this object; all arithmetic is done in another.

    Parameters
    ----------
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    room
        Bytes of volumes that are kept, the last used ones.
    """

    decoded = Signal(object)
    busy_changed = Signal()
    failed = Signal(object)

    def __init__(self, deliver: Deliver, room: int = _ROOM) -> None:
        self._background = Background(deliver)
        self._run: Run | None = None
        self._kept = KeptVolumes(room)
        self._previews = Previews(self._background)
        self._seconds: dict[int, float] = {}
        self._contour: float | None = None
        self._wanted: _Wanted | None = None
        self._job: _Job | None = None
        self._told_busy = self._looked = self._held = False

    @property
    def busy(self) -> bool:
        """Whether a volume is being decoded."""
        return self._wanted is not None or self._job is not None

    def close(self) -> None:
        """Drop what is being decoded; the model cannot be used afterwards."""
        self._give_up()
        self._previews.pause()
        self._background.close()

    def set_run(self, run: Run | None) -> None:
        """Decode another run, or the same one with new weights.

        The first small volume and the contour are prepared now. A folder keeps its contour.
        """
        if run is None or self._run is None or run.folder != self._run.folder:
            self._contour = None
        self._run, self._wanted, self._looked, self._held = run, None, False, False
        self._give_up()
        self._background.forget("prepare")
        self._previews.set_run(None, 0)
        self._kept.clear()
        self._seconds.clear()
        if run is not None and run.can_decode:
            job = partial(_prepare, run, self._contour)
            # What goes wrong now goes wrong again, and is told, when a volume is asked for.
            self._background.ask("prepare", job, partial(self._prepared, run), lambda _: None)
        self._tell()

    def look(self, z: ArrayLike, caption: str = "") -> None:
        """Decode a small volume at ``z`` (zdim,): as large as the mouse's pace allows."""
        self._ask(_Wanted(np.array(z, np.float32), caption, full=False))

    def settle(self, z: ArrayLike, caption: str = "") -> None:
        """Decode a small volume at ``z`` (zdim,), then larger ones up to the run's box."""
        self._ask(_Wanted(np.array(z, np.float32), caption, full=True))

    def show_structure(self, caption: str = "structure") -> None:
        """Give the run's consensus volume, which needs no decoder."""
        self._ask(_Wanted(None, caption, full=True))

    def give_way(self) -> None:
        """Decode nothing until the next question, neither volumes nor previews."""
        self._held, self._wanted = True, None
        self._previews.pause()
        self._give_up()
        self._tell()

    # One volume after the other

    def _ask(self, wanted: _Wanted) -> None:
        run = self._run
        if run is None or (wanted.z is not None and not run.can_decode):
            return
        self._wanted, self._held = wanted, False
        self._previews.pause()
        self._looked = True
        quick = self._job is not None and self._job.quick
        if not quick or self._best_kept(run, wanted) or self._preview(wanted) is not None:
            self._give_up()
            self._go_on()
        self._tell()

    def _give_up(self) -> None:
        """Hear no more of the volume that is being decoded."""
        if self._job is not None:
            self._job.given_up.set()
            self._job = None
            self._background.forget("decode")

    def _go_on(self) -> None:
        """Show the best of what is wanted that is kept, and decode what comes next."""
        run, wanted = self._run, self._wanted
        if run is None or wanted is None:
            return
        previewed = False
        if best := self._best_kept(run, wanted):
            wanted.shown = best
            assert wanted.z is not None
            self._show(run, wanted, self._kept.get(wanted.z, best), 0.0)
        elif (preview := self._preview(wanted)) is not None:
            wanted.shown, previewed = len(preview), True
            self._show(run, wanted, preview, 0.0, preview=True)
        if self._wanted is not wanted:
            return  # whoever was told has asked for another
        quick = self._quick_box(run.box)
        boxes = [run.box] if wanted.z is None else [b for b in _boxes(run.box) if b >= quick]
        box = next((b for b in boxes if b > wanted.shown), None)
        if box is None or (wanted.shown and not wanted.full):
            self._wanted = None
            return
        small = wanted.z is not None and box <= quick
        job = self._job = _Job(wanted, box, small, _DRAWING if previewed else 0.0)
        work = partial(_decode, run, job, self._contour)
        done, failed = partial(self._done, run, job), partial(self._failed, job)
        self._background.ask("decode", work, done, failed)

    def _done(self, run: Run, job: _Job, answer: tuple[Array, float, float]) -> None:
        volume, self._contour, seconds = answer
        self._job = None
        wanted = job.wanted
        if wanted.z is not None:
            self._kept.put(wanted.z, volume)
            self._seconds[job.box] = min(seconds, self._seconds.get(job.box, seconds))
        wanted.shown = job.box
        self._show(run, wanted, volume, seconds)
        if self._job is None:  # else whoever was told has asked for another
            self._go_on()
        self._tell()

    def _failed(self, job: _Job, error: Exception) -> None:
        self._job = None
        if self._wanted is job.wanted:
            self._wanted = None
        self._go_on()
        self._tell()
        self.failed.emit(error)

    def _preview(self, wanted: _Wanted) -> Array | None:
        """What stands in for a small volume until a larger one is decoded."""
        return None if wanted.z is None or wanted.shown else self._previews.at(wanted.z)

    def _show(
        self, run: Run, wanted: _Wanted, volume: Array, seconds: float, *, preview: bool = False
    ) -> None:
        assert self._contour is not None
        box = len(volume)
        step = run.box / box
        size = None if run.pixel_size is None else run.pixel_size * step
        final = box == run.box
        self.decoded.emit(
            Decoded(
                *(run.folder, wanted.z, volume, box, size, step),
                *(self._contour, seconds, wanted.caption, final, preview),
            )
        )

    def _prepared(self, run: Run, answer: tuple[int, float, float]) -> None:
        box, seconds, self._contour = answer
        self._seconds[box] = seconds
        if box < run.box and seconds > _SLOW:
            self._previews.set_run(run, box)
            self._tell()

    def _tell(self) -> None:
        if self.busy != self._told_busy:
            self._told_busy = self.busy
            self.busy_changed.emit()
        # A run in progress needs the processor: it is previewed when somebody looks at it.
        if self.busy or self._held or self._run is None:
            return
        if self._run.finished or self._looked:
            self._previews.go_on()

    # Sizes

    def _best_kept(self, run: Run, wanted: _Wanted) -> int:
        """The largest box kept of what is wanted, if larger than what is shown; else 0."""
        if wanted.z is None:
            return 0
        boxes = [b for b in _boxes(run.box) if b > wanted.shown and self._kept.has(wanted.z, b)]
        return max(boxes, default=0)

    def _quick_box(self, full: int) -> int:
        """The largest box that is decoded quickly, at most one beyond those decoded so far."""
        quick, *larger = _boxes(full)
        for box in larger:
            guess = self._seconds.get(quick, np.inf) * (box / quick) ** 3
            if self._seconds.get(box, guess) > _QUICK:
                break
            quick = box
        return quick


@dataclass
class _Wanted:
    """A volume asked for: ``full`` or only small; ``shown`` is the box shown of it so far."""

    z: Array | None
    caption: str
    full: bool
    shown: int = 0


@dataclass
class _Job:
    """A volume being decoded, after ``wait`` seconds; ``given_up`` is read in the other thread."""

    wanted: _Wanted
    box: int
    quick: bool
    wait: float
    given_up: threading.Event = field(default_factory=threading.Event)


def _boxes(full: int) -> list[int]:
    """Boxes shown one after the other: a small one, then doubling up to the full one."""
    boxes = [full]
    while boxes[0] > 3 * _SMALL:
        boxes.insert(0, boxes[0] // 4 * 2)
    return boxes if boxes[0] <= _SMALL else [_SMALL, *boxes]


# In the thread


def _prepare(run: Run, contour: float | None) -> tuple[int, float, float]:
    """The smallest box, seconds to decode it, and the contour."""
    box = _boxes(run.box)[0]
    z = np.zeros(run.zdim, np.float32)
    # The first time it reads the weights and finds out what can be kept.
    run.decode(z, box)
    start = perf_counter()
    run.decode(z, box)
    return box, perf_counter() - start, run.contour() if contour is None else contour


def _decode(run: Run, job: _Job, contour: float | None) -> tuple[Array, float, float]:
    """The volume, the contour, and seconds for the volume."""
    job.given_up.wait(job.wait)
    start = perf_counter()
    z = job.wanted.z
    if z is None:
        volume = np.array(run.consensus().data, np.float32)
    else:
        volume = run.decode(z, job.box, stop=job.given_up.is_set)
    seconds = perf_counter() - start
    return volume, run.contour() if contour is None else contour, seconds
