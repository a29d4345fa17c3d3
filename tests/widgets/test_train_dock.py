from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_cryodrgn.errors import CryodrgnError, TrainingError
from napari_cryodrgn.training.settings import Settings
from napari_cryodrgn.widgets.layers import stack_layer
from napari_cryodrgn.widgets.train_dock import TrainDock
from napari_cryodrgn.widgets.train_session import TrainSession


def add_particles(viewer: ViewerModel, particles, name: str = "mine") -> None:
    data, options, _ = stack_layer(particles, name, viewer.layers)
    viewer.add_image(data, **options)


@pytest.fixture
def make(qtbot) -> Iterator[Callable[..., TrainDock]]:
    docks = []

    def make(reconstruct=None, viewer=None, **options) -> TrainDock:
        dock = TrainDock(viewer or ViewerModel(), reconstruct=reconstruct, **options)
        qtbot.addWidget(dock)
        dock.show()
        docks.append(dock)
        return dock

    yield make
    for dock in docks:
        dock.end()


@pytest.fixture
def ready(make, particles, tmp_path) -> Callable[..., TrainDock]:
    """A dock with particles and an output folder."""

    def ready(reconstruct, **options) -> TrainDock:
        dock = make(reconstruct, **options)
        add_particles(dock._viewer, particles)
        dock.form.use_folder(tmp_path / "run")
        return dock

    return ready


def click(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_the_list_of_particles_follows_the_layers(make, particles):
    dock = make()
    assert dock.form.particles is None
    assert "Open particles" in dock.form.about.text()

    dock._viewer.add_image(np.zeros((4, 4)), name="no particles")
    add_particles(dock._viewer, particles, "first")
    add_particles(dock._viewer, particles.select([0, 1]), "second")
    names = [dock.form.source.itemText(i) for i in range(dock.form.source.count())]
    assert names == ["first", "second"]

    dock.form.source.setCurrentIndex(1)
    assert "2 particles, 32 px, 9 Å/px, poses, CTF" in dock.form.about.text()
    dock._viewer.layers["first"].name = "renamed"
    assert dock.form.source.itemText(0) == "renamed"
    assert len(dock.form.particles) == 2
    dock._viewer.layers.remove("second")
    assert len(dock.form.particles) == 30


def test_particles_of_a_file(make, star, tmp_path, notifications, qtbot):
    dock = make()

    dock.form.add_file(star)
    assert "Reading particles.star" in dock.form.about.text()
    qtbot.waitUntil(lambda: dock.form.particles is not None)
    dock.form.add_file(tmp_path / "missing.star")
    qtbot.waitUntil(lambda: bool(notifications))

    assert len(dock.form.particles) == 30
    assert "30 particles" in dock.form.about.text()
    assert dock.form.output.text() == str(star.parent / "particles_run1")
    assert len(notifications) == 1


def test_contrast_that_the_file_tells_is_set(make, particles):
    dock = make()
    add_particles(dock._viewer, replace(particles, dark=True), "dark")
    assert dock.form.advanced.invert.isChecked()
    add_particles(dock._viewer, replace(particles, dark=False), "bright")
    dock.form.source.setCurrentIndex(1)
    assert not dock.form.advanced.invert.isChecked()


def test_contrast_of_other_particles_is_not_kept(make, particles):
    dock = make()
    add_particles(dock._viewer, particles, "one")
    dock.form.advanced.invert.setChecked(True)
    add_particles(dock._viewer, replace(particles), "two")
    assert dock.form.advanced.invert.isChecked()

    dock.form.source.setCurrentIndex(1)

    assert not dock.form.advanced.invert.isChecked()


def test_only_fields_that_count_can_be_filled_in(make, particles):
    dock = make()
    add_particles(dock._viewer, particles)
    form, fields = dock.form, dock.form.advanced
    searched = [fields.refine_poses, fields.max_shift, fields.starts]
    form.poses.setCurrentIndex(form.poses.findData("search"))
    assert [field.isEnabled() for field in searched] == [False, True, True]

    form.poses.setCurrentIndex(form.poses.findData("given"))
    assert [field.isEnabled() for field in searched] == [True, False, False]
    fields.refine_poses.setChecked(True)

    assert [field.isEnabled() for field in searched] == [True, True, False]
    assert form.settings().refine_poses


def test_poses_of_the_file_can_only_be_chosen_if_it_has_some(make, particles, star, qtbot):
    dock = make()
    given = dock.form.poses.findData("given")
    add_particles(dock._viewer, particles)
    dock.form.poses.setCurrentIndex(given)
    assert dock.form.poses.model().item(given).isEnabled()

    dock.form.add_file(star.parent / "particles.mrcs")
    qtbot.waitUntil(lambda: dock.form.source.count() == 2)

    assert not dock.form.poses.model().item(given).isEnabled()
    assert dock.form.poses.currentData() == "search"


def test_a_run_from_start_to_end(ready, qtbot, tmp_path, fake_reconstruct, notifications):
    reconstruct = fake_reconstruct(warn="The views are uneven.")
    dock = ready(reconstruct)
    dock.form.zdim.setValue(3)
    dock.form.epochs.setValue(7)
    states = []
    dock.model.changed.connect(lambda: states.append(dock.model.state))

    click(qtbot, dock.start_button)
    qtbot.waitUntil(lambda: dock.model.state == "finished", timeout=10_000)

    settings, particles, resume = reconstruct.calls[0]
    assert settings == Settings(output=tmp_path / "run", zdim=3, epochs=7)
    assert len(particles) == 30
    assert not resume
    assert set(states) == {"running", "finished"}
    assert len(dock.model.losses) == 6
    x, y = dock.plot.total.getData()
    assert list(x) == [1, 2, 3, 4, 5, 6]
    assert y[0] > y[-1]
    assert dock.plot.kl.getData()[1][-1] > 0
    assert dock.progress_bar.value() == 1000
    assert "The views are uneven." in dock.messages.text()
    assert ("warning", "The views are uneven.") in notifications


def test_one_volume_layer_is_updated_in_place(ready, qtbot, fake_reconstruct):
    dock = ready(fake_reconstruct(delay=0.15))
    viewer = dock._viewer

    click(qtbot, dock.start_button)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=10_000)
    layer = viewer.layers["run: volume"]
    qtbot.waitUntil(lambda: viewer.dims.ndisplay == 3, timeout=10_000)
    first, contour = layer.data.copy(), layer.iso_threshold
    assert not viewer.layers["mine"].visible
    viewer.scene.camera.angles = (10, 20, 30)
    qtbot.waitUntil(lambda: dock.model.state == "finished", timeout=10_000)

    qtbot.waitUntil(lambda: not np.array_equal(layer.data, first), timeout=10_000)

    assert len(viewer.layers) == 2
    # Its densities grew fifty-fold: the surface is where it was.
    assert layer.iso_threshold == contour
    assert layer.data.max() == pytest.approx(first.max(), rel=0.1)
    assert tuple(viewer.scene.camera.angles) == (10, 20, 30)
    np.testing.assert_allclose(layer.scale, 6.0)


def test_a_volume_layer_that_was_deleted_comes_back(ready, qtbot, fake_reconstruct):
    dock = ready(fake_reconstruct(delay=0.15))
    viewer = dock._viewer
    click(qtbot, dock.start_button)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=10_000)
    viewer.layers.remove("run: volume")

    qtbot.waitUntil(lambda: "run: volume" in viewer.layers, timeout=10_000)


def test_pause_and_continue(ready, qtbot, fake_reconstruct):
    dock = ready(fake_reconstruct(delay=0.1))
    click(qtbot, dock.start_button)
    qtbot.waitUntil(lambda: dock.model.fraction > 0, timeout=10_000)

    click(qtbot, dock.pause_button)
    assert dock.pause_button.text() == "Continue"
    assert dock.title.text().startswith("Paused")
    qtbot.wait(200)
    held = dock.model.fraction
    qtbot.wait(300)
    assert dock.model.fraction == held
    click(qtbot, dock.pause_button)
    qtbot.waitUntil(lambda: dock.model.state == "finished", timeout=10_000)


@pytest.mark.parametrize("paused", [False, True])
def test_stop_then_resume(ready, qtbot, tmp_path, fake_reconstruct, paused):
    reconstruct = fake_reconstruct(delay=0.1)
    dock = ready(reconstruct)
    click(qtbot, dock.start_button)
    qtbot.waitUntil(lambda: dock.model.saved, timeout=10_000)
    if paused:
        click(qtbot, dock.pause_button)

    click(qtbot, dock.stop_button)
    assert not dock.start_button.isEnabled()
    qtbot.waitUntil(lambda: dock.model.state == "stopped", timeout=10_000)
    assert reconstruct.closed == 1
    assert reconstruct.closed_in != [threading.current_thread()]

    reconstruct.delay = 0
    click(qtbot, dock.resume_button)
    qtbot.waitUntil(lambda: dock.model.state == "finished", timeout=10_000)
    (before, _, _), (settings, particles, resume) = reconstruct.calls
    assert settings == before
    assert len(particles) == 30
    assert resume
    assert not dock.resume_button.isEnabled()


def test_resume_of_a_run_from_another_day(make, qtbot, tmp_path, particles, fake_reconstruct):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 5")
    stored = Settings(output=folder, seed=5)
    reconstruct = fake_reconstruct()
    dock = make(reconstruct, load_run=lambda _: (stored, particles))
    assert not dock.resume_button.isEnabled()

    dock.form.use_folder(folder)
    click(qtbot, dock.resume_button)
    qtbot.waitUntil(lambda: dock.model.state == "finished", timeout=10_000)

    assert reconstruct.calls == [(stored, particles, True)]


def test_a_run_that_cannot_be_resumed(make, qtbot, tmp_path, notifications, fake_reconstruct):
    (tmp_path / "config.yaml").write_text("seed: 5")

    def load_run(folder: Path):
        raise TrainingError(f"The run in {folder} is finished.")

    dock = make(fake_reconstruct(), load_run=load_run)
    dock.form.use_folder(tmp_path)
    click(qtbot, dock.resume_button)
    qtbot.waitUntil(lambda: dock.model.state == "failed", timeout=10_000)

    assert "is finished" in dock.messages.text()
    assert len(notifications) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda dock: dock._viewer.layers.clear(), "Open a particle stack"),
        (lambda dock: dock.form.output.clear(), "Choose an output folder"),
        (lambda dock: dock.form.advanced.learning_rate.setValue(0), "learning rate"),
        (lambda dock: dock.form.output.setText(__file__), "is a file"),
    ],
)
def test_bad_settings_are_a_message_and_nothing_is_written(
    ready, qtbot, tmp_path, notifications, fake_reconstruct, spoil, message
):
    reconstruct = fake_reconstruct()
    dock = ready(reconstruct)
    spoil(dock)

    click(qtbot, dock.start_button)

    ((severity, told),) = notifications
    assert severity == "error"
    assert message in told
    assert dock.model.state == "idle"
    assert not reconstruct.calls
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "failure",
    [
        CryodrgnError("Too few particles."),
        # napari's workers swallow this class.
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("odd"),
        MemoryError("none left"),
    ],
)
def test_whatever_fails_while_training_is_told(
    ready, qtbot, notifications, fake_reconstruct, failure
):
    dock = ready(fake_reconstruct(fail=failure))

    click(qtbot, dock.start_button)
    qtbot.waitUntil(lambda: dock.model.state == "failed", timeout=10_000)

    assert str(failure) in dock.messages.text()
    assert [str(failure) in message for _, message in notifications] == [True]
    assert dock.start_button.isEnabled()
    assert dock.resume_button.isEnabled()
    assert dock._session is None


def test_a_full_gpu_is_explained(ready, qtbot, fake_reconstruct):
    class OutOfMemoryError(RuntimeError):
        pass

    dock = ready(fake_reconstruct(fail=OutOfMemoryError("CUDA out of memory. Tried to allocate")))
    click(qtbot, dock.start_button)
    qtbot.waitUntil(lambda: dock.model.state == "failed", timeout=10_000)

    assert "smaller box" in dock.messages.text()


def test_the_result_can_be_explored(ready, qtbot, tmp_path, fake_reconstruct):
    opened = []
    dock = ready(fake_reconstruct(), open_explorer=opened.append)
    assert not dock.explore_button.isEnabled()
    click(qtbot, dock.start_button)
    qtbot.waitUntil(lambda: dock.model.state == "finished", timeout=10_000)

    click(qtbot, dock.explore_button)

    assert opened == [tmp_path / "run"]


@pytest.mark.parametrize("paused", [False, True])
def test_closing_the_dock_stops_the_run_and_waits(ready, qtbot, fake_reconstruct, paused):
    reconstruct = fake_reconstruct(delay=0.2, epochs=1000)
    dock = ready(reconstruct)
    click(qtbot, dock.start_button)
    qtbot.waitUntil(lambda: dock.model.fraction > 0, timeout=10_000)
    if paused:
        click(qtbot, dock.pause_button)

    dock.close()

    assert reconstruct.closed == 1


def test_a_slow_gui_gets_fewer_helpings_and_all_events(qtbot):
    total = 600

    def events() -> Iterator[int]:
        for number in range(total):
            time.sleep(0.001)
            yield number

    session = TrainSession(events)
    helpings, ended = [], []
    session.events.connect(lambda events: (time.sleep(0.25), helpings.append(events)))
    session.ended.connect(ended.append)

    session.start()
    qtbot.waitUntil(lambda: bool(ended), timeout=10_000)

    assert [event for events in helpings for event in events] == list(range(total))
    # Ten a second would be six or more.
    assert 2 <= len(helpings) <= 5
    assert ended[0].error is None


def test_events_come_from_a_worker_thread(qtbot):
    threads = []

    def events() -> Iterator[int]:
        threads.append(threading.get_ident())
        yield 1

    session = TrainSession(events)
    session.events.connect(lambda _: threads.append(threading.get_ident()))
    with qtbot.waitSignal(_ended(session), timeout=10_000):
        session.start()

    assert threads[0] != threads[1] == threading.get_ident()


def _ended(session: TrainSession):
    """The end of a session as a Qt signal."""
    from qtpy.QtCore import QObject, Signal

    class Relay(QObject):
        ended = Signal(object)

    relay = Relay()
    session.ended.connect(relay.ended.emit)
    session._relay = relay
    return relay.ended
