from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_cryodrgn.imaging import FourierGrid, slice_points
from napari_cryodrgn.particles import ParticleSet, euler_from_rotations
from napari_cryodrgn.widgets.evidence_panel import EvidencePanel
from napari_cryodrgn.widgets.inspector_model import InspectorModel
from napari_cryodrgn.widgets.qt_tools import GuiThread, colors

N, BOX = 30, 32


@pytest.fixture
def run(tmp_path: Path, fake_run: Any, star: Path, particles: ParticleSet) -> Any:
    run = fake_run(tmp_path, n_particles=N, particles_path=star, box=BOX, pixel_size=9.0)
    run.rotations, run.shifts = particles.rotations, particles.shifts
    run.latents.logvar = np.full_like(run.latents.mu, 2 * np.log(0.25))
    grid = FourierGrid(BOX, BOX // 2 - 1)

    def slice_(z: Any, rotation: Any, lattice: Any, stop: Any = None) -> Any:
        volume = torch.from_numpy(run.decode(z))
        return grid.sample(grid.transform(volume)[None], slice_points(rotation, lattice.k))

    run.slice = slice_
    return run


@pytest.fixture
def inspector() -> Iterator[InspectorModel]:
    model = InspectorModel(GuiThread().post)
    yield model
    model.close()


@pytest.fixture
def panel(inspector: InspectorModel, qtbot: Any) -> Iterator[EvidencePanel]:
    panel = EvidencePanel(inspector, None, GuiThread().post, colors("dark"))
    qtbot.addWidget(panel)
    panel.resize(360, 720)
    panel.show()
    panel.set_active(True)
    yield panel
    panel.close_panel()


def settle(panel: EvidencePanel, qtbot: Any) -> None:
    model = panel.model
    qtbot.waitUntil(
        lambda: not model.busy and (model.noise is not None or bool(model.problem)), timeout=20_000
    )


def test_nothing_is_open(panel: EvidencePanel) -> None:
    assert "Open a run" in panel.text.text()
    assert not panel.pictures.isVisible()


def test_a_particle_beside_its_projection(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    inspector.set_run(run)
    inspector.set_particle(4)
    settle(panel, qtbot)
    evidence = panel.model.evidence
    assert evidence is not None
    assert evidence.particle == 4
    assert panel.pictures.isVisible()
    assert not panel.text.isVisible()
    shown = [item.image for item in panel.images.images]
    np.testing.assert_allclose(shown, evidence.pictures(panel.model.low_pass))
    levels = {tuple(item.levels) for item in panel.images.images}
    assert len(levels) == 1
    rot, tilt, _ = euler_from_rotations(run.rotations[4:5])[0]
    text = panel.numbers.text()
    assert f"rot {rot:.1f}°, tilt {tilt:.1f}°" in text
    assert f"{run.latents.mu[4, 0]:.2f} ± 0.25" in text
    x = run.shifts[4, 0]
    assert f"x {x:.2f}" in text
    assert f"(x {9 * x:.1f}" in text
    assert "loss" not in text


def test_only_the_last_of_many_particles_is_decoded(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    inspector.set_run(run)
    settle(panel, qtbot)
    run.decoded.clear()
    run.delay = 0.05
    for particle in range(1, 25):
        inspector.set_particle(particle)
    qtbot.waitUntil(lambda: panel.model.evidence.particle == 24, timeout=20_000)
    assert len(run.decoded) <= 2


def test_the_low_pass_filters_the_pictures_alone(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    inspector.set_run(run)
    settle(panel, qtbot)
    panel.low_pass.setValue(0)
    assert panel.low_pass_text.text() == "none"
    rough = np.abs(np.diff(panel.images.images[0].image, axis=1)).mean()
    frc = panel.frc.frc.yData.copy()
    panel.low_pass.setValue(panel.low_pass.maximum())
    assert panel.low_pass_text.text() == "96 Å"
    assert np.abs(np.diff(panel.images.images[0].image, axis=1)).mean() < 0.3 * rough
    np.testing.assert_array_equal(panel.frc.frc.yData, frc)
    assert len(run.decoded) <= N + 1  # the particle and those that the noise is taken from


def test_the_wheel_zooms_into_all_pictures(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    inspector.set_run(run)
    settle(panel, qtbot)
    view, boxes = panel.images, panel.images.boxes
    where = view.mapFromScene(boxes[1].sceneBoundingRect().center())
    whole = np.array(boxes[0].viewRange())
    wheel = QWheelEvent(
        QPointF(where),
        QPointF(view.viewport().mapToGlobal(where)),
        QPoint(0, 0),
        QPoint(0, 480),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(view.viewport(), wheel)
    ranges = [np.array(box.viewRange()) for box in boxes]
    assert np.ptp(ranges[0][0]) < 0.8 * np.ptp(whole[0])
    for other in ranges[1:]:
        np.testing.assert_allclose(other, ranges[0], atol=0.5)
    # The next particle is shown just as near.
    inspector.set_particle(2)
    qtbot.waitUntil(lambda: panel.model.evidence.particle == 2, timeout=20_000)
    np.testing.assert_allclose(boxes[0].viewRange(), ranges[0])
    qtbot.mouseDClick(view.viewport(), Qt.MouseButton.LeftButton, pos=where)
    np.testing.assert_allclose(boxes[0].viewRange(), whole, atol=0.5)


def test_mean_frc_of_the_selection(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    inspector.set_run(run)
    settle(panel, qtbot)
    inspector.set_mask(np.arange(N) % 3 == 0)
    assert "selection" in panel.job.button.text()
    qtbot.mouseClick(panel.job.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel.model.mean is not None, timeout=20_000)
    assert panel.model.mean.n == 10
    np.testing.assert_allclose(panel.frc.mean.yData, panel.model.mean.frc.numpy()[1:])
    assert len(panel.frc.mean_expected.yData) == len(panel.frc.mean.yData)
    assert "mean of 10 particles" in panel.curves_text.text()
    # It is of that selection alone.
    inspector.set_mask(np.zeros(N, bool))
    assert panel.model.mean is None
    assert panel.frc.mean.yData is None or not len(panel.frc.mean.yData)


def test_an_empty_selection_has_no_mean(
    panel: EvidencePanel,
    inspector: InspectorModel,
    run: Any,
    notifications: list[tuple[str, str]],
    qtbot: Any,
) -> None:
    inspector.set_run(run)
    settle(panel, qtbot)
    inspector.set_mask(np.zeros(N, bool))
    qtbot.mouseClick(panel.job.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "No particle is in the selection" in panel.job.text.text())
    assert panel.model.mean is None


def test_a_hidden_tab_rests(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    panel.set_active(False)
    inspector.set_run(run)
    inspector.set_particle(3)
    assert not panel.model.busy
    panel.set_active(True)
    settle(panel, qtbot)
    assert panel.model.evidence.particle == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"particles_path": Path("/nowhere/particles.star")}, "no such file"),
        ({"rotations": None}, "no poses are saved yet"),
        ({"particles_path": None}, "does not say which particles"),
    ],
)
def test_what_is_missing_is_told(
    panel: EvidencePanel,
    inspector: InspectorModel,
    run: Any,
    qtbot: Any,
    change: dict[str, Any],
    text: str,
) -> None:
    for name, value in change.items():
        setattr(run, name, value)
    inspector.set_run(run)
    settle(panel, qtbot)
    assert text in panel.text.text()
    assert panel.text.isVisible()
    assert not panel.pictures.isVisible()


def test_one_particle_of_a_consensus(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    run.zdim, run.latents, run.n_particles, run.indices = 0, None, 1, np.array([6])
    run.rotations, run.shifts = run.rotations[6:7], run.shifts[6:7]
    run.decode = lambda z, **_: run.consensus().data
    np.save(run.folder / "loss.npy", np.array([-12.5], np.float32))
    inspector.set_run(run)
    settle(panel, qtbot)
    assert "consensus" in panel.numbers.text()
    assert "-12.5" in panel.numbers.text()


def test_another_run_has_evidence_of_its_own(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, fake_run: Any, qtbot: Any
) -> None:
    inspector.set_run(run)
    settle(panel, qtbot)
    other = fake_run(run.folder / "other", n_particles=N, particles_path=run.particles_path)
    inspector.set_run(other)
    assert panel.model.evidence is None
    settle(panel, qtbot)
    assert "no poses" in panel.text.text()


def test_narrow_docks_and_light_themes(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    inspector.set_run(run)
    settle(panel, qtbot)
    assert panel.minimumSizeHint().width() <= 320
    panel.set_colors(colors("light"))
    assert colors("light").blue in panel.curves_text.text()
