"""Whether what the inspected run shows is real, in the Particle inspector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from ..analysis.validity import Verdict
from . import notify
from .background import Deliver
from .inspector_model import InspectorModel
from .job_bar import JobBar
from .qt_tools import Colors, note
from .validity_differ import DifferPart
from .validity_halves import HalvesPart
from .validity_model import ValidityModel
from .validity_parts import Part, start
from .validity_plots import ConfounderPlot
from .validity_table import ConfounderTable
from .validity_words import motion, warning

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..analysis import Run


class ValidityPanel(QWidget):
    """Heterogeneity or none, what the latent goes with, half maps, and where volumes differ.

    Parameters
    ----------
    inspector
        Whose run, particle and selection are followed.
    viewer
        Where the standard deviation is shown.
    deliver
        Brings answers of other threads to this one, see `Background`.
    palette
        Colours of the theme.
    """

    def __init__(
        self, inspector: InspectorModel, viewer: ViewerModel, deliver: Deliver, palette: Colors
    ) -> None:
        super().__init__()
        self.model = ValidityModel(inspector, deliver)
        self._colors = palette
        self._run: Run | None = None
        self._verdict: Verdict | None = None
        self.halves = HalvesPart(self.model, viewer, palette)
        self.differ = DifferPart(self.model, viewer)
        self._build()
        self.model.changed.connect(self._show)
        self.model.failed.connect(notify.error)
        self._show()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._colors = colors
        self.plot.set_colors(colors)
        self.halves.set_colors(colors)
        self._show()

    def set_active(self, active: bool) -> None:
        """Work, and show the layer, only while the tab is shown."""
        self.model.active = active
        self.differ.show_state()

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        for job in self._jobs:
            job.close_job()
        self.model.close()

    @property
    def _jobs(self) -> tuple[JobBar, ...]:
        return self.motion_job, *self.halves.jobs, *self.differ.jobs

    # Showing

    def _take(self, results: list[Any]) -> None:
        for result in results:
            if isinstance(result, Verdict):
                self._verdict = result
            else:
                self.motion_job.progress(result)
        self._show()

    def _show(self) -> None:
        run = self.model.run
        if run is not self._run:
            self._forget(run)
        self.nothing.setVisible(run is None)
        self.content.setVisible(run is not None)
        self.motion_text.setText(
            "" if self._verdict is None else motion(self._verdict, self._colors)
        )
        self.motion_text.setVisible(self._verdict is not None)
        self._show_confounders()
        self.halves.show_state()
        self.differ.show_state()

    def _forget(self, run: Run | None) -> None:
        """Drop what is of another run; one that is followed has changed as well."""
        self._run = run
        for job in self._jobs:
            job.drop()
            job.say("")
        self._verdict = None
        self.halves.forget()
        self.differ.forget()

    def _show_confounders(self) -> None:
        found, trouble = self.model.confounders, self.model.trouble
        if found is not None:
            self.warning.setText(warning(found, self._colors))
        else:
            self.warning.setText(trouble or "Looking for what the latent goes with …")
        for widget in (self.table, self.plot):
            widget.setVisible(bool(found))
        self.table.show_confounders(found or [])

    # Building

    def _build(self) -> None:
        self.nothing = note("Open a run to see whether what it shows is real.")
        self.content = QWidget()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 6, 0, 0)
        outer.addWidget(self.nothing)
        outer.addWidget(self.content)
        outer.addStretch()
        layout = QVBoxLayout(self.content)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for part in (self._build_motion(), self._build_confounders(), self.halves, self.differ):
            layout.addWidget(part)

    def _build_motion(self) -> Part:
        part = Part("Do the particles differ?")
        self.motion_job = JobBar(
            "Look for heterogeneity",
            "Learn motion from each half of the images, at the run's poses, and see whether the "
            "other half shows it too. The latent has no part in this.",
        )
        self.motion_job.say("")
        self.motion_job.asked.connect(lambda: start(self.motion_job, self.model.heterogeneity))
        self.motion_job.results.connect(self._take)
        self.motion_text = note(selectable=True)
        for widget in (self.motion_job, self.motion_text):
            part.column.addWidget(widget)
        return part

    def _build_confounders(self) -> Part:
        part = Part("What the latent goes with")
        self.warning = note(selectable=True)
        self.table = ConfounderTable()
        self.plot = ConfounderPlot(self._colors)
        self.table.chosen.connect(self.plot.show_confounder)
        self.plot.setToolTip("Blue: particles. Orange: means, with their standard errors.")
        for widget in (self.warning, self.table, self.plot):
            part.column.addWidget(widget)
        return part
