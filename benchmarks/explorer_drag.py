"""How soon the explorer shows a volume: real mouse events in a real viewer, network of 256 x 3."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from napari_cryodrgn.analysis import contour_level
from napari_cryodrgn.imaging import hinge
from napari_cryodrgn.particles import Volume

_N, _PIXEL_SIZE = 2000, 4.0
# Of the drag, and mouse moves in each, as many as a screen has frames.
_SECONDS, _MOVES = 5.0, 60
_CLICKS, _LIMIT = 5, 10.0


def stand_in(folder: Path, box: int, seed: int) -> Any:
    """A run of an untrained network for 2,000 particles of 8 latent dimensions."""
    from .explore_rows import own_network

    torch.manual_seed(seed)
    decoder = own_network(box).eval()
    volume = hinge().volume(0.5, box, 256 / box).numpy()
    mu = np.random.default_rng(seed).normal(size=(_N, decoder.zdim)).astype(np.float32)

    def decode(
        z: Any,
        small: int | None = None,
        limit: float | None = None,
        *,
        stop: Callable[[], bool] | None = None,
    ) -> np.ndarray:
        return decoder.decode(torch.from_numpy(np.asarray(z)), limit, small, stop).numpy()

    return SimpleNamespace(
        **{"folder": folder, "zdim": decoder.zdim, "box": box, "pixel_size": _PIXEL_SIZE},
        **{"n_particles": _N, "particles_path": None, "indices": None, "ctf_path": None},
        **{"rotations": None, "shifts": None, "finished": True, "epoch": 1, "can_decode": True},
        latents=SimpleNamespace(mu=mu, logvar=np.zeros_like(mu)),
        decode=decode,
        consensus=lambda: Volume(volume, _PIXEL_SIZE),
        contour=lambda: contour_level(volume),
        products=lambda: None,
        changed=lambda: False,
    )


class _Watch:
    """Lets the program run, and notes when volumes of which box were drawn on the screen.

    ``shown`` tells that the layer has one, ``drawn`` that the canvas was drawn. ``ready`` is when
    the layer had the first.
    """

    def __init__(self, shown: Any, drawn: Any) -> None:
        from qtpy.QtCore import QEventLoop, QTimer

        self._loop, self._clock = QEventLoop(), QTimer()
        self._clock.timeout.connect(self._loop.quit)
        self._until = 0
        self._start = 0.0
        self._new = 0
        self.ready = 0.0
        self.boxes: list[int] = []
        self.seconds: list[float] = []
        shown.connect(self._on_shown)
        drawn.connect(self._on_drawn)

    def start(self) -> None:
        """Forget what was shown."""
        self.boxes, self.seconds, self._new, self.ready = [], [], 0, 0.0
        self._start = time.perf_counter()

    def rest(self, seconds: float, until: int = 0) -> None:
        """Let it run until a volume of a box is shown, at most for some time.

        The program waits for events as it does in use: asked for them in a loop, it would keep a
        core from the decoder.
        """
        if until in self.boxes:
            return
        self._until = until
        self._clock.start(round(1000 * seconds))
        self._loop.exec()
        self._clock.stop()
        self._until = 0

    def _on_shown(self, box: int) -> None:
        self._new = box
        self.ready = self.ready or time.perf_counter() - self._start

    def _on_drawn(self) -> None:
        box, self._new = self._new, 0
        if box:
            self.boxes.append(box)
            self.seconds.append(time.perf_counter() - self._start)
        if box and box == self._until:
            self._loop.quit()


def measure(box: int, seed: int) -> dict[str, float]:
    """Volumes shown per second of a drag, and times from a click to what is shown, in ms.

    Raises
    ------
    TimeoutError
        If a volume is not shown within 10 s.
    """
    import napari
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    from napari_cryodrgn.widgets.explorer_dock import ExplorerDock

    left, plain = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    with tempfile.TemporaryDirectory() as folder:
        run = stand_in(Path(folder), box, seed)
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1400, 900)
        dock = ExplorerDock(viewer, lambda _: run)
        viewer.window.add_dock_widget(dock, name="explorer")
        canvas = viewer.window._qt_viewer.canvas.native
        watch = _Watch(dock.volume.shown, canvas.frameSwapped)
        dock.open_folder(run.folder)
        watch.rest(15.0)
        viewport = dock.plot.viewport()
        middle = viewport.rect().center()

        def place(turn: float) -> QPoint:
            return middle + QPoint(round(70 * np.cos(turn)), round(70 * np.sin(turn)))

        def click(where: QPoint) -> list[float]:
            """Milliseconds until the first is ready, until it is drawn, and to the full box."""
            watch.start()
            QTest.mouseClick(viewport, left, plain, where)
            watch.rest(_LIMIT, until=box)
            if box not in watch.boxes:
                raise TimeoutError(f"no volume of {box} voxels within {_LIMIT:g} s of a click")
            taken = [watch.ready, watch.seconds[0], watch.seconds[watch.boxes.index(box)]]
            # The next click is no double click, and the view has been drawn.
            watch.rest(0.6)
            return [1000 * seconds for seconds in taken]

        # The first one makes the layer.
        click(middle)
        new = [click(place(i)) for i in range(_CLICKS)]
        kept = [click(place(i)) for i in range(_CLICKS)]

        watch.start()
        start = time.perf_counter()
        QTest.mousePress(viewport, left, plain, place(0))
        while (passed := time.perf_counter() - start) < _SECONDS:
            QTest.mouseMove(viewport, place(1.5 * passed))
            watch.rest(1 / _MOVES)
        boxes = watch.boxes
        watch.start()
        QTest.mouseRelease(viewport, left, plain, place(1.5 * _SECONDS))
        watch.rest(_LIMIT, until=box)
        if box not in watch.boxes:
            raise TimeoutError(f"no volume of {box} voxels within {_LIMIT:g} s of a drag")
        after = 1000 * watch.seconds[watch.boxes.index(box)]
        viewer.close()
        watch.rest(0.3)
    ready, first, full = np.median(new, axis=0)
    kept_ready, kept_first, _ = np.median(kept, axis=0)
    return {
        "box": box,
        "ready_ms": round(float(ready), 1),
        "first_picture_ms": round(float(first), 1),
        "full_ms": round(float(full), 1),
        "kept_ready_ms": round(float(kept_ready), 1),
        "kept_ms": round(float(kept_first), 1),
        "drag_box": min(boxes, default=0),
        "drag_volumes_per_s": round(len(boxes) / _SECONDS, 1),
        "full_after_drag_ms": round(after, 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), 0)))
