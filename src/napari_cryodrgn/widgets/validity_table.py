"""A table of what the latent goes with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from ..analysis.confounding import Confounder

_ROW = 22
_HEADS = ("Quantity", "explains", "p")
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
# The least probability that the permutations can tell, and the least strength worth a number.
_LEAST, _SOME = 0.005, 0.0005


def chance_text(p: float) -> str:
    """A probability with its sign: it is no smaller than permutations can tell."""
    return f"≤ {_LEAST}" if p <= _LEAST else f"= {p:.3f}"


def strength_text(strength: float) -> str:
    """A share in per cent, a dash for next to nothing."""
    return "–" if strength < _SOME else f"{100 * strength:.1f} %"


class ConfounderTable(QTableWidget):
    """One row for each quantity, the strongest first; `chosen` tells which one is selected."""

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__(0, len(_HEADS))
        self._found: Sequence[Confounder] = ()
        self.setHorizontalHeaderLabels(list(_HEADS))
        self.setToolTip(
            "Share of the variance of a principal component of the latent (cross-validated) that "
            "the quantity explains, and the probability p of as much by chance.\n"
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
                chance = chance_text(one.p).removeprefix("= ")
                name = f"⚠ {one.name}" if one.warns else one.name
                for column, text in enumerate((name, strength_text(one.strength), chance)):
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
