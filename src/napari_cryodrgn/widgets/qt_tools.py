"""Small things that both docks need from Qt."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import pyqtgraph as pg
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QStyle,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from .volume_view import Mode

# Width that what is in a dock may need.
_CONTENT = 340
# As long as a small volume takes to reach its layer.
_SOON_MS = 15


@dataclass(frozen=True)
class Colors:
    """Colours of plots and texts that go with a napari theme, as '#rrggbb'."""

    background: str
    text: str
    dim: str
    warning: str
    error: str
    blue: str
    orange: str
    green: str


def colors(theme: str) -> Colors:
    """Colours for a theme, by its name in napari."""
    napari_theme = get_theme(theme)
    dark = napari_theme.background.as_rgb_tuple()[0] < 128
    return Colors(
        background=_hex(napari_theme.background),
        text=_hex(napari_theme.text),
        dim="#9aa3ad" if dark else "#5c636b",
        # The theme's own warning and error colours are backgrounds of icons: too dark for text.
        warning="#f2c14e" if dark else "#8a6100",
        error="#ff7b72" if dark else "#b3121f",
        blue="#6cb6ff" if dark else "#1f6fc4",
        orange="#ffa657" if dark else "#b8570a",
        green="#7ee787" if dark else "#1a7f37",
    )


class GuiThread(QObject):
    """Runs callables in the thread that made this object, whichever thread they come from."""

    _posted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._posted.connect(self._call, Qt.ConnectionType.QueuedConnection)

    def post(self, call: Callable[[], None]) -> None:
        """Queue a callable; once Qt has deleted this object it is dropped."""
        with suppress(RuntimeError):
            self._posted.emit(call)

    def _call(self, call: Callable[[], None]) -> None:
        call()


def follow_width(widget: QWidget) -> None:
    """Let a widget be as high as its ``heightForWidth`` says, also in a layout within another."""
    # Of a fixed height that one would keep to the hint, whatever the width.
    policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
    policy.setHeightForWidth(True)
    widget.setSizePolicy(policy)


class Dock(QWidget):
    """A dock whose content scrolls when the window is low, and that ends when it is closed.

    Subclasses fill `body`, add to `on_end` what ends their work in the background, and do in
    `shut_down` what needs the widgets too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._docked = False
        self._down = False
        #: Called once, when the dock or its window closes. They must not touch Qt objects: when a
        #: window is deleted those are gone by then.
        self.on_end: list[Callable[[], None]] = []
        self.destroyed.connect(partial(_call_all, self.on_end))
        content = QWidget()
        self.body = QVBoxLayout(content)
        self.body.setContentsMargins(8, 4, 8, 8)
        self.body.setSpacing(6)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)
        bar = self.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent)
        margins = self.body.contentsMargins()
        self.setMinimumWidth(_CONTENT + margins.left() + margins.right() + bar)
        # Expanding: else napari puts a stretch below that takes the space.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def event(self, event: QEvent) -> bool:
        """Shut down when napari takes the widget out of its dock."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
            elif self._docked:
                self.end()
                # napari would leave it to Python's garbage collector.
                self.deleteLater()
        return super().event(event)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802
        """Shut down when shown as a window of its own and closed."""
        self.end()
        super().closeEvent(event)

    def end(self) -> None:
        """Shut down, once."""
        if not self._down:
            self._down = True
            _call_all(self.on_end)
            self.shut_down()

    def shut_down(self) -> None:
        """Do what is left to do when the dock closes."""


class Soon(QTimer):
    """Calls a function once, a moment after it was last asked to.

    For what goes with a new volume but is quicker: every change is drawn with the whole window, so
    that one just before the volume would make it late.
    """

    def __init__(self, parent: QObject, call: Callable[[], None], ms: int = _SOON_MS) -> None:
        super().__init__(parent)
        self.setSingleShot(True)
        self.setInterval(ms)
        self.timeout.connect(call)


class ShowsVolumes(Protocol):
    """Something that shows volumes as surfaces or as volumes."""

    @property
    def mode(self) -> Mode:
        """The way they are shown."""

    def set_mode(self, mode: Mode) -> None:
        """Show them another way."""


class ShowAs(QWidget):
    """Chooses how volumes are shown."""

    def __init__(self, view: ShowsVolumes) -> None:
        super().__init__()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        label = QLabel("Show as")
        self.choice = QComboBox()
        self.choice.addItem("surface", "surface")
        self.choice.addItem("volume", "volume")
        self.choice.setCurrentIndex(self.choice.findData(view.mode))
        self.setToolTip(
            "Surface: a mesh at a fixed contour, quick on any machine.\n"
            "Volume: napari's rendering, with the contour in the layer controls; takes seconds "
            "a frame without a graphics card."
        )
        self.choice.currentIndexChanged.connect(lambda _: view.set_mode(self.choice.currentData()))
        layout.addWidget(label)
        layout.addWidget(self.choice, stretch=1)


def _call_all(calls: list[Callable[[], None]], _: object = None) -> None:
    while calls:
        calls.pop()()


def disable_menu(plot: pg.PlotItem, widget: QWidget) -> None:
    """Switch a plot's context menu off, and have Qt delete it together with ``widget``."""
    plot.setMenuEnabled(False)
    # Without a parent it would live on until Python's garbage collector comes by.
    plot.ctrlMenu.setParent(widget, plot.ctrlMenu.windowFlags())


def note(text: str = "", *, selectable: bool = False) -> QLabel:
    """A label that wraps and does not widen its dock."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    if selectable:
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _hex(color: object) -> str:
    red, green, blue = color.as_rgb_tuple()[:3]  # type: ignore[attr-defined]
    return f"#{red:02x}{green:02x}{blue:02x}"
