from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from qtpy.QtCore import QPointF, Qt

from napari_cryodrgn.analysis import find_clusters, save_clusters
from napari_cryodrgn.analysis.pose_evidence import PoseDifference
from napari_cryodrgn.errors import CryodrgnError
from napari_cryodrgn.particles import ParticleSet
from napari_cryodrgn.widgets.inspector_model import InspectorModel
from napari_cryodrgn.widgets.qt_tools import GuiThread, colors
from napari_cryodrgn.widgets.search_model import SearchModel
from napari_cryodrgn.widgets.search_panel import SearchPanel
from napari_cryodrgn.widgets.search_words import about_own, about_volumes, verdict

N = 30


@pytest.fixture
def inspector(tmp_path: Path, fake_run, star: Path, particles: ParticleSet) -> InspectorModel:
    run = fake_run(tmp_path, n_particles=N, particles_path=star, pixel_size=12.0)
    run.rotations, run.shifts = particles.rotations, particles.shifts
    model = InspectorModel(GuiThread().post)
    model.set_run(run)
    yield model
    model.close()


@pytest.fixture
def panel(inspector: InspectorModel, qtbot) -> Iterator[SearchPanel]:
    panel = SearchPanel(inspector, None, GuiThread().post, colors("dark"))
    qtbot.addWidget(panel)
    panel.resize(400, 760)
    panel.show()
    yield panel
    panel.close_panel()


def search(panel: SearchPanel, qtbot) -> None:
    panel.set_active(True)
    qtbot.waitUntil(lambda: not panel.model.busy, timeout=20_000)


def click(plot, x: float, y: float, qtbot) -> None:
    place = plot.mapFromScene(plot.getViewBox().mapViewToScene(QPointF(x, y)))
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_nothing_is_searched_until_somebody_looks(panel, inspector, qtbot):
    inspector.set_particle(4)
    assert not panel.model.busy
    assert panel.model.found is None

    search(panel, qtbot)
    assert panel.model.found.row == 4
    inspector.set_particle(9)
    qtbot.waitUntil(lambda: not panel.model.busy, timeout=20_000)
    assert panel.model.found.row == 9
    # The volume at the particle's own latent was asked for.
    np.testing.assert_array_equal(inspector.run.decoded[-1], inspector.run.latents.mu[9])


def test_the_posterior_is_shown_first_and_the_slider_goes_through_the_levels(panel, qtbot):
    search(panel, qtbot)
    found = panel.model.found
    assert panel.level.maximum() == len(found.levels) == panel.model.level
    assert "drawn around" in panel.level_text.text()
    assert verdict(found) in panel.text.text()
    assert about_own(found) in panel.text.text()
    assert "Entropy of the peaks" in panel.text.toolTip()

    panel.level.setValue(0)

    first = found.levels[0]
    assert f"{first.scored:,} poses compared" in panel.level_text.text()
    assert f"{first.by_bound} of them then dropped" in panel.level_text.text()
    x, _ = panel.map.dots.getData()
    assert len(x) == len(first.scores)
    # The level stays when another particle comes.
    panel.model.inspector.set_particle(2)
    qtbot.waitUntil(lambda: not panel.model.busy, timeout=20_000)
    assert panel.level.value() == 0


@pytest.mark.parametrize("name", ["map", "plot"])
def test_a_click_chooses_a_candidate_and_shows_its_projection(panel, qtbot, name):
    search(panel, qtbot)
    panel.level.setValue(0)
    before = panel.pictures.grab().toImage()
    plot = getattr(panel, name)
    shown = panel.model.candidates
    last = len(shown.behind) - 1
    place = plot._places[last] if name == "map" else (shown.angles[last], shown.behind[last])

    click(plot, *map(float, place), qtbot)

    chosen = panel.model.chosen
    assert chosen is not None
    near = plot._places[chosen] if name == "map" else (shown.angles[chosen], shown.behind[chosen])
    assert near == pytest.approx(place, abs=0.2 if name == "map" else 6)
    assert f"{shown.angles[chosen]:.1f}°" in panel.chosen_text.text()
    for other in (panel.map, panel.plot):
        assert len(other.ring.getData()[0]) == 1
    assert panel.pictures.grab().toImage() != before


def test_clusters_are_offered_once_they_are_kept(panel, inspector, qtbot):
    search(panel, qtbot)
    item = panel.source.model().item(1)
    assert not item.isEnabled()
    assert "Latent explorer" in item.toolTip()

    panel.set_active(False)
    mu = inspector.run.latents.mu
    clusters = find_clusters(mu, 3)
    save_clusters(inspector.run.folder, clusters, mu)
    search(panel, qtbot)
    qtbot.waitUntil(item.isEnabled)
    panel.source.setCurrentIndex(1)
    qtbot.waitUntil(lambda: not panel.model.busy, timeout=20_000)

    assert len(panel.model.found.state_shares) == 3
    own = clusters.labels[inspector.particle] + 1
    assert f"(its latent lies in cluster {own})" in panel.text.text()
    (kept,) = inspector.run.folder.rglob("clusters*.npz")
    kept.unlink()
    inspector.set_particle(1)
    qtbot.waitUntil(lambda: not panel.model.busy, timeout=20_000)
    assert "no clusters are kept with this run" in panel.text.text()
    assert panel.content.isHidden()


def test_the_slider_keeps_the_keyboard(panel, inspector, qtbot):
    search(panel, qtbot)
    panel.activateWindow()
    panel.level.setFocus()
    qtbot.waitUntil(panel.level.hasFocus)
    inspector.set_particle(8)
    assert panel.model.busy
    qtbot.waitUntil(lambda: not panel.model.busy, timeout=20_000)
    assert panel.level.hasFocus()
    before = panel.level.value()
    qtbot.keyClick(panel.level, Qt.Key.Key_Left)
    assert panel.model.level == before - 1


def test_without_a_run_there_is_a_hint(qtbot):
    inspector = InspectorModel(GuiThread().post)
    panel = SearchPanel(inspector, None, GuiThread().post, colors("light"))
    qtbot.addWidget(panel)
    panel.set_active(True)
    assert "Open a run" in panel.text.text()
    assert panel.content.isHidden()
    panel.set_colors(colors("dark"))
    panel.close_panel()
    inspector.close()


def test_images_that_are_gone_are_told(inspector, tmp_path, qtbot):
    inspector.run.particles_path = tmp_path / "gone.star"
    errors = []
    model = SearchModel(inspector, GuiThread().post)
    model.failed.connect(errors.append)
    model.active = True
    qtbot.waitUntil(lambda: bool(errors), timeout=20_000)
    assert "gone.star" in str(errors[0])
    assert model.found is None
    model.close()


class Gate:
    """Searches for as long as it is not given up or let through; tells which particles."""

    def __init__(self, images, stop) -> None:
        self.images, self.asked, self.given_up, self.open = images, [], [], threading.Event()

    def __call__(self, row, volumes, stop):
        self.asked.append(row)
        while not self.open.wait(0.005):
            if stop():
                self.given_up.append(row)
                raise CryodrgnError("The search was given up.")
        raise CryodrgnError(f"answer {row}")


@pytest.fixture
def gated(inspector) -> Iterator[tuple[SearchModel, list[Gate], list[str]]]:
    gates: list[Gate] = []
    errors: list[str] = []

    def make(images, stop) -> Gate:
        gates.append(Gate(images, stop))
        return gates[-1]

    model = SearchModel(inspector, GuiThread().post, make)
    model.failed.connect(lambda error: errors.append(str(error)))
    model.active = True
    yield model, gates, errors
    model.close()


def test_only_a_new_run_is_prepared_again(gated, inspector, fake_run, tmp_path, star, qtbot):
    model, gates, _ = gated
    qtbot.waitUntil(lambda: bool(gates))
    gates[0].open.set()
    for particle in (3, 5):
        inspector.set_particle(particle)
        qtbot.waitUntil(lambda: not model.busy)
    assert len(gates) == 1
    assert gates[0].asked == [0, 3, 5]

    other = fake_run(tmp_path / "other", n_particles=N, particles_path=star, pixel_size=12.0)
    inspector.set_run(other)
    qtbot.waitUntil(lambda: len(gates) == 2)
    assert gates[1].images.run is other
    old = weakref.ref(gates.pop(0))
    gates[0].open.set()
    qtbot.waitUntil(lambda: not model.busy)
    gc.collect()
    assert old() is None


def test_a_search_that_is_no_longer_wanted_is_given_up_without_a_word(gated, inspector, qtbot):
    model, gates, errors = gated
    qtbot.waitUntil(lambda: bool(gates and gates[0].asked))
    inspector.set_particle(3)
    qtbot.waitUntil(lambda: gates[0].asked == [0, 3])
    assert gates[0].given_up == [0]
    model.active = False
    assert not model.busy
    qtbot.waitUntil(lambda: gates[0].given_up == [0, 3])
    # It is asked again when somebody looks.
    model.active = True
    qtbot.waitUntil(lambda: gates[0].asked == [0, 3, 3])
    gates[0].open.set()
    qtbot.waitUntil(lambda: not model.busy)
    assert errors == ["answer 3"]


def test_closing_does_not_wait_for_the_search(gated, qtbot):
    model, gates, errors = gated
    qtbot.waitUntil(lambda: bool(gates and gates[0].asked))
    start = perf_counter()
    model.close()
    assert perf_counter() - start < 0.3
    qtbot.wait(20)
    assert gates[0].given_up == [0]
    assert not errors


def test_what_was_found_in_another_run_is_dropped_unseen(
    panel, inspector, fake_run, tmp_path, qtbot
):
    search(panel, qtbot)
    assert panel.model.found is not None
    panel.set_active(False)
    worker = weakref.ref(panel.model._worker)
    inspector.set_run(fake_run(tmp_path / "other", n_particles=N))
    assert panel.model.found is None
    assert worker() is None


def evidence(masses, width=2.1, **more):
    peaks = [SimpleNamespace(mass=m, width=width, shift_width=0.31, score=50.0) for m in masses]
    poses = float(np.exp(-sum(m * np.log(m) for m in masses)))
    posterior = SimpleNamespace(peaks=peaks, effective_poses=poses)
    fields = {"posterior": posterior, "difference": None, "score": None, "own_tail": None}
    return SimpleNamespace(**fields | {"state_shares": (1.0,)} | more)


def own(angle, score, tail):
    difference = PoseDifference(angle, angle, 0.0, 0.4)
    return {"difference": difference, "score": score, "own_tail": tail}


def test_words():
    assert verdict(evidence([0.98, 0.02])).startswith("<b>One sharp peak</b>, 2.1° wide")
    assert verdict(evidence([1.0], 14.0)).startswith("<b>One broad peak</b>")
    several = verdict(evidence([0.3, 0.6, 0.08, 0.02]))
    assert several.startswith("<b>3 separate poses fit</b>, with 60 % and 30 % and 8 %")
    many = verdict(evidence([0.025] * 40))
    assert "<b>The pose is not known</b>: about 40 poses fit equally well" in many
    assert "(the best holds 2 %)" in many
    assert "no poses yet" in about_own(evidence([1.0]))
    good = about_own(evidence([1.0], **own(1.24, 46.0, 0.3)))
    assert (
        good == "<b>The run's pose is as good as the best</b> (1.2° away; the peak is 2.1° wide)."
    )
    mirror = about_own(evidence([0.6, 0.4], **own(157.2, 49.5, 0.4)))
    assert "as good as the best</b> (157° away; another peak)" in mirror
    bad = about_own(evidence([1.0], **own(157.2, 20.0, 0.0)))
    assert "is worse</b>: 157° and 0.4 px away, e<sup>30</sup> times less likely" in bad
    assert about_own(evidence([0.1] * 10, **own(80.0, 49.0, 0.2))).endswith("is one of them.")
    assert about_volumes(evidence([1.0]), None) == ""
    shares = about_volumes(evidence([1.0], state_shares=(0.1, 0.0, 0.9)), 0)
    assert shares == (
        "Volumes that explain it: cluster 3: 90 %, cluster 1: 10 % (its latent lies in cluster 1)."
    )


def test_chosen_draws_are_those_of_the_posterior(panel, qtbot):
    search(panel, qtbot)
    shown, posterior = panel.model.candidates, panel.model.found.posterior
    order = posterior.weights.argsort(descending=True)
    torch.testing.assert_close(torch.from_numpy(shown.shifts), posterior.shifts[order[:600]])
    assert float(shown.behind[0]) == pytest.approx(
        float(posterior.scores[order[0]]) - posterior.peaks[0].score, abs=1e-4
    )
