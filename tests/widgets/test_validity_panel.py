from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_cryodrgn.analysis import find_clusters, save_clusters
from napari_cryodrgn.particles import read
from napari_cryodrgn.widgets import docks
from napari_cryodrgn.widgets.inspector_model import InspectorModel
from napari_cryodrgn.widgets.qt_tools import GuiThread, colors
from napari_cryodrgn.widgets.validity_panel import ValidityPanel
from napari_cryodrgn.widgets.validity_plots import binned

N = 30


@pytest.fixture
def run(fake_run, star: Path, tmp_path: Path):
    """A run of 30 simulated particles whose first latent is their defocus."""
    particles = read(star)
    run = fake_run(tmp_path / "run", n_particles=N, box=24, pixel_size=12.0, particles_path=star)
    run.folder.mkdir()
    run.rotations, run.shifts = particles.rotations, particles.shifts * 0.75
    run.latents.logvar[:] = -1
    return run


@pytest.fixture
def panel(qtbot) -> Iterator[ValidityPanel]:
    gui = GuiThread()
    inspector = InspectorModel(gui.post)
    panel = ValidityPanel(inspector, ViewerModel(), gui.post, colors("dark"))
    qtbot.addWidget(panel)
    panel.resize(400, 900)
    panel.show()
    yield panel
    panel.close_panel()
    inspector.close()


def click(qtbot, job, button=None) -> None:
    qtbot.mouseClick(button or job.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not job.running, timeout=30_000)


def choose(panel: ValidityPanel, of: str) -> None:
    panel.halves_of.setCurrentIndex(panel.halves_of.findData(of))


def test_defocus_in_the_latent_is_a_warning_with_its_plot(panel, qtbot, fake_run, tmp_path):
    random = np.random.default_rng(3)
    run = fake_run(tmp_path, n_particles=600, zdim=2)
    run.shifts = random.normal(size=(600, 2)).astype(np.float32)
    run.latents.mu[:] = random.normal(size=(600, 2))
    run.latents.mu[:, 0] += 2 * run.shifts[:, 1]
    panel.model.inspector.set_run(run)
    assert "Looking for" in panel.warning.text()
    assert panel.model.confounders is None
    panel.set_active(True)
    qtbot.waitUntil(lambda: panel.model.confounders is not None, timeout=30_000)
    assert re.search(r"goes with shift in y \(\d\d % of PC1\)", panel.warning.text())
    first = panel.table.item(0, 0)
    assert first.text() == "⚠ shift in y"
    assert panel.plot.getAxis("bottom").labelText == "shift in y (Å)"
    # The latent rises by 2 of its deviations over one of the shift, in Å of 6 a pixel.
    x, y = panel.plot._means.getData()
    assert np.polyfit(x, y, 1)[0] ** 2 == pytest.approx((2 / 6) ** 2, rel=0.2)
    row = [panel.table.item(i, 0).text() for i in range(panel.table.rowCount())].index("shift in x")
    where = panel.table.visualItemRect(panel.table.item(row, 0)).center()
    qtbot.mouseClick(panel.table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert panel.plot.getAxis("bottom").labelText == "shift in x (Å)"


def test_half_maps_of_all_of_the_selection_and_of_clusters(panel, qtbot, run):
    panel.model.inspector.set_run(run)
    click(qtbot, panel.half_job)
    assert len(panel.shells.curves) == 1
    assert "All particles" in panel.legend.text()
    assert "half sets of the file" in panel.legend.text()
    choose(panel, "selection")
    click(qtbot, panel.half_job)
    assert panel.half_job.text.text() == "No particles are selected."
    panel.model.inspector.set_mask(np.arange(N) < 22)
    click(qtbot, panel.half_job)
    assert "(22 particles)" in panel.legend.text()
    assert not run.folder.joinpath(".pixels.cache").exists()


def test_clusters_come_from_the_run(panel, qtbot, run, notifications):
    panel.model.inspector.set_run(run)
    choose(panel, "clusters")
    click(qtbot, panel.half_job)
    assert "No clusters are kept" in panel.half_job.text.text()
    assert "No clusters are kept" in notifications[0][1]
    clusters = find_clusters(run.latents.mu, 1).renamed(0, "Closed <1>")
    save_clusters(run.folder, clusters, run.latents.mu)
    click(qtbot, panel.half_job)
    assert "Closed &lt;1&gt;" in panel.legend.text()


def test_the_spread_is_a_layer_with_values(panel, qtbot, run):
    volume = panel._viewer.add_image(np.zeros((4, 4, 4)), metadata={"napari-cryodrgn volume": True})
    panel.model.inspector.set_run(run)
    panel.spread_of.setCurrentIndex(panel.spread_of.findData("all"))
    click(qtbot, panel.spread_job)
    layer = panel.layer.layer
    assert layer.name == "Variability of all particles"
    spread = layer.metadata["spread"]
    assert spread.n == N
    assert not volume.visible
    assert layer.scale.tolist() == [12, 12, 12]
    # The arm moves, the body does not.
    assert np.quantile(layer.vertex_values, 0.9) > 5 * np.quantile(layer.vertex_values, 0.1)
    assert layer.vertex_values.max() <= spread.deviation.max() * 1.001
    panel.model.inspector.set_particle(4)
    panel.spread_of.setCurrentIndex(panel.spread_of.findData("particle"))
    click(qtbot, panel.spread_job)
    assert panel.layer.layer.name == "Uncertainty of particle 4"
    assert re.search(r"That is .* what it is between all particles", panel.spread_text.text())
    assert len(panel._viewer.layers) == 2


def test_half_sets_are_written_and_handed_to_training(
    panel, qtbot, run, star, tmp_path, monkeypatch
):
    panel.model.inspector.set_run(run)
    monkeypatch.setattr(
        "qtpy.QtWidgets.QFileDialog.getExistingDirectory",
        lambda *_: str(tmp_path / "halves"),
    )
    assert not panel.train[0].isVisible()
    qtbot.mouseClick(panel.write, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not panel.files_job.running, timeout=10_000)
    opened: list[str] = []
    monkeypatch.setattr(docks, "show_training", lambda _, path: opened.append(path.name))
    qtbot.mouseClick(panel.train[1], Qt.MouseButton.LeftButton)
    assert opened == ["half_2.star"]
    qtbot.mouseClick(panel.train[0], Qt.MouseButton.LeftButton)
    assert opened == ["half_2.star", "half_1.star"]
    assert len(read(tmp_path / "halves" / "half_1.star")) == N // 2


def test_another_run_drops_what_was_found(panel, qtbot, run, fake_run, tmp_path):
    assert panel.nothing.isVisible()
    panel.model.inspector.set_run(run)
    assert not panel.nothing.isVisible()
    click(qtbot, panel.half_job)
    assert panel.legend.text()
    # It has no stack, no poses and no latents.
    panel.set_active(True)
    panel.model.inspector.set_run(fake_run(tmp_path / "other", zdim=0))
    assert not panel.legend.isVisible()
    qtbot.waitUntil(lambda: "no latent space" in panel.warning.text(), timeout=10_000)
    assert not panel.table.isVisible()
    click(qtbot, panel.motion_job)
    assert "does not say which particles" in panel.motion_job.text.text()


def test_the_verdict_is_told_in_words(panel, qtbot, run, monkeypatch):
    from napari_cryodrgn.analysis import validity

    panel.model.inspector.set_run(run)
    verdicts = iter([(0.02, "No heterogeneity found"), (0.5, "There is heterogeneity")])
    for excess, words in verdicts:
        found = validity.Verdict(excess, 0.03, 1200, 36.0)
        monkeypatch.setattr(validity, "heterogeneity", lambda *_, f=found: iter([0.5, f]))
        click(qtbot, panel.motion_job)
        assert words in panel.motion_text.text()
        assert "± 3 % of the noise (1,200 particles, details of 36 Å" in panel.motion_text.text()


def test_bins_have_as_many_particles_or_one_number():
    x = np.arange(2000.0)
    y = (x % 2) * 2 - 1
    place, mean, error = binned(x, y, whole=False)
    assert len(place) == 20
    np.testing.assert_allclose(mean, 0, atol=1e-9)
    np.testing.assert_allclose(error, 0.1, rtol=0.01)
    place, mean, _ = binned(np.repeat([3.0, 7.0], [50, 2]), np.ones(52), whole=True)
    assert place.tolist() == [3, 7]


def test_it_fits_into_a_narrow_dock_and_follows_the_theme(panel, run):
    panel.model.inspector.set_run(run)
    panel.set_colors(colors("light"))
    assert panel.minimumSizeHint().width() <= 340
    assert SimpleNamespace(**vars(panel))._colors.background == colors("light").background
