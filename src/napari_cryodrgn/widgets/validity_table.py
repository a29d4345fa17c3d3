"""A table of what the latent goes with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from ..analysis.confounding import Confounder

_ROW = 22
_HEADS = ("Quantity", "foretells", "by chance")
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
# The least that the permutations can tell.
_LEAST = 0.005


class ConfounderTable(QTableWidget):
    """One row for each quantity, the strongest first; `chosen` tells which one is selected."""

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__(0, len(_HEADS))
        self._found: Sequence[Confounder] = ()
        self.setHorizontalHeaderLabels(list(_HEADS))
        self.setToolTip(
            "Share of the variance of a principal component of the latent (cross-validated) that "
            "the quantity foretells, and the probability of as much by chance.\n"
            "Above 5 % with a probability under 0.01 it is a warning."
        )
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        assert rows is not None
        assert columns is not None
        rows.hide()
        rows.setDefaultSectionSize(_ROW)
        columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        columns.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.itemSelectionChanged.connect(self._choose)

    def show_confounders(self, found: Sequence[Confounder]) -> None:
        """Show them, and choose the strongest; those shown already are left alone."""
        if found is self._found:
            return
        self._found = found
        with QSignalBlocker(self):
            self.setRowCount(len(found))
            for row, one in enumerate(found):
                chance = f"≤ {_LEAST}" if one.p <= _LEAST else f"{one.p:.3f}"
                name = f"⚠ {one.name}" if one.warns else one.name
                for column, text in enumerate(
                    (name, f"{100 * max(one.strength, 0):.1f} %", chance)
                ):
                    item = QTableWidgetItem(text)
                    if column:
                        item.setTextAlignment(_RIGHT)
                    self.setItem(row, column, item)
            self.clearSelection()
        header = self.horizontalHeader()
        assert header is not None
        self.setFixedHeight(header.sizeHint().height() + _ROW * len(found) + 4)
        if found:
            self.selectRow(0)

    def _choose(self) -> None:
        row = self.currentRow()
        if 0 <= row < len(self._found):
            self.chosen.emit(self._found[row])
