"""The row about views of a million particles: turning the sphere, and selecting a patch of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from .rows import Bench, Entry, Row, span

_BOX, _PIXEL_SIZE = 64, 4.0
_FRAMES, _PATCHES = 60, 21


def _poses(n: int, seed: int) -> np.ndarray:
    """Half of the views even, half about one direction: (n, 3, 3)."""
    random = np.random.default_rng(seed)
    some = Rotation.random(n - n // 2, rng=random)
    tilt = np.deg2rad(20) * random.normal(size=n // 2)
    turns = random.uniform(0, 2 * np.pi, (2, n // 2))
    others = Rotation.from_euler("ZYZ", np.stack([turns[0], tilt, turns[1]], 1))
    return np.concatenate([r.as_matrix().astype(np.float32) for r in (some, others)])


def measure(n: int, seed: int) -> dict[str, Any]:
    """Seconds to the map, frames per second, and times from a click to the selection in ms."""
    import napari
    from qtpy.QtCore import QPointF, Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    from napari_cryodrgn.imaging import hinge
    from napari_cryodrgn.widgets.inspector_model import InspectorModel
    from napari_cryodrgn.widgets.layers import surface_layer
    from napari_cryodrgn.widgets.opengl import paint
    from napari_cryodrgn.widgets.qt_tools import GuiThread, colors
    from napari_cryodrgn.widgets.surfaces import mesh
    from napari_cryodrgn.widgets.view_directions import on_map
    from napari_cryodrgn.widgets.views_panel import ViewsPanel

    run: Any = SimpleNamespace(
        **{"folder": Path("stand-in"), "n_particles": n, "box": _BOX, "pixel_size": _PIXEL_SIZE},
        **{"rotations": _poses(n, seed), "shifts": np.zeros((n, 2), np.float32), "latents": None},
    )
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 900)
    volume = hinge().volume(0.5, _BOX, _PIXEL_SIZE).numpy()
    level = float(volume.mean() + 2.5 * volume.std())
    data, options, _ = surface_layer(mesh(volume, level), _PIXEL_SIZE, "volume")
    viewer.add_surface(data, **options)
    viewer.dims.ndisplay = 3
    gui = GuiThread()
    inspector = InspectorModel(gui.post)
    panel = ViewsPanel(inspector, viewer, gui.post, colors("dark"))
    panel.resize(380, 760)
    panel.show()
    panel.set_active(True)

    def wait() -> None:
        while panel.model.busy:
            QApplication.processEvents()
            time.sleep(0.001)

    start = time.perf_counter()
    inspector.set_run(run)
    wait()
    entry = {"n": n, "map_seconds": round(time.perf_counter() - start, 2)}
    for name in ("volume", "sphere"):
        if name == "sphere":
            panel.around.setChecked(True)
        viewer.reset_view()
        paint(viewer)
        start = time.perf_counter()
        for turn in range(_FRAMES):
            viewer.scene.camera.angles = (10, 6 * turn, 20)
            paint(viewer)
        entry[f"{name}_frames_per_s"] = round(_FRAMES / (time.perf_counter() - start), 1)
    view, viewport = panel.map.getViewBox(), panel.map.viewport()
    taken = []
    for patch in range(_PATCHES):
        axis = run.rotations[patch * (n // _PATCHES), 2]
        ((x, y),) = on_map(axis[None]).astype(float)
        where = panel.map.mapFromScene(view.mapViewToScene(QPointF(x, y)))
        QTest.mouseClick(viewport, Qt.MouseButton.LeftButton, pos=where)
        before = inspector.mask
        start = time.perf_counter()
        QTest.mouseClick(panel.near, Qt.MouseButton.LeftButton)
        taken.append(1000 * (time.perf_counter() - start))
        if inspector.mask is before:
            raise RuntimeError("nothing was selected")
        wait()
    panel.close_panel()
    inspector.close()
    panel.close()
    viewer.close()
    return entry | {
        "select_ms": round(float(np.median(taken)), 1),
        "select_worst_ms": round(max(taken), 1),
    }


def sphere(bench: Bench, seed: int) -> Entry:
    """In a process of its own."""
    n = 20_000 if bench.tiny else 1_000_000
    command = [sys.executable, "-m", "benchmarks.sphere_row", str(n), str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


ROWS = {
    "sphere": Row(
        "1,000,000 views as a sphere around a volume, software OpenGL; selecting a patch of them",
        "turns fluently: 15 frames a second; a patch selected in 200 ms",
        "as quick as the volume alone",
        (0,),
        sphere,
        lambda entries: (
            f"{span(entries, 'sphere_frames_per_s', '{:.0f}')} frames a second, the volume alone "
            f"{span(entries, 'volume_frames_per_s', '{:.0f}')}; a patch in "
            f"{span(entries, 'select_ms', '{:.0f}')} ms, at worst "
            f"{span(entries, 'select_worst_ms', '{:.0f}')}; map and measures in "
            f"{span(entries, 'map_seconds', '{:.1f}')} s"
        ),
    )
}

if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
