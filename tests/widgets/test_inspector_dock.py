from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_cryodrgn.errors import RunFolderError
from napari_cryodrgn.widgets import inspector_dock
from napari_cryodrgn.widgets.explorer_dock import ExplorerDock
from napari_cryodrgn.widgets.inspector_dock import InspectorDock
from napari_cryodrgn.widgets.particle_bar import ParticleBar

HERE, THERE = Path("/runs/one"), Path("/runs/two")


@pytest.fixture
def show(qtbot) -> Iterator[Callable[..., object]]:
    docks = []

    def show(dock):
        qtbot.addWidget(dock)
        dock.resize(400, 900)
        dock.show()
        docks.append(dock)
        return dock

    yield show
    for dock in docks:
        dock.end()


def test_an_empty_inspector_says_what_to_do(show):
    dock = show(InspectorDock(ViewerModel()))
    assert dock.pages.currentIndex() == 0
    assert not dock.head.about.isVisible()


def test_a_run_is_opened_and_its_particle_s_volume_shown(show, qtbot, fake_run):
    run = fake_run(HERE, settings={"poses": "given"})
    dock = show(InspectorDock(ViewerModel(), lambda _: run))
    dock.inspect(HERE, 12)
    qtbot.waitUntil(lambda: dock.model.run is run, timeout=10_000)
    assert dock.model.particle == 12
    assert dock.bar.number.value() == 12
    assert "400 particles" in dock.head.about.text()
    assert "poses given" in dock.head.about.text()
    qtbot.waitUntil(lambda: len(dock._viewer.layers) == 1, timeout=10_000)
    np.testing.assert_array_equal(run.decoded[-1], run.latents.mu[12])

    dock.show_volume.setChecked(False)
    count = len(run.decoded)
    dock.inspect(HERE, 13)
    qtbot.wait(100)
    assert dock.model.particle == 13
    assert len(run.decoded) == count


def test_the_volume_is_decoded_in_full_when_the_slider_rests(show, qtbot, fake_run, monkeypatch):
    monkeypatch.setattr(inspector_dock, "_REST_MS", 1000)
    run = fake_run(HERE, box=64)
    dock = show(InspectorDock(ViewerModel(), lambda _: run))
    dock.inspect(HERE, 0)
    shown = []
    dock.decode.decoded.connect(lambda decoded: shown.append((decoded.box, decoded.z)))
    qtbot.waitUntil(lambda: bool(shown) and shown[-1][0] == 64, timeout=10_000)
    shown.clear()
    for particle in (1, 2, 3):
        dock.bar.slider.setValue(particle)
        qtbot.wait(20)
    assert not shown  # beside the evidence, which needs the processor
    qtbot.waitUntil(lambda: bool(shown) and shown[-1][0] == 64, timeout=10_000)
    np.testing.assert_array_equal(shown[-1][1], run.latents.mu[3])


def test_a_run_is_chosen_with_the_button(show, qtbot, fake_run, monkeypatch):
    asked = []

    def choose(_, __, start):
        asked.append(start)
        return str(HERE)

    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getExistingDirectory", choose)
    dock = show(InspectorDock(ViewerModel(), fake_run))
    qtbot.mouseClick(dock.head.open_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.model.run is not None, timeout=10_000)
    assert dock.head.folder.text() == "one"
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getExistingDirectory", lambda *_: "")
    qtbot.mouseClick(dock.head.open_button, Qt.MouseButton.LeftButton)
    assert not dock.model.busy
    assert asked == [""]


def test_only_the_tab_that_is_seen_works(show, qtbot, fake_run, monkeypatch):
    dock = show(InspectorDock(ViewerModel(), lambda _: fake_run(HERE)))
    active: dict[int, bool] = {}
    for i, panel in enumerate(dock.panels):
        monkeypatch.setattr(panel, "set_active", lambda on, i=i: active.update({i: on}))
    dock.inspect(HERE)
    qtbot.waitUntil(lambda: dock.model.run is not None, timeout=10_000)
    assert active == {0: True, 1: False, 2: False, 3: False, 4: False}
    dock.tabs.setCurrentIndex(3)
    assert [i for i, on in active.items() if on] == [3]


def test_a_folder_that_is_no_run_is_told(show, qtbot, fake_run):
    def fail(folder):
        raise RunFolderError(folder, "it is no run", remedy="Choose another")

    dock = show(InspectorDock(ViewerModel(), fail))
    dock.inspect(HERE)
    qtbot.waitUntil(dock.head.message.isVisible, timeout=10_000)
    assert "it is no run" in dock.head.message.text()
    assert dock.pages.currentIndex() == 0


def test_explorer_and_inspector_follow_each_other(show, qtbot, fake_run, pca):
    viewer, run = ViewerModel(), fake_run(HERE)
    explorer = show(ExplorerDock(viewer, lambda _: run, pca))
    explorer.open_folder(HERE)
    qtbot.waitUntil(lambda: explorer.model.space is not None, timeout=10_000)
    explorer.model.pick_particle(7)

    inspector = show(InspectorDock(viewer, lambda _: pytest.fail("it is open already")))
    assert inspector.model.run is run
    qtbot.waitUntil(lambda: inspector.model.particle == 7, timeout=5_000)
    # The explorer shows the volume.
    assert not inspector.show_volume.isVisible()

    explorer.model.pick_particle(9)
    qtbot.waitUntil(lambda: inspector.model.particle == 9, timeout=5_000)
    qtbot.mouseClick(inspector.bar.after, Qt.MouseButton.LeftButton)
    assert explorer.model.pick.particle == 10

    mask = np.arange(400) < 50
    explorer.model.set_current(mask)
    assert inspector.model.mask is mask
    inspector.model.set_mask(None)
    assert explorer.model.current_mask is None


def test_a_selection_goes_with_the_particles_it_is_of(show, qtbot, fake_run, pca):
    viewer, runs = ViewerModel(), [fake_run(HERE), fake_run(HERE, n_particles=300)]
    explorer = show(ExplorerDock(viewer, lambda _: runs[0], pca))
    explorer.open_folder(HERE)
    qtbot.waitUntil(lambda: explorer.model.space is not None, timeout=10_000)
    inspector = show(InspectorDock(viewer))
    explorer.model.set_current(np.arange(400) < 50)
    assert inspector.model.mask is not None

    del runs[0]
    explorer.open_folder(HERE)

    qtbot.waitUntil(lambda: inspector.model.run is runs[0], timeout=10_000)
    assert explorer.model.current_mask is None
    assert inspector.model.mask is None


def test_the_volume_is_shown_here_when_the_explorer_shows_it_no_more(show, qtbot, fake_run, pca):
    viewer, runs = ViewerModel(), {path: fake_run(path) for path in (HERE, THERE)}
    explorer = show(ExplorerDock(viewer, runs.__getitem__, pca))
    explorer.open_folder(HERE)
    qtbot.waitUntil(lambda: explorer.model.space is not None, timeout=10_000)
    inspector = show(InspectorDock(viewer))
    assert not inspector.show_volume.isVisible()
    explorer.open_folder(THERE)
    qtbot.waitUntil(inspector.show_volume.isVisible, timeout=10_000)
    assert inspector.model.run is runs[HERE]
    explorer.open_folder(HERE)
    qtbot.waitUntil(inspector.show_volume.isHidden, timeout=10_000)
    explorer.end()
    assert inspector.show_volume.isVisible()


def test_one_structure_is_shown_beside_the_explorer_too(show, qtbot, fake_run, pca):
    viewer, run = ViewerModel(), fake_run(HERE, zdim=0)
    explorer = show(ExplorerDock(viewer, lambda _: run, pca))
    explorer.open_folder(HERE)
    qtbot.waitUntil(lambda: explorer.model.run is run, timeout=10_000)
    inspector = show(InspectorDock(viewer))
    assert inspector.show_volume.isVisible()
    qtbot.waitUntil(lambda: bool(inspector.volume.layer), timeout=10_000)


def test_a_fault_of_all_particles_is_told_once(show, qtbot, fake_run, notifications):
    run = fake_run(HERE)

    def decode(*_, **__):
        raise RunFolderError(HERE, "weights.pkl is damaged.")

    run.decode = decode
    dock = show(InspectorDock(ViewerModel(), lambda _: run))
    dock.inspect(HERE)
    qtbot.waitUntil(dock.head.message.isVisible, timeout=10_000)
    for particle in (1, 2, 3):
        dock.model.set_particle(particle)
        qtbot.wait(250)
    assert "damaged" in dock.head.message.text()
    assert len(notifications) == 1


def test_closing_takes_sphere_and_plane_away(show, qtbot, fake_run):
    viewer, run = ViewerModel(), fake_run(HERE)
    run.rotations = np.tile(np.eye(3, dtype=np.float32), (400, 1, 1))
    run.shifts = np.zeros((400, 2), np.float32)
    dock = show(InspectorDock(viewer, lambda _: run))
    dock.inspect(HERE)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)
    dock.tabs.setCurrentIndex(3)
    qtbot.waitUntil(lambda: dock.slices.plane.layer is not None, timeout=10_000)
    dock.tabs.setCurrentIndex(1)
    qtbot.waitUntil(lambda: dock.views.sphere.shown, timeout=10_000)
    dock.model.set_particle(5)

    dock.end()
    qtbot.wait(400)

    assert [layer.name for layer in viewer.layers] == ["Volume of the particle"]
    assert not viewer.layers[0].experimental_clipping_planes


def test_an_inspector_of_another_run_is_left_alone(show, qtbot, fake_run, pca):
    viewer = ViewerModel()
    inspector = show(InspectorDock(viewer, lambda _: fake_run(THERE)))
    inspector.inspect(THERE, 3)
    qtbot.waitUntil(lambda: inspector.model.run is not None, timeout=10_000)
    explorer = show(ExplorerDock(viewer, lambda _: fake_run(HERE), pca))
    explorer.open_folder(HERE)
    qtbot.waitUntil(lambda: explorer.model.space is not None, timeout=10_000)
    explorer.model.pick_particle(8)
    qtbot.wait(300)
    assert inspector.model.run.folder == THERE
    assert inspector.model.particle == 3
    assert inspector.show_volume.isVisible()


def test_closing_ends_what_listens(show, qtbot, fake_run, pca):
    viewer, run = ViewerModel(), fake_run(HERE)
    explorer = show(ExplorerDock(viewer, lambda _: run, pca))
    explorer.open_folder(HERE)
    qtbot.waitUntil(lambda: explorer.model.space is not None, timeout=10_000)
    inspector = show(InspectorDock(viewer))
    inspector.end()
    explorer.model.pick_particle(5)
    qtbot.wait(300)
    assert inspector.model.particle == 0


def test_the_bar_steps_through_particles(qtbot):
    bar, chosen = ParticleBar(), []
    qtbot.addWidget(bar)
    bar.chosen.connect(chosen.append)
    bar.show_particle(1, 3)
    bar.show()
    qtbot.mouseClick(bar.after, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(bar.before, Qt.MouseButton.LeftButton)
    bar.slider.setValue(0)
    assert chosen == [2, 0, 0]
    bar.show_particle(2, 3)
    assert not bar.after.isEnabled()
    assert bar.before.isEnabled()
    bar.show_particle(0, 0)
    assert not bar.isEnabled()
