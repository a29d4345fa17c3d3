"""Makes a preview of a run's volumes in the background, while nothing else is decoded."""

from __future__ import annotations

import threading
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import CryodrgnError
from .background import Background

if TYPE_CHECKING:
    from ..analysis import Run
    from ..analysis.volume_preview import VolumePreview

Array = NDArray[np.float32]
# Seconds without a request before work goes on: drawing needs the processor too.
_QUIET = 0.3
# Numbers of volumes that a new preview is made of; and seconds that decoding them may take.
_STEPS = (16, 32, 64, 128)
_ENOUGH = 30.0


class Previews:
    """A preview of one run, made volume by volume in a thread that others use too.

    It works after `go_on` until `pause`. All methods belong to the thread that made this object.
    """

    def __init__(self, background: Background) -> None:
        self._background = background
        self._work: _Work | None = None
        self._pause = threading.Event()

    def set_run(self, run: Run | None, box: int) -> None:
        """Begin anew, with volumes of ``box`` voxels; nothing is done before `go_on`."""
        self.pause()
        latents = run.latents if run is not None and run.can_decode else None
        self._work = _Work(run, latents.mu, box) if run is not None and latents else None

    def at(self, z: Array) -> Array | None:
        """Volume (z, y, x) at ``z`` (zdim,), if a preview is ready and good enough there."""
        preview = self._work.preview if self._work is not None else None
        return None if preview is None else preview.at(z)

    def pause(self) -> None:
        """Let go of the thread at once."""
        self._pause.set()
        self._background.forget("preview")

    def go_on(self) -> None:
        """Work on, in a while."""
        if self._work is None or self._work.done or self._background.waits_for("preview"):
            return
        self._pause = threading.Event()
        self._next(_QUIET)

    def _next(self, wait: float) -> None:
        assert self._work is not None
        job = partial(self._work.step, self._pause, wait)
        self._background.ask("preview", job, self._stepped, self._failed)

    def _stepped(self, _: None) -> None:
        if self._work is not None and not self._work.done and not self._pause.is_set():
            self._next(0.0)

    def _failed(self, _: Exception) -> None:
        # It is told when a volume is asked for that cannot be decoded either.
        self._work = None


class _Work:
    """Volumes decoded so far and the preview made of them; steps run one after the other."""

    def __init__(self, run: Run, mu: Array, box: int) -> None:
        self._run, self._mu, self._box = run, mu, box
        self._nodes: NDArray[np.intp] | None = None
        self._volumes: list[Array] = []
        self._seconds = 0.0
        self.preview: VolumePreview | None = None
        self.done = False

    def step(self, pause: threading.Event, wait: float) -> None:
        """Decode one volume more, in the thread."""
        from ..analysis.volume_preview import fit_preview, preview_nodes

        if pause.wait(wait):
            return
        if self._nodes is None:
            self._nodes = preview_nodes(self._mu, _STEPS[-1])
        start = perf_counter()
        try:
            z = self._mu[self._nodes[len(self._volumes)]]
            volume = self._run.decode(z, self._box, stop=pause.is_set)
        except CryodrgnError:
            # Given up in the middle.
            if pause.is_set():
                return
            raise
        self._seconds += perf_counter() - start
        self._volumes.append(volume)
        count = len(self._volumes)
        self.done = count == len(self._nodes) or self._seconds > _ENOUGH
        if count in _STEPS or self.done:
            self.preview = fit_preview(self._mu, self._nodes, self._volumes) or self.preview
        if self.done:
            self._volumes = []
