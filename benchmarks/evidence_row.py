"""How soon the evidence of a particle is on the screen after its slider was moved."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from napari.components import ViewerModel

from napari_cryodrgn.analysis import contour_level
from napari_cryodrgn.imaging import hinge, simulate
from napari_cryodrgn.particles import Volume, read, write_simulation

from .explore_rows import cryodrgn_network, own_network
from .rows import Bench, Entry, Row, span

_N, _WARM, _LIMIT = 40, 4, 30.0


def evidence(bench: Bench, seed: int) -> Entry:
    """Times in ms, measured in a process of its own."""
    box = "32" if bench.tiny else "128"
    command = [sys.executable, "-m", "benchmarks.evidence_row", box, str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def measure(box: int, seed: int) -> Entry:
    """Median and largest time from a step of the slider until everything is drawn, in ms.

    Of the panel alone, for networks of both forms, and in a window of napari with a volume.
    """
    with tempfile.TemporaryDirectory() as folder:
        simulation = simulate(hinge(), _N, box, 256 / box, snr=0.05, seed=seed)
        star = write_simulation(folder, simulation)
        entry: Entry = {"box": box}
        for name, network, window in (
            ("own", own_network, False),
            ("cryodrgn", cryodrgn_network, False),
            ("window", own_network, True),
        ):
            torch.manual_seed(seed)
            taken = _slide(_stand_in(Path(folder), star, network(box).eval(), seed), window=window)
            entry[f"{name}_ms"] = round(float(np.median(taken)), 1)
            entry[f"{name}_worst_ms"] = round(max(taken), 1)
        return entry


def _stand_in(folder: Path, star: Path, decoder: Any, seed: int) -> Any:
    """A run of an untrained network with the true poses."""
    particles = read(star)
    mu = np.random.default_rng(seed).normal(size=(_N, decoder.zdim)).astype(np.float32)
    volume = hinge().volume(0.5, decoder.box, 256 / decoder.box).numpy()

    def decode(
        z: Any,
        box: int | None = None,
        limit: float | None = None,
        *,
        stop: Callable[[], bool] | None = None,
    ) -> np.ndarray:
        return decoder.decode(torch.from_numpy(np.asarray(z)), limit, box, stop).numpy()

    return SimpleNamespace(
        **{"folder": folder, "zdim": decoder.zdim, "box": decoder.box, "settings": {}},
        **{"pixel_size": particles.pixel_size, "n_particles": _N, "particles_path": star},
        **{"rotations": particles.rotations, "shifts": particles.shifts, "can_decode": True},
        **{"indices": None, "ctf_path": None, "finished": True, "epoch": 1, "decode": decode},
        latents=SimpleNamespace(mu=mu, logvar=np.zeros_like(mu)),
        slice=lambda z, *where: decoder.slice(torch.from_numpy(z), *where),
        consensus=lambda: Volume(volume, particles.pixel_size),
        contour=lambda: contour_level(volume),
        products=lambda: None,
    )


def _slide(run: Any, *, window: bool) -> list[float]:
    """Milliseconds of each step of the slider, without the first few."""
    import napari
    from napari.qt import get_qapp
    from qtpy.QtCore import QEventLoop, QTimer

    from napari_cryodrgn.widgets.inspector_dock import InspectorDock

    app = get_qapp()
    # The panel alone is that of a dock without a window of napari.
    viewer = napari.Viewer(show=True) if window else ViewerModel()
    dock = InspectorDock(viewer, lambda _: run)
    if window:
        viewer.window.resize(1400, 900)
        viewer.window.add_dock_widget(dock, name="inspector")
    else:
        dock.show_volume.setChecked(False)
        dock.resize(430, 900)
        dock.show()
    model = dock.evidence.model
    loop, clock = QEventLoop(), QTimer()
    clock.timeout.connect(loop.quit)
    # Waits for events as in use: asked for them in a loop, it would keep a core from the decoder.
    model.changed.connect(lambda: loop.quit() if not model.busy else None)

    def wait(seconds: float) -> None:
        clock.start(round(1000 * seconds))
        loop.exec()
        clock.stop()

    dock.inspect(run.folder)
    until = time.perf_counter() + _LIMIT
    while (model.noise is None or dock.decode.busy) and time.perf_counter() < until:
        wait(1.0)
    wait(1.0)
    taken = []
    for particle in range(1, _N):
        start = time.perf_counter()
        dock.bar.slider.setValue(particle)
        wait(_LIMIT)
        # Draws what has changed.
        app.processEvents()
        taken.append(1000 * (time.perf_counter() - start))
        wait(0.02)
    found = model.evidence
    if found is None or found.particle != _N - 1:
        raise TimeoutError(f"no evidence within {_LIMIT:g} s: {model.problem}")
    (viewer if window else dock).close()
    return taken[_WARM:]


ROWS = {
    "evidence": Row(
        "a particle's evidence on the screen after a step of the slider: box 128, networks 256 x 3",
        "100 ms",
        "-",
        (0, 1, 2),
        evidence,
        lambda entries: "; ".join(
            f"{name} {span(entries, f'{key}_ms', '{:.0f}')} ms, at most "
            f"{span(entries, f'{key}_worst_ms', '{:.0f}')} ms"
            for name, key in (
                ("this program's", "own"),
                ("cryoDRGN's", "cryodrgn"),
                ("with napari's window in software OpenGL", "window"),
            )
        ),
    ),
}

if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
