"""The top of a dock that looks at a run: which one, and what went wrong."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from . import notify
from .explorer_words import about
from .qt_tools import colors, note

if TYPE_CHECKING:
    from ..analysis import Run


class RunHead(QWidget):
    """The name of the open run, what it is, and a button that chooses another.

    `asked` tells the folder that was chosen.
    """

    asked = Signal(Path)

    def __init__(self) -> None:
        super().__init__()
        self._run: Run | None = None
        self.folder = QLabel()
        self.folder.setStyleSheet("font-weight: bold")
        self.folder.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.open_button = QPushButton("Open run…")
        self.open_button.setToolTip("Open a run folder, finished or in progress.")
        self.open_button.clicked.connect(self._browse)
        self.message = note(selectable=True)
        self.message.hide()
        self.about = note()
        self.about.hide()
        top = QHBoxLayout()
        top.addWidget(self.folder, stretch=1)
        top.addWidget(self.open_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(top)
        layout.addWidget(self.message)
        layout.addWidget(self.about)

    def show_run(self, run: Run | None) -> None:
        """Tell of a run, or of none."""
        self._run = run
        self.folder.setText("" if run is None else run.folder.name)
        self.folder.setToolTip("" if run is None else str(run.folder))
        self.about.setText(about(run))
        self.about.setVisible(run is not None)

    def show_error(self, error: Exception, theme: str) -> None:
        """Say what went wrong, and notify."""
        message = html.escape(notify.error(error))
        self.message.setText(f'<span style="color: {colors(theme).error}">{message}</span>')
        self.message.show()

    def _browse(self) -> None:
        start = "" if self._run is None else str(self._run.folder)
        folder = QFileDialog.getExistingDirectory(self, "Open a run folder", start)
        if folder:
            self.asked.emit(Path(folder))
