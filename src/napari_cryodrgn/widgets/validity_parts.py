"""What the parts of the Validity tab share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from ..errors import CryodrgnError
from .job_bar import JobBar


class Part(QWidget):
    """A part of the tab under a heading; subclasses fill `column`."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(4)
        heading = QLabel(f"<b>{title}</b>")
        heading.setContentsMargins(0, 6, 0, 0)
        self.column.addWidget(heading)


def start(job: JobBar, make: Callable[[], Callable[[], Iterator[Any]]]) -> None:
    """Start what ``make`` gives; why it gives nothing is said beneath the bar."""
    try:
        job.start(make())
    except CryodrgnError as error:
        job.say(str(error))
