"""How long napari's window stands still while a run trains.

A real viewer with the Train dock, a real reconstruction of simulated particles, and a timer of
10 ms in the window's event loop: where its ticks lie far apart, the window did not answer.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np

PARTICLES, BOX, PIXEL_SIZE, SNR = 600, 32, 9.0, 0.3
TICK_MS = 10
LONG_MS = 100.0
_LIMIT_S = 600.0


def measure() -> dict[str, float]:
    """Gaps between ticks in ms: longest, median, 99th percentile; their number and time > 100 ms.

    ``share_over_100_ms`` is of the ticks, ``time_over_100_ms`` of the run's time.
    """
    import napari
    from qtpy.QtCore import QEventLoop, Qt, QTimer
    from qtpy.QtWidgets import QApplication

    from napari_cryodrgn.imaging import hinge, simulate
    from napari_cryodrgn.particles import write_simulation
    from napari_cryodrgn.widgets.train_dock import TrainDock

    with tempfile.TemporaryDirectory() as folder:
        star = write_simulation(
            Path(folder) / "data", simulate(hinge(), PARTICLES, BOX, PIXEL_SIZE, snr=SNR)
        )
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1400, 900)
        dock = TrainDock(viewer)
        viewer.window.add_dock_widget(dock, name="Train")
        dock.form.add_file(star)
        dock.form.poses.setCurrentIndex(dock.form.poses.findData("given"))
        dock.form.zdim.setValue(1)
        dock.form.use_folder(Path(folder) / "run")
        for _ in range(50):
            QApplication.processEvents()
            time.sleep(0.01)

        loop = QEventLoop()
        ticks: list[float] = []

        def tick() -> None:
            ticks.append(time.perf_counter())
            over = ticks[-1] - ticks[0] > _LIMIT_S
            if over or not dock.model.active:
                loop.quit()

        timer = QTimer()
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.timeout.connect(tick)
        dock.start()
        timer.start(TICK_MS)
        loop.exec()
        timer.stop()
        state, error = dock.model.state, dock.model.error
        viewer.close()
        for _ in range(20):
            QApplication.processEvents()
    if state != "finished":
        raise SystemExit(f"the run did not finish: {state} {error}")
    gaps = 1000 * np.diff(ticks)
    long = gaps[gaps > LONG_MS]
    return {
        "seconds": round(ticks[-1] - ticks[0], 1),
        "max_ms": round(float(gaps.max()), 1),
        "median_ms": round(float(np.median(gaps)), 1),
        "p99_ms": round(float(np.percentile(gaps, 99)), 1),
        "over_100_ms": len(long),
        "share_over_100_ms": round(len(long) / len(gaps), 5),
        "time_over_100_ms": round(float(long.sum() / gaps.sum()), 4),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
