from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from qtpy.QtCore import QPointF, Qt

from napari_cryodrgn.analysis import find_clusters, save_clusters
from napari_cryodrgn.errors import RunFolderError
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


def test_errors_are_read_in_the_panel(panel, inspector, qtbot):
    search(panel, qtbot)
    panel.source.setCurrentIndex(1)
    qtbot.waitUntil(lambda: not panel.model.busy, timeout=20_000)
    assert "no clusters are kept with this run" in panel.text.text()
    assert panel.content.isHidden()

    mu = inspector.run.latents.mu
    save_clusters(inspector.run.folder, find_clusters(mu, 3), mu)
    inspector.set_particle(1)
    qtbot.waitUntil(lambda: not panel.model.busy, timeout=20_000)
    assert len(panel.model.found.state_shares) == 3
    assert "Volumes that explain it: cluster" in panel.text.text()
    assert not panel.content.isHidden()


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


def test_only_a_new_run_is_prepared_again(inspector, qtbot):
    made = []

    def make(images):
        made.append(images)
        raise RunFolderError(images.run.folder, "no volume")

    model = SearchModel(inspector, GuiThread().post, make)
    model.active = True
    qtbot.waitUntil(lambda: not model.busy, timeout=20_000)
    assert len(made) == 1
    assert model.candidates is None
    model.close()


def evidence(masses, width=2.1, **more):
    best = SimpleNamespace(score=50.0)
    peaks = [SimpleNamespace(mass=m, width=width, shift_width=0.31) for m in masses]
    posterior = SimpleNamespace(peaks=peaks)
    fields = {"posterior": posterior, "difference": None, "score": None, "state_shares": (1.0,)}
    return SimpleNamespace(**fields | {"best": best} | more)


def test_words():
    assert verdict(evidence([0.98, 0.02])).startswith("One sharp peak, 2.1° wide")
    assert verdict(evidence([1.0], 14.0)).startswith("One broad peak")
    several = verdict(evidence([0.3, 0.6, 0.08, 0.02]))
    assert several == "3 separate poses hold 5 % or more: 60 %, 30 %, 8 %."
    assert "40 separate poses" in verdict(evidence([0.025] * 40))
    assert "no poses yet" in about_own(evidence([1.0]))
    assert about_volumes(evidence([1.0])) == ""
    shares = about_volumes(evidence([1.0], state_shares=(0.1, 0.0, 0.9)))
    assert shares == "Volumes that explain it: cluster 3: 90 %, cluster 1: 10 %."


def test_chosen_draws_are_those_of_the_posterior(panel, qtbot):
    search(panel, qtbot)
    shown, posterior = panel.model.candidates, panel.model.found.posterior
    order = posterior.weights.argsort(descending=True)
    torch.testing.assert_close(torch.from_numpy(shown.shifts), posterior.shifts[order[:600]])
    assert float(shown.behind[0]) == pytest.approx(
        float(posterior.scores[order[0]]) - posterior.peaks[0].score, abs=1e-4
    )
