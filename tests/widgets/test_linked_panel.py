from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from napari.qt import get_stylesheet
from psygnal import Signal
from qtpy.QtCore import QPointF, Qt

from napari_cryodrgn.particles import ParticleSet, read
from napari_cryodrgn.widgets.linked_images import choose_rows
from napari_cryodrgn.widgets.linked_model import LinkedModel, MeanVolume, spread_out
from napari_cryodrgn.widgets.linked_panel import LinkedPanel
from napari_cryodrgn.widgets.qt_tools import GuiThread, colors
from napari_cryodrgn.widgets.view_directions import on_map, view_axes

N = 30
SOME = np.arange(N) % 2 == 1


class Explorer:
    run_changed = Signal()
    selection_changed = Signal()
    picked = Signal(object)

    def __init__(self, run) -> None:
        self.run, self.pick = run, None
        self.current_mask: np.ndarray | None = None
        self.selected_elsewhere = False

    def set_current(self, mask: np.ndarray | None) -> None:
        self.current_mask = mask
        self.selection_changed.emit()

    def pick_particle(self, particle: int) -> None:
        z = self.run.latents.mu[particle]
        self.pick = SimpleNamespace(z=z, particle=particle, distance=0.0)
        self.picked.emit(self.pick)

    def pick_z(self, z: np.ndarray) -> None:
        self.pick = SimpleNamespace(z=z, particle=0, distance=1.0)
        self.picked.emit(self.pick)


@pytest.fixture
def explorer(tmp_path: Path, fake_run, star: Path, particles: ParticleSet) -> Explorer:
    run = fake_run(tmp_path, n_particles=N, particles_path=star)
    run.indices, run.rotations = None, particles.rotations
    decode = run.decode
    run.decode = lambda z, box=None, stop=None: decode(z)
    return Explorer(run)


@pytest.fixture
def shown() -> list[tuple[MeanVolume, str]]:
    return []


@pytest.fixture
def panel(explorer: Explorer, shown, qtbot) -> Iterator[LinkedPanel]:
    panel = LinkedPanel(
        explorer, GuiThread().post, colors("dark"), lambda *what: shown.append(what)
    )
    qtbot.addWidget(panel)
    panel.resize(360, 720)
    panel.show()
    qtbot.waitUntil(lambda: panel.model.images is not None, timeout=20_000)
    yield panel
    panel.close_panel()


def settle(model: LinkedModel) -> None:
    for background in (model._background, model._files):
        background._executor.submit(lambda: None).result(timeout=20)


def look(panel: LinkedPanel, qtbot) -> tuple[int, ...]:
    """Particles whose images are shown when everything is done."""
    qtbot.waitUntil(lambda: not panel.model._files.waits_for("images"), timeout=20_000)
    return panel.model.images.rows


# Which particles


def test_without_a_selection_the_nearest_to_the_pick_are_shown(explorer):
    mu = explorer.run.latents.mu
    explorer.pick_particle(7)

    rows, what = choose_rows(explorer.run, None, explorer.pick, 0)

    order = np.argsort(np.linalg.norm(mu - mu[7], axis=1))
    assert rows == order[:24].tolist()
    assert rows[0] == 7
    assert "nearest" in what


def test_others_of_the_selection(explorer):
    mask = np.ones(N, bool)
    mask[:3] = False

    first, _ = choose_rows(explorer.run, mask, None, 0)
    second, what = choose_rows(explorer.run, mask, None, 1)

    assert min(first) >= 3
    assert first != second
    assert what == "24 of 27 selected particles"
    assert choose_rows(explorer.run, np.zeros(N, bool), None, 0)[0] == []


def test_particles_of_a_mean_lie_all_over_the_selection():
    random = np.random.default_rng(0)
    z = np.stack([random.uniform(0, 100, 1000), random.normal(size=1000)], 1).astype(np.float32)

    some = spread_out(z, 10)

    quantiles = np.quantile(z[:, 0], np.arange(0.05, 1, 0.1))
    np.testing.assert_allclose(np.sort(some[:, 0]), quantiles, atol=0.5)
    assert len(spread_out(z[:4], 10)) == 4


def test_nothing_is_read_while_nobody_looks(explorer):
    def never(_: Path) -> ParticleSet:
        raise AssertionError

    model = LinkedModel(explorer, lambda answer: answer(), never)
    explorer.set_current(SOME)
    explorer.pick_particle(3)
    settle(model)
    assert explorer.pick.particle == 3
    model._reader._read = read

    model.active = True
    settle(model)

    assert set(model.images.rows) == set(np.flatnonzero(SOME))
    model.close()


def test_a_new_selection_is_followed_by_its_mean(explorer):
    model = LinkedModel(explorer, lambda answer: answer())
    model.active = True

    explorer.set_current(SOME)
    settle(model)
    np.testing.assert_allclose(explorer.pick.z, explorer.run.latents.mu[SOME].mean(0), rtol=1e-5)

    explorer.pick, explorer.selected_elsewhere = None, True
    explorer.set_current(~SOME)
    settle(model)
    assert explorer.pick is None

    model.follow, explorer.selected_elsewhere = False, False
    explorer.set_current(SOME)
    settle(model)
    assert explorer.pick is None
    model.close()


# The panel


def test_images_follow_the_selection_and_a_click_picks(panel, explorer, qtbot):
    panel.follow.click()
    explorer.set_current(SOME)
    rows = look(panel, qtbot)
    assert rows == tuple(np.flatnonzero(SOME))
    assert "15 of 15" in panel.images_text.text()

    place = panel.montage._cell(4).center()
    qtbot.mouseClick(panel.montage, Qt.MouseButton.LeftButton, pos=place)

    assert explorer.pick.particle == rows[4]
    assert panel.montage._chosen == 4
    assert panel.directions.here.isVisible()
    # The others stay where they are.
    assert look(panel, qtbot) == rows


def test_a_pick_elsewhere_is_marked_or_brings_its_neighbours(panel, explorer, qtbot):
    (elsewhere, *_) = set(range(N)) - set(panel.model.images.rows)
    explorer.pick_particle(elsewhere)

    rows = look(panel, qtbot)

    assert rows[0] == elsewhere
    assert panel.montage._chosen == 0
    (x,), (y,) = panel.directions.here.getData()
    expected = on_map(view_axes(explorer.run.rotations))[elsewhere]
    np.testing.assert_allclose((x, y), expected, atol=1e-6)


def test_a_click_on_a_direction_picks_a_selected_particle(panel, explorer, qtbot):
    panel.follow.click()
    explorer.set_current(SOME)
    look(panel, qtbot)
    plot = panel.directions
    qtbot.waitUntil(lambda: plot.points.getData()[0].size == 15)
    x, y = on_map(view_axes(explorer.run.rotations))[11].astype(float)
    where = plot.mapFromScene(plot.getViewBox().mapViewToScene(QPointF(x, y)))

    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=where)

    assert explorer.pick.particle == 11


def test_the_mean_of_volumes(panel, explorer, shown, qtbot):
    panel.follow.click()
    explorer.set_current(SOME)
    qtbot.mouseClick(panel.job.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(shown), timeout=20_000)

    ((mean, name),) = shown
    run = explorer.run
    assert mean.n == 10 == len(run.decoded)
    expected = np.mean([run.decode(z) for z in run.decoded[:10]], axis=0)
    np.testing.assert_allclose(mean.data, expected, atol=1e-5)
    assert mean.contour == run.contour()
    assert name == "Mean of 10 selected volumes"


def test_a_mean_is_of_its_run_and_selection(panel, explorer, shown, qtbot, fake_run, tmp_path):
    panel.follow.click()
    explorer.set_current(SOME)
    qtbot.mouseClick(panel.job.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=20_000)
    # Read again, it is the same run.
    explorer.run_changed.emit()
    assert panel.job.text.text() == "Mean of the volumes of 10 selected particles."
    explorer.set_current(~SOME)
    assert panel.job.text.text() == ""

    explorer.run.delay = 0.1
    shown.clear()
    for change in (lambda: explorer.set_current(SOME), lambda: open_other(explorer, tmp_path)):
        qtbot.mouseClick(panel.job.button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: "Decoding" in panel.job.text.text(), timeout=20_000)
        explorer.run_changed.emit()
        assert panel.job.running
        change()
        assert not panel.job.running
        assert panel.job.text.text() == ""
    assert panel.job.button.isEnabled()
    qtbot.wait(300)
    assert shown == []


def open_other(explorer: Explorer, folder: Path) -> None:
    explorer.run = replace(explorer.run, folder=folder / "other")
    explorer.run_changed.emit()


def test_others_are_offered_only_where_there_are_some(panel, explorer, qtbot):
    assert panel.others.isEnabled()
    explorer.pick_particle(3)
    look(panel, qtbot)
    assert not panel.others.isEnabled()

    panel.follow.click()
    explorer.set_current(np.arange(N) >= 2)
    first = look(panel, qtbot)
    qtbot.mouseClick(panel.others, Qt.MouseButton.LeftButton)
    assert look(panel, qtbot) != first
    # All of them are shown.
    explorer.set_current(SOME)
    assert not panel.others.isEnabled()


def test_missing_stacks_and_poses_are_told(explorer, shown, qtbot, notifications):
    explorer.run.particles_path = Path("/nowhere/particles.star")
    explorer.run.rotations = None
    panel = LinkedPanel(explorer, GuiThread().post, colors("dark"), lambda *_: None)
    qtbot.addWidget(panel)
    panel.resize(360, 720)
    panel.show()

    qtbot.waitUntil(lambda: "cannot be shown" in panel.images_text.text(), timeout=20_000)

    assert "/nowhere/particles.star" in panel.images_text.text()
    assert not panel.montage.isVisible()
    assert "no poses" in panel.directions_text.text()
    assert not panel.directions.isVisible()
    assert notifications == []
    panel.close_panel()


def test_a_file_that_changed_is_told(explorer):
    explorer.run.n_particles = N + 1
    model = LinkedModel(explorer, lambda answer: answer())
    told = []
    model.images_loaded.connect(told.append)

    model.active = True
    settle(model)

    assert "30 particles now, but the run used 31" in str(told[0])
    model.close()


def test_it_rests_while_hidden(panel, explorer, qtbot):
    panel.hide()
    before = panel.model.images
    explorer.set_current(SOME)
    assert panel.model.images is before

    panel.show()

    assert set(look(panel, qtbot)) == set(np.flatnonzero(SOME))


def test_it_needs_no_more_than_a_dock_is_wide(panel):
    panel.setStyleSheet(get_stylesheet("dark"))
    assert panel.minimumSizeHint().width() <= 340
