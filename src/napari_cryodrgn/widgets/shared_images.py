"""Images of the particles of an open run, shared by all that look at them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis import Run, RunImages


class SharedImages:
    """Opens the particles of a run once; safe in any thread.

    Parameters
    ----------
    open_images
        Opens the images of a run; `analysis.RunImages` if absent.
    """

    def __init__(self, open_images: Callable[[Run], RunImages] | None = None) -> None:
        self._open = open_images or _open
        self._lock = threading.Lock()
        self._opened: RunImages | None = None
        self._run: Run | None = None

    def of(self, run: Run) -> RunImages:
        """The images of a run.

        Raises
        ------
        CryodrgnError
            If they cannot be read.
        """
        with self._lock:
            if self._opened is None or self._run is not run:
                self._opened, self._run = self._open(run), run
            return self._opened

    def drop(self) -> None:
        """Forget the run that was opened last, unless one is being opened at this moment."""
        if self._lock.acquire(blocking=False):
            self._opened = self._run = None
            self._lock.release()


def _open(run: Run) -> RunImages:
    from ..analysis import RunImages

    return RunImages(run)
