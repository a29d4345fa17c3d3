"""How soon the evidence of a particle is on the screen after its slider was moved."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from napari_cryodrgn.imaging import hinge, simulate
from napari_cryodrgn.particles import read, write_simulation

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
    """Median and largest time from a step of the slider until everything is drawn, in ms."""
    with tempfile.TemporaryDirectory() as folder:
        simulation = simulate(hinge(), _N, box, 256 / box, snr=0.05, seed=seed)
        star = write_simulation(folder, simulation)
        entry: Entry = {"box": box}
        for name, network in (("own", own_network), ("cryodrgn", cryodrgn_network)):
            torch.manual_seed(seed)
            taken = _slide(_stand_in(Path(folder), star, network(box).eval(), seed))
            entry[f"{name}_ms"] = round(float(np.median(taken)), 1)
            entry[f"{name}_worst_ms"] = round(max(taken), 1)
        return entry


def _stand_in(folder: Path, star: Path, decoder: Any, seed: int) -> Any:
    """A run of an untrained network with the true poses."""
    particles = read(star)
    mu = np.random.default_rng(seed).normal(size=(_N, decoder.zdim)).astype(np.float32)
    return SimpleNamespace(
        **{"folder": folder, "zdim": decoder.zdim, "box": decoder.box, "settings": {}},
        **{"pixel_size": particles.pixel_size, "n_particles": _N, "particles_path": star},
        **{"rotations": particles.rotations, "shifts": particles.shifts, "can_decode": True},
        **{"indices": None, "ctf_path": None},
        latents=SimpleNamespace(mu=mu, logvar=np.zeros_like(mu)),
        slice=lambda z, *where: decoder.slice(torch.from_numpy(z), *where),
    )


def _slide(run: Any) -> list[float]:
    """Milliseconds of each step of the slider, without the first few."""
    from napari.qt import get_qapp
    from qtpy.QtCore import QEventLoop, QTimer

    from napari_cryodrgn.widgets.evidence_panel import EvidencePanel
    from napari_cryodrgn.widgets.inspector_model import InspectorModel
    from napari_cryodrgn.widgets.particle_bar import ParticleBar
    from napari_cryodrgn.widgets.qt_tools import GuiThread, colors

    get_qapp()
    gui = GuiThread()
    inspector = InspectorModel(gui.post)
    panel = EvidencePanel(inspector, None, gui.post, colors("dark"))
    bar = ParticleBar()
    bar.chosen.connect(inspector.set_particle)
    bar.show_particle(0, _N)
    bar.show()
    panel.resize(380, 760)
    panel.show()
    panel.set_active(True)
    loop, clock = QEventLoop(), QTimer()
    clock.timeout.connect(loop.quit)
    # Waits for events as in use: asked for them in a loop, it would keep a core from the decoder.
    panel.model.changed.connect(lambda: loop.quit() if not panel.model.busy else None)

    def wait(seconds: float) -> None:
        clock.start(round(1000 * seconds))
        loop.exec()
        clock.stop()

    inspector.set_run(run)
    until = time.perf_counter() + _LIMIT
    while panel.model.noise is None and time.perf_counter() < until:
        wait(1.0)
    taken = []
    for particle in range(1, _N):
        start = time.perf_counter()
        bar.slider.setValue(particle)
        wait(_LIMIT)
        for view in (panel.images, panel.frc):
            view.viewport().repaint()
        panel.repaint()
        taken.append(1000 * (time.perf_counter() - start))
        wait(0.02)
    found = panel.model.evidence
    if found is None or found.particle != _N - 1:
        raise TimeoutError(f"no evidence within {_LIMIT:g} s: {panel.model.problem}")
    panel.close_panel()
    panel.close()
    bar.close()
    inspector.close()
    return taken[_WARM:]


ROWS = {
    "evidence": Row(
        "a particle's evidence on the screen after a step of the slider: box 128, networks 256 x 3",
        "100 ms",
        "-",
        (0,),
        evidence,
        lambda entries: "; ".join(
            f"{name} {span(entries, f'{key}_ms', '{:.0f}')} ms, at most "
            f"{span(entries, f'{key}_worst_ms', '{:.0f}')} ms"
            for name, key in (("this program's", "own"), ("cryoDRGN's", "cryodrgn"))
        ),
    ),
}

if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
