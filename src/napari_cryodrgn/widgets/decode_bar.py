"""Decoding many volumes in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CryodrgnError
from .job_bar import JobBar

if TYPE_CHECKING:
    from ..analysis import Run

Array = NDArray[np.float32]
#: Whether volumes are no longer wanted.
Stop = Callable[[], bool]


def decode_each(
    run: Run, latents: Sequence[Array] | Array, box: int, stop: Stop
) -> Iterator[Array]:
    """Volumes (box, box, box) at each latent (zdim,); fewer if ``stop`` says so.

    Raises
    ------
    CryodrgnError
        If a volume cannot be decoded.
    """
    for z in latents:
        try:
            volume = run.decode(z, box, stop=stop)
        except CryodrgnError:
            # Given up in the middle.
            if stop():
                return
            raise
        yield volume


class DecodeBar(JobBar):
    """A `JobBar` for jobs that decode: cancelled, they end within a volume."""

    def __init__(self, text: str, tip: str) -> None:
        self._stop = Event()
        super().__init__(text, tip)
        self.say("")

    def run(self, job: Callable[[Stop], Iterator[Any]]) -> None:
        """Start a job, which is to look at `Stop` now and then; one that runs is dropped."""
        self.drop()
        self._stop = Event()
        self.start(partial(job, self._stop.is_set))

    def cancel(self) -> None:
        """Stop the job as soon as it can be."""
        self._stop.set()
        super().cancel()

    def drop(self) -> None:
        """Stop the job and hear no more of it."""
        if self.running:
            self._stop.set()
        super().drop()

    def close_job(self) -> None:
        """Stop the job and wait for its thread; touches no widget."""
        self._stop.set()
        super().close_job()
