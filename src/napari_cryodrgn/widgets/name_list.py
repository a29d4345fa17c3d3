"""A list of things that have a name, which can be edited, and numbers, which cannot."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QTreeWidget,
    QTreeWidgetItem,
)


class NameList(QTreeWidget):
    """Rows of a name and numbers, of which several can be chosen.

    Parameters
    ----------
    headers
        Of the columns; the first is the name's.
    """

    def __init__(self, headers: list[str]) -> None:
        super().__init__()
        self.setHeaderLabels(headers)
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        # Qt lets all columns of a row be edited or none.
        self._fixed = _Fixed(self)
        for column in range(1, len(headers)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
            self.setItemDelegateForColumn(column, self._fixed)

    def add(self, *texts: str, editable: bool = True) -> QTreeWidgetItem:
        """Add a row with a name, which may be editable, and its numbers."""
        item = QTreeWidgetItem(texts)
        if editable:
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
        for column in range(1, len(texts)):
            item.setTextAlignment(
                column, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            )
        self.addTopLevelItem(item)
        return item


class _Fixed(QStyledItemDelegate):
    def createEditor(self, *_: Any) -> None:  # noqa: N802
        """Nothing to edit here."""
