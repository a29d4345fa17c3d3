"""The selections of a run in the Latent explorer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from . import notify
from .background import Deliver
from .form_parts import small_button
from .hand_on_panel import HandOnPanel
from .name_list import NameList
from .qt_tools import Colors, note
from .selection_model import Explorer, SelectionModel
from .value_panel import ValuePanel

_CURRENT = "current, not kept"
_NAME = Qt.ItemDataRole.UserRole


class _List(NameList):
    """Tells when the chosen rows are to be removed by a key."""

    removed = Signal()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        if event is not None and event.matches(QKeySequence.StandardKey.Delete):
            self.removed.emit()
        else:
            super().keyPressEvent(event)


class SelectionPanel(QWidget):
    """Keeps selections of particles, combines them, chooses by value, and hands them on.

    Parameters
    ----------
    explorer
        Whose current selection is looked at and set.
    deliver
        Brings answers of other threads to this one, see `Background`.
    colors
        Of the theme.
    train
        Opens the training on a STAR file; without it there is no button.
    """

    def __init__(
        self,
        explorer: Explorer,
        deliver: Deliver,
        colors: Colors,
        train: Callable[[Path], None] | None = None,
    ) -> None:
        super().__init__()
        self.model = SelectionModel(explorer, deliver)
        self._deliver = deliver
        #: Names of the chosen rows in the order they were chosen, None for the current selection.
        self._order: list[str | None] = []
        self._rows: list[tuple[str, int, str | None]] = []
        self._build(colors, train)
        self.model.changed.connect(self._on_changed)
        self.model.failed.connect(notify.error)
        self._on_changed()

    def close_panel(self) -> None:
        """Save and stop what runs in the background; touches no widget."""
        self.hand_on.close_panel()
        self.by_value.close_panel()
        self.model.close()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.by_value.set_colors(colors)

    # What the controls do

    def _keep(self) -> None:
        if self.model.keep(self.name.text()) is not None:
            self.name.clear()

    def _on_rows(self) -> None:
        now = [item.data(0, _NAME) for item in self.list.selectedItems()]
        self._order = [name for name in self._order if name in now]
        self._order += [name for name in now if name not in self._order]
        (one, *others) = self._order or [None]
        if one is not None and not others and one != self.model.chosen:
            # Later: the rows may change, and the list is busy with the mouse.
            self._deliver(partial(self.model.choose, one))
        self._enable()

    def _combine(self, op: str) -> None:
        first, *rest = self._order
        self.model.combine(op, first, rest[0] if rest else None)  # type: ignore[arg-type]

    def _on_edited(self, item: QTreeWidgetItem, _: int) -> None:
        # Later, when the editor is closed.
        self._deliver(partial(self._take_name, item.data(0, _NAME), item.text(0)))

    def _take_name(self, name: str, new: str) -> None:
        self.model.rename(name, new)
        # The text may have been refused, or trimmed.
        self._rows = []
        self._fill()

    def _rename(self) -> None:
        items = self.list.selectedItems()
        if len(items) == 1 and items[0].data(0, _NAME):
            self.list.editItem(items[0], 0)

    def _remove(self) -> None:
        self.model.remove([name for name in self._order if name])

    # Showing

    def _on_changed(self) -> None:
        model = self.model
        count = model.count
        if not model.n:
            text = "No particles: the run has saved no latent yet."
        elif count is None:
            text = (
                "Nothing is selected. Draw around particles on the map with the lasso or the "
                "rectangle, or choose them by value."
            )
        else:
            share = f"{100 * count / model.n:.3g} %"
            text = f"<b>{count:,}</b> of {model.n:,} particles selected ({share})"
        self.text.setText(text)
        self.problems.setText("\n".join(model.problems))
        self.problems.setVisible(bool(model.problems))
        self.name.setPlaceholderText(model.suggestion or "Name")
        self._fill()
        self._enable()

    def _fill(self) -> None:
        model = self.model
        rows: list[tuple[str, int, str | None]] = [(k.name, k.count, k.name) for k in model.kept]
        unnamed = model.count is not None and model.chosen is None
        if unnamed:
            rows.insert(0, (_CURRENT, model.count or 0, None))
        there = [name for _, _, name in rows]
        self._order = [name for name in self._order if name in there]
        # What is current is always among the chosen rows.
        if (unnamed or model.chosen) and model.chosen not in self._order:
            self._order = [model.chosen]
        with QSignalBlocker(self.list):
            # An item stays where nothing has changed: it may have been pressed, or be edited.
            if rows != self._rows:
                self.list.clear()
                for row in rows:
                    self._add_row(*row)
                self._rows = rows
            for place, name in enumerate(there):
                self.list.topLevelItem(place).setSelected(name in self._order)

    def _add_row(self, text: str, count: int, name: str | None) -> None:
        share = 100 * count / max(self.model.n, 1)
        numbers = f"{count:,}", f"{share:.3g} %"
        item = self.list.add(text, *numbers, editable=name is not None)
        item.setData(0, _NAME, name)
        if name is None:
            font = item.font(0)
            font.setItalic(True)
            item.setFont(0, font)

    def _enable(self) -> None:
        some = self.model.count is not None
        two, one = len(self._order) == 2, len(self._order) == 1
        names = [name or "the current selection" for name in self._order]
        for op, button in self.operations.items():
            button.setEnabled(one if op == "not" else two)
            tip = _TIPS[op]
            if button.isEnabled():
                tip = tip.format(*(f"“{name}”" for name in names))
            else:
                tip = tip.format("one", "another") + f"\n{_HOW}"
            button.setToolTip(tip)
        self.keep_button.setEnabled(some and self.model.chosen is None)
        self.name.setEnabled(some and self.model.chosen is None)
        self.clear_button.setEnabled(some)
        self.undo_button.setEnabled(self.model.can_undo)
        self.redo_button.setEnabled(self.model.can_redo)
        self.rename_button.setEnabled(one and self._order[0] is not None)
        self.remove_button.setEnabled(any(self._order))

    # Building

    def _build(self, colors: Colors, train: Callable[[Path], None] | None) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.setSpacing(6)
        self.text = note()
        self.problems = note(selectable=True)
        layout.addWidget(self.text)
        layout.addWidget(self.problems)
        layout.addLayout(self._build_keep())
        self.list = _List(["Selection", "Particles", "Share"])
        self.list.setMinimumHeight(120)
        self.list.setToolTip(f"Click to make a selection the current one. {_HOW}")
        self.list.itemSelectionChanged.connect(self._on_rows)
        self.list.itemChanged.connect(self._on_edited)
        self.list.removed.connect(self._remove)
        layout.addWidget(self.list, stretch=1)
        layout.addLayout(self._build_buttons())
        self.by_value = ValuePanel(self.model, self._deliver, colors)
        self.by_value.failed.connect(notify.error)
        layout.addWidget(self.by_value)
        self.hand_on = HandOnPanel(self.model, self._deliver, train)
        layout.addWidget(self.hand_on)

    def _build_keep(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.name = QLineEdit()
        self.name.setMinimumWidth(80)
        self.name.returnPressed.connect(self._keep)
        self.keep_button = small_button("Keep", "Keep the current selection with the run.")
        self.keep_button.clicked.connect(self._keep)
        self.clear_button = small_button("Clear", "Have nothing selected.")
        self.clear_button.clicked.connect(self.model.clear)
        row.addWidget(self.name, stretch=1)
        row.addWidget(self.keep_button)
        row.addWidget(self.clear_button)
        return row

    def _build_buttons(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(4)
        self.operations: dict[str, QPushButton] = {}
        for column, (op, text) in enumerate(_OPERATIONS.items()):
            button = self.operations[op] = QPushButton(text)
            button.clicked.connect(lambda _=False, op=op: self._combine(op))
            grid.addWidget(button, 0, column)
        self.rename_button = QPushButton("Rename")
        self.rename_button.clicked.connect(self._rename)
        self.remove_button = QPushButton("Remove")
        self.remove_button.clicked.connect(self._remove)
        self.undo_button = QPushButton("Undo")
        self.undo_button.setToolTip("Take back the last change of this list.")
        self.undo_button.clicked.connect(self.model.undo)
        self.redo_button = QPushButton("Redo")
        self.redo_button.clicked.connect(self.model.redo)
        buttons = (self.rename_button, self.remove_button, self.undo_button, self.redo_button)
        for column, button in enumerate(buttons):
            grid.addWidget(button, 1, column)
        for column in range(4):
            grid.setColumnStretch(column, 1)
        return grid


_OPERATIONS = {"and": "And", "or": "Or", "and not": "Without", "not": "Not"}
_TIPS = {
    "and": "Keep the particles that are in both {0} and {1}.",
    "or": "Keep the particles that are in {0}, in {1}, or in both.",
    "and not": "Keep the particles of {0} that are not in {1}.",
    "not": "Keep the particles that are not in {0}.",
}
_HOW = "Ctrl+click another to combine two."
