from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import npe2
import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog

from napari_cryodrgn.analysis.hypotheses import Comparison, Hypothesis, change_poses
from napari_cryodrgn.analysis.preflight import Images, Map, Progress
from napari_cryodrgn.errors import TrainingError
from napari_cryodrgn.particles import StackWriter, read, write_poses, write_star
from napari_cryodrgn.widgets.import_dock import ImportDock
from napari_cryodrgn.widgets.import_model import Source
from napari_cryodrgn.widgets.train_dock import TrainDock

MANIFEST = Path(__file__).parents[2] / "src" / "napari_cryodrgn" / "napari.yaml"
FLAT = np.ones(8, np.float32)


class FakePreflight:
    """Suggests to reverse the shifts, and to invert what is not inverted, if told so."""

    def __init__(self, delay: float = 0.0, dark: bool = False, fail: Exception | None = None):
        self.delay, self.dark, self.fail = delay, dark, fail
        self.calls: list = []
        self.closed: list[threading.Thread] = []

    def __call__(self, particles, inverted: bool) -> Iterator:
        self.calls.append((particles, inverted))
        right = len(self.calls) > 1
        mean = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
        try:
            for step in range(20):
                time.sleep(self.delay / 20)
                yield Progress(step / 20, "reading images")
            if self.fail is not None:
                raise self.fail
            wrong = self.dark and not inverted
            contrast = -30.0 if wrong else 30.0
            yield Images(mean, 3 * FLAT, FLAT, 288.0, contrast, wrong, 100, ())
            if not particles.has_poses:
                return
            scores = {"none": 0.5 if right else 0.2, "shifts reversed": 0.3 if right else 0.5}
            hypotheses = tuple(
                Hypothesis(c, s, 100 * (s - scores["none"])) for c, s in scores.items()
            )
            yield Comparison(hypotheses, 0.2, 50.0, 100)
            for n in (100, 300):
                volume = np.zeros((16, 16, 16), np.float32)
                volume[4:12, 5:11, 6:10] = n
                yield Map(volume, FLAT, 18.0, 288.0, 20.0, n)
        except GeneratorExit:
            self.closed.append(threading.current_thread())
            raise


@pytest.fixture
def make(qtbot) -> Iterator[Callable[..., ImportDock]]:
    docks = []

    def make(viewer=None, **options) -> ImportDock:
        dock = ImportDock(viewer or ViewerModel(), **options)
        dock.resize(380, 850)
        qtbot.addWidget(dock)
        dock.show()
        docks.append(dock)
        return dock

    yield make
    for dock in docks:
        dock.end()


@pytest.fixture
def opened(make, qtbot, star) -> Callable[..., ImportDock]:
    def opened(**options) -> ImportDock:
        dock = make(**options)
        dock.use_file(star)
        qtbot.waitUntil(lambda: dock.model.particles is not None, timeout=10_000)
        return dock

    return opened


def click(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def rows(dock: ImportDock) -> dict[str, str]:
    texts = [dock._rows.itemAt(i).widget().text() for i in range(dock._rows.count())]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def findings(dock: ImportDock) -> str:
    layout = dock.check.findings
    labels = [
        layout.itemAt(i).widget().findChildren(type(dock.hint)) for i in range(layout.count())
    ]
    return " | ".join(label.text() for group in labels for label in group)


def test_an_empty_dock_says_what_to_do(make):
    dock = make()

    assert "No particles are open" in dock.hint.text()
    assert not dock.tabs.isVisible()
    assert not dock.add_button.isEnabled()
    assert not dock.train_button.isEnabled()
    assert dock.minimumSizeHint().width() <= 380


def test_what_was_found_is_shown(opened, qtbot):
    dock = opened()

    assert rows(dock)["Particles"] == "30"
    assert not dock.hint.isVisible()
    assert not dock.save_button.isVisible()
    # With a picture of particles and the CTF of the first.
    qtbot.waitUntil(lambda: "Particle" in dock.preview.caption.text(), timeout=10_000)
    assert len(dock.preview.montage._images) == 12
    first = dock.preview._shown.rows
    assert f"Particle {first[0] + 1}:" in dock.preview.caption.text()
    assert dock.preview.ctf.curve.getData()[0].size > 100


def test_a_click_on_a_particle_shows_its_ctf(opened, qtbot):
    dock = opened()
    qtbot.waitUntil(lambda: dock.preview._shown is not None, timeout=10_000)
    montage, shown = dock.preview.montage, dock.preview._shown.rows
    place = montage._cell(6).center()

    qtbot.mouseClick(montage, Qt.MouseButton.LeftButton, pos=QPoint(place.x(), place.y()))

    wanted = f"Particle {shown[6] + 1}:"
    qtbot.waitUntil(lambda: dock.preview.caption.text().startswith(wanted), timeout=10_000)
    click(qtbot, dock.preview.others)
    qtbot.waitUntil(lambda: dock.preview._shown.rows != shown, timeout=10_000)


def test_a_file_is_opened_when_it_was_typed_not_before(make, qtbot, star):
    dock = make()
    line = dock.form.path.edit.line_edit.native
    line.setFocus()
    qtbot.keyClicks(line, str(star))
    assert dock.model.source is None

    qtbot.keyClick(line, Qt.Key.Key_Return)

    qtbot.waitUntil(lambda: dock.model.particles is not None, timeout=10_000)
    dock.form.path.set(None)
    assert dock.model.particles is None
    assert "No particles are open" in dock.hint.text()


def test_an_error_stands_beneath_its_field(make, qtbot, star, tmp_path, notifications):
    alone = tmp_path / "alone.star"
    alone.write_text(star.read_text())
    dock = make()

    dock.use_file(alone)
    qtbot.waitUntil(lambda: bool(notifications), timeout=10_000)

    field = dock.form.data_folder
    assert field.problem.isVisible()
    assert "alone.star" in field.problem.text()
    # Where it was looked for.
    assert str(tmp_path / "particles.mrcs") in field.problem.text().replace("&#8203;", "")
    assert not dock.form.path.problem.isVisible()
    assert notifications[0][0] == "error"
    assert not dock.add_button.isEnabled()

    field.set(star.parent)
    qtbot.waitUntil(lambda: dock.model.particles is not None, timeout=10_000)
    assert not field.problem.isVisible()


def test_an_error_among_the_further_files_opens_them(make, qtbot, star, tmp_path, notifications):
    write_poses(tmp_path / "few.pkl", np.stack([np.eye(3)] * 2), np.zeros((2, 2)), 32)
    dock = make()
    dock.use_file(star)

    dock.form.poses.set(tmp_path / "few.pkl")
    qtbot.waitUntil(lambda: bool(notifications), timeout=10_000)

    assert dock.form.more.isExpanded()
    assert "few.pkl" in dock.form.poses.problem.text()


def test_the_check_suggests_and_a_click_applies(opened, qtbot, particles):
    preflight = FakePreflight()
    dock = opened(preflight=preflight)
    dock.tabs.setCurrentWidget(dock.check)

    click(qtbot, dock.check.job.button)
    qtbot.waitUntil(lambda: not dock.check.job.running, timeout=10_000)

    assert "The shifts have the wrong sign" in findings(dock)
    assert "300 particles: 20 Å" in dock.check.map_text.text()
    assert len(dock.check.plot.getPlotItem().listDataItems()) == 2
    name = "particles.star: check"
    qtbot.waitUntil(lambda: name in dock._viewer.layers, timeout=10_000)

    (button,) = dock.check.buttons
    click(qtbot, button)
    qtbot.waitUntil(lambda: len(preflight.calls) == 2, timeout=10_000)
    qtbot.waitUntil(lambda: not dock.check.job.running, timeout=10_000)

    np.testing.assert_allclose(dock.model.particles.shifts, -particles.shifts)
    assert "fit the images best" in findings(dock)
    assert dock.check.buttons == []
    assert "shifts reversed" in dock.corrections.text()
    assert dock.train_button.text() == "Save and train …"
    assert dock.save_button.isVisible()


def test_inverted_contrast_is_carried_on(opened, qtbot):
    preflight = FakePreflight(dark=True)
    dock = opened(preflight=preflight)
    dock.check.start()
    qtbot.waitUntil(lambda: not dock.check.job.running, timeout=10_000)
    assert "contrast looks inverted: switch?" in findings(dock)

    dock.check.buttons[0].click()
    qtbot.waitUntil(lambda: not dock.check.job.running, timeout=10_000)

    assert [inverted for _, inverted in preflight.calls] == [False, True]
    assert dock.preprocess.options["invert"]
    assert rows(dock)["Contrast"] == "taken as dark on light"
    dock.preprocess.invert.value = False
    assert not dock.model.inverted


def test_without_poses_there_are_spectra(make, qtbot, star):
    dock = make(preflight=FakePreflight())
    dock.use_file(star.parent / "particles.mrcs")
    qtbot.waitUntil(lambda: dock.model.particles is not None, timeout=10_000)
    dock.tabs.setCurrentWidget(dock.check)

    dock.check.start()
    qtbot.waitUntil(lambda: not dock.check.job.running, timeout=10_000)

    assert dock.check.pictures.isVisible()
    assert dock.check.mean.pixmap().width() > 0
    names = [item.name() for item in dock.check.plot.getPlotItem().listDataItems()]
    assert names == ["images", "noise"]
    assert len(dock._viewer.layers) == 0


def test_a_check_can_be_cancelled(opened, qtbot):
    preflight = FakePreflight(delay=20)
    dock = opened(preflight=preflight)
    dock.tabs.setCurrentWidget(dock.check)
    click(qtbot, dock.check.job.button)
    qtbot.waitUntil(lambda: dock.check.job.bar.value() > 0, timeout=10_000)
    assert not dock.check.job.button.isEnabled()

    click(qtbot, dock.check.job.cancel_button)
    qtbot.waitUntil(lambda: not dock.check.job.running, timeout=10_000)

    assert dock.check.job.text.text() == "Cancelled."
    # The layer that was made ready for the map is gone.
    assert len(dock._viewer.layers) == 0
    assert dock.check.job.button.isEnabled()
    assert len(preflight.closed) == 1
    assert preflight.closed != [threading.current_thread()]


def test_a_check_that_fails_says_why(opened, qtbot, notifications):
    dock = opened(preflight=FakePreflight(fail=TrainingError("All images are constant.")))

    dock.check.start()
    qtbot.waitUntil(lambda: not dock.check.job.running, timeout=10_000)

    assert "All images are constant." in dock.check.job.text.text()
    assert ("error", "All images are constant.") in notifications


def test_another_file_drops_what_the_check_says(opened, qtbot, star):
    preflight = FakePreflight(delay=20)
    dock = opened(preflight=preflight)
    dock.check.start()
    qtbot.waitUntil(lambda: bool(preflight.calls), timeout=10_000)

    dock.use_file(star.parent / "particles.mrcs")
    qtbot.waitUntil(lambda: dock.model.particles is not None, timeout=10_000)

    assert not dock.check.job.running
    qtbot.waitUntil(lambda: len(preflight.closed) == 1, timeout=10_000)
    assert findings(dock) == ""


def test_add_to_viewer_adds_once(opened, qtbot):
    dock = opened()

    click(qtbot, dock.add_button)
    click(qtbot, dock.add_button)

    (layer,) = dock._viewer.layers
    assert layer.name == "particles.star"
    assert layer.metadata["particles"] is dock.model.particles


def test_particles_can_be_seen_after_a_volume(opened, qtbot):
    dock = opened()
    viewer = dock._viewer
    volume = viewer.add_image(np.ones((16, 16, 16)), scale=(9, 9, 9), translate=(50, 0, 0))
    viewer.dims.ndisplay = 3
    viewer.dims.ndisplay = 2
    assert viewer.dims.point[0] > 50

    for _ in range(2):
        click(qtbot, dock.add_button)

        layer = viewer.layers["particles.star"]
        # In the plane that the images are in, else the canvas is black.
        assert viewer.dims.point[1] == 0
        assert layer.visible
        assert layer._data_slice.point[1] == 0
        viewer.dims.set_point(1, 90)
        layer.visible = False
    assert volume in viewer.layers


def test_an_emptied_field_takes_another_file(opened, qtbot, star):
    dock = opened()
    field = dock.form.path
    line = field.edit.line_edit.native
    line.setFocus()

    # What the button in the field does.
    line.clear()
    line.textEdited.emit("")
    assert dock.model.particles is None
    field.edit.value = star

    qtbot.waitUntil(lambda: dock.model.particles is not None, timeout=10_000)


def test_a_data_folder_in_the_home_folder(make, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    form = make().form
    form.path.set(Path("~/a.star"))
    form.data_folder.set(Path("~/stacks"))

    assert form.source == Source(tmp_path / "a.star", data_folder=tmp_path / "stacks")


def test_preprocessing_opens_the_new_set(opened, qtbot, tmp_path):
    dock = opened()
    dock.tabs.setCurrentWidget(dock.preprocess)
    panel = dock.preprocess
    assert panel.folder.line_edit.value.endswith("particles_box32")
    assert [label for label in panel.box.choices] == [0]
    panel.folder.line_edit.value = str(tmp_path / "new")
    panel.invert.value = True

    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=20_000)
    wanted = tmp_path / "new" / "particles.star"
    qtbot.waitUntil(
        lambda: dock.model.particles is not None and dock.model.particles.source == wanted,
        timeout=10_000,
    )

    assert dock.form.path.value == wanted
    # The images are turned now, and not once more.
    assert not dock.model.inverted
    assert not panel.invert.value


def test_preprocessing_can_be_cancelled(opened, qtbot, tmp_path):
    closed = []

    def preprocess(particles, folder, options) -> Iterator[float]:
        try:
            for step in range(100):
                time.sleep(0.1)
                yield step / 100
        finally:
            closed.append(folder)

    dock = opened(preprocess=preprocess)
    dock.tabs.setCurrentWidget(dock.preprocess)
    click(qtbot, dock.preprocess.job.button)
    qtbot.waitUntil(lambda: dock.preprocess.job.bar.value() > 0, timeout=10_000)
    assert "of 30 particles" in dock.preprocess.job.text.text()

    click(qtbot, dock.preprocess.job.cancel_button)
    qtbot.waitUntil(lambda: not dock.preprocess.job.running, timeout=10_000)

    assert len(closed) == 1
    assert dock.preprocess.fields.enabled


def test_a_folder_that_cannot_be_used(opened, qtbot, tmp_path, notifications):
    (tmp_path / "file").write_text("")
    dock = opened()
    dock.preprocess.folder.line_edit.value = str(tmp_path / "file")

    dock.preprocess.start()

    assert "is a file" in dock.preprocess.job.text.text()
    assert len(notifications) == 1


@pytest.fixture
def viewer(make_napari_viewer):
    manager = npe2.PluginManager.instance()
    if "napari-cryodrgn" not in manager:
        manager.register(npe2.PluginManifest.from_file(MANIFEST))
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    return viewer


def test_train_on_particles_that_were_corrected(viewer, qtbot, star, tmp_path, monkeypatch):
    """The whole way in a real window: open, check, correct, save, train."""
    wrong = change_poses(read(star), "shifts reversed")
    write_star(tmp_path / "wrong.star", wrong)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cryodrgn", "Import particles")
    assert isinstance(dock, ImportDock)
    dock.check.preflight = FakePreflight()
    viewer.open(star, plugin="napari-cryodrgn")
    dock.use_file(tmp_path / "wrong.star")
    qtbot.waitUntil(lambda: dock.model.particles is not None, timeout=10_000)
    assert dock.width() <= 420
    dock.check.start()
    qtbot.waitUntil(lambda: bool(dock.check.buttons), timeout=10_000)
    dock.check.buttons[0].click()
    qtbot.waitUntil(lambda: not dock.check.job.running, timeout=10_000)
    right = tmp_path / "right.star"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(right), ""))

    click(qtbot, dock.train_button)
    qtbot.waitUntil(lambda: "right.star" in viewer.layers, timeout=10_000)

    trains = [w for w in viewer.window._qt_window.findChildren(TrainDock)]
    (train,) = trains
    assert train.form.particles.source == right
    assert train.form.poses.currentData() == "given"
    assert not train.form.advanced.invert.isChecked()
    assert not train.form.more.isExpanded()
    np.testing.assert_allclose(train.form.particles.shifts, read(star).shifts, atol=1e-3)
    assert dock.form.path.value == right
    dock.model.set_inverted(True)
    click(qtbot, dock.train_button)
    assert train.form.advanced.invert.isChecked()
    assert train.form.more.isExpanded()


def test_a_stack_of_unknown_pixel_size(make, qtbot, tmp_path):
    with StackWriter(tmp_path / "bare.mrcs", 16) as writer:
        writer.write(np.random.default_rng(0).normal(size=(6, 16, 16)).astype(np.float32))
    dock = make()
    dock.use_file(tmp_path / "bare.mrcs")
    qtbot.waitUntil(lambda: dock.model.particles is not None, timeout=10_000)
    assert rows(dock)["Pixel size"] == "unknown"

    spin = dock.form.pixel_size.native
    spin.selectAll()
    qtbot.keyClicks(spin, "2.5")
    assert dock.model.source.pixel_size is None
    qtbot.keyClick(spin, Qt.Key.Key_Return)

    def opened_with(size: float) -> bool:
        return dock.model.particles is not None and dock.model.particles.pixel_size == size

    qtbot.waitUntil(lambda: opened_with(2.5), timeout=10_000)
    # An arrow counts at once; another file has a size of its own.
    spin.stepUp()
    qtbot.waitUntil(lambda: opened_with(2.6), timeout=10_000)
    dock.use_file(tmp_path / "bare.mrcs")
    other = tmp_path / "other.mrcs"
    (tmp_path / "bare.mrcs").rename(other)
    dock.use_file(other)
    qtbot.waitUntil(lambda: opened_with(None), timeout=10_000)
    spin.setValue(2.6)
    qtbot.waitUntil(lambda: opened_with(2.6), timeout=10_000)


def test_closing_the_dock_ends_a_check(opened, qtbot):
    preflight = FakePreflight(delay=20)
    dock = opened(preflight=preflight)
    dock.check.start()
    qtbot.waitUntil(lambda: bool(preflight.calls), timeout=10_000)
    qtbot.wait(200)

    dock.end()

    assert len(preflight.closed) == 1
    with pytest.raises(RuntimeError, match="shutdown"):
        dock.model.open(Source(Path("another.star")))
