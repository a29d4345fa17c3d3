"""What only a real viewer can show; everything else is tested without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import npe2
import numpy as np
import pytest
from qtpy.QtCore import QPointF, Qt
from qtpy.QtWidgets import QDialog

from napari_cryodrgn.particles import ParticleSet
from napari_cryodrgn.widgets.explorer_dock import ExplorerDock
from napari_cryodrgn.widgets.train_dock import TrainDock

MANIFEST = Path(__file__).parents[2] / "src" / "napari_cryodrgn" / "napari.yaml"


@pytest.fixture
def viewer(make_napari_viewer):
    """A viewer that knows the plugin, installed or not."""
    manager = npe2.PluginManager.instance()
    if "napari-cryodrgn" not in manager:
        manager.register(npe2.PluginManifest.from_file(MANIFEST))
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    return viewer


def test_files_dropped_on_the_viewer(viewer, qtbot, star, tmp_path, notifications, monkeypatch):
    # A dialog would wait for someone to close it.
    monkeypatch.setattr(QDialog, "exec_", lambda _: pytest.fail("a dialog opened"), raising=False)
    monkeypatch.setattr(QDialog, "exec", lambda _: pytest.fail("a dialog opened"))
    broken = tmp_path / "broken.star"
    broken.write_text("data_\nloop_\n_rlnMicrographName #1\na.mrc\n")

    # What both a drop and File > Open end in.
    viewer.window._qt_viewer._qt_open([str(broken), str(star)], stack=False)

    assert [layer.name for layer in viewer.layers] == ["particles.star"]
    assert isinstance(viewer.layers[0].metadata["particles"], ParticleSet)
    assert [severity for severity, _ in notifications] == ["error"]
    assert "broken.star" in notifications[0][1]


def test_train_then_explore_with_the_mouse(
    viewer, qtbot, star, tmp_path, fake_reconstruct, fake_run, fake_runs, pca
):
    viewer.open(star, plugin="napari-cryodrgn")
    folder = tmp_path / "run"
    run = fake_run(folder)

    def explore(path: Path) -> None:
        explorer = ExplorerDock(viewer, fake_runs(run), pca)
        viewer.window.add_dock_widget(explorer, name="explorer", tabify=True)
        explorer.open_folder(path)

    train = TrainDock(viewer, fake_reconstruct(), open_explorer=explore)
    viewer.window.add_dock_widget(train, name="train")
    qtbot.waitUntil(lambda: train.width() <= 400, timeout=2000)
    train.form.use_folder(folder)
    qtbot.mouseClick(train.start_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: train.model.state == "finished", timeout=20_000)
    qtbot.waitUntil(lambda: "run: volume" in viewer.layers, timeout=10_000)
    assert [layer.name for layer in viewer.layers] == ["particles.star", "run: volume"]

    qtbot.mouseClick(train.explore_button, Qt.MouseButton.LeftButton)
    explorer = viewer.window.dock_widgets["explorer"]
    qtbot.waitUntil(lambda: explorer.model.run is run, timeout=10_000)
    explorer.parent().raise_()
    qtbot.waitExposed(explorer.plot)
    qtbot.wait(200)
    plot = explorer.plot
    place = plot.mapFromScene(plot.getViewBox().mapViewToScene(QPointF(1.0, 0.5)))
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.waitUntil(lambda: "Decoded volume" in viewer.layers, timeout=10_000)

    np.testing.assert_allclose(run.decoded[-1], [1.0, 0.5], atol=0.1)
    # Closing the dock, as its X does, ends its thread.
    gone: list[bool] = []
    explorer.destroyed.connect(lambda: gone.append(True))
    viewer.window.remove_dock_widget(explorer)
    assert not explorer.timer.isActive()
    qtbot.waitUntil(lambda: bool(gone), timeout=2000)
    with pytest.raises(RuntimeError, match="shutdown"):
        explorer.model.open(folder)


def test_the_docks_of_the_menu_see_a_guarded_viewer(
    viewer, qtbot, star, tmp_path, fake_reconstruct, fake_run, fake_runs, pca
):
    # napari hands its own docks a proxy of the viewer, which warns of private access.
    _, train = viewer.window.add_plugin_dock_widget("napari-cryodrgn", "Train")
    _, explorer = viewer.window.add_plugin_dock_widget(
        "napari-cryodrgn", "Latent explorer", tabify=True
    )
    assert isinstance(train, TrainDock)
    assert isinstance(explorer, ExplorerDock)
    folder = tmp_path / "run"
    run = fake_run(folder)
    train.reconstruct = fake_reconstruct()
    explorer.model.open_run, explorer.model.pca = fake_runs(run), pca

    viewer.open(star, plugin="napari-cryodrgn")
    assert len(train.form.particles) == 30
    train.form.use_folder(folder)
    train.start()
    qtbot.waitUntil(lambda: train.model.state == "finished", timeout=20_000)
    train.explore()
    qtbot.waitUntil(lambda: explorer.model.run is run, timeout=10_000)
    for point in ([1.0, 0.5], [-1.0, 0.0]):
        explorer.model.pick_at(point, [0.01, 0.01])
        qtbot.waitUntil(lambda: not explorer.model.busy, timeout=10_000)
    trajectory = explorer.tabs.trajectory
    trajectory.job.button.click()

    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=20_000)

    names = [layer.name for layer in viewer.layers]
    assert names[:3] == ["particles.star", "run: volume", "Decoded volume"]
    np.testing.assert_allclose(run.decoded[-1], trajectory.model.path[-1])


def test_closing_the_window_ends_what_its_docks_started(
    make_napari_viewer, qtbot, star, tmp_path, fake_reconstruct, fake_run, fake_runs, pca
):
    viewer = make_napari_viewer(show=True)
    run = fake_run(tmp_path)
    reconstruct = fake_reconstruct(epochs=1000, delay=0.1)
    train = TrainDock(viewer, reconstruct)
    explorer = ExplorerDock(viewer, fake_runs(run), pca)
    viewer.window.add_dock_widget(train, name="train")
    viewer.window.add_dock_widget(explorer, name="explorer")
    train.form.add_file(star)
    qtbot.waitUntil(lambda: train.form.particles is not None)
    train.form.use_folder(tmp_path / "run")
    train.start()
    explorer.open_folder(tmp_path)
    qtbot.waitUntil(lambda: train.model.saved and explorer.model.run is run, timeout=10_000)
    model = explorer.model

    # Not waitSignals: it touches the objects after they are gone.
    gone: list[str] = []
    train.destroyed.connect(lambda: gone.append("train"))
    explorer.destroyed.connect(lambda: gone.append("explorer"))

    viewer.close()
    qtbot.waitUntil(lambda: len(gone) == 2, timeout=5000)

    assert reconstruct.closed == 1
    with pytest.raises(RuntimeError, match="shutdown"):
        model.open(tmp_path)


_LEAVE = """
import sys
from pathlib import Path
import napari
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from napari_cryodrgn.training import events as ev
from napari_cryodrgn.training.settings import Settings
from napari_cryodrgn.particles import read
from napari_cryodrgn.widgets.train_dock import TrainDock

def train(settings, particles, resume):
    import torch
    try:
        yield ev.RunStarted(settings.output, 1, 8, 1.0, 1, "cpu", ("a",))
        while True:
            a = torch.randn(600, 600)
            for _ in range(10):
                a = a @ a / 600
            yield ev.StepDone("a", 0.5, 100.0)
    finally:
        print("closed")

viewer = napari.Viewer(show=True)
dock = TrainDock(viewer, train)
viewer.window.add_dock_widget(dock, name="train")
dock.form.add_file(Path(sys.argv[1]))
dock.form.use_folder(Path(sys.argv[2]))
def begin():
    if dock.form.particles is None:
        return QTimer.singleShot(20, begin)
    dock.start()
QTimer.singleShot(0, begin)
def leave():
    if dock.model.fraction != 0.5:
        return
    timer.stop()
    print("leaving")
    viewer.close() if sys.argv[3] == "close" else QApplication.quit()
timer = QTimer()
timer.timeout.connect(leave)
timer.start(50)
napari.run()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="its display is Xvfb's")
@pytest.mark.parametrize("way", ["close", "quit"])
def test_leaving_napari_while_training_is_clean(star, tmp_path, way):
    script = tmp_path / "leave.py"
    script.write_text(_LEAVE)

    done = subprocess.run(
        [sys.executable, str(script), str(star), str(tmp_path / "run"), way],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["leaving", "closed"]


_REMOVE = """
import sys, time
import napari, numpy as np
from qtpy.QtWidgets import QApplication
from napari_cryodrgn.widgets.sphere import DirectionSphere, sphere_bars

viewer = napari.Viewer(ndisplay=3)

def draw(times):
    for _ in range(times):
        viewer.scene.camera.angles = tuple(np.add(viewer.scene.camera.angles, (0, 5, 0)))
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            QApplication.processEvents()

counts = np.arange(1, 193)
viewer.add_surface(sphere_bars(counts, 20))
sphere = DirectionSphere(viewer)
sphere.show(counts, 32, None)
sphere.point(np.array([0.0, 0.0, 1.0]), 32, None)
draw(10)
sphere.remove()
draw(10)
print(len(viewer.layers), "layer is left")
viewer.close()
"""


def test_drawn_layers_that_go_together_leave_the_canvas_whole():
    done = subprocess.run(
        [sys.executable, "-c", _REMOVE],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "1 layer is left"
