"""The Evidence tab of the Particle inspector: a particle's image against its own volume."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from . import evidence_words
from .background import Deliver
from .decode_bar import DecodeBar
from .evidence_model import EvidenceModel
from .evidence_plot import EvidenceImages, FrcPlot
from .inspector_model import InspectorModel
from .low_pass_bar import LowPassBar
from .qt_tools import Colors, note

if TYPE_CHECKING:
    import napari

    from ..analysis.evidence import MeanFrc

_STEPS = 200


class EvidencePanel(QWidget):
    """Image, projection and residual of the inspected particle, their FRC, and its numbers.

    Parameters
    ----------
    model
        Of the inspector.
    viewer
        Not used: nothing is shown beside the panel.
    deliver
        Brings answers of other threads to this one, see `Background`.
    palette
        Colours of the theme.
    """

    def __init__(
        self,
        model: InspectorModel,
        viewer: napari.Viewer | None,
        deliver: Deliver,
        palette: Colors,
    ) -> None:
        super().__init__()
        self.inspector = model
        self.model = EvidenceModel(model, deliver)
        self._mean: MeanFrc | None = None
        self._build(palette)
        model.run_changed.connect(self._on_run)
        model.mask_changed.connect(self._on_mask)
        self.model.changed.connect(self._on_evidence)
        self.model.low_pass_changed.connect(self._on_low_pass)
        self.model.mean_changed.connect(self._draw_curves)
        self._on_run()

    def set_active(self, active: bool) -> None:
        """Work while this tab is shown, and only then."""
        self.model.active = active

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._colors = colors
        self.images.set_colors(colors)
        self.frc.set_colors(colors)
        self._tell_curves()
        self._tell_verdict()

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self.job.close_job()
        self.model.close()

    # What the inspector says

    def _on_run(self) -> None:
        self._on_mask()
        self._on_low_pass()
        self._on_evidence()

    def _on_mask(self) -> None:
        run, mask = self.inspector.run, self.inspector.mask
        self.job.drop()
        self.job.button.setText(
            "Mean FRC of all particles" if mask is None else "Mean FRC of the selection"
        )
        self.job.button.setEnabled(run is not None)

    # What the model says

    def _on_evidence(self) -> None:
        model = self.model
        there = model.evidence is not None
        for widget in (self.verdict, self.pictures, self.numbers):
            widget.setVisible(there)
        if self.inspector.run is None:
            text = "Open a run to see what its particles look like beside its volumes."
        elif model.problem:
            text = f"There is no evidence to show. {html.escape(model.problem)}"
        else:
            text = "" if there else "Reading …"
        self.text.setText(text)
        self.text.setVisible(bool(text))
        self._tell_verdict()
        self._draw()

    def _on_low_pass(self) -> None:
        model = self.model
        self.low_pass.show_low_pass(model.low_pass, model.low_passes(), model.unit)
        self._draw()

    def _draw(self) -> None:
        evidence, low_pass = self.model.evidence, self.model.low_pass
        if evidence is not None:
            self.images.show_pictures(evidence.pictures(low_pass))
            self.numbers.setText(
                evidence_words.table(evidence, self.model.loss, low_pass, self.model.unit)
            )
        self._draw_curves()

    def _draw_curves(self) -> None:
        model = self.model
        limit = model.limit
        if limit is not None and limit <= model.low_passes()[0]:
            limit = None
        self.frc.show_curves(model.curves(), model.mean_curves(), model.unit, limit)
        self.beyond.setText("" if limit is None else evidence_words.beyond(limit))
        self.beyond.setVisible(limit is not None)
        self._tell_curves()

    def _tell_curves(self) -> None:
        mean = self.model.mean
        self.curves_text.setText(evidence_words.legend(0 if mean is None else mean.n, self._colors))

    def _tell_verdict(self) -> None:
        model = self.model
        agreement, run = model.agreement(), self.inspector.run
        if agreement is not None and run is not None:
            extent = run.box * (run.pixel_size or 1.0)
            text = evidence_words.verdict(agreement, extent, model.unit, self._colors)
        else:
            text = "Estimating the noise …" if model.seeks_noise else ""
        self.verdict.setText(text)

    # What the controls do

    def _start_mean(self) -> None:
        self._mean = None
        self.job.run(self.model.mean_job)

    def _on_results(self, results: list[float | MeanFrc]) -> None:
        for result in results:
            if isinstance(result, float):
                self.job.progress(result, "Correlating …")
            else:
                self._mean = result

    def _on_end(self, complete: bool) -> None:
        if complete and self._mean is not None:
            self.model.set_mean(self._mean)
        self.job.button.setEnabled(self.inspector.run is not None)

    # Building

    def _build(self, colors: Colors) -> None:
        self._colors = colors
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.setSpacing(4)
        self.text = note(selectable=True)
        layout.addWidget(self.text)
        self.verdict = note(selectable=True)
        self.verdict.setToolTip(
            "The FRC over the one expected: all of it agrees from 70 % on, none if noise would do "
            "as well.\nIt agrees up to the ring that still speaks for the volume; rings beyond the "
            "resolution of the half maps do not count."
        )
        layout.addWidget(self.verdict)
        self.pictures = QWidget()
        self._build_pictures(colors)
        layout.addWidget(self.pictures)
        self.numbers = note(selectable=True)
        self.numbers.setToolTip("The log-likelihood is in nats, of the image.")
        layout.addWidget(self.numbers)
        layout.addStretch()

    def _build_pictures(self, colors: Colors) -> None:
        layout = QVBoxLayout(self.pictures)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self.images = EvidenceImages(colors)
        layout.addWidget(self.images)
        row = QHBoxLayout()
        self.low_pass = LowPassBar(48)
        self.low_pass.setToolTip("Resolution that is left of the pictures, finest to the left.")
        self.low_pass.chosen.connect(self.model.set_low_pass)
        row.addWidget(QLabel("Low-pass"))
        row.addWidget(self.low_pass, stretch=1)
        layout.addLayout(row)
        self.frc = FrcPlot(colors)
        layout.addWidget(self.frc)
        self.curves_text = note()
        layout.addWidget(self.curves_text)
        self.beyond = note()
        layout.addWidget(self.beyond)
        self.job = DecodeBar(
            "Mean FRC of all particles",
            "Correlate up to 500 particles, from all over the selection or the set, with their "
            "own projections. One particle is mostly noise; the mean is not.",
        )
        self.job.asked.connect(self._start_mean)
        self.job.results.connect(self._on_results)
        self.job.ended.connect(self._on_end)
        layout.addWidget(self.job)
