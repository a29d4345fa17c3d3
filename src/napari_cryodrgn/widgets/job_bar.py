"""A button that starts a job in the background, its progress, and a way to cancel it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from . import notify
from .qt_tools import note
from .train_session import Outcome, TrainSession


class JobBar(QWidget):
    """Runs one generator at a time in a thread.

    `results` gives what it yields, several together; `ended` tells whether it came to its end:
    neither cancelled nor failed. Failures become notifications, and stay to be read here.

    Parameters
    ----------
    text
        Of the button that starts it.
    tip
        What the job does.
    """

    asked = Signal()
    results = Signal(list)
    ended = Signal(bool)

    def __init__(self, text: str, tip: str) -> None:
        super().__init__()
        self._session: TrainSession | None = None
        self._cancelled = False
        self.button = QPushButton(text)
        self.button.setToolTip(tip)
        self.button.clicked.connect(self.asked)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self.cancel)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(True)
        self.text = note(selectable=True)
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.button, stretch=1)
        row.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row)
        layout.addWidget(self.bar)
        layout.addWidget(self.text)
        self._show(False)

    @property
    def running(self) -> bool:
        """Whether a job is going on."""
        return self._session is not None

    def start(self, make: Callable[[], Iterator[Any]]) -> None:
        """Start a job; one that runs is dropped."""
        self.drop()
        session = self._session = TrainSession(make)
        self._cancelled = False
        session.events.connect(self._on_events)
        session.ended.connect(self._on_end)
        self.bar.setValue(0)
        self.say("")
        self._show(True)
        session.start()

    def cancel(self) -> None:
        """Stop the job as soon as it can be."""
        if self._session is not None:
            self._cancelled = True
            self.cancel_button.setEnabled(False)
            self.say("Stopping …")
            self._session.stop()

    def drop(self) -> None:
        """Stop the job and hear no more of it."""
        session, self._session = self._session, None
        if session is not None:
            session.events.disconnect()
            session.ended.disconnect()
            session.stop()
            self.say("")
            self._show(False)

    def close_job(self) -> None:
        """Stop the job and wait for its thread; touches no widget."""
        if self._session is not None:
            self._session.close()

    def progress(self, fraction: float, text: str = "") -> None:
        """Show how far it is."""
        self.bar.setValue(round(1000 * fraction))
        self.bar.setFormat(f"{100 * fraction:.0f} %")
        if not self._cancelled:
            self.say(text)

    def say(self, text: str) -> None:
        """Show a line beneath the bar."""
        self.text.setText(text)
        self.text.setVisible(bool(text))

    def _on_events(self, events: list[Any]) -> None:
        self.results.emit(events)

    def _on_end(self, outcome: Outcome) -> None:
        self._session = None
        self._show(False)
        if outcome.error is not None:
            self.say(notify.error(outcome.error))
        elif self._cancelled:
            self.say("Cancelled.")
        else:
            self.say("")
        self.ended.emit(outcome.error is None and not self._cancelled)

    def _show(self, running: bool) -> None:
        self.bar.setVisible(running)
        self.cancel_button.setVisible(running)
        self.cancel_button.setEnabled(running)
        self.button.setEnabled(not running)
