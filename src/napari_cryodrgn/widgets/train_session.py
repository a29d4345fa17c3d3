"""A run in a thread of napari's worker pool."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.qt.threading import thread_worker
from psygnal import Signal

from ..errors import TrainingError
from ..training.events import Event
from ..training.settings import Settings

if TYPE_CHECKING:
    from ..particles import ParticleSet

Reconstruct = Callable[[Settings, "ParticleSet", bool], Iterator[Event]]
_INTERVAL = 0.1
_NICE = 10
_LIVE: WeakSet[TrainSession] = WeakSet()


@dataclass(frozen=True)
class Outcome:
    """How a run ended; without an error it either finished or was stopped."""

    error: Exception | None = None


class TrainSession:
    """Runs a generator of events in a thread and hands its events to the GUI.

    Events are collected and offered about ten times a second; the GUI takes all there are. One that
    is slow to draw gets fewer, larger helpings and never falls behind. Errors do not
    leave the thread as exceptions, since napari's workers swallow `RuntimeError`; they are in the
    `Outcome`.

    Parameters
    ----------
    start
        Called in the thread; returns the events. Closing them is a clean stop.
    """

    events = Signal(list)
    ended = Signal(object)

    def __init__(self, start: Callable[[], Iterator[Event]]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._pending: list[Event] = []
        self._stop = threading.Event()
        self._go_on = threading.Event()
        self._go_on.set()
        self._done = threading.Event()
        self._ended = False
        self._worker: Any = None
        self._stream: Any = None

    def __repr__(self) -> str:
        # napari shows this when a window with a running worker is closed.
        return "cryoDRGN job"

    def start(self) -> None:
        """Start the thread."""
        worker = thread_worker(self._run, ignore_errors=True)(_start_thread=False)
        worker.yielded.connect(self._take)
        worker.returned.connect(self._finish)
        worker.finished.connect(self._finish_aborted)
        self._worker = worker
        _LIVE.add(self)
        worker.start()

    def pause(self, paused: bool) -> None:
        """Hold the run at its next event, or let it go on."""
        if paused:
            self._go_on.clear()
        else:
            self._go_on.set()

    def stop(self) -> None:
        """Stop the run at its next event."""
        self._stop.set()
        self._go_on.set()

    def close(self, timeout: float = 10.0) -> None:
        """Stop and wait for the thread: a thread in torch at exit aborts the process."""
        self._ended = True
        self.stop()
        if self._worker is None:
            return
        deadline = time.monotonic() + timeout
        while not self._done.wait(0.02) and self._worker.is_running:
            if time.monotonic() > deadline:
                return
        self._close_stream()

    # In the thread

    def _run(self) -> Iterator[None]:
        outcome = Outcome()
        try:
            yield from self._offer_all()
        # Everything: what is not caught here and is a RuntimeError would vanish without a word.
        except Exception as error:  # noqa: BLE001
            outcome = Outcome(_explain(error))
        finally:
            self._done.set()
        return outcome  # type: ignore[return-value]  # noqa: B901

    def _offer_all(self) -> Iterator[None]:
        if self._stop.is_set():
            return
        stream = self._stream = self._start()
        offered_at = 0.0
        try:
            for event in stream:
                with self._lock:
                    self._pending.append(event)
                if time.monotonic() - offered_at > _INTERVAL:
                    offered_at = time.monotonic()
                    yield
                while not self._go_on.wait(_INTERVAL):
                    # An empty helping, so that napari can end the worker while paused.
                    yield
                if self._stop.is_set():
                    return
        finally:
            self._close_stream()

    def _close_stream(self) -> None:
        # A plain iterator cannot be closed.
        if hasattr(self._stream, "close"):
            self._stream.close()

    # In the GUI

    def _take(self, _: object = None) -> None:
        with self._lock:
            events, self._pending = self._pending, []
        if events and not self._ended:
            self.events.emit(events)

    def _finish(self, outcome: Outcome) -> None:
        self._take()
        if not self._ended:
            self._ended = True
            self.ended.emit(outcome)
        self._worker = None

    def _finish_aborted(self) -> None:
        """End without a result: napari quit the worker, because its window closes."""
        if self._worker is not None:
            # napari leaves the generator where it was.
            self._close_stream()
            self._finish(Outcome())


def _explain(error: Exception) -> Exception:
    if type(error).__name__ == "OutOfMemoryError":
        return TrainingError(
            "The GPU ran out of memory. Choose a smaller box or batch size, or train on the CPU."
        )
    return error


def run_reconstruct(settings: Settings, particles: ParticleSet, resume: bool) -> Iterator[Event]:
    """Train; the thread that asks, and those started from it, give way to the window."""
    from ..training import reconstruct

    _give_way()
    return reconstruct(settings, particles, resume)


def _give_way() -> None:
    """Let the calling thread, and those that torch starts for it, give way to the window.

    Linux knows priorities of threads, elsewhere they are those of the process. It cannot be
    undone, but an idle thread of Qt's pool ends after half a minute.
    """
    if sys.platform == "linux":
        # Not allowed everywhere; a run goes well without.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def load_run(folder: Path) -> tuple[Settings, ParticleSet]:
    """Settings and particles of a run that is to be resumed.

    Raises
    ------
    RunFolderError
        If the folder is no run.
    TrainingError
        If the run is finished, or its settings or particles cannot be found.
    """
    from ..analysis import Run
    from ..particles import read

    run = Run.open(folder)
    if run.finished:
        raise TrainingError(f"The run in {folder} is finished. Start another in a new folder.")
    if run.particles_path is None:
        raise TrainingError(
            f"The run in {folder} does not say which particles it used. Start it anew."
        )
    known = {k: v for k, v in run.settings.items() if k in Settings.model_fields}
    return Settings(**{**known, "output": folder}), read(run.particles_path)


@atexit.register
def _close_all() -> None:
    for session in list(_LIVE):
        session.close()
