from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.qt import get_stylesheet
from psygnal import Signal
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QAbstractItemView, QFileDialog, QLineEdit, QMessageBox

from napari_cryodrgn.analysis.particle_values import Values
from napari_cryodrgn.analysis.selections import Selections
from napari_cryodrgn.errors import CryodrgnError
from napari_cryodrgn.particles import read
from napari_cryodrgn.widgets.qt_tools import GuiThread, colors
from napari_cryodrgn.widgets.selection_model import SelectionModel
from napari_cryodrgn.widgets.selection_panel import SelectionPanel
from napari_cryodrgn.widgets.value_model import ValueModel

N = 30
FIRST, LAST = np.arange(N) < 12, np.arange(N) >= 8


class SomeValues:
    """A number, another with gaps and an outlier, and a category."""

    problem = None
    fail: Exception | None = None

    def names(self) -> list[str]:
        return ["defocus", "loss", "half set"]

    def get(self, name: str) -> Values:
        if self.fail is not None:
            raise self.fail
        if name == "half set":
            return Values(name, (np.arange(N) % 3 - 1).astype(np.int32), ("half 1", "half 2"))
        numbers = np.linspace(1, 2, N).astype(np.float32)
        if name == "loss":
            numbers[3], numbers[5] = np.nan, 1e6
        return Values(name, numbers, unit="µm")


class Explorer:
    run_changed = Signal()
    selection_changed = Signal()

    def __init__(self, run, folder: Path) -> None:
        self.run, self.values = run, SomeValues()
        self.selections: Selections | None = Selections(folder, N)
        self.current_mask: np.ndarray | None = None

    def set_current(self, mask: np.ndarray | None) -> None:
        self.current_mask = mask
        self.selection_changed.emit()


@pytest.fixture
def explorer(tmp_path: Path, fake_run, star: Path) -> Explorer:
    run = fake_run(tmp_path, n_particles=N, particles_path=star)
    run.indices = run.rotations = run.shifts = None
    return Explorer(run, tmp_path)


@pytest.fixture
def model(explorer: Explorer) -> Iterator[SelectionModel]:
    made = SelectionModel(explorer, lambda answer: answer())
    yield made
    made.close()


@pytest.fixture
def panel(explorer: Explorer, qtbot) -> Iterator[SelectionPanel]:
    panel = SelectionPanel(explorer, GuiThread().post, colors("dark"))
    qtbot.addWidget(panel)
    panel.resize(360, 700)
    panel.show()
    qtbot.waitUntil(lambda: panel.by_value.value.count() > 1)
    yield panel
    panel.close_panel()


def settle(*models: object) -> None:
    for model in models:
        model._background._executor.submit(lambda: None).result(timeout=20)


def click(qtbot, panel: SelectionPanel, name: str, ctrl: bool = False) -> None:
    (item,) = panel.list.findItems(name, Qt.MatchFlag.MatchExactly)
    modifier = Qt.KeyboardModifier.ControlModifier if ctrl else Qt.KeyboardModifier.NoModifier
    place = panel.list.visualItemRect(item).center()
    qtbot.mouseClick(panel.list.viewport(), Qt.MouseButton.LeftButton, modifier, place)


def names(panel: SelectionPanel) -> list[str]:
    return [panel.list.topLevelItem(i).text(0) for i in range(panel.list.topLevelItemCount())]


def press(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


# The model


def test_a_current_selection_is_kept_and_saved_with_the_run(model, explorer, tmp_path):
    explorer.set_current(FIRST)
    assert (model.count, model.chosen) == (12, None)

    assert model.keep("arm up") == "arm up"
    settle(model)

    np.testing.assert_array_equal(Selections.load(tmp_path, N).get("arm up"), FIRST)
    assert model.chosen == "arm up"
    explorer.set_current(LAST)
    assert model.chosen is None
    assert model.keep() == "Selection"


def test_what_is_not_saved_yet_is_saved_at_the_end(explorer, tmp_path):
    model = SelectionModel(explorer, lambda answer: answer())
    go = threading.Event()
    model._background.ask("other", go.wait, lambda _: None, pytest.fail)
    explorer.set_current(FIRST)
    model.keep("late")
    go.set()

    model.close()

    assert Selections.load(tmp_path, N).names == ["late"]


@pytest.mark.parametrize(
    ("op", "expected"),
    [("and", FIRST & LAST), ("or", FIRST | LAST), ("and not", FIRST & ~LAST), ("not", ~FIRST)],
)
def test_selections_are_combined_and_the_result_is_the_current_one(model, explorer, op, expected):
    explorer.set_current(FIRST)
    model.keep("a")
    explorer.set_current(LAST)

    # The current one has no name yet: it is kept with the result.
    model.combine(op, "a", None)

    np.testing.assert_array_equal(explorer.current_mask, expected)
    kept = ["a"] if op == "not" else ["a", "Selection"]
    assert [one.name for one in model.kept] == [*kept, model.chosen]
    model.undo()
    assert [one.name for one in model.kept] == kept
    assert model.chosen is None
    model.redo()
    assert model.kept[-1].count == expected.sum()


def test_a_name_that_cannot_be_used_is_told(model, explorer):
    failures = []
    model.failed.connect(failures.append)
    explorer.set_current(FIRST)
    model.keep("a")
    explorer.set_current(LAST)

    assert model.keep("a") is None
    model.keep("b")
    model.rename("b", "a")

    assert len(failures) == 2
    assert model.chosen == "b"
    assert [one.name for one in model.kept] == ["a", "b"]


def test_another_run_has_other_selections(model, explorer, tmp_path):
    explorer.set_current(FIRST)
    model.keep("a")
    settle(model)
    before = explorer.selections
    (tmp_path / "other").mkdir()
    explorer.selections, explorer.current_mask = Selections(tmp_path / "other", N), None

    explorer.run_changed.emit()
    before.add("unheard", LAST)

    assert model.kept == []
    assert model.chosen is None


def test_numbers_within_a_range(model, explorer):
    values = ValueModel(model, lambda answer: answer())
    values.look_at("loss")
    settle(values)

    # The outlier does not squeeze the others, and what is unknown is never selected.
    assert values.histogram.edges[-1] < 1e6
    assert values.within(-np.inf, np.inf).sum() == N - 1
    values.select_within(1.5, np.inf)
    expected = np.linspace(1, 2, N) >= 1.5
    expected[5] = True
    np.testing.assert_array_equal(explorer.current_mask, expected)
    assert model.suggestion == "1.5 ≤ loss"
    values.close()


def test_categories(model, explorer):
    values = ValueModel(model, lambda answer: answer())
    values.look_at("half set")
    settle(values)

    assert values.histogram.counts.tolist() == [10, 10]
    values.select_labels([1])
    np.testing.assert_array_equal(explorer.current_mask, np.arange(N) % 3 == 2)
    assert model.suggestion == "half set half 2"
    values.select_labels([])
    assert explorer.current_mask is None
    values.close()


# The panel


def test_an_empty_list_says_what_to_do(panel):
    assert "lasso" in panel.text.text()
    assert not panel.keep_button.isEnabled()
    assert not panel.hand_on.job.button.isEnabled()


def test_keep_choose_and_combine_with_the_mouse(panel, explorer, qtbot):
    explorer.set_current(FIRST)
    assert names(panel) == ["current, not kept"]
    assert "<b>12</b> of 30" in panel.text.text()
    qtbot.keyClicks(panel.name, "first")
    press(qtbot, panel.keep_button)
    explorer.set_current(LAST)
    qtbot.keyClicks(panel.name, "last")
    qtbot.keyClick(panel.name, Qt.Key.Key_Return)
    assert names(panel) == ["first", "last"]

    click(qtbot, panel, "last")
    click(qtbot, panel, "first")
    qtbot.waitUntil(lambda: panel.model.chosen == "first")
    np.testing.assert_array_equal(explorer.current_mask, FIRST)
    assert not panel.operations["and"].isEnabled()
    click(qtbot, panel, "last", ctrl=True)
    assert "“first” that are not in “last”" in panel.operations["and not"].toolTip()
    press(qtbot, panel.operations["and not"])

    np.testing.assert_array_equal(explorer.current_mask, FIRST & ~LAST)
    assert names(panel) == ["first", "last", "first and not last"]
    press(qtbot, panel.undo_button)
    # What is selected stays so, without a name.
    assert names(panel) == ["current, not kept", "first", "last"]


def test_rename_and_remove(panel, explorer, qtbot):
    explorer.set_current(FIRST)
    panel.model.keep("a")
    explorer.set_current(LAST)
    panel.model.keep("b")
    click(qtbot, panel, "a")
    qtbot.waitUntil(lambda: panel.model.chosen == "a")

    press(qtbot, panel.rename_button)
    editor = panel.list.viewport().findChild(QLineEdit)
    editor.selectAll()
    qtbot.keyClicks(editor, "better")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: names(panel) == ["better", "b"])
    assert panel.model.chosen == "better"
    click(qtbot, panel, "b")
    qtbot.waitUntil(lambda: panel.model.chosen == "b")
    qtbot.keyClick(panel.list, Qt.Key.Key_Delete)

    assert [one.name for one in panel.model.kept] == ["better"]


@pytest.mark.parametrize("refused", ["a", "", "b "])
def test_a_refused_name_does_not_stay(panel, explorer, qtbot, refused):
    explorer.set_current(FIRST)
    panel.model.keep("a")
    explorer.set_current(LAST)
    panel.model.keep("b")
    press(qtbot, panel.rename_button)
    typed: list[str] = []
    panel.list.itemChanged.connect(lambda item, _: typed.append(item.text(0)))
    editor = panel.list.viewport().findChild(QLineEdit)
    editor.selectAll()
    qtbot.keyClick(editor, Qt.Key.Key_Delete)
    qtbot.keyClicks(editor, refused)
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: typed == [refused])

    qtbot.waitUntil(lambda: names(panel) == ["a", "b"])
    assert [item.text(0) for item in panel.list.selectedItems()] == ["b"]


def test_only_names_can_be_edited(panel, explorer, qtbot):
    explorer.set_current(FIRST)
    panel.model.keep("a")
    tree = panel.list
    for column, editing in ((1, False), (2, False), (0, True)):
        place = tree.visualItemRect(tree.topLevelItem(0)).center()
        place.setX(sum(map(tree.columnWidth, range(column))) + tree.columnWidth(column) // 2)
        qtbot.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
        qtbot.mouseDClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
        assert (tree.state() == QAbstractItemView.State.EditingState) is editing


def test_a_value_stays_chosen_when_the_run_is_read_again(panel, explorer, qtbot):
    by_value = panel.by_value
    by_value.value.setCurrentText("loss")
    qtbot.waitUntil(lambda: by_value.model.histogram is not None)
    before = by_value.model.histogram
    # As when axes are added.
    explorer.run_changed.emit()
    assert by_value.model.histogram is before

    explorer.values = SomeValues()
    explorer.run_changed.emit()
    assert by_value.value.currentText() == "loss"
    qtbot.waitUntil(lambda: by_value.model.histogram is not None)
    assert by_value.model.histogram is not before
    explorer.values = SomeValues()
    explorer.values.names = lambda: ["defocus"]
    explorer.run_changed.emit()
    qtbot.waitUntil(lambda: by_value.value.count() == 2)
    assert by_value.value.currentIndex() == 0
    assert by_value.model.histogram is None
    explorer.values = None
    explorer.run_changed.emit()
    assert by_value.value.count() == 1


def test_what_is_no_number_changes_nothing(panel, explorer, qtbot):
    panel.by_value.value.setCurrentText("defocus")
    ranged = panel.by_value.range
    qtbot.waitUntil(ranged.low.isVisible)
    expected = np.linspace(1, 2, N) <= 1.2

    def enter(field: QLineEdit, text: str) -> None:
        field.selectAll()
        qtbot.keyClicks(field, text)
        qtbot.keyClick(field, Qt.Key.Key_Return)

    enter(ranged.high, "1,2")
    np.testing.assert_array_equal(explorer.current_mask, expected)
    shown = ranged.plot.bounds
    for text in ("1.3µm", "nan", "1,000.5"):
        enter(ranged.high, text)
        assert colors("dark").error in ranged.high.styleSheet()
        assert not ranged.low.styleSheet()
        np.testing.assert_array_equal(explorer.current_mask, expected)
        assert ranged.bounds == (-np.inf, 1.2)
        assert ranged.plot.bounds == shown

    enter(ranged.high, "1.3")
    assert not ranged.high.styleSheet()
    np.testing.assert_array_equal(explorer.current_mask, np.linspace(1, 2, N) <= 1.3)


def test_dragging_an_end_of_the_histogram_selects(panel, explorer, qtbot):
    panel.by_value.value.setCurrentText("defocus")
    ranged = panel.by_value.range
    qtbot.waitUntil(ranged.plot.isVisible)
    qtbot.wait(50)
    plot, view = ranged.plot, ranged.plot.getViewBox()

    def at(x: float) -> QPoint:
        return plot.mapFromScene(view.mapViewToScene(view.viewRect().center().__class__(x, 1.0)))

    start, end = at(1.0), at(1.5)
    qtbot.mouseMove(plot.viewport(), start)
    qtbot.mousePress(plot.viewport(), Qt.MouseButton.LeftButton, pos=start)
    for x in np.linspace(start.x(), end.x(), 8):
        qtbot.mouseMove(plot.viewport(), QPoint(round(x), start.y()))
        qtbot.wait(20)
    assert explorer.current_mask is None
    assert "particles" in panel.by_value.text.text()
    qtbot.mouseRelease(plot.viewport(), Qt.MouseButton.LeftButton, pos=end)

    qtbot.waitUntil(lambda: explorer.current_mask is not None)
    low, high = ranged.bounds
    assert low == pytest.approx(1.5, abs=0.05)
    assert high == np.inf
    np.testing.assert_array_equal(explorer.current_mask, np.linspace(1, 2, N) >= low)


def test_typed_bounds_and_ticked_categories(panel, explorer, qtbot):
    panel.by_value.value.setCurrentText("defocus")
    ranged = panel.by_value.range
    qtbot.waitUntil(ranged.low.isVisible)
    qtbot.keyClicks(ranged.high, "1.2")
    qtbot.keyClick(ranged.high, Qt.Key.Key_Return)
    np.testing.assert_array_equal(explorer.current_mask, np.linspace(1, 2, N) <= 1.2)

    panel.by_value.value.setCurrentText("half set")
    qtbot.waitUntil(ranged.categories.isVisible)
    ranged.categories.item(0).setCheckState(Qt.CheckState.Checked)

    assert panel.by_value.text.text() == "10 particles"
    assert panel.model.count == 10


def test_a_value_that_cannot_be_read_is_told(panel, explorer, qtbot, notifications):
    explorer.values.fail = CryodrgnError("The file is gone.")

    panel.by_value.value.setCurrentText("loss")

    qtbot.waitUntil(lambda: notifications == [("error", "The file is gone.")])
    assert panel.by_value.text.text() == ""


def test_a_selection_is_exported(panel, explorer, qtbot, monkeypatch, tmp_path):
    explorer.set_current(FIRST)
    chosen: Callable = lambda *_: (str(tmp_path / "some"), "RELION (*.star)")  # noqa: E731
    monkeypatch.setattr(QFileDialog, "getSaveFileName", chosen)

    press(qtbot, panel.hand_on.job.button)
    qtbot.waitUntil(lambda: not panel.hand_on.job.running, timeout=20_000)

    assert "Written" in panel.hand_on.job.text.text()
    assert len(read(tmp_path / "some.star")) == 12


def test_an_export_does_not_replace_unasked(panel, explorer, qtbot, monkeypatch, tmp_path):
    explorer.set_current(FIRST)
    (tmp_path / "some.star").write_text("mine")
    asked = []

    def question(*args):
        asked.append(args[2])
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", question)
    name = "some"
    chosen: Callable = lambda *_: (str(tmp_path / name), "RELION (*.star)")  # noqa: E731
    monkeypatch.setattr(QFileDialog, "getSaveFileName", chosen)
    press(qtbot, panel.hand_on.job.button)
    assert not panel.hand_on.job.running
    assert len(asked) == 1
    assert (tmp_path / "some.star").read_text() == "mine"

    # With its ending the dialog has asked already.
    name = "some.star"
    press(qtbot, panel.hand_on.job.button)
    qtbot.waitUntil(lambda: not panel.hand_on.job.running, timeout=20_000)
    assert len(asked) == 1
    assert len(read(tmp_path / "some.star")) == 12


def test_training_gets_the_selected_particles(explorer, qtbot, tmp_path):
    asked: list[Path] = []
    gui = GuiThread()
    panel = SelectionPanel(explorer, gui.post, colors("light"), asked.append)
    qtbot.addWidget(panel)
    explorer.run.indices = np.arange(N)[::-1].copy()
    explorer.set_current(FIRST)
    panel.model.keep("arm up/2")

    press(qtbot, panel.hand_on.train_button)
    qtbot.waitUntil(lambda: len(asked) == 1, timeout=20_000)

    assert asked[0].parent == tmp_path / "explorer"
    written = read(asked[0])
    assert written.has_poses
    # Of the particles' file, which the run has from the back.
    everyone = read(explorer.run.particles_path)
    expected = everyone.images.read(np.arange(N - 12, N)).sum((1, 2))
    found = written.images.read(np.arange(12)).sum((1, 2))
    np.testing.assert_allclose(np.sort(found), np.sort(expected))
    panel.close_panel()


def test_it_needs_no_more_than_a_dock_is_wide(panel, qtbot):
    panel.setStyleSheet(get_stylesheet("dark"))
    for name in ("defocus", "half set"):
        panel.by_value.value.setCurrentText(name)
        qtbot.waitUntil(lambda: not panel.by_value.model.counting)

        assert panel.minimumSizeHint().width() <= 340
