from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, QPointF, Qt
from scipy.spatial.transform import Rotation

from napari_cryodrgn.particles import rotations_from_euler
from napari_cryodrgn.widgets.inspector_model import InspectorModel
from napari_cryodrgn.widgets.qt_tools import GuiThread, colors
from napari_cryodrgn.widgets.view_directions import from_map, on_map
from napari_cryodrgn.widgets.views_model import Shown, Views, ViewsModel
from napari_cryodrgn.widgets.views_panel import ViewsPanel
from napari_cryodrgn.widgets.views_words import direction_words, table, verdict

N = 600


def poses(n: int = N, seed: int = 0) -> np.ndarray:
    return Rotation.random(n, rng=np.random.default_rng(seed)).as_matrix().astype(np.float32)


@pytest.fixture
def run(tmp_path: Path, fake_run):
    random = np.random.default_rng(3)
    return fake_run(
        tmp_path,
        n_particles=N,
        rotations=poses(),
        shifts=random.normal(size=(N, 2)).astype(np.float32),
    )


@pytest.fixture
def model(run) -> Iterator[ViewsModel]:
    inspector = InspectorModel(lambda answer: answer())
    model = ViewsModel(inspector, lambda answer: answer())
    model.active = True
    inspector.set_run(run)
    settle(model)
    yield model
    model.close()
    inspector.close()


@pytest.fixture
def panel(run, qtbot) -> Iterator[ViewsPanel]:
    gui = GuiThread()
    inspector = InspectorModel(gui.post)
    panel = ViewsPanel(inspector, ViewerModel(), gui.post, colors("dark"))
    qtbot.addWidget(panel)
    panel.resize(360, 760)
    panel.show()
    panel.set_active(True)
    inspector.set_run(run)
    wait(panel, qtbot)
    yield panel
    panel.close_panel()
    inspector.close()


def settle(model: ViewsModel) -> None:
    model._background._executor.submit(lambda: None).result(timeout=20)


def wait(panel: ViewsPanel, qtbot) -> None:
    qtbot.waitUntil(lambda: not panel.model.busy, timeout=20_000)


def place(panel: ViewsPanel, axis: np.ndarray) -> QPoint:
    ((x, y),) = on_map(np.asarray(axis)[None]).astype(float)
    plot = panel.map
    return plot.mapFromScene(plot.getViewBox().mapViewToScene(QPointF(x, y)))


def drag(panel: ViewsPanel, qtbot, start: QPoint, end: QPoint) -> None:
    port, button = panel.map.viewport(), Qt.MouseButton.LeftButton
    qtbot.mousePress(port, button, pos=start)
    for share in (0.3, 0.7, 1.0):
        qtbot.mouseMove(port, start + (end - start) * share)
    qtbot.mouseRelease(port, button, pos=end)


# The model


def test_views_are_those_of_the_poses(run):
    run.rotations = rotations_from_euler([(0, 90, 30), (10, 20, -170)]).astype(np.float32)
    run.shifts = np.float32([(3, 4), (0, 1)])

    views = Views.of(run)

    np.testing.assert_allclose(views.psi, [30, -170], atol=1e-3)
    np.testing.assert_allclose(views.shift, [30, 6])
    assert views.unit == "Å"
    np.testing.assert_allclose(views.axes[0], [1, 0, 0], atol=1e-6)
    assert views.counts.sum() == views.bars.sum() == 2


def test_nothing_is_counted_while_nobody_looks(run):
    inspector = InspectorModel(lambda answer: answer())
    model = ViewsModel(inspector, lambda answer: answer())

    inspector.set_run(run)
    assert not model.busy
    assert model.shown is None

    model.active = True
    settle(model)
    assert model.shown.views.bias.n == N
    model.close()
    inspector.close()


def test_a_patch_is_selected(model, run):
    axis = run.rotations[7, 2]

    model.select_within(axis, 25)
    settle(model)

    angles = np.rad2deg(np.arccos(np.clip(run.rotations[:, 2] @ axis, -1, 1)))
    np.testing.assert_array_equal(model.inspector.mask, angles <= 25)
    assert model.inspector.mask[7]
    assert model.shown.chosen.n == np.count_nonzero(angles <= 25)
    assert model.circle == (pytest.approx(axis), 25)
    model.inspector.set_mask(np.arange(N) < 5)
    assert model.circle is None


def test_a_selection_of_nobody(model):
    model.inspector.set_mask(np.zeros(N, bool))
    settle(model)

    assert model.shown.chosen is None
    assert not model.shown.psi.chosen.any()


def test_histograms_of_a_selection_are_as_high(model, run):
    psi = Views.of(run).psi
    model.inspector.set_mask(np.abs(psi - 45) < 5)
    settle(model)

    bars = model.shown.psi
    assert bars.everything.sum() == N
    assert bars.chosen.max() == bars.everything.max()
    np.testing.assert_array_equal(np.flatnonzero(bars.chosen), [22])


def test_many_views(tmp_path, fake_run):
    n = 200_000
    rotations = np.tile(poses(10_000), (20, 1, 1))
    run = fake_run(tmp_path, n_particles=n, zdim=0, rotations=rotations)
    inspector = InspectorModel(lambda answer: answer())
    model = ViewsModel(inspector, lambda answer: answer())
    model.active = True
    inspector.set_run(run)
    settle(model)

    # Of several, since another program may be at work.
    taken = []
    for degrees in (5, 20, 60):
        start = time.perf_counter()
        model.select_within(rotations[0, 2], degrees)
        taken.append(time.perf_counter() - start)
    settle(model)

    assert min(taken) < 0.2
    assert np.count_nonzero(inspector.mask) == pytest.approx(n / 4, rel=0.1)
    assert len(model.shown.views.counts) == 12 * 16**2
    model.close()
    inspector.close()


@pytest.mark.parametrize("after", ["fewer", "more", "no poses"])
def test_another_state_of_the_same_run(model, run, fake_run, after):
    counts = {"fewer": 300, "more": 900, "no poses": N}
    n = counts[after]
    rotations = None if after == "no poses" else poses(n, 1)
    other = fake_run(run.folder, n_particles=n, rotations=rotations)

    model.inspector.set_run(other)

    assert model.shown is None
    model.select_within(np.float32([0, 0, 1]), 40)
    assert model.inspector.mask is None
    settle(model)
    if rotations is not None:
        assert model.shown.views.run is other
        model.select_within(np.float32([0, 0, 1]), 40)
        assert len(model.inspector.mask) == n


def test_views_of_a_run_that_goes_on_stay(model, run, fake_run):
    before = model.shown
    model.active = False

    model.inspector.set_run(fake_run(run.folder, n_particles=N, rotations=poses(N, 1)))

    assert model.shown is before
    # A run whose poses are of other particles than it says.
    model.inspector.run.n_particles = N - 1
    model.select_within(np.float32([0, 0, 1]), 40)
    model.pick(run.rotations[7, 2])
    assert model.inspector.mask is None
    assert model.inspector.particle == 0


def test_the_answer_for_a_run_that_was_left_is_dropped(run, tmp_path, fake_run, monkeypatch):
    """While nobody looks, no newer question displaces it."""
    gate, answers = threading.Event(), []
    count = Views.of

    def slow(of):
        assert gate.wait(20)
        return count(of)

    monkeypatch.setattr(Views, "of", staticmethod(slow))
    inspector = InspectorModel(lambda answer: answer())
    model = ViewsModel(inspector, answers.append)
    model.active = True
    inspector.set_run(run)
    model.active = False
    inspector.set_run(fake_run(tmp_path / "other", n_particles=N, rotations=poses(N, 1)))
    gate.set()
    settle(model)
    for answer in answers:
        answer()

    assert model.shown is None
    model.close()
    inspector.close()


# The words


def test_words_about_good_and_bad_views(run):
    assert "Good" in verdict(Views.of(run).bias)
    run.rotations[:, 2] = (0, 0, 1)
    words = verdict(Views.of(run).bias)
    assert "Strong preference" in words
    assert "along z of the volume" in words
    # A preference so strong is no chance, even of few.
    run.rotations, run.shifts = run.rotations[:20], None
    assert "Strong preference" in verdict(Views.of(run).bias)


@pytest.mark.parametrize("n", [5, 10, 20, 49])
def test_few_even_views_are_no_preference(run, n):
    for seed in range(10):
        run.rotations, run.shifts = poses(n, seed), None
        assert "too few" in verdict(Views.of(run).bias)


def test_even_views_that_are_just_enough(run):
    words = []
    for seed in range(10):
        run.rotations, run.shifts = poses(60, seed), None
        words.append(verdict(Views.of(run).bias))
    assert not any("Strong" in text for text in words)
    assert sum("Good" in text for text in words) >= 8


def test_measures_stand_beside_those_of_as_many_even_views(run):
    views = Views.of(run)
    few = Shown.of(views, np.arange(N) < 60)
    text = table(few)
    assert text.count("if even") == 2
    for bias in (views.bias, few.chosen):
        assert f"{bias.scf_if_even:.2f}" in text
        assert f"{bias.efficiency_if_even:.2f}" in text
    assert few.chosen.scf_if_even < views.bias.scf_if_even - 0.1
    assert table(Shown.of(views, None)).count("if even") == 1


def test_words_about_a_direction():
    assert direction_words(np.float32([0.02, -0.99, 0.1])) == "along y of the volume"
    assert "rot 45°, tilt 45°" in direction_words(np.float32([0.5, 0.5, 0.707]))


# The panel


def test_a_click_inspects_the_nearest_and_turns_to_it(panel, run, qtbot):
    axis = run.rotations[123, 2]
    where = place(panel, axis)

    qtbot.mouseClick(panel.map.viewport(), Qt.MouseButton.LeftButton, pos=where)

    point = panel.map.getViewBox().mapSceneToView(panel.map.mapToScene(where))
    clicked = from_map(point.x(), point.y())
    nearest = int(np.argmax(run.rotations[:, 2] @ clicked))
    assert panel.model.inspector.particle == nearest
    assert f"Particle {nearest}:" in panel.where.text()
    camera = panel._viewer.scene.camera
    np.testing.assert_allclose(camera.up_direction, -run.rotations[nearest, 1, ::-1], atol=1e-3)
    (x,), (y,) = panel.map.here.getData()
    np.testing.assert_allclose((x, y), on_map(run.rotations[nearest, 2][None])[0], atol=1e-6)


def test_a_drag_selects_a_circle(panel, run, qtbot):
    axis, edge = np.float32([1, 0, 0]), np.float32([np.cos(0.4), np.sin(0.4), 0])

    drag(panel, qtbot, place(panel, axis), place(panel, edge))
    wait(panel, qtbot)

    mask = panel.model.inspector.mask
    angles = np.rad2deg(np.arccos(np.clip(run.rotations[:, 2] @ axis, -1, 1)))
    centre, degrees = panel.model.circle
    np.testing.assert_allclose(centre, axis, atol=0.05)
    assert degrees == pytest.approx(np.rad2deg(0.4), abs=2)
    assert panel.degrees.value() == 10
    assert mask[angles < 20].all()
    assert not mask[angles > 26].any()
    assert panel.map.circle.isVisible()
    assert f"{np.count_nonzero(mask)} selected, within {degrees:.0f}° of rot" in panel.count.text()
    assert "All: <b>Good" in panel.verdict.text()
    assert "Selected: <b>Strong preference" in panel.verdict.text()
    assert "Orange lines" in panel.scaled.text()
    assert panel.scaled.isVisible()

    qtbot.mouseClick(panel.clear, Qt.MouseButton.LeftButton)
    wait(panel, qtbot)
    assert panel.model.inspector.mask is None
    assert not panel.map.circle.isVisible()
    assert "Selected" not in panel.verdict.text()
    assert not panel.scaled.isVisible()


def test_a_drag_that_ends_beyond_the_map(panel, qtbot):
    start = place(panel, np.float32([0, 1, 0]))

    drag(panel, qtbot, start, start + QPoint(0, -200))
    wait(panel, qtbot)

    assert panel.model.circle[1] == pytest.approx(90, abs=5)


def test_select_within_an_angle_of_the_particle(panel, run, qtbot):
    panel.model.inspector.set_particle(42)
    panel.degrees.setValue(15)
    assert panel.near_what.text() == "of particle 42"

    qtbot.mouseClick(panel.near, Qt.MouseButton.LeftButton)
    wait(panel, qtbot)

    near = run.rotations[:, 2] @ run.rotations[42, 2]
    mask = near >= np.cos(np.deg2rad(15))
    np.testing.assert_array_equal(panel.model.inspector.mask, mask)


def test_the_sphere_comes_and_goes(panel, run, qtbot):
    layers = panel._viewer.layers
    assert [layer.name for layer in layers] == [
        "Viewing directions",
        "Direction of the particle",
    ]
    bars, arrow = layers
    tip = arrow.data[0][-2] - run.box // 2
    cosine = tip[::-1] @ run.rotations[0, 2] / np.linalg.norm(tip)
    assert cosine == pytest.approx(1, abs=1e-3)
    before = bars.data

    panel.model.inspector.set_particle(9)

    assert bars.data is before or np.array_equal(bars.data[0], before[0])
    tip = arrow.data[0][-2] - run.box // 2
    assert tip[::-1] @ run.rotations[9, 2] / np.linalg.norm(tip) == pytest.approx(1, abs=1e-3)
    panel.around.click()
    assert not layers
    panel.around.click()
    panel.set_active(False)
    assert not layers
    panel.set_active(True)
    assert len(layers) == 2


def test_it_catches_up_when_it_is_shown(panel, run):
    panel.set_active(False)
    panel.model.inspector.set_particle(11)
    panel.model.inspector.set_mask(np.arange(N) < 300)
    assert not panel.model.busy

    panel.set_active(True)

    assert "Particle 11:" in panel.where.text()
    assert panel.model.busy


def test_without_poses(panel, run, tmp_path, fake_run, qtbot):
    panel.model.inspector.set_run(fake_run(tmp_path / "young", n_particles=N))

    assert "no poses yet" in panel.text.text()
    assert panel.content.isHidden()
    assert not panel._viewer.layers
    # Nothing keeps the run of before in memory.
    assert panel._drawn is None

    panel.model.inspector.set_run(run)
    wait(panel, qtbot)
    assert not panel.content.isHidden()
    assert len(panel._viewer.layers) == 2


def test_it_fits_a_narrow_dock(panel, qtbot):
    panel.model.inspector.set_particle(N - 1)
    panel.model.select_within(np.float32([0, 0.6, -0.8]), 100)
    wait(panel, qtbot)

    # That of a dock of 340 pixels beside its scroll bar.
    assert panel.minimumSizeHint().width() <= 300
