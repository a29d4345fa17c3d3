from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.qt import get_stylesheet
from qtpy.QtCore import QPointF, Qt

from napari_cryodrgn.analysis.clusters import find_clusters, save_clusters
from napari_cryodrgn.errors import CryodrgnError
from napari_cryodrgn.widgets.compare_dock import CompareDock
from napari_cryodrgn.widgets.compare_model import CompareModel
from napari_cryodrgn.widgets.compare_work import common_box, compare

N = 400


def cubes(volume: np.ndarray, box: int) -> np.ndarray:
    """Every so many voxels: fakes have nothing between them."""
    step = len(volume) // box
    return volume[::step, ::step, ::step]


@pytest.fixture
def runs(fake_run, tmp_path: Path) -> list:
    """Two runs of one file, the second without every tenth particle, backwards, its z turned."""
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run = fake_run(tmp_path / name, n_particles=N, box=32)
        run.particles_path, run.indices = tmp_path / "particles.star", None
        run.rotations, run.products = None, lambda: None
        run.settings = {"poses": "given"}
        decode = run.decode
        run.decode = lambda z, box=None, stop=None, decode=decode, run=run: cubes(
            decode(z), box or run.box
        )
        made.append(run)
    first, second = made
    second.indices = np.array([i for i in range(N) if i % 10])[::-1].copy()
    second.n_particles = len(second.indices)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]], np.float32)
    second.latents.mu = first.latents.mu[second.indices] @ turn.T
    decode_first = first.decode
    second.decode = lambda z, box=None, stop=None: decode_first(turn.T @ z, box)
    return made


@pytest.fixture
def model(runs, fake_runs) -> Iterator[CompareModel]:
    model = CompareModel(lambda answer: answer(), fake_runs(*runs))
    yield model
    model.close()


def settle(model: CompareModel) -> None:
    for _ in range(3):
        for background in (model._background, model._decoding):
            background._executor.submit(lambda: None).result(timeout=20)


def open_both(model: CompareModel, runs: list) -> None:
    for side, run in enumerate(runs):
        model.open(side, run.folder)
        settle(model)


@pytest.fixture
def dock(runs, fake_runs, qtbot) -> Iterator[CompareDock]:
    dock = CompareDock(ViewerModel(), fake_runs(*runs))
    qtbot.addWidget(dock)
    dock.resize(360, 900)
    dock.show()
    yield dock
    dock.end()


def open_in(dock: CompareDock, runs: list, qtbot) -> None:
    for side, run in enumerate(runs):
        dock.open_folder(side, run.folder)
    qtbot.waitUntil(lambda: dock.model.comparison is not None, timeout=20_000)


def click_at(qtbot, plot, x: float, y: float) -> None:
    qtbot.wait(50)
    where = plot.mapFromScene(plot.getViewBox().mapViewToScene(QPointF(x, y)))
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=where)


# The model


def test_particles_latents_and_clusters_are_matched(model, runs):
    open_both(model, runs)
    comparison = model.comparison
    a, b = comparison.sides

    assert len(a.rows) == 360
    assert not (a.rows % 10 == 0).any()
    np.testing.assert_array_equal(runs[1].indices[b.rows], a.rows)
    # Latents that are only turned are the same, and clustered in the same way.
    np.testing.assert_allclose(comparison.latent, [1, 1], atol=1e-4)
    assert comparison.clusters.agreement > 0.5
    assert comparison.clusters.table.sum() == 360
    assert not a.kept


def test_clusters_kept_with_a_run_are_used(model, runs):
    mu = runs[0].latents.mu
    save_clusters(runs[0].folder, find_clusters(mu, 3).renamed(1, "open"), mu)

    open_both(model, runs)

    a, b = model.comparison.sides
    assert a.kept
    assert a.clusters.names[1] == "open"
    assert (len(a.clusters.centres), len(b.clusters.centres)) == (3, 10)
    model.compare(4)
    settle(model)
    assert [len(side.clusters.centres) for side in model.comparison.sides] == [4, 4]


def test_a_particle_is_picked_in_both_and_decoded_twice(model, runs):
    for run in runs:
        run.box = 64
    open_both(model, runs)
    pairs = []
    model.decoded.connect(pairs.append)
    point = model.comparison.sides[1].space.mu[5]

    model.pick_at(1, ("z0", "z1"), point, (0.01, 0.01))
    settle(model)

    assert model.particle == 5
    row = model.comparison.sides[0].rows[5]
    np.testing.assert_allclose(model.latents[0], runs[0].latents.mu[row])
    # A quick look, and then all of it.
    assert [len(pair.volumes[0]) for pair in pairs] == [32, 64]
    assert [pair.pixel_sizes for pair in pairs] == [(12.0, 12.0), (6.0, 6.0)]
    assert pairs[1].correlation == pytest.approx(1, abs=1e-3)
    model.pick_clusters(0, int(np.argmin(model.comparison.clusters.table[0])))
    settle(model)
    assert pairs[-1].correlation < 0.999
    assert model.particle is None


def test_boxes_of_other_sizes_are_not_correlated(model, runs):
    runs[1].pixel_size = 7.0
    pairs = []
    model.decoded.connect(pairs.append)
    open_both(model, runs)

    model.pick_particle(0)
    settle(model)

    assert pairs[0].correlation is None
    assert pairs[0].pixel_sizes == (6.0, 7.0)
    with pytest.raises(CryodrgnError, match="a is 192 Å wide and that of b 224 Å"):
        common_box(*runs, 64)


def test_runs_without_latents_or_of_other_particles_are_told(model, runs):
    failures = []
    model.failed.connect(failures.append)
    runs[1].particles_path = runs[1].particles_path.with_name("others.star")
    open_both(model, runs)
    assert "no particles in common" in str(failures[-1])

    runs[0].latents = None
    model.compare()
    settle(model)

    assert "no latents yet" in str(failures[-1])
    assert model.comparison is None


def test_volumes_of_clusters_correlate_along_the_diagonal(model, runs):
    open_both(model, runs)
    *fractions, found = model.cluster_volumes(lambda: False)

    comparison = model.comparison
    shape = [len(side.clusters.centres) for side in comparison.sides]
    assert found.correlations.shape == tuple(shape)
    assert fractions == sorted(fractions)
    assert found.fit is None
    assert found.correlations.max() == pytest.approx(1, abs=0.02)
    # Clusters of the same particles have the same volume.
    table = comparison.clusters.table
    rows = np.flatnonzero(table.max(1) > 0.8 * table.sum(1))
    best = found.correlations[rows].argmax(1)
    assert np.mean([table[r, b] > 0 for r, b in zip(rows, best, strict=True)]) > 0.8


def test_volumes_of_another_frame_are_turned_onto_the_first(model, runs):
    decode = runs[1].decode
    runs[1].decode = lambda z, box=None, stop=None: np.ascontiguousarray(
        np.roll(decode(z, box)[::-1, ::-1], (1, 1), (0, 1))
    )
    runs[1].settings = {"poses": "search"}
    open_both(model, runs)
    assert model.turn
    pairs = []
    model.decoded.connect(pairs.append)
    model.pick_particle(3)
    settle(model)
    model.set_turn(False)
    *_, apart = model.cluster_volumes(lambda: False)
    model.set_turn(True)

    *_, found = model.cluster_volumes(lambda: False)
    model.set_volumes(found)
    settle(model)

    assert found.correlations.max() > max(apart.correlations.max() + 0.02, 0.95)
    assert pairs[-1].turned
    assert pairs[-1].correlation > max(pairs[0].correlation + 0.02, 0.95)


def test_the_comparison_is_dropped_with_a_run(model, runs, fake_run, tmp_path):
    open_both(model, runs)
    model.pick_particle(0)

    model.open(0, tmp_path / "nothing")
    settle(model)
    assert model.comparison is not None

    model._open_run.runs[tmp_path] = other = fake_run(tmp_path, zdim=0)
    model.open(0, tmp_path)
    settle(model)
    assert model.runs[0] is other
    assert model.comparison is None


# The dock


def test_an_empty_dock_says_what_to_do(dock):
    assert "Two runs" in dock.hint.text()
    assert not dock.content.isVisible()


def test_a_click_in_one_map_marks_both_and_shows_both_volumes(dock, runs, qtbot):
    open_in(dock, runs, qtbot)
    assert "<b>360</b> particles in both, of 400 in A and 360 in B" in dock.about.text()
    a, b = dock.maps
    side = dock.model.comparison.sides[0]

    click_at(qtbot, a.plot, *map(float, side.space.mu[7]))
    viewer = dock._viewer
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)
    qtbot.waitUntil(lambda: "correlate by" in dock.pick_text.text(), timeout=20_000)

    particle = dock.model.particle
    for drawn, one in zip((a, b), dock.model.comparison.sides, strict=True):
        (x,), (y,) = drawn.plot.here.getData()
        np.testing.assert_allclose((x, y), one.space.mu[particle], atol=1e-5)
    qtbot.wait(100)
    assert sorted(layer.name for layer in viewer.layers) == ["A: a", "B: b"]
    assert all(layer.visible for layer in viewer.layers)
    assert not np.allclose(viewer.layers[0].colormap.colors, viewer.layers[1].colormap.colors)


def test_a_cell_of_the_table_picks_both_clusters(dock, runs, qtbot):
    open_in(dock, runs, qtbot)
    table = dock.clusters.table
    qtbot.waitUntil(lambda: table.height() > 40)
    second = int(dock.model.comparison.clusters.order[1])

    place = table._cell(1, 1).center().toPoint()
    qtbot.mouseClick(table, Qt.MouseButton.LeftButton, pos=place)

    first = dock.model.comparison.sides[0].clusters.centres[1]
    np.testing.assert_allclose(dock.model.latents[0], first)
    assert table._chosen == (1, second)
    assert "centres of two clusters" in dock.pick_text.text()


def test_volumes_of_clusters_are_correlated_on_demand(dock, runs, qtbot):
    open_in(dock, runs, qtbot)
    clusters = dock.clusters
    clusters.table_of.setCurrentIndex(1)
    assert clusters.table_text.text() == "Not computed yet."

    qtbot.mouseClick(clusters.job.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.model.volumes is not None, timeout=30_000)

    assert clusters.table.isVisible()
    qtbot.waitUntil(lambda: not clusters.job.running)


def test_it_is_told_that_nothing_is_turned_yet(dock, runs, qtbot):
    runs[1].settings = {"poses": "search"}
    open_in(dock, runs, qtbot)
    told, clusters = dock.pick_text, dock.clusters
    assert clusters.turn.isChecked()
    dock.model.pick_particle(3)
    qtbot.waitUntil(lambda: "correlate by" in told.text(), timeout=20_000)
    assert "B not yet turned onto A" in told.text()
    assert clusters.job.button.text() in told.text()

    qtbot.mouseClick(clusters.job.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: ", B turned onto A" in told.text(), timeout=30_000)
    assert "not yet" not in told.text()
    qtbot.waitUntil(lambda: not clusters.job.running and not dock.model.busy, timeout=20_000)
    # Off again, the pair is shown as it is.
    clusters.turn.click()
    qtbot.waitUntil(lambda: "turned" not in told.text(), timeout=20_000)
    assert "correlate by" in told.text()
    clusters.turn.click()
    assert "not yet turned" in told.text()


def test_turning_drops_what_is_computed_without(dock, runs, qtbot):
    open_in(dock, runs, qtbot)
    clusters = dock.clusters
    runs[0].delay = 0.1
    qtbot.mouseClick(clusters.job.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "Decoding" in clusters.job.text.text(), timeout=20_000)

    clusters.turn.click()

    assert not clusters.job.running
    assert clusters.job.button.isEnabled()


def test_side_by_side_and_back(dock, runs, qtbot):
    open_in(dock, runs, qtbot)
    viewer = dock._viewer
    dock.model.pick_particle(1)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)
    qtbot.wait(100)
    zoom = viewer.scene.camera.zoom

    dock.beside.click()
    assert viewer.canvas.grid.enabled
    assert viewer.scene.camera.zoom < zoom
    dock.beside.click()

    assert not viewer.canvas.grid.enabled
    assert viewer.scene.camera.zoom == pytest.approx(zoom)


def test_axes_and_colours(dock, runs, qtbot):
    open_in(dock, runs, qtbot)
    chosen = dock.maps[0].axes_choice
    chosen.setCurrentIndex(chosen.findText("PC1 · PC2"))
    assert dock.maps[0].axes == ("PC1", "PC2")

    dock.model.pick_particle(4)
    (x,), (y,) = dock.maps[0].plot.here.getData()
    side = dock.model.comparison.sides[0]
    np.testing.assert_allclose((x, y), side.space.coordinates(("PC1", "PC2"))[4], atol=1e-4)
    dock.color_by.setCurrentText("clusters of B")
    assert dock.maps[0].plot._values.name == "B"
    dock.color_by.setCurrentText("density")
    assert dock.maps[1].plot._values is None


def test_a_folder_that_is_no_run_is_told(dock, tmp_path, qtbot, notifications):
    dock.open_folder(0, tmp_path / "nothing")

    qtbot.waitUntil(dock.message.isVisible)

    assert "it is no run folder" in dock.message.text()
    assert dock.hint.isVisible()


def test_it_needs_no_more_than_a_dock_is_wide(dock, runs, qtbot):
    dock.setStyleSheet(get_stylesheet("dark"))
    open_in(dock, runs, qtbot)

    assert dock.body.parentWidget().minimumSizeHint().width() <= 340


def test_comparing_needs_no_window(runs):
    comparison = compare(*runs, 3)

    assert comparison.clusters.table.shape == (3, 3)
