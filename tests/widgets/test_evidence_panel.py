from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_cryodrgn.analysis.agreement import Agreement
from napari_cryodrgn.imaging import FourierGrid, slice_points
from napari_cryodrgn.particles import ParticleSet, euler_from_rotations
from napari_cryodrgn.widgets.evidence_panel import EvidencePanel
from napari_cryodrgn.widgets.evidence_words import verdict
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
    panel.low_pass.slider.setValue(0)
    assert panel.low_pass.text.text() == "none"
    rough = np.abs(np.diff(panel.images.images[0].image, axis=1)).mean()
    frc = panel.frc.frc.yData.copy()
    panel.low_pass.slider.setValue(panel.low_pass.slider.maximum())
    assert panel.low_pass.text.text() == "96 Å"
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


def test_pictures_fill_their_room_whatever_the_width(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    inspector.set_run(run)
    settle(panel, qtbot)
    for width in (600, 320, 480):
        panel.resize(width, 900)
        qtbot.waitUntil(lambda width=width: panel.images.width() > 0.9 * width, timeout=5_000)
        qtbot.wait(50)
        for box in panel.images.boxes:
            (left, right), (top, bottom) = box.viewRange()
            assert min(right - left, bottom - top) == pytest.approx(BOX, rel=0.05)


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
    np.testing.assert_allclose(panel.frc.expected.yData, panel.model.mean.expected.numpy()[1:])
    np.testing.assert_allclose(panel.frc.mean_level.yData, panel.frc.level.yData / 10**0.5)
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
    assert "+12 over an empty volume" in panel.numbers.text()


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


class Gate:
    """Holds a run's slices back until it is opened; ``reached`` is set by the first."""

    def __init__(self, run: Any) -> None:
        self.open, self.reached = threading.Event(), threading.Event()
        self._slice = run.slice
        run.slice = self._wait

    def _wait(self, *arguments: Any, **named: Any) -> Any:
        self.reached.set()
        assert self.open.wait(20)
        return self._slice(*arguments, **named)


def idle(panel: EvidencePanel, qtbot: Any) -> None:
    """Wait until the thread has nothing to do and its answers are in."""
    panel.model._background._executor.submit(lambda: None).result(timeout=20)
    qtbot.wait(50)


def test_the_answer_for_a_run_that_was_left_is_dropped(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, fake_run: Any, qtbot: Any
) -> None:
    """While the tab is hidden, no newer question displaces it."""
    gate = Gate(run)
    inspector.set_run(run)
    assert gate.reached.wait(20)
    panel.set_active(False)
    inspector.set_run(fake_run(run.folder / "other", n_particles=N))
    gate.open.set()
    idle(panel, qtbot)
    assert panel.model.evidence is None
    assert panel.model.limit is None
    assert not panel.pictures.isVisible()


def test_the_noise_of_a_run_that_was_left_is_dropped(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, fake_run: Any, qtbot: Any
) -> None:
    inspector.set_run(run)
    qtbot.waitUntil(lambda: panel.model.evidence is not None, timeout=20_000)
    gate = Gate(run)
    qtbot.waitUntil(gate.reached.is_set, timeout=20_000)
    panel.set_active(False)
    inspector.set_run(fake_run(run.folder / "other", n_particles=N))
    gate.open.set()
    idle(panel, qtbot)
    assert panel.model._rings == []
    assert panel.model.noise is None


@pytest.mark.parametrize("to", ["selection", "run"])
def test_a_mean_that_is_not_wanted_any_more(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, fake_run: Any, qtbot: Any, to: str
) -> None:
    inspector.set_run(run)
    settle(panel, qtbot)
    gate, asked = Gate(run), panel.job.ended
    ended: list[bool] = []
    asked.connect(ended.append)
    qtbot.mouseClick(panel.job.button, Qt.MouseButton.LeftButton)
    assert gate.reached.wait(20)
    session = panel.job._session
    if to == "selection":
        inspector.set_mask(np.arange(N) < 5)
    else:
        panel.set_active(False)
        inspector.set_run(fake_run(run.folder / "other", n_particles=N))
    gate.open.set()
    qtbot.waitUntil(session._done.is_set, timeout=20_000)
    qtbot.wait(100)
    assert panel.model.mean is None
    assert not panel.job.running
    assert ended == []


def write_fsc(run: Any, last: int) -> None:
    """Half maps that agree up to a shell, and not at all beyond."""
    lines = [f"{s},{BOX * 9 / s},{float(s <= last)}" for s in range(1, BOX // 2)]
    text = "\n".join(["shell,resolution_angstrom,fsc", *lines])
    (run.folder / "fsc.csv").write_text(text)


def test_what_lies_beyond_the_half_maps_is_shaded_and_does_not_count(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    write_fsc(run, 6)
    inspector.set_run(run)
    settle(panel, qtbot)
    limit = panel.model.limit
    assert 288 / 7 < limit < 288 / 6
    assert panel.frc.beyond.isVisible()
    assert panel.frc.beyond.getRegion()[0] == pytest.approx(1 / limit)
    assert f"Beyond {limit:.1f} Å" in panel.beyond.text()
    assert len(panel.model.agreement().frc) == 6


@pytest.mark.parametrize("text", [None, "shell,resolution_angstrom,fsc\n1,288.0,none"])
def test_no_half_maps(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any, text: str | None
) -> None:
    if text is not None:
        (run.folder / "fsc.csv").write_text(text)
    inspector.set_run(run)
    settle(panel, qtbot)
    assert not panel.frc.beyond.isVisible()
    assert not panel.beyond.isVisible()
    assert len(panel.model.agreement().frc) == len(panel.model.curves().frc)


def test_what_image_and_volume_come_to(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    shown = {4: 1.0, 5: -1.0}
    images = {}

    def slice_(z: Any, rotation: Any, lattice: Any, stop: Any = None) -> Any:
        for row, sign in shown.items():
            if np.array_equal(rotation, run.rotations[row]):
                return sign * images[row]
        return 0 * inspector.images.of(run).pixels([0])[0]

    # Projections that look just like the images, but for the sign.
    inspector.set_run(run)
    settle(panel, qtbot)
    for row in shown:
        source = inspector.images.of(run)
        ctf = source.ctf([row])[0]
        images[row] = source.pixels([row])[0] * ctf.sign()
    run.slice = slice_
    run.shifts = np.zeros_like(run.shifts)
    for row, words, color in (
        (4, "The image agrees with its volume</b> to", "green"),
        (5, "The scale is negative</b>", "error"),
    ):
        inspector.set_particle(row)
        qtbot.waitUntil(lambda row=row: panel.model.evidence.particle == row, timeout=20_000)
        assert words in panel.verdict.text()
        assert getattr(colors("dark"), color) in panel.verdict.text()
    panel.set_colors(colors("light"))
    assert colors("light").error in panel.verdict.text()


@pytest.mark.parametrize(
    ("frc", "expected", "words"),
    [
        ([0.9, 0.9, 0.6, 0.5, 0.4], 0.6, "agrees with its volume</b> to 20 Å"),
        ([0.9, 0.5, 0.0, 0.0, 0.0], 0.6, "only of what is coarser than 50 Å"),
        ([0.0, 0.1, 0.0, -0.1, 0.1], 0.6, "does not explain this image"),
        ([0.0, 0.1, 0.0, -0.1, 0.1], 0.1, "one image shows too little"),
    ],
)
def test_words_about_agreement(frc: list[float], expected: float, words: str) -> None:
    size = np.float32([30, 60, 60, 60, 60])
    found = Agreement(np.float32(frc), np.full(5, expected, np.float32), size, 0.5)
    assert words in verdict(found, 100.0, "Å", colors("dark"))


def test_no_point_leaves_the_plot(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    inspector.set_run(run)
    settle(panel, qtbot)
    curves = panel.model.curves()
    for lowest in (-0.2, -0.9):
        curves.frc[2] = lowest
        panel.frc.show_curves(curves, None, "Å", None)
        low, high = panel.frc.getViewBox().viewRange()[1]
        assert low < lowest
        assert high > 1


def test_narrow_docks_and_light_themes(
    panel: EvidencePanel, inspector: InspectorModel, run: Any, qtbot: Any
) -> None:
    inspector.set_run(run)
    settle(panel, qtbot)
    assert panel.minimumSizeHint().width() <= 320
    panel.set_colors(colors("light"))
    assert colors("light").blue in panel.curves_text.text()
