from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtWidgets import QStyle

from napari_cryodrgn.widgets import latent_plot
from napari_cryodrgn.widgets.explorer_dock import ExplorerDock
from napari_cryodrgn.widgets.latent_plot import LatentPlot
from napari_cryodrgn.widgets.qt_tools import colors

HERE = Path("/runs/one")


@pytest.fixture
def make(qtbot, fake_runs, pca) -> Iterator[Callable[..., ExplorerDock]]:
    docks = []

    def make(*runs, viewer=None) -> ExplorerDock:
        dock = ExplorerDock(viewer or ViewerModel(), open_run=fake_runs(*runs), pca=pca)
        qtbot.addWidget(dock)
        dock.resize(400, 800)
        dock.show()
        docks.append(dock)
        if runs:
            dock.open_folder(runs[0].folder)
            qtbot.waitUntil(lambda: dock.model.run is runs[0], timeout=10_000)
        return dock

    yield make
    for dock in docks:
        dock.end()


def click_at(qtbot, plot: LatentPlot, x: float, y: float) -> None:
    """Click with the mouse at a point in data units."""
    qtbot.waitExposed(plot)
    qtbot.wait(50)
    scene = plot.getViewBox().mapViewToScene(QPointF(x, y))
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=plot.mapFromScene(scene))


def test_an_empty_dock_says_what_to_do(make):
    dock = make()

    assert "Open the folder of a run" in dock.hint.text()
    assert not dock.show_button.isVisible()
    assert dock.pages.currentIndex() == 0


def test_a_click_shows_the_volume_there(make, qtbot, fake_run):
    run = fake_run(HERE)
    dock = make(run)
    viewer = dock._viewer

    click_at(qtbot, dock.plot, 1.0, 0.5)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)

    (layer,) = viewer.layers
    assert layer.name == "Decoded volume"
    np.testing.assert_allclose(layer.scale, 6.0)
    assert layer.iso_threshold == pytest.approx(run.contour())
    # Half a pixel either way is what a mouse can do.
    np.testing.assert_allclose(run.decoded[-1], [1.0, 0.5], atol=0.05)
    assert f"particle <b>{dock.model.pick.particle}</b>" in dock.pick_text.text()
    assert "Decoded in" in dock.status.text()
    assert dock.plot.here.isVisible()
    (x,), (y,) = dock.plot.nearest.getData()
    np.testing.assert_allclose((x, y), run.latents.mu[dock.model.pick.particle])


def test_further_clicks_use_the_same_layer_camera_and_contour(make, qtbot, fake_run):
    dock = make(fake_run(HERE))
    viewer = dock._viewer
    click_at(qtbot, dock.plot, 1.0, 0.5)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)
    layer = viewer.layers[0]
    first = layer.data.copy()
    viewer.scene.camera.angles = (10, 20, 30)
    layer.iso_threshold = 0.5

    click_at(qtbot, dock.plot, -2.0, -0.5)
    qtbot.waitUntil(lambda: not np.array_equal(layer.data, first), timeout=10_000)

    assert len(viewer.layers) == 1
    assert tuple(viewer.scene.camera.angles) == (10, 20, 30)
    assert layer.iso_threshold == 0.5


def test_a_drag_is_no_click(make, qtbot, fake_run):
    dock = make(fake_run(HERE))
    dock.plot.clicked.connect(pytest.fail)
    viewport = dock.plot.viewport()
    middle = viewport.rect().center()

    qtbot.mousePress(viewport, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseMove(viewport, middle * 1.2)
    qtbot.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=middle * 1.2)
    qtbot.mouseClick(viewport, Qt.MouseButton.RightButton, pos=middle)


def test_one_dimension_is_a_histogram_that_can_be_clicked(make, qtbot, fake_run):
    run = fake_run(HERE, zdim=1)
    dock = make(run)
    qtbot.waitUntil(dock.plot.bars.isVisible, timeout=10_000)
    assert not dock.plot.points.isVisible()
    assert not dock.map.x_axis.isVisible()

    click_at(qtbot, dock.plot, 1.0, 5.0)
    qtbot.waitUntil(lambda: len(dock._viewer.layers) == 1, timeout=10_000)

    np.testing.assert_allclose(run.decoded[-1], [1.0], atol=0.05)
    assert dock.plot.line.isVisible()
    assert dock.plot.line.value() == pytest.approx(1.0, abs=0.05)


def test_axes_can_be_chosen(make, fake_run):
    run = fake_run(HERE, zdim=4)
    dock = make(run)
    assert (dock.map.x_axis.currentText(), dock.map.y_axis.currentText()) == ("PC1", "PC2")

    dock.map.x_axis.setCurrentText("z2")
    dock.map.y_axis.setCurrentText("z0")

    x, y = dock.plot.points.getData()
    np.testing.assert_allclose(x, run.latents.mu[:, 2])
    np.testing.assert_allclose(y, run.latents.mu[:, 0])


def test_many_points_are_a_density_with_a_sample_on_top(make, qtbot, fake_run, monkeypatch):
    monkeypatch.setattr(latent_plot, "MANY", 1000)
    monkeypatch.setattr(latent_plot, "SAMPLE", 300)

    dock = make(fake_run(HERE, n_particles=1500))

    qtbot.waitUntil(dock.plot.density.isVisible, timeout=10_000)
    qtbot.waitUntil(lambda: len(dock.plot.points.getData()[0]) > 0, timeout=10_000)
    assert len(dock.plot.points.getData()[0]) <= 300


def test_a_run_without_latent_shows_its_structure(make, qtbot, fake_run):
    dock = make(fake_run(HERE, zdim=0))
    assert "one structure" in dock.hint.text()

    qtbot.mouseClick(dock.show_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(dock._viewer.layers) == 1, timeout=10_000)


def test_a_run_in_progress_is_followed(make, qtbot, fake_run):
    run = fake_run(HERE, finished=False, can_decode=False, epoch=1)
    early = run.latents
    run.latents = None
    dock = make(run)
    assert dock.timer.isActive()
    assert "no latent yet" in dock.hint.text()
    assert dock.follow.isVisible()

    run.latents, run.can_decode, run.has_changed = early, True, True
    dock.timer.timeout.emit()
    qtbot.waitUntil(lambda: dock.pages.currentIndex() == 1, timeout=10_000)
    run.finished = True
    run.has_changed = False
    dock.open_folder(HERE)
    qtbot.waitUntil(lambda: not dock.timer.isActive(), timeout=10_000)

    assert not dock.follow.isVisible()


def test_following_keeps_the_zoom(make, qtbot, fake_run):
    run = fake_run(HERE, finished=False)
    dock = make(run)
    dock.plot.setRange(xRange=(0, 1), yRange=(0, 1), padding=0)
    moved = run.latents.mu + 5
    run.latents, run.has_changed = SimpleNamespace(mu=moved, logvar=moved), True

    dock.timer.timeout.emit()
    qtbot.waitUntil(lambda: np.allclose(dock.plot.points.getData()[0], moved[:, 0]), timeout=10_000)

    np.testing.assert_allclose(dock.plot.viewRange(), [(0, 1), (0, 1)], atol=1e-6)


def test_a_folder_that_is_no_run_changes_nothing(make, qtbot, fake_run, notifications):
    run = fake_run(HERE)
    dock = make(run)

    dock.open_folder("/elsewhere")
    qtbot.waitUntil(lambda: bool(notifications), timeout=10_000)

    ((severity, message),) = notifications
    assert severity == "error"
    assert "/elsewhere" in message
    assert "config.yaml" in message
    assert dock.head.message.isVisible()
    assert "/elsewhere" in dock.head.message.text()
    assert dock.model.run is run
    assert dock.pages.currentIndex() == 1


def test_a_drag_decodes_on_its_way(make, qtbot, fake_run):
    run = fake_run(HERE)
    dock = make(run)
    qtbot.waitUntil(lambda: not dock.model.busy, timeout=10_000)
    viewport = dock.plot.viewport()
    middle = viewport.rect().center()

    qtbot.mousePress(viewport, Qt.MouseButton.LeftButton, pos=middle)
    for step in range(1, 12):
        qtbot.mouseMove(viewport, middle + QPoint(6 * step, 0))
        qtbot.wait(20)
    moving = dock.model.pick
    assert moving is not None
    qtbot.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=middle + QPoint(66, 0))
    qtbot.waitUntil(lambda: len(dock._viewer.layers) == 1, timeout=10_000)
    qtbot.waitUntil(lambda: not dock.model.busy, timeout=10_000)

    np.testing.assert_array_equal(run.decoded[-1], dock.model.pick.z)


def test_a_mouse_that_rests_while_it_drags_gets_the_full_box(make, qtbot, fake_run):
    dock = make(fake_run(HERE))
    qtbot.waitUntil(lambda: not dock.model.busy, timeout=10_000)
    settled, looked = [], []
    dock.model.decode.settle = settled.append
    dock.model.decode.look = looked.append
    viewport = dock.plot.viewport()
    middle = viewport.rect().center()

    qtbot.mousePress(viewport, Qt.MouseButton.LeftButton, pos=middle)
    for step in range(1, 6):
        qtbot.mouseMove(viewport, middle + QPoint(6 * step, 0))
    assert looked
    assert not settled
    qtbot.waitUntil(lambda: len(settled) == 1, timeout=5_000)
    np.testing.assert_array_equal(settled[0], looked[-1])
    qtbot.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=middle + QPoint(30, 0))
    qtbot.wait(300)
    assert len(settled) == 2


def test_a_lasso_selects_and_clear_lets_go(make, qtbot, fake_run):
    run = fake_run(HERE)
    dock = make(run)
    qtbot.waitExposed(dock.plot)
    qtbot.wait(50)
    dock.plot.tool = "rectangle"
    view, viewport = dock.plot.getViewBox(), dock.plot.viewport()

    def place(x: float, y: float) -> QPoint:
        return dock.plot.mapFromScene(view.mapViewToScene(QPointF(x, y)))

    qtbot.mousePress(viewport, Qt.MouseButton.LeftButton, pos=place(0, -0.5))
    for share in (0.25, 0.5, 0.75, 1.0):
        qtbot.mouseMove(viewport, place(2 * share, -0.5 + share))
        qtbot.wait(10)
    qtbot.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=place(2, 0.5))
    qtbot.waitUntil(lambda: dock.model.current_mask is not None, timeout=10_000)

    mu = run.latents.mu
    inside = (mu[:, 0] > 0) & (mu[:, 0] < 2) & (np.abs(mu[:, 1]) < 0.5)
    # The mouse moves by whole pixels.
    assert np.mean(dock.model.current_mask != inside) < 0.03
    assert "selected" in dock.map.chosen.text()
    qtbot.mouseClick(dock.map.clear_button, Qt.MouseButton.LeftButton)
    assert dock.model.current_mask is None


def test_a_point_off_the_data_is_called_a_guess(make, qtbot, fake_run):
    dock = make(fake_run(HERE))

    dock.model.pick_z(np.array([1.0, 0.0], np.float32))
    qtbot.waitUntil(lambda: "Nearest" in dock.pick_text.text(), timeout=5_000)
    assert "guess" not in dock.pick_text.text()
    dock.model.pick_z(np.array([40.0, 0.0], np.float32))
    qtbot.waitUntil(lambda: "guess" in dock.pick_text.text(), timeout=5_000)


def test_colours_are_offered_and_their_range_fades(make, qtbot, fake_run):
    run = fake_run(HERE)
    run.latents.logvar = np.log(np.square(np.linspace(0.1, 0.5, 800).reshape(400, 2)))
    dock = make(run)
    assert not dock.map.limits.isVisible()

    dock.map.colour.setCurrentText("sigma z0")
    qtbot.waitUntil(dock.map.limits.isVisible, timeout=10_000)
    low, high = dock.map.limits.value()
    assert (low, high) == pytest.approx((0.1, 0.4995), abs=1e-3)
    dock.map.limits.setValue((0.2, 0.3))

    assert 90 < np.count_nonzero(dock.model.within_limits()) < 110


def test_a_path_drawn_on_the_map_opens_the_trajectories(make, qtbot, fake_run):
    dock = make(fake_run(HERE))

    dock.plot.path_drawn.emit(np.array([[-1.0, 0.0], [1.0, 0.0]]))

    trajectory = dock.tabs.trajectory
    assert trajectory.isVisible()
    qtbot.waitUntil(lambda: trajectory.model.path is not None, timeout=10_000)
    assert trajectory.model.source == "drawn"


def test_it_needs_no_more_than_a_dock_is_wide(make, fake_run):
    dock = make(fake_run(HERE, zdim=4))

    assert dock.pages.minimumSizeHint().width() <= 340
    # Nothing is cut off beside a scroll bar.
    bar = dock.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent)
    assert dock.minimumWidth() >= dock.body.parentWidget().minimumSizeHint().width() + bar


def test_the_plot_follows_the_theme(make, fake_run):
    dock = make(fake_run(HERE))

    dock._viewer.theme = "light"

    assert dock.plot.backgroundBrush().color().name() == colors("light").background


def test_closing_the_dock_ends_its_thread(make, fake_run):
    dock = make(fake_run(HERE))
    dock.model.pick_z(np.zeros(2, np.float32))

    dock.close()

    assert not dock.timer.isActive()
    with pytest.raises(RuntimeError, match="shutdown"):
        dock.model.open(HERE)
