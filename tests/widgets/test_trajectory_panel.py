from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.qt import get_stylesheet
from PIL import Image
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_cryodrgn.errors import CryodrgnError, RunFolderError
from napari_cryodrgn.particles import read_volume
from napari_cryodrgn.widgets.decode_bar import decode_each
from napari_cryodrgn.widgets.latent_space import LatentSpace
from napari_cryodrgn.widgets.qt_tools import GuiThread
from napari_cryodrgn.widgets.surfaces import mesh, stacked
from napari_cryodrgn.widgets.trajectory import Trajectory, vertex_values
from napari_cryodrgn.widgets.trajectory_model import TrajectoryModel
from napari_cryodrgn.widgets.trajectory_panel import TrajectoryPanel
from napari_cryodrgn.widgets.volume_view import VolumeView

HERE = Path("/runs/one")


def ball(z: float, box: int) -> np.ndarray:
    """A ball at the centre and one that moves along x with z."""
    grid = (np.mgrid[:box, :box, :box] - box // 2) * (24 / box)
    still = np.exp(-(grid**2).sum(0) / 8)
    arm = np.exp(-((grid - np.reshape((0, 0, 6 + z), (3, 1, 1, 1))) ** 2).sum(0) / 4)
    return (still + arm).astype(np.float32)


class Run:
    """A run that decodes balls."""

    can_decode = True
    pixel_size: float | None = 3.0
    box = 128
    delay = 0.0

    def __init__(self, zdim: int = 2, n: int = 300, folder: Path = HERE) -> None:
        mu = np.random.default_rng(0).normal(size=(n, zdim)) * np.linspace(3, 1, zdim)
        self.latents = SimpleNamespace(mu=mu.astype(np.float32))
        self.folder = folder
        self.asked: list[tuple[np.ndarray, int]] = []

    def contour(self) -> float:
        return 0.4

    def decode(self, z, box=None, limit=None, *, stop=None) -> np.ndarray:
        if stop is not None and stop():
            raise CryodrgnError("given up")
        time.sleep(self.delay)
        self.asked.append((np.array(z), box))
        return ball(float(z[0]), box)


class Explorer:
    run_changed = Signal()
    picked = Signal(object)

    def __init__(self, run, pca) -> None:
        self._pca = pca
        self.paths: list = []
        self.open(run)

    def open(self, run) -> None:
        self.run = run
        self.space = LatentSpace(run.latents.mu, self._pca) if run is not None else None
        self.run_changed.emit()

    def set_path(self, z) -> None:
        self.paths.append(z)

    def pick(self, particle: int) -> None:
        self.picked.emit(SimpleNamespace(particle=particle))


class Harness:
    """A model whose answers arrive in this thread when `settle` waits for them."""

    def __init__(self, run, pca) -> None:
        self._queue: SimpleQueue = SimpleQueue()
        self.explorer = Explorer(run, pca)
        self.model = TrajectoryModel(self.explorer, self._queue.put)
        self.failed: list = []
        self.model.failed.connect(self.failed.append)

    def settle(self) -> TrajectoryModel:
        while self.model.busy:
            self._queue.get(timeout=20)()
        with suppress(Empty):
            while True:
                self._queue.get_nowait()()
        return self.model


@pytest.fixture
def make(pca) -> Iterator:
    made = []

    def make(run) -> Harness:
        made.append(Harness(run, pca))
        return made[-1]

    yield make
    for harness in made:
        harness.model.close()


def equally_apart(path: np.ndarray) -> bool:
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    return bool(np.allclose(steps, steps[0], rtol=1e-3))


def test_at_first_the_path_is_the_first_principal_axis(make):
    harness = make(Run(3))
    model = harness.settle()

    assert (model.source, model.axis, model.axes) == ("axis", "PC1", ["PC1", "PC2", "PC3"])
    np.testing.assert_allclose(model.path, harness.explorer.space.walk("PC1", 20), atol=1e-5)
    assert model.caption == "Walk along PC1"
    # Shown on the map only when somebody looks.
    assert not harness.explorer.paths
    model.show_path(True)
    assert harness.explorer.paths[-1] is model.path
    model.show_path(False)
    assert harness.explorer.paths[-1] is None


def test_one_dimension_has_its_own_axis(make):
    model = make(Run(1)).settle()
    assert model.axes == ["z0"]
    assert model.path.shape == (20, 1)


def test_picked_particles_become_anchors_while_collecting(make):
    run = Run()
    harness = make(run)
    model = harness.settle()
    harness.explorer.pick(5)
    model.collecting = True
    model.set_source("particles")
    assert model.missing
    for particle in (5, 40, 40, 7):
        harness.explorer.pick(particle)
    model = harness.settle()

    assert model.anchors == [5, 40, 7]
    assert not model.missing
    mu = run.latents.mu
    np.testing.assert_allclose(model.path[[0, -1]], mu[[5, 7]], atol=1e-5)
    between = np.linalg.norm(mu[5] - mu[40]) + np.linalg.norm(mu[40] - mu[7])
    length = np.linalg.norm(np.diff(model.path, axis=0), axis=1).sum()
    # Corners are cut by what lies between two steps.
    assert 0.9 * between < length <= between + 1e-4
    assert model.caption == "Path from 5 to 7"

    model.set_anchors([5])
    assert harness.settle().path is None


def test_the_shortest_path_stays_in_the_data(make):
    angle = np.linspace(0, np.pi, 400)
    run = Run()
    run.latents.mu = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    harness = make(run)
    model = harness.model
    model.set_anchors([0, 399])
    model.set_source("shortest")
    model = harness.settle()

    np.testing.assert_allclose(np.linalg.norm(model.path, axis=1), 1, atol=0.02)
    assert equally_apart(model.path)


def test_a_drawing_is_followed_amid_the_particles(make):
    rng = np.random.default_rng(1)
    run = Run(3)
    plane = rng.uniform(-2, 2, size=(3000, 2))
    # The third dimension is a function of the first.
    run.latents.mu = np.column_stack([plane, plane[:, 0] ** 2]).astype(np.float32)
    harness = make(run)
    line = np.array([[-1.5, 0.0], [0.0, 1.0], [1.5, 0.0]])
    harness.model.draw(("z0", "z1"), line)
    model = harness.settle()

    assert model.source == "drawn"
    np.testing.assert_allclose(model.path[[0, -1], :2], line[[0, -1]], atol=1e-4)
    np.testing.assert_allclose(model.path[:, 1], 1 - np.abs(model.path[:, 0]) / 1.5, atol=0.08)
    np.testing.assert_allclose(model.path[:, 2], model.path[:, 0] ** 2, atol=0.35)
    steps = np.linalg.norm(np.diff(model.path, axis=0), axis=1)
    assert steps.std() < 0.1 * steps.mean()


def test_a_drawing_on_an_embedding_means_the_particles_there(make):
    run = Run(2, 2000)
    harness = make(run)
    mu = run.latents.mu
    harness.explorer.space.add_axes({"UMAP1": mu[:, 0] ** 3, "UMAP2": mu[:, 1]})
    harness.model.draw(("UMAP1", "UMAP2"), np.array([[-125.0, 0.0], [125.0, 0.0]]))
    model = harness.settle()

    np.testing.assert_allclose(model.path[[0, -1], 0], [-5, 5], atol=0.6)
    assert model.axes == ["PC1", "PC2"]


def test_a_failure_is_told_and_leaves_no_path(make):
    harness = make(Run())
    harness.settle()
    harness.model.set_source("particles")
    harness.model.set_anchors([3, 10**6])
    model = harness.settle()

    assert isinstance(harness.failed[0], CryodrgnError)
    assert model.path is None


def test_boxes_fit_into_memory(make):
    harness = make(Run())
    model = harness.settle()
    assert model.boxes() == [32, 48, 64, 96, 128]
    assert model.default_box() == 64
    model.set_steps(200)
    assert model.boxes() == [32, 48, 64]
    harness.explorer.run.box = 24
    assert model.boxes() == [24]
    assert model.default_box() == 24


def test_volumes_are_decoded_along_the_path(make):
    run = Run()
    model = make(run).settle()

    *fractions, walk = model.decode(32)(lambda: False)

    assert fractions == pytest.approx(np.arange(1, 21) / 20)
    assert walk.data.shape == (20, 32, 32, 32)
    assert walk.pixel_size == 3.0 * 128 / 32
    np.testing.assert_array_equal([z for z, _ in run.asked], model.path)
    np.testing.assert_array_equal(walk.data[7], ball(float(model.path[7, 0]), 32))


def test_decoding_that_is_given_up_gives_no_trajectory(make):
    run = Run()
    model = make(run).settle()
    fractions = list(model.decode(32)(lambda: len(run.asked) == 3))
    assert fractions == [0.05, 0.1, 0.15]


def test_an_error_in_decoding_comes_through():
    class Broken(Run):
        def decode(self, z, box=None, limit=None, *, stop=None):
            raise RunFolderError(HERE, "damaged")

    with pytest.raises(RunFolderError, match="damaged"):
        list(decode_each(Broken(), np.zeros((2, 2), np.float32), 32, lambda: False))


def test_without_a_decoder_it_says_so(make):
    run = Run()
    run.can_decode = False
    model = make(run).settle()
    with pytest.raises(RunFolderError, match="no decoder"):
        model.decode(32)


def test_a_series_is_saved_with_the_full_box(make, tmp_path):
    run = Run()
    run.box = 32
    harness = make(run)
    harness.model.set_steps(3)
    model = harness.settle()
    *_, walk = model.decode(24)(lambda: False)
    model.show(walk)
    run.asked.clear()

    *_, files = model.series(tmp_path / "walk.mrc")(lambda: False)

    assert [box for _, box in run.asked] == [32] * 3
    back = read_volume(files[1])
    np.testing.assert_array_equal(back.data, ball(float(walk.path[1, 0]), 32))
    assert back.pixel_size == pytest.approx(3.0)
    # What is there in full is not decoded again.
    *_, walk = model.decode(32)(lambda: False)
    model.show(walk)
    run.asked.clear()
    list(model.series(tmp_path / "walk.mrc")(lambda: False))
    assert not run.asked


def test_a_series_that_is_given_up_has_no_script(make, tmp_path):
    run = Run()
    run.box = 32
    model = make(run).settle()
    *_, walk = model.decode(24)(lambda: False)
    model.show(walk)
    run.asked.clear()

    list(model.series(tmp_path / "walk.mrc")(lambda: len(run.asked) == 2))

    assert [p.name for p in sorted(tmp_path.iterdir())] == ["walk_000.mrc", "walk_001.mrc"]


def test_steps_are_marked_on_the_map(make):
    harness = make(Run())
    model = harness.settle()
    marks: list = []
    model.stepped.connect(marks.append)
    *_, walk = model.decode(32)(lambda: False)
    model.show(walk)
    model.go(4)
    model.go(4)
    model.go(400)

    np.testing.assert_array_equal(marks, walk.path[[0, 4, 19]])
    harness.explorer.open(Run(folder=Path("/runs/two")))
    assert marks[-1] is None
    assert model.trajectory is None


def test_new_latents_of_the_same_run_keep_anchors_and_trajectory(make):
    run = Run()
    harness = make(run)
    harness.model.set_anchors([1, 2])
    harness.model.set_source("particles")
    model = harness.settle()
    *_, walk = model.decode(32)(lambda: False)
    model.show(walk)
    again = Run()
    again.latents.mu = again.latents.mu + 1
    harness.explorer.open(again)
    model = harness.settle()

    assert model.anchors == [1, 2]
    assert model.trajectory is walk
    np.testing.assert_allclose(model.path[0], again.latents.mu[1], atol=1e-5)


def test_change_is_seen_where_the_arm_moves():
    path = np.linspace(-3, 3, 6, dtype=np.float32)[:, None]
    data = np.stack([ball(float(z[0]), 32) for z in path])
    walk = Trajectory(HERE, path, data, 3.0, 0.4, "walk")
    vertices = stacked([mesh(volume, 0.4) for volume in data])[0]

    change, (low, high) = vertex_values(walk, vertices, "change")
    along, limits = vertex_values(walk, vertices, "step")
    plain, _ = vertex_values(walk, vertices, "plain")

    np.testing.assert_allclose(
        change[:5],
        data.std(0)[tuple(vertices[:5, 1:].round().astype(int).T)] / 0.4,
        atol=0.15,
    )
    x = (vertices[:, 3] - 16) * 24 / 32
    assert change[x > 5].mean() > 5 * change[x < -1].mean()
    assert low == 0
    assert change[x > 5].mean() / 3 < high < 2
    assert limits == (0, 1)
    np.testing.assert_allclose(along, vertices[:, 0] / 5, atol=1e-6)
    assert set(plain) == {1.0}


class Shown:
    """A panel in a viewer without a window."""

    def __init__(self, run, pca, qtbot) -> None:
        self.gui = GuiThread()
        self.viewer = ViewerModel()
        self.explorer = Explorer(run, pca)
        self.volume = VolumeView(self.viewer, self.gui.post, "surface")
        self.panel = TrajectoryPanel(self.explorer, self.viewer, self.volume, self.gui.post)
        self.panel.setStyleSheet(get_stylesheet("dark"))
        qtbot.addWidget(self.panel)
        self.panel.resize(340, 500)
        self.panel.show()
        qtbot.waitUntil(lambda: not self.panel.model.busy)

    def end(self) -> None:
        self.panel.close_panel()
        self.volume.close()


@pytest.fixture
def show(qtbot, pca) -> Iterator:
    shown = []

    def show(run) -> Shown:
        shown.append(Shown(run, pca, qtbot))
        return shown[-1]

    yield show
    for one in shown:
        one.end()


def press(qtbot, button) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def decoded(qtbot, shown: Shown) -> None:
    count = len(shown.viewer.layers)
    press(qtbot, shown.panel.job.button)
    qtbot.waitUntil(lambda: len(shown.viewer.layers) > count, timeout=30_000)


@pytest.fixture
def small() -> Run:
    run = Run()
    run.box = 24
    return run


def test_the_panel_is_narrow(show, qtbot, small):
    shown = show(small)
    decoded(qtbot, shown)
    for source in range(4):
        shown.panel.source.setCurrentIndex(source)
        for colouring in range(3):
            shown.panel.player.colouring.setCurrentIndex(colouring)
            assert shown.panel.minimumSizeHint().width() <= 316


def test_the_box_chosen_is_that_run_s(show, small):
    shown = show(Run())
    box = shown.panel.box
    assert box.currentData() == 64
    box.setCurrentIndex(box.findData(32))
    shown.panel.steps.setValue(7)
    assert box.currentData() == 32

    other = Run()
    other.folder = HERE / "other"
    shown.explorer.open(other)
    assert box.currentData() == 64


def test_the_path_is_on_the_map_while_the_panel_is_seen(show, small):
    shown = show(small)
    assert len(shown.explorer.paths[-1]) == 20
    shown.panel.steps.setValue(7)
    shown.panel.hide()
    assert shown.explorer.paths[-1] is None


def test_decoding_gives_a_layer_that_follows_the_slider(show, qtbot, small):
    shown = show(small)
    panel, viewer = shown.panel, shown.viewer
    assert not panel.player.isVisible()
    decoded(qtbot, shown)

    assert [layer.name for layer in viewer.layers] == ["Walk along PC1"]
    assert viewer.dims.ndisplay == 3
    assert viewer.dims.nsteps[0] == 20
    assert viewer.dims.point[0] == 0
    assert panel.player.isVisible()
    marks: list = []
    panel.model.stepped.connect(marks.append)
    panel.player.slider.setValue(6)
    assert viewer.dims.point[0] == 6
    viewer.dims.set_point(0, 11)
    assert panel.player.slider.value() == 11
    assert panel.player.count.text() == "12 / 20"
    np.testing.assert_array_equal(marks, panel.model.trajectory.path[[6, 11]])


def test_a_second_trajectory_leaves_the_first_alone(show, qtbot, small):
    shown = show(small)
    panel = shown.panel
    decoded(qtbot, shown)
    first = panel.view.layer
    panel.axis.setCurrentText("PC2")
    qtbot.waitUntil(lambda: not panel.model.busy)
    decoded(qtbot, shown)

    assert [layer.name for layer in shown.viewer.layers] == ["Walk along PC1", "Walk along PC2"]
    assert panel.view.layer is not first
    assert not first.visible


def test_decoding_can_be_cancelled(show, qtbot, small):
    shown = show(small)
    small.delay = 0.05
    press(qtbot, shown.panel.job.button)
    qtbot.waitUntil(lambda: len(small.asked) > 2)
    press(qtbot, shown.panel.job.cancel_button)
    qtbot.waitUntil(lambda: not shown.panel.job.running)

    assert shown.panel.job.text.text() == "Cancelled."
    assert len(small.asked) < 20
    assert not shown.viewer.layers


def test_another_run_drops_what_is_decoded(show, qtbot, small):
    shown = show(small)
    small.delay = 0.05
    press(qtbot, shown.panel.job.button)
    qtbot.waitUntil(lambda: bool(small.asked))
    other = Run(folder=Path("/runs/two"))
    other.box = 24
    shown.explorer.open(other)

    assert not shown.panel.job.running
    qtbot.wait(200)
    assert not shown.viewer.layers
    assert not shown.panel.player.isVisible()


def test_particles_are_picked_while_the_button_is_down(show, qtbot, small):
    shown = show(small)
    panel, explorer = shown.panel, shown.explorer
    panel.source.setCurrentIndex(panel.source.findData("particles"))
    assert "at least two" in panel.hint.text()
    assert not panel.job.button.isEnabled()
    explorer.pick(3)
    press(qtbot, panel.pick_button)
    for particle in (3, 8, 21):
        explorer.pick(particle)
    qtbot.waitUntil(lambda: panel.job.button.isEnabled())
    assert "3 → 8 → 21" in panel.hint.text()

    press(qtbot, panel.remove_button)
    assert panel.model.anchors == [3, 8]
    press(qtbot, panel.clear_button)
    assert panel.model.anchors == []
    panel.hide()
    assert not panel.model.collecting


def test_a_drawing_on_the_map_becomes_the_source(show, qtbot, small):
    shown = show(small)
    shown.panel.model.draw(("z0", "z1"), np.array([[-1.0, 0.0], [1.0, 0.5]]))
    qtbot.waitUntil(lambda: not shown.panel.model.busy)
    assert shown.panel.source.currentText() == "drawn on the map"
    np.testing.assert_allclose(shown.explorer.paths[-1][0], [-1, 0], atol=1e-4)


def test_playing_goes_round_or_back(show, qtbot, small):
    shown = show(small)
    player = shown.panel.player
    shown.panel.steps.setValue(3)
    qtbot.waitUntil(lambda: not shown.panel.model.busy)
    decoded(qtbot, shown)
    seen: list[int] = []
    player.slider.valueChanged.connect(seen.append)

    press(qtbot, player.play_button)
    qtbot.waitUntil(lambda: len(seen) >= 4, timeout=10_000)
    press(qtbot, player.play_button)
    assert seen[:4] == [1, 2, 0, 1]
    assert not player.timer.isActive()
    player.slider.setValue(0)
    seen.clear()
    player.back.setChecked(True)
    press(qtbot, player.play_button)
    qtbot.waitUntil(lambda: len(seen) >= 5, timeout=10_000)
    assert seen[:5] == [1, 2, 1, 0, 1]
    shown.panel.hide()
    assert not player.timer.isActive()


def test_surfaces_are_coloured_by_change(show, qtbot, small):
    shown = show(small)
    player = shown.panel.player
    decoded(qtbot, shown)
    layer = shown.panel.view.layer
    plain = layer.colormap

    player.colouring.setCurrentIndex(player.colouring.findData("change"))
    qtbot.waitUntil(lambda: layer.colormap != plain, timeout=10_000)
    assert np.ptp(layer.vertex_values) > 0.1
    assert player.legend.isVisible()
    assert (player.low.text(), player.high.text()) == ("still", "moves")
    player.colouring.setCurrentIndex(0)
    qtbot.waitUntil(lambda: layer.colormap == plain, timeout=10_000)
    assert set(layer.vertex_values) == {1.0}
    assert not player.legend.isVisible()


def test_volumes_are_coloured_by_their_step(show, qtbot, small):
    shown = show(small)
    shown.volume.set_mode("volume")
    player = shown.panel.player
    decoded(qtbot, shown)
    layer = shown.panel.view.layer
    player.colouring.setCurrentIndex(player.colouring.findData("step"))
    first = layer.colormap.map(np.array([1.0]))[0]
    player.slider.setValue(19)
    last = layer.colormap.map(np.array([1.0]))[0]

    # From blue to orange.
    assert first[2] > first[0]
    assert last[2] < last[0]


def test_volumes_have_no_colours_of_change(show, qtbot, small):
    shown = show(small)
    shown.volume.set_mode("volume")
    player = shown.panel.player
    decoded(qtbot, shown)
    player.colouring.setCurrentIndex(player.colouring.findData("change"))
    assert not player.legend.isVisible()
    assert "surfaces only" in player.no_surface.text()
    assert player.no_surface.isVisible()
    player.colouring.setCurrentIndex(player.colouring.findData("step"))
    assert player.legend.isVisible()
    assert not player.no_surface.isVisible()

    # As the line says.
    player.colouring.setCurrentIndex(player.colouring.findData("change"))
    shown.volume.set_mode("surface")
    assert player.no_surface.isVisible()
    decoded(qtbot, shown)
    assert player.legend.isVisible()
    assert not player.no_surface.isVisible()


def test_volumes_and_script_are_saved(show, qtbot, small, tmp_path, monkeypatch):
    shown = show(small)
    player = shown.panel.player
    shown.panel.steps.setValue(3)
    qtbot.waitUntil(lambda: not shown.panel.model.busy)
    decoded(qtbot, shown)
    asked = []

    def choose(*args):
        asked.append(Path(args[2]).name)
        return str(tmp_path / "walk"), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
    press(qtbot, player.series_job.button)
    qtbot.waitUntil(lambda: "open walk.cxc" in player.series_job.text.text(), timeout=10_000)

    assert asked == ["walk_along_pc1.mrc"]
    names = ["walk.cxc", *(f"walk_00{i}.mrc" for i in range(3))]
    assert [p.name for p in sorted(tmp_path.iterdir())] == names


@pytest.mark.parametrize("answer", ["No", "Yes"])
def test_files_are_not_replaced_unasked(show, qtbot, small, tmp_path, monkeypatch, answer):
    shown = show(small)
    player = shown.panel.player
    shown.panel.steps.setValue(3)
    qtbot.waitUntil(lambda: not shown.panel.model.busy)
    decoded(qtbot, shown)
    for name in ("walk_001.mrc", "walk.cxc"):
        (tmp_path / name).write_text("mine")
    asked = []

    def question(*args):
        asked.append(args)
        return QMessageBox.StandardButton[answer]

    monkeypatch.setattr(QMessageBox, "question", question)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "walk.mrc"), ""))
    press(qtbot, player.series_job.button)
    qtbot.waitUntil(lambda: not player.series_job.running, timeout=10_000)

    ((_, _, text, _, default),) = asked
    assert "walk_001.mrc and one other file" in text
    assert default == QMessageBox.StandardButton.No
    kept = answer == "No"
    assert ((tmp_path / "walk.cxc").read_text() == "mine") is kept
    assert (tmp_path / "walk_000.mrc").exists() is not kept


def test_a_film_is_not_replaced_unasked(show, qtbot, small, tmp_path, monkeypatch):
    shown = show(small)
    decoded(qtbot, shown)
    player, asked = shown.panel.player, []
    (tmp_path / "walk.gif").write_text("mine")

    def question(*args):
        asked.append(args[2])
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", question)
    # The dialog knows nothing of the ending.
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "walk"), ""))
    press(qtbot, player.film_job.button)

    assert not player.film_job.running
    assert asked == [f"walk.gif is in {tmp_path} already. Replace it?"]


def test_another_run_stops_saving_and_says_so(
    show, qtbot, small, tmp_path, monkeypatch, notifications
):
    shown = show(small)
    decoded(qtbot, shown)
    small.box, small.delay = 32, 0.05
    player = shown.panel.player
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "a.mrc"), ""))
    press(qtbot, player.series_job.button)
    qtbot.waitUntil((tmp_path / "a_000.mrc").exists, timeout=10_000)
    shown.explorer.open(Run(folder=Path("/runs/two")))

    assert notifications == [("warning", "Saving was stopped: another run was opened.")]
    shown.explorer.open(Run(folder=Path("/runs/three")))
    assert len(notifications) == 1


def test_a_film_without_its_package_says_so(
    show, qtbot, small, tmp_path, monkeypatch, notifications
):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    shown = show(small)
    decoded(qtbot, shown)
    player = shown.panel.player
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "a.mp4"), ""))
    press(qtbot, player.film_job.button)

    assert not player.film_job.running
    assert "napari-cryodrgn[film]" in player.film_job.text.text()
    assert len(notifications) == 1


def test_a_film_shows_the_canvas_step_by_step(
    make_napari_viewer, qtbot, pca, small, tmp_path, monkeypatch
):
    viewer = make_napari_viewer(show=True)
    gui = GuiThread()
    volume = VolumeView(viewer, gui.post, "surface")
    explorer = Explorer(small, pca)
    panel = TrajectoryPanel(explorer, viewer, volume, gui.post)
    viewer.window.add_dock_widget(panel)
    panel.steps.setValue(4)
    qtbot.waitUntil(lambda: not panel.model.busy)
    press(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: panel.view.layer is not None, timeout=30_000)
    panel.player.back.setChecked(True)
    path = tmp_path / "walk.gif"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))

    press(qtbot, panel.player.film_job.button)
    qtbot.waitUntil(lambda: panel.player.film_job.text.text() == f"Saved: {path}", timeout=60_000)
    panel.close_panel()
    volume.close()

    with Image.open(path) as film:
        # Four there and two back.
        assert film.n_frames == 6
        pictures = []
        for i in range(6):
            film.seek(i)
            pictures.append(np.asarray(film.convert("RGB")).astype(int))
    assert np.abs(pictures[0] - pictures[3]).mean() > 1
    assert np.abs(pictures[2] - pictures[4]).mean() < 0.2
