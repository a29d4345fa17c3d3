"""The map of the Latent explorer with very many particles, in a window of its own.

A timer of 5 ms in the window's event loop shows where the window did not answer: its ticks lie far
apart there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .rows import Bench, Entry, Row, span

if TYPE_CHECKING:
    from napari_cryodrgn.widgets.latent_plot import LatentPlot

PARTICLES, ZDIM = 1_000_000, 8
# The map in a dock of usual width.
WIDTH, HEIGHT = 380, 400
FRAMES, CLICKS, VERTICES = 60, 100, 60
TICK_MS = 5
_LIMIT_S = 60.0


def latents(n: int) -> NDArray[np.float32]:
    """Five clouds and an arc between them: (n, ZDIM)."""
    random = np.random.default_rng(0)
    centres = 3 * random.normal(size=(6, ZDIM))
    kind = random.integers(0, 6, n)
    mu = centres[kind] + random.normal(size=(n, ZDIM)) * np.linspace(0.9, 0.3, ZDIM)
    arc = np.flatnonzero(kind == 5)
    turn = random.uniform(0, np.pi, len(arc))
    mu[arc, 0], mu[arc, 1] = 6 * np.cos(turn), 6 * np.sin(turn)
    return mu.astype(np.float32)


class Window:
    """Turns the event loop, and looks at a clock while it does."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer
        from qtpy.QtWidgets import QApplication

        self.app = QApplication.instance() or QApplication([])
        self.ticks: list[float] = []
        self._begun: list[tuple[float, str]] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(lambda: self.ticks.append(time.perf_counter()))

    def watch(self) -> None:
        """Begin to look for pauses."""
        self._timer.start(TICK_MS)
        self.wait(0.2)

    def wait(self, seconds: float) -> None:
        """Let the window live for a time."""
        self.until(lambda: False, seconds)

    def until(self, ready: Callable[[], bool], limit: float = _LIMIT_S) -> float:
        """Seconds until something is so, or a time is over."""
        from qtpy.QtCore import QEventLoop

        start = time.perf_counter()
        while not ready() and time.perf_counter() - start < limit:
            self.app.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, TICK_MS)
            time.sleep(0.0005)
        return time.perf_counter() - start

    def begin(self, what: str) -> None:
        """Say what the pauses from now on belong to."""
        self._begun.append((time.perf_counter(), what))

    def pauses(self) -> NDArray[np.float64]:
        """Milliseconds between ticks."""
        return 1000 * np.diff(self.ticks)

    def longest(self) -> dict[str, float]:
        """The longest pause in milliseconds that ended in each of what was begun."""
        starts = [at for at, _ in self._begun]
        part = np.searchsorted(starts, self.ticks[1:]) - 1
        pauses = self.pauses()
        return {
            what: round(float(pauses[part == i].max(initial=0)), 1)
            for i, (_, what) in enumerate(self._begun)
        }


def frames(window: Window, plot: LatentPlot, step: Callable[[int], None]) -> float:
    """Frames per second while the map moves by steps."""
    start = time.perf_counter()
    for i in range(FRAMES):
        step(i)
        plot.viewport().repaint()
        window.app.processEvents()
    return FRAMES / (time.perf_counter() - start)


def measure(n: int) -> dict[str, float]:
    """Seconds to draw, frames per second, milliseconds of a click and a lasso, longest pause."""
    from napari_cryodrgn.analysis import pca
    from napari_cryodrgn.analysis.lasso import inside_polygon
    from napari_cryodrgn.widgets.background import Background
    from napari_cryodrgn.widgets.latent_plot import LatentPlot
    from napari_cryodrgn.widgets.latent_space import LatentSpace
    from napari_cryodrgn.widgets.qt_tools import GuiThread, colors

    window = Window()
    space = LatentSpace(latents(n), pca)
    axes = space.default_axes
    turn = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    radius = 1.2 + 0.6 * np.cos(5 * turn)
    flower = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    polygon = space.coordinates(axes).mean(0) + flower * space.coordinates(axes).std(0)
    gui = GuiThread()
    drawing, slow = Background(gui.post), Background(gui.post)
    plot = LatentPlot(colors("dark"), drawing.ask)
    plot.resize(WIDTH, HEIGHT)
    plot.show()
    window.wait(0.3)
    window.watch()
    entry: dict[str, float] = {"particles": n}

    def shown() -> bool:
        return plot.density.isVisible()

    def ask(job: Callable[[], object]) -> list[object]:
        answers: list[object] = []
        slow.ask("job", job, answers.append, lambda error: answers.append(error))
        window.until(lambda: bool(answers))
        return answers

    def draw() -> float:
        start = time.perf_counter()
        plot.set_points(space.coordinates(axes), axes)
        window.until(shown)
        plot.viewport().repaint()
        return time.perf_counter() - start

    window.begin("draw")
    entry["draw_s"] = round(draw(), 3)
    window.begin("pan")
    plot.setRange(xRange=(-4, 4), yRange=(-4, 4), padding=0)
    window.wait(0.5)
    view = plot.view
    entry["pan_fps"] = round(
        frames(window, plot, lambda i: view.translateBy(x=0.1 if i % 40 < 20 else -0.1)), 1
    )
    window.begin("zoom")
    entry["zoom_fps"] = round(
        frames(
            window, plot, lambda i: view.scaleBy((0.93, 0.93) if i % 30 < 15 else (1 / 0.93,) * 2)
        ),
        1,
    )
    plot.show_all()
    window.begin("index")
    start = time.perf_counter()
    ask(lambda: space.index(axes))
    entry["index_s"] = round(time.perf_counter() - start, 2)
    window.begin("clicks")
    random = np.random.default_rng(1)
    unit = list(view.viewPixelSize())
    taken = []
    for point in random.uniform(*np.array(plot.viewRange()).T, (CLICKS, 2)):
        start = time.perf_counter()
        space.nearest(axes, point, unit)
        taken.append(1000 * (time.perf_counter() - start))
        window.app.processEvents()
    entry["click_ms"] = round(float(np.median(taken)), 2)
    entry["click_worst_ms"] = round(max(taken), 2)
    window.begin("lasso")
    start = time.perf_counter()
    (mask,) = ask(lambda: inside_polygon(space.plane(axes), polygon))
    assert isinstance(mask, np.ndarray), mask
    entry["lasso_ms"] = round(1000 * (time.perf_counter() - start), 1)
    entry["lasso_share"] = round(float(mask.mean()), 3)
    window.begin("selection")
    before = plot.particles.pictures
    plot.set_selection(mask)
    window.until(lambda: plot.particles.pictures > before)
    entry["lasso_shown_ms"] = round(1000 * (time.perf_counter() - start), 1)
    window.wait(0.3)
    pauses = window.pauses()
    entry["longest_pause_ms"] = round(float(pauses.max()), 1)
    entry["over_100_ms"] = int((pauses > 100).sum())
    entry |= {f"pause_{what}_ms": longest for what, longest in window.longest().items()}
    drawing.close()
    slow.close()
    plot.close()
    return entry


def million(bench: Bench, seed: int) -> Entry:
    """In a process of its own, for its window."""
    n = 60_000 if bench.tiny else PARTICLES
    command = [sys.executable, "-m", "benchmarks.map_rows", str(n)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


ROWS = {
    "map": Row(
        "the map of 1,000,000 particles (zdim 8) in the Latent explorer",
        "drawn in 1 s, 20 frames/s, click 5 ms, lasso of 60 vertices 500 ms, no pause over 100 ms",
        "-",
        (0,),
        million,
        lambda entries: (
            f"drawn in {span(entries, 'draw_s')} s; pan {span(entries, 'pan_fps', '{:.0f}')}, "
            f"zoom {span(entries, 'zoom_fps', '{:.0f}')} frames/s; "
            f"click {span(entries, 'click_ms')} ms (worst {span(entries, 'click_worst_ms')}); "
            f"lasso {span(entries, 'lasso_ms', '{:.0f}')} ms, "
            f"shown after {span(entries, 'lasso_shown_ms', '{:.0f}')} ms; "
            f"longest pause {span(entries, 'longest_pause_ms', '{:.0f}')} ms"
        ),
    ),
}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else PARTICLES)))
