"""Parts of forms, for the docks that ask for much."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from ..training.settings import Settings
from .qt_tools import note

#: One width for all labels, so that the fields of a dock stand in one column.
LABEL_WIDTH = 104


def new_form() -> QFormLayout:
    """A layout for `add_row`."""
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setVerticalSpacing(4)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    return form


def add_row(form: QFormLayout, label: str, *widgets: QWidget, tip: str = "") -> None:
    """Add a label and what stands beside it; the first widget takes the room there is."""
    line = QHBoxLayout()
    line.setSpacing(4)
    for position, widget in enumerate(widgets):
        line.addWidget(widget, stretch=0 if position else 1)
        if tip and not widget.toolTip():
            widget.setToolTip(tip)
    name = QLabel(label)
    name.setToolTip(tip)
    name.setFixedWidth(LABEL_WIDTH)
    form.addRow(name, line)


def combo_box(items: dict[str, str]) -> QComboBox:
    """A choice; ``items`` are texts and the data behind them."""
    combo = QComboBox()
    for text, data in items.items():
        combo.addItem(text, data)
    # Long names must not widen the dock.
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo


def spin_box(low: int, high: int, value: int) -> QSpinBox:
    """A field for a whole number."""
    spin = QSpinBox()
    spin.setRange(low, high)
    spin.setValue(value)
    spin.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.UpDownArrows)
    return spin


def setting_box(name: str) -> QSpinBox:
    """A field for a whole number with the bounds and the default that `Settings` gives it."""
    field = Settings.model_fields[name]
    bounds = {type(limit).__name__: limit for limit in field.metadata}
    low, high = bounds["Ge"].ge, bounds["Le"].le  # type: ignore[attr-defined]
    return spin_box(low, high, field.default)


def number_box(low: float, high: float, value: float, decimals: int) -> QDoubleSpinBox:
    """A field for a number."""
    spin = QDoubleSpinBox()
    spin.setDecimals(decimals)
    spin.setRange(low, high)
    spin.setValue(value)
    return spin


def small_button(text: str, tip: str) -> QPushButton:
    """A button no wider than its text."""
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
    return button


def text_lines(text: str = "") -> QLabel:
    """A wrapped text that takes as many lines as it needs, and no more."""
    label = note(text, selectable=True)
    # Qt would reserve the lines that it needs in a narrow column.
    label.setMinimumHeight(1)
    return label


def empty(layout: QLayout) -> None:
    """Take all widgets out of a layout and away."""
    while layout.count():
        widget = layout.takeAt(0).widget()
        if widget is not None:
            # Deleted only later: one of them may be the button that was clicked.
            widget.hide()
            widget.deleteLater()
