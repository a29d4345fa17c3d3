from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.qt import get_stylesheet
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QMessageBox

from napari_cryodrgn.analysis.clusters import load_clusters
from napari_cryodrgn.errors import CryodrgnError, RunFolderError
from napari_cryodrgn.widgets.centre_layers import CENTRE
from napari_cryodrgn.widgets.cluster_model import centre_box
from napari_cryodrgn.widgets.cluster_panel import ClusterPanel
from napari_cryodrgn.widgets.latent_space import LatentSpace
from napari_cryodrgn.widgets.map_colors import category_color
from napari_cryodrgn.widgets.qt_tools import GuiThread
from napari_cryodrgn.widgets.volume_view import VolumeView


class Run:
    """Three clouds of particles, of 10, 20 and 30."""

    can_decode = True
    pixel_size: float | None = 3.0
    box = 16
    delay = 0.0

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.of = np.repeat([0, 1, 2], [10, 20, 30])
        mu = rng.normal(scale=0.2, size=(60, 2)) + np.array([[0, 0], [5, 0], [10, 3]])[self.of]
        self.latents = SimpleNamespace(mu=mu.astype(np.float32))
        self.folder = folder
        self.found: object = None
        self.asked: list[np.ndarray] = []

    def products(self):
        return self.found

    def contour(self) -> float:
        return 0.5

    def decode(self, z, box=None, limit=None, *, stop=None) -> np.ndarray:
        time.sleep(self.delay)
        if stop is not None and stop():
            raise CryodrgnError("given up")
        self.asked.append(np.array(z))
        grid = np.mgrid[:box, :box, :box] - box // 2
        return np.exp(-(grid**2).sum(0) / (4 + z[0])).astype(np.float32)


class Explorer:
    run_changed = Signal()
    clusters_changed = Signal()

    def __init__(self, run, pca) -> None:
        self._pca = pca
        self.clusters = None
        self.current: np.ndarray | None = None
        self.picked: list[int] = []
        self.open(run)

    def open(self, run) -> None:
        self.run = run
        self.space = LatentSpace(run.latents.mu, self._pca) if run is not None else None
        self.run_changed.emit()

    def set_clusters(self, clusters) -> None:
        self.clusters = clusters
        self.clusters_changed.emit()

    def set_current(self, mask) -> None:
        self.current = mask

    def pick_particle(self, particle: int) -> None:
        self.picked.append(particle)


class Shown:
    """A panel in a viewer without a window."""

    def __init__(self, run, pca, qtbot) -> None:
        self._qtbot = qtbot
        gui = self._gui = GuiThread()
        self.viewer = ViewerModel()
        self.volume = VolumeView(self.viewer, gui.post, "surface")
        self.explorer = Explorer(run, pca)
        self.panel = ClusterPanel(self.explorer, self.viewer, self.volume, gui.post)
        self.panel.setStyleSheet(get_stylesheet("dark"))
        qtbot.addWidget(self.panel)
        self.panel.resize(340, 500)
        self.panel.show()

    def press(self, button) -> None:
        self._qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def find(self, k: int = 3) -> None:
        self.panel.number.setValue(k)
        self.press(self.panel.find_button)
        self._qtbot.waitUntil(lambda: self.explorer.clusters is not None, timeout=30_000)

    def click(self, row: int, modifier=Qt.KeyboardModifier.NoModifier) -> None:
        tree = self.panel.list
        place = tree.visualItemRect(tree.topLevelItem(row)).center()
        self._qtbot.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, modifier, pos=place)

    def end(self) -> None:
        self.panel.close_panel()
        self.volume.close()


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def show(qtbot, pca) -> Iterator:
    shown = []

    def show(run) -> Shown:
        shown.append(Shown(run, pca, qtbot))
        return shown[-1]

    yield show
    for one in shown:
        one.end()


def test_without_a_run_nothing_can_be_found(show):
    panel = show(None).panel
    assert not panel.find_button.isEnabled()
    assert panel.hint.isVisible()
    assert not panel.results.isVisible()


def test_clusters_are_found_listed_and_kept(show, run, qtbot):
    shown = show(run)
    shown.find()
    panel, clusters = shown.panel, shown.explorer.clusters

    # The three clouds, in order.
    assert all(len(set(clusters.labels[run.of == i])) == 1 for i in range(3))
    rows = [panel.list.topLevelItem(i) for i in range(3)]
    assert [row.text(0) for row in rows] == ["Cluster 1", "Cluster 2", "Cluster 3"]
    assert sorted(row.text(1) for row in rows) == ["10", "20", "30"]
    assert sorted(row.text(2) for row in rows) == ["17 %", "33 %", "50 %"]
    picture = rows[1].icon(0).pixmap(14, 14).toImage()
    assert picture.pixelColor(7, 7).name() == category_color(1)
    mu = run.latents.mu
    qtbot.waitUntil(lambda: load_clusters(run.folder, mu) is not None)
    np.testing.assert_array_equal(load_clusters(run.folder, mu).labels, clusters.labels)


def test_names_are_edited_in_the_list_and_kept(show, run, qtbot):
    shown = show(run)
    shown.find()
    item = shown.panel.list.topLevelItem(1)
    item.setText(0, " open ")

    assert shown.explorer.clusters.names == ("Cluster 1", "open", "Cluster 3")
    assert shown.panel.list.topLevelItem(1).text(0) == "open"
    mu = run.latents.mu
    qtbot.waitUntil(
        lambda: (kept := load_clusters(run.folder, mu)) is not None and kept.names[1] == "open"
    )
    # They are there when the run is opened again.
    again = show(Run(run.folder))
    qtbot.waitUntil(lambda: again.explorer.clusters is not None)
    assert again.panel.list.topLevelItem(1).text(0) == "open"
    again.panel.list.topLevelItem(1).setText(0, "")
    assert again.explorer.clusters.names[1] == "Cluster 2"


def test_clusters_of_an_analysis_are_taken_over(show, run, qtbot):
    from napari_cryodrgn.analysis import Products

    run.found = Products(run.folder, labels=run.of.astype(np.intp))
    shown = show(run)
    qtbot.waitUntil(lambda: shown.explorer.clusters is not None)
    assert [shown.panel.list.topLevelItem(i).text(1) for i in range(3)] == ["10", "20", "30"]


def test_clusters_of_earlier_latents_go_away(show, run, qtbot):
    shown = show(run)
    shown.find()
    later = Run(run.folder)
    later.latents.mu = later.latents.mu * 2
    shown.explorer.open(later)

    assert shown.explorer.clusters is None
    assert shown.panel.hint.isVisible()
    qtbot.waitUntil(lambda: not shown.panel.model.busy)
    assert shown.explorer.clusters is None


def test_what_is_there_stays_with_the_same_latents(show, run, qtbot):
    run.delay = 0.1
    shown = show(run)
    shown.find()
    clusters = shown.explorer.clusters
    shown.press(shown.panel.job.button)
    # As when an axis is added.
    shown.explorer.run_changed.emit()

    assert shown.explorer.clusters is clusters
    assert shown.panel.job.running
    qtbot.waitUntil(lambda: len(shown.panel.layers()) == 3, timeout=10_000)


def test_clusters_outlive_that_a_run_is_read_again(show, run, qtbot):
    shown = show(run)
    shown.find()
    shown.panel.list.topLevelItem(1).setText(0, "open")
    clusters = shown.explorer.clusters
    again = Run(run.folder)
    assert again.latents.mu is not run.latents.mu
    shown.explorer.open(again)

    assert shown.explorer.clusters is clusters
    # Those of another folder are others, even where the latents are the same.
    shown.explorer.open(Run(run.folder / "copy"))
    assert shown.explorer.clusters is None


def test_other_clusters_drop_the_centres_that_are_decoded(show, run, qtbot):
    shown = show(run)
    shown.find(8)
    run.delay = 0.3
    shown.press(shown.panel.job.button)
    qtbot.waitUntil(lambda: len(run.asked) == 2, timeout=10_000)
    shown.panel.message.setText("something failed")
    shown.panel.message.show()
    before = shown.explorer.clusters
    shown.panel.model.find(2, "k-means")
    qtbot.waitUntil(lambda: shown.explorer.clusters is not before, timeout=10_000)

    assert not shown.panel.job.running
    assert shown.panel.job.button.isEnabled()
    assert not shown.panel.message.isVisible()
    there = len(shown.viewer.layers)
    qtbot.wait(700)
    assert len(shown.viewer.layers) == there < 8


def test_names_are_not_lost_unasked(show, run, qtbot, monkeypatch):
    shown = show(run)
    shown.find()
    shown.panel.list.topLevelItem(1).setText(0, "open")
    before, asked = shown.explorer.clusters, []
    answer = QMessageBox.StandardButton.No

    def question(*args):
        asked.append(args)
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)
    shown.press(shown.panel.find_button)
    assert not shown.panel.model.busy
    assert "“open”" in asked[0][2]
    assert asked[0][4] == QMessageBox.StandardButton.No
    assert shown.explorer.clusters is before

    answer = QMessageBox.StandardButton.Yes
    shown.press(shown.panel.find_button)
    qtbot.waitUntil(lambda: shown.explorer.clusters is not before, timeout=10_000)
    shown.press(shown.panel.find_button)
    assert len(asked) == 2


def test_only_names_can_be_edited(show, run, qtbot):
    shown = show(run)
    shown.find()
    tree = shown.panel.list
    for column, editing in ((1, False), (2, False), (0, True)):
        item = tree.topLevelItem(1)
        left = sum(tree.columnWidth(i) for i in range(column))
        place = tree.visualItemRect(item).center()
        place.setX(left + tree.columnWidth(column) // 2)
        qtbot.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
        qtbot.mouseDClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
        assert (tree.state() == QAbstractItemView.State.EditingState) is editing


def test_a_failure_is_told(show, run, qtbot, notifications):
    shown = show(run)
    shown.panel.model.find(61, "k-means")
    qtbot.waitUntil(lambda: shown.panel.message.isVisible())
    assert "from 1 to 60" in shown.panel.message.text()
    assert shown.panel.find_button.isEnabled()
    assert len(notifications) == 1
    # The panel itself does not offer so many.
    assert shown.panel.number.maximum() == 60


def test_a_click_shows_the_centre(show, run):
    shown = show(run)
    shown.find()
    shown.click(2)
    assert shown.explorer.picked == [shown.explorer.clusters.particles[2]]


def test_several_clusters_are_selected_together(show, run):
    shown = show(run)
    shown.find()
    assert not shown.panel.select_button.isEnabled()
    shown.click(0)
    shown.click(2, Qt.KeyboardModifier.ControlModifier)
    shown.press(shown.panel.select_button)

    np.testing.assert_array_equal(shown.explorer.current, shown.explorer.clusters.labels != 1)
    assert len(shown.explorer.picked) == 1


def test_the_map_is_coloured_by_cluster(show, run):
    shown = show(run)
    shown.find()
    asked: list = []
    shown.panel.colour_asked.connect(asked.append)
    shown.press(shown.panel.colour_button)

    (values,) = asked
    assert values.labels == shown.explorer.clusters.names
    np.testing.assert_array_equal(values.data, shown.explorer.clusters.labels)


@pytest.mark.parametrize("mode", ["surface", "volume"])
def test_centres_become_named_layers(show, run, qtbot, mode):
    shown = show(run)
    shown.volume.set_mode(mode)
    shown.find()
    shown.panel.list.topLevelItem(0).setText(0, "closed")
    shown.press(shown.panel.job.button)
    qtbot.waitUntil(lambda: not shown.panel.job.running, timeout=30_000)

    layers = list(shown.viewer.layers)
    assert [layer.name for layer in layers] == ["closed", "Cluster 2", "Cluster 3"]
    assert [layer.metadata[CENTRE] for layer in layers] == [(run.folder, i) for i in range(3)]
    assert [layer.visible for layer in layers] == [True, False, False]
    np.testing.assert_allclose(layers[0].scale, 3.0)
    np.testing.assert_array_equal(run.asked, shown.explorer.clusters.centres)
    # Once more: in place of these.
    shown.press(shown.panel.job.button)
    qtbot.waitUntil(lambda: not shown.panel.job.running, timeout=30_000)
    assert len(shown.viewer.layers) == 3


def test_centres_are_seen_side_by_side(show, run, qtbot):
    shown = show(run)
    shown.find()
    shown.press(shown.panel.job.button)
    qtbot.waitUntil(lambda: not shown.panel.job.running, timeout=30_000)
    other = shown.viewer.add_points(np.zeros((1, 3)))
    camera = shown.viewer.scene.camera
    zoom = camera.zoom

    shown.press(shown.panel.side_by_side)
    assert shown.viewer.canvas.grid.enabled
    assert [layer.visible for layer in shown.panel.layers()] == [True] * 3
    assert not other.visible
    assert camera.zoom != zoom
    np.testing.assert_allclose(camera.center, 3.0 * 8, atol=3.0)
    shown.press(shown.panel.side_by_side)
    assert not shown.viewer.canvas.grid.enabled
    assert [layer.visible for layer in shown.panel.layers()] == [True, False, False]
    assert camera.zoom == zoom


def test_the_grid_leaves_everything_as_it_was(show, run, qtbot):
    shown = show(run)
    shown.find()
    viewer, panel = shown.viewer, shown.panel
    shown.press(panel.job.button)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=30_000)
    for name, visible in (("seen", True), ("hidden", False)):
        viewer.add_points(np.zeros((1, 3)), name=name, visible=visible)
    panel.layers()[0].visible, panel.layers()[2].visible = False, True
    viewer.canvas.grid.stride = 3
    before = {layer.name: layer.visible for layer in viewer.layers}

    shown.press(panel.side_by_side)
    assert [layer.visible for layer in viewer.layers] == [True] * 3 + [False] * 2
    shown.press(panel.side_by_side)

    assert {layer.name: layer.visible for layer in viewer.layers} == before
    assert viewer.canvas.grid.stride == 3
    # Decoded while the grid is there, they are shown in its place, and then the first alone.
    shown.press(panel.side_by_side)
    shown.press(panel.job.button)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=30_000)
    assert [layer.visible for layer in panel.layers()] == [True] * 3
    shown.press(panel.side_by_side)
    seen = [layer.name for layer in viewer.layers if layer.visible]
    assert seen == ["Cluster 1"]


def test_only_centres_of_the_run_are_taken_for_such(show, run, qtbot):
    shown = show(run)
    shown.find()
    viewer = shown.viewer
    viewer.add_points(np.zeros((1, 3)), name="own", metadata={"centre": (1, 2)})
    viewer.add_points(np.zeros((1, 3)), name="other", metadata={CENTRE: (Path("/other"), 1)})
    shown.press(shown.panel.job.button)
    qtbot.waitUntil(lambda: not shown.panel.job.running, timeout=30_000)
    viewer.layers.reverse()
    assert [layer.name for layer in shown.panel.layers()] == [f"Cluster {i}" for i in (1, 2, 3)]
    shown.press(shown.panel.job.button)
    qtbot.waitUntil(lambda: not shown.panel.job.running, timeout=30_000)

    assert {"own", "other"} <= {layer.name for layer in viewer.layers}
    assert len(viewer.layers) == 5


def test_decoding_centres_can_be_cancelled(show, run, qtbot):
    run.delay = 0.2
    shown = show(run)
    shown.find()
    shown.press(shown.panel.job.button)
    qtbot.waitUntil(lambda: len(run.asked) == 1, timeout=10_000)
    shown.press(shown.panel.job.cancel_button)
    qtbot.waitUntil(lambda: not shown.panel.job.running, timeout=10_000)
    assert shown.panel.job.text.text() == "Cancelled."
    assert len(run.asked) < 3


def test_without_a_decoder_centres_are_not_offered(show, run):
    run.can_decode = False
    shown = show(run)
    shown.find()
    assert not shown.panel.job.button.isEnabled()
    with pytest.raises(RunFolderError, match="no decoder"):
        shown.panel.model.centre_volumes()


def test_many_centres_have_smaller_boxes():
    assert centre_box(64, 100) == 64
    assert centre_box(256, 8) == 256
    assert centre_box(256, 20) == 128
    # An odd half cannot be decoded.
    assert centre_box(254, 20) == 126


def test_the_panel_is_narrow(show, run):
    shown = show(run)
    shown.find()
    shown.panel.list.topLevelItem(0).setText(0, "a name that is much longer than the list is wide")
    assert shown.panel.minimumSizeHint().width() <= 316
