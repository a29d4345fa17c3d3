"""Where volumes differ, in the Validity tab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize
from qtpy.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

from ..errors import CryodrgnError
from .decode_bar import DecodeBar
from .form_parts import combo_box
from .job_bar import JobBar
from .qt_tools import note
from .validity_layer import STOPS, SpreadLayer
from .validity_model import ValidityModel
from .validity_parts import Part
from .validity_spread import DRAWS, SpreadSurface
from .validity_words import outdated, variability

if TYPE_CHECKING:
    from napari.components import ViewerModel

_BAR = QSize(60, 10)


class DifferPart(Part):
    """The spread of volumes, as a layer that is seen while it is of what is looked at.

    Parameters
    ----------
    model
        Of the tab.
    viewer
        Where the layer goes.
    """

    def __init__(self, model: ValidityModel, viewer: ViewerModel) -> None:
        super().__init__("Where volumes differ")
        self._model = model
        self.layer = SpreadLayer(viewer)
        self._found: SpreadSurface | None = None
        self._seen = False
        self._build()

    @property
    def jobs(self) -> tuple[JobBar, ...]:
        """What may run in the background."""
        return (self.job,)

    def forget(self) -> None:
        """Drop what is of another run."""
        self._found = None

    def show_state(self) -> None:
        """Show what was found, and the layer only while it is of what is looked at."""
        found, text = self._found, ""
        current = found is not None and self._model.is_current(found)
        if found is not None:
            text = variability(found)
            if not current:
                text += " " + outdated(found, self._model.inspector.particle)
        self.text.setText(text)
        self.text.setVisible(bool(text))
        self.scale.setVisible(current)
        # Only when that changes: others may have hidden it since.
        seen = current and self._model.active
        if seen and not self._seen:
            self.layer.show()
        elif self._seen and not seen:
            self.layer.hide()
        self._seen = seen

    def _start(self) -> None:
        try:
            self.job.run(self._model.spread(self.spread_of.currentData()))
        except CryodrgnError as error:
            self.job.say(str(error))

    def _take(self, results: list[Any]) -> None:
        for result in results:
            if isinstance(result, float):
                self.job.progress(result)
            else:
                self._found, self._seen = result, False
                self.layer.put(result)
        self.show_state()

    def _build(self) -> None:
        self.spread_of = combo_box(
            {
                "This particle's posterior": "particle",
                "Selection": "selection",
                "All particles": "all",
            }
        )
        self.job = DecodeBar(
            "Standard deviation",
            f"Decode {DRAWS} volumes, drawn from the posterior of this particle's latent, or of "
            "as many particles, and colour the surface of their mean by how much they differ.",
        )
        self.job.asked.connect(self._start)
        self.job.results.connect(self._take)
        self.text = note(selectable=True)
        self.scale = _Scale()
        for widget in (self.spread_of, self.job, self.text, self.scale):
            self.column.addWidget(widget)


class _Scale(QWidget):
    """The colours of the surface in words."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip(
            "Standard deviation. The right end is that of all particles where they differ most "
            "(99 % of their surface), so that colours mean the same for a particle and for all."
        )
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("alike"))
        layout.addWidget(_Gradient(), stretch=1)
        layout.addWidget(QLabel("as all particles at most"))


class _Gradient(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.setMinimumSize(_BAR)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802
        return _BAR

    def paintEvent(self, _: QPaintEvent | None) -> None:  # noqa: N802
        gradient = QLinearGradient(0, 0, self.width(), 0)
        for i, stop in enumerate(STOPS):
            gradient.setColorAt(i / (len(STOPS) - 1), QColor.fromRgbF(*stop))
        painter = QPainter(self)
        painter.fillRect(self.rect(), gradient)
        painter.end()
