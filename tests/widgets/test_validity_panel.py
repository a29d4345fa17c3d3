from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_cryodrgn.analysis import find_clusters, save_clusters
from napari_cryodrgn.analysis.confounding import Confounder
from napari_cryodrgn.analysis.half_sets import HalfCurve
from napari_cryodrgn.particles import read
from napari_cryodrgn.widgets import docks
from napari_cryodrgn.widgets.inspector_model import InspectorModel
from napari_cryodrgn.widgets.qt_tools import GuiThread, colors
from napari_cryodrgn.widgets.validity_panel import ValidityPanel
from napari_cryodrgn.widgets.validity_plots import CURVES, REFERENCE, binned, curve_styles
from napari_cryodrgn.widgets.validity_spread import DRAWS
from napari_cryodrgn.widgets.validity_words import legend, warning

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
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def panel(qtbot, viewer) -> Iterator[ValidityPanel]:
    gui = GuiThread()
    inspector = InspectorModel(gui.post)
    panel = ValidityPanel(inspector, viewer, gui.post, colors("dark"))
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
    panel.halves.halves_of.setCurrentIndex(panel.halves.halves_of.findData(of))


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
    click(qtbot, panel.halves.job)
    assert len(panel.halves.shells.curves) == 1
    assert "All particles" in panel.halves.legend.text()
    assert "half sets of the file" in panel.halves.legend.text()
    choose(panel, "selection")
    click(qtbot, panel.halves.job)
    assert panel.halves.job.text.text() == "No particles are selected."
    panel.model.inspector.set_mask(np.arange(N) < 22)
    click(qtbot, panel.halves.job)
    assert "(22 particles)" in panel.halves.legend.text()
    assert not run.folder.joinpath(".pixels.cache").exists()


def test_clusters_come_from_the_run(panel, qtbot, run, notifications):
    panel.model.inspector.set_run(run)
    box = panel.halves.halves_of
    row = box.findData("clusters")
    panel.set_active(True)
    qtbot.waitUntil(lambda: "too few" in panel.model.trouble, timeout=30_000)
    assert not box.model().item(row).isEnabled()
    tip = box.itemData(row, Qt.ItemDataRole.ToolTipRole)
    assert tip == "Find clusters in the Latent explorer first"
    clusters = find_clusters(run.latents.mu, 1).renamed(0, "Closed <1>")
    save_clusters(run.folder, clusters, run.latents.mu)
    # Found since, in the explorer.
    panel.set_active(False)
    panel.set_active(True)
    qtbot.waitUntil(lambda: box.model().item(row).isEnabled(), timeout=10_000)
    assert not box.itemData(row, Qt.ItemDataRole.ToolTipRole)
    choose(panel, "clusters")
    click(qtbot, panel.halves.job)
    text = panel.halves.legend.text()
    assert "Closed &lt;1&gt;" in text
    assert text.index("All particles") < text.index("Closed")
    assert "Clusters were chosen from these same images." in text
    first, second = (curve.opts["pen"].color().name() for curve in panel.halves.shells.curves)
    assert (first, second) == (REFERENCE, CURVES[0])
    assert notifications == []
    choose(panel, "all")
    click(qtbot, panel.halves.job)
    assert "Clusters" not in panel.halves.legend.text()


def spread(panel, qtbot, of: str):
    box = panel.differ.spread_of
    box.setCurrentIndex(box.findData(of))
    click(qtbot, panel.differ.job)
    return panel.differ.layer.layer


def test_the_spread_is_a_layer_with_values(panel, viewer, qtbot, run):
    volume = viewer.add_image(np.zeros((4, 4, 4)), metadata={"napari-cryodrgn volume": True})
    panel.model.inspector.set_run(run)
    panel.set_active(True)
    layer = spread(panel, qtbot, "all")
    assert layer.name == "Variability of all particles"
    found = layer.metadata["spread"]
    assert found.n == N
    assert layer.visible
    assert not volume.visible
    assert layer.scale.tolist() == [12, 12, 12]
    # The arm moves, the body does not.
    assert np.quantile(layer.vertex_values, 0.9) > 5 * np.quantile(layer.vertex_values, 0.1)
    assert layer.vertex_values.max() <= found.deviation.max() * 1.001
    decoded, limits = len(run.decoded), layer.contrast_limits
    assert np.mean(layer.vertex_values <= limits[1]) == pytest.approx(0.99, abs=0.01)
    panel.model.inspector.set_particle(4)
    layer = spread(panel, qtbot, "particle")
    assert layer.name == "Uncertainty of particle 4"
    # The same colours for the same numbers, and all particles are known already.
    assert layer.contrast_limits == limits
    assert len(run.decoded) == decoded + DRAWS
    assert len(viewer.layers) == 2


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (0.1, "says where in the motion it is"),
        (0.5, "says little"),
        (1.0, "says nothing"),
        (2.5, "says nothing"),
    ],
)
def test_what_the_latent_of_a_particle_says(panel, qtbot, run, part, words):
    mean = run.decode([0, 0])
    motion = run.decode([1, 0]) - mean
    run.decode = lambda z, box, stop: mean + z[0] * motion
    run.latents.logvar[:] = np.log(part * run.latents.mu[:, 0].var(ddof=1))
    panel.model.inspector.set_run(run)
    panel.model.inspector.set_particle(3)
    spread(panel, qtbot, "particle")
    text = panel.differ.text.text()
    assert f"<b>The latent of particle 3 {words}</b>" in text
    # Of 50 draws.
    assert float(re.search(r"(\d+) %", text)[1]) == pytest.approx(100 * part, rel=0.3)
    assert ("larger than" in text) == (part > 2)


def test_the_spread_is_seen_while_it_is_of_what_is_looked_at(panel, viewer, qtbot, run):
    volume = viewer.add_image(np.zeros((4, 4, 4)), metadata={"napari-cryodrgn volume": True})
    inspector = panel.model.inspector
    inspector.set_run(run)
    panel.set_active(True)
    inspector.set_particle(3)
    layer = spread(panel, qtbot, "particle")

    def seen() -> tuple[bool, bool]:
        return layer.visible, volume.visible

    assert seen() == (True, False)
    assert panel.differ.scale.isVisible()
    inspector.set_particle(9)
    assert seen() == (False, True)
    assert panel.differ.text.text().endswith("(of particle 3; press again for particle 9)")
    assert not panel.differ.scale.isVisible()
    inspector.set_particle(3)
    assert seen() == (True, False)
    assert "press again" not in panel.differ.text.text()
    panel.set_active(False)
    assert seen() == (False, True)
    panel.set_active(True)
    assert seen() == (True, False)
    # What hides volumes hides it, and it stays so.
    assert layer.metadata["napari-cryodrgn volume"]
    layer.visible, volume.visible = False, True
    panel.model.changed.emit()
    assert seen() == (False, True)
    panel.set_active(False)
    assert seen() == (False, True)
    # Chosen while it was decoded: the answer is of what was asked for.
    panel.set_active(True)
    box = panel.differ.spread_of
    qtbot.mouseClick(panel.differ.job.button, Qt.MouseButton.LeftButton)
    box.setCurrentIndex(box.findData("all"))
    qtbot.waitUntil(lambda: not panel.differ.job.running, timeout=30_000)
    assert panel.differ.text.text().startswith("<b>The latent of particle 3")


def test_a_spread_that_ends_behind_another_tab_is_not_seen_yet(panel, viewer, qtbot, run):
    panel.model.inspector.set_run(run)
    viewer.dims.ndisplay = 2
    layer = spread(panel, qtbot, "all")
    assert not layer.visible
    assert viewer.dims.ndisplay == 2
    panel.set_active(True)
    assert layer.visible
    assert viewer.dims.ndisplay == 3
    inspector = panel.model.inspector
    inspector.set_mask(np.arange(N) < 9)
    assert layer.visible
    layer = spread(panel, qtbot, "selection")
    assert re.search(r"Within the selection .* <b>\d+ %</b>", panel.differ.text.text())
    inspector.set_mask(np.arange(N) < 12)
    assert not layer.visible
    assert "of another selection" in panel.differ.text.text()


def test_half_sets_are_written_and_handed_to_training(
    panel, qtbot, run, star, tmp_path, monkeypatch
):
    panel.model.inspector.set_run(run)
    monkeypatch.setattr(
        "qtpy.QtWidgets.QFileDialog.getExistingDirectory",
        lambda *_: str(tmp_path / "halves"),
    )
    assert not panel.halves.train[0].isVisible()
    qtbot.mouseClick(panel.halves.write, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not panel.halves.files_job.running, timeout=10_000)
    opened: list[str] = []
    monkeypatch.setattr(docks, "show_training", lambda _, path: opened.append(path.name))
    qtbot.mouseClick(panel.halves.train[1], Qt.MouseButton.LeftButton)
    assert opened == ["half_2.star"]
    qtbot.mouseClick(panel.halves.train[0], Qt.MouseButton.LeftButton)
    assert opened == ["half_2.star", "half_1.star"]
    assert len(read(tmp_path / "halves" / "half_1.star")) == N // 2


def test_another_run_drops_what_was_found(panel, qtbot, run, fake_run, tmp_path):
    assert panel.nothing.isVisible()
    panel.model.inspector.set_run(run)
    assert not panel.nothing.isVisible()
    click(qtbot, panel.halves.job)
    assert panel.halves.legend.text()
    # It has no stack, no poses and no latents.
    panel.set_active(True)
    panel.model.inspector.set_run(fake_run(tmp_path / "other", zdim=0))
    assert not panel.halves.legend.isVisible()
    qtbot.waitUntil(lambda: "no latent space" in panel.warning.text(), timeout=10_000)
    assert not panel.table.isVisible()
    click(qtbot, panel.motion_job)
    assert "does not say which particles" in panel.motion_job.text.text()


def test_the_verdict_is_told_in_words(panel, qtbot, run, monkeypatch):
    from napari_cryodrgn.analysis import validity

    panel.model.inspector.set_run(run)
    weak, clear = validity.Excess(0.028, 0.021, 1200), validity.Excess(11.84, 0.22, 2500, 31)
    for verdict, words in (
        (
            validity.Verdict(clear, weak, 36.0),
            "It cannot be told.</b> Images differ along a motion learned from other images 12.84 ± "
            "0.22 times as much as noise would make them, but only 1.03 ± 0.02 times once",
        ),
        (
            validity.Verdict(weak, weak, 36.0),
            "No heterogeneity found.</b> Images differ along a motion learned from other images "
            "1.03 ± 0.02 times as much as noise would make them (1,200 particles). Motion finer "
            "than 36 Å,",
        ),
        (
            validity.Verdict(weak, clear, 12.0),
            "There is heterogeneity.</b> Images differ along a motion learned from other images "
            "12.8 times as much as noise would make them (54 standard errors; 2,500 particles, 31 "
            "left out whose poses fit no better than chance; details of 12 Å and coarser).",
        ),
    ):
        monkeypatch.setattr(validity, "heterogeneity", lambda *_, v=verdict: iter([0.5, v]))
        click(qtbot, panel.motion_job)
        assert words in panel.motion_text.text()


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


def test_late_answers_of_another_run_are_dropped(panel, qtbot, fake_run, tmp_path, monkeypatch):
    from napari_cryodrgn.analysis import confounding

    gate, asked = threading.Event(), []

    def slow(run, _):
        asked.append(run.folder.name)
        if len(asked) == 1:
            gate.wait(20)
        return [SimpleNamespace(name=run.folder.name)]

    monkeypatch.setattr(confounding, "confounders", slow)
    model, inspector = panel.model, panel.model.inspector
    # The answers stand for confounders, which cannot be drawn.
    model.changed.disconnect(panel._show)
    one, two = (fake_run(tmp_path / name, n_particles=80) for name in ("one", "two"))
    inspector.set_run(one)
    model.active = True
    qtbot.waitUntil(lambda: asked == ["one"], timeout=10_000)
    model.active = False
    inspector.set_run(two)
    gate.set()
    qtbot.wait(200)
    assert model.confounders is None
    model.active = True
    qtbot.waitUntil(lambda: model.confounders is not None, timeout=10_000)
    assert [c.name for c in model.confounders] == ["two"]
    # Back at one that was asked about, whose answer is dropped by then.
    model.active = False
    inspector.set_run(one)
    inspector.set_run(two)
    model.active = True
    qtbot.waitUntil(lambda: model.confounders is not None, timeout=10_000)
    # Back at the first one, which was never answered for.
    inspector.set_run(one)
    qtbot.waitUntil(lambda: model.confounders is not None, timeout=10_000)
    assert [c.name for c in model.confounders] == ["one"]


def test_errors_of_a_comparison_are_text(panel, qtbot, run, tmp_path, monkeypatch, notifications):
    panel.model.inspector.set_run(run)
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getExistingDirectory", lambda *_: str(tmp_path))
    click(qtbot, panel.halves.files_job)
    assert "it is no run folder" in panel.halves.files_job.text.text()
    assert panel.halves.files_job.text.isVisible()
    assert notifications == []


def confounder(name: str, strength: float, p: float) -> Confounder:
    x = np.arange(80, dtype=np.float32)
    return Confounder(name, strength, p, 1, x, x)


def test_the_table_and_the_words_of_small_strengths(panel, run):
    found = [confounder("viewing direction", 0.006, 0.005), confounder("defocus", -0.01, 0.4)]
    panel.model.inspector.set_run(run)
    panel.model.confounders = found
    panel.model.changed.emit()
    assert panel.warning.text().endswith(
        "Nothing explains more than 5 % of the latent. "
        "Largest: viewing direction, 0.6 % (p ≤ 0.005, real but small).</span>"
    )
    table = panel.table
    heads = [table.horizontalHeaderItem(i).text() for i in range(3)]
    assert heads == ["Quantity", "explains", "p"]
    rows = [[table.item(row, i).text() for i in range(3)] for row in range(2)]
    assert rows == [["viewing direction", "0.6 %", "≤ 0.005"], ["defocus", "–", "0.400"]]
    assert panel.plot.getAxis("bottom").labelText == "PC2 predicted from viewing direction"
    dark = colors("dark")
    chance = warning([confounder("defocus", 0.08, 0.03)], dark)
    assert "Nothing explains more of the latent than may be by chance" in chance
    assert "defocus, 8.0 % (p = 0.030)" in chance
    assert "Largest" not in warning([confounder("defocus", 0.0001, 0.4)], dark)


def curve(name: str, **more) -> HalfCurve:
    values = np.linspace(1, 0, 12, dtype=np.float32)
    return HalfCurve(name, **{"how": "x", "n": 9, "fsc": values, "box": 24, "pixel_size": 2} | more)


def test_curves_are_told_apart_and_judged(panel, run):
    several = [curve("All particles"), *(curve(f"cluster {i}") for i in range(18))]
    styles = curve_styles(several)
    assert len(set(styles)) == 19
    assert styles[0][0] == REFERENCE
    assert styles[9][0] == styles[1][0] == CURVES[0]
    assert curve_styles(several[:1])[0][0] == CURVES[0]
    assert "Both halves share these poses: optimistic. No mask." in legend(several)
    two = [curve("a and b", shared_poses=False, how="two runs")]
    assert "optimistic" not in legend(two)
    unknown = [curve("a and b", pixel_size=None, shared_poses=False)]
    panel.halves.shells.show_curves(unknown)
    assert panel.halves.shells.getAxis("bottom").labelText == "resolution (px)"
    assert "<b>2.5 px / 4.4 px</b>" in legend(unknown)
    panel.halves.shells.show_curves(two)
    assert panel.halves.shells.getAxis("bottom").labelText == "resolution (Å)"
