"""The preflight in the Import particles dock: what it found, and what to do about it."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from .check_plot import CheckPlot
from .form_parts import empty, small_button, text_lines
from .import_model import ImportModel
from .job_bar import JobBar
from .montage import gray_image
from .preflight_words import (
    NAMES,
    Finding,
    about_contrast,
    about_map,
    about_poses,
    too_few,
)
from .qt_tools import Colors, ShowAs, note
from .volume_view import VolumeView

if TYPE_CHECKING:
    from ..analysis.hypotheses import Comparison
    from ..analysis.preflight import Images, Map, Result
    from ..particles import ParticleSet

Preflight = Callable[["ParticleSet", bool], "Iterator[Result]"]


def run_preflight(particles: ParticleSet, inverted: bool) -> Iterator[Result]:
    """Look at the first particles, in the calling thread."""
    from ..analysis.preflight import preflight

    return preflight(particles, invert_contrast=inverted)


_SMALL = "font-size: 8pt; padding: 0px; margin: 0px"


class CheckPanel(QWidget):
    """Runs the preflight on the model's set; buttons apply to the model what it suggests.

    Parameters
    ----------
    model
        Whose set is looked at.
    volume
        Shows the map.
    colors
        Of the theme.
    preflight
        Looks at the particles; `run_preflight` if absent.
    """

    def __init__(
        self,
        model: ImportModel,
        volume: VolumeView,
        colors: Colors,
        preflight: Preflight = run_preflight,
    ) -> None:
        super().__init__()
        self.model = model
        self.preflight = preflight
        self._volume = volume
        self._colors = colors
        self._of: object = None
        self.job = JobBar(
            "Check these particles",
            "Looks at the contrast and the noise; with poses also at their signs and order, and "
            "back-projects the first few thousand particles.",
        )
        self.job.asked.connect(self.start)
        self.job.results.connect(self._on_results)
        self.job.ended.connect(lambda _: self._volume.discard())
        self.intro = note(
            "Finds what goes wrong most often between programs: contrast, sign of the shifts, "
            "order of the rows, convention of the rotations. Takes seconds."
        )
        self.findings = QVBoxLayout()
        self.findings.setSpacing(4)
        self.table = QGridLayout()
        self.table.setVerticalSpacing(0)
        self.table.setHorizontalSpacing(8)
        # As far from the edge as the texts around it.
        self.table.setContentsMargins(5, 0, 5, 0)
        self.table.setColumnStretch(1, 1)
        self.plot = CheckPlot(colors)
        self.mean = QLabel()
        self.mean.setFixedSize(120, 120)
        self.mean.setScaledContents(True)
        self.mean.setToolTip("Mean of the images looked at, low-pass filtered.")
        self.mean_text = note()
        self.pictures = QWidget()
        pictures = QHBoxLayout(self.pictures)
        pictures.setContentsMargins(0, 0, 0, 0)
        pictures.addWidget(self.mean)
        pictures.addWidget(self.mean_text, stretch=1)
        self.map_text = _caption()
        self.show_as = ShowAs(volume)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.job)
        layout.addWidget(self.intro)
        layout.addLayout(self.findings)
        layout.addLayout(self.table)
        layout.addWidget(self.map_text)
        layout.addWidget(self.plot)
        layout.addWidget(self.pictures)
        layout.addWidget(self.show_as)
        layout.addStretch()
        self._buttons: list[QPushButton] = []
        model.changed.connect(self._on_model)
        self._on_model()

    def start(self) -> None:
        """Look at the set as it is now."""
        particles, inverted = self.model.particles, self.model.inverted
        if particles is None:
            return
        self._clear()
        self.intro.hide()
        self._of = (particles, inverted)
        if particles.has_poses:
            self._volume.prepare(self._layer_name, particles.pixel_size)
        self.job.start(lambda: self.preflight(particles, inverted))

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._colors = colors
        self.plot.set_colors(colors)

    @property
    def _layer_name(self) -> str:
        return f"{self.model.name}: check"

    # Showing

    def _on_model(self) -> None:
        now = (self.model.particles, self.model.inverted)
        self.job.button.setEnabled(now[0] is not None and not self.job.running)
        if self._of is not None and self._of != now:
            self.job.drop()
            self._volume.discard()
            self.job.button.setEnabled(now[0] is not None)
            self._of = None
            self._clear()
            self.intro.show()

    def _clear(self) -> None:
        for layout in (self.findings, self.table):
            empty(layout)
        self._buttons = []
        self.plot.clear()
        for widget in (self.plot, self.pictures, self.map_text, self.show_as):
            widget.hide()

    def _on_results(self, results: list[Result]) -> None:
        from ..analysis.hypotheses import Comparison
        from ..analysis.preflight import Images, Map, Progress

        for result in results:
            match result:
                case Progress():
                    self.job.progress(result.fraction, f"{result.doing.capitalize()} …")
                case Images():
                    self._show_images(result)
                case Comparison():
                    self._show_comparison(result)
                case Map():
                    self._show_map(result)

    def _show_images(self, images: Images) -> None:
        from ..analysis.preflight import FEWEST

        inverted = self.model.inverted
        switch = partial(self._apply, lambda: self.model.set_inverted(not inverted))
        self._add_finding(about_contrast(images, inverted), switch)
        for warning in images.warnings:
            self._add_finding(Finding(warning, "unclear"), None)
        particles = self.model.particles
        if particles is not None and particles.has_poses:
            if images.n < FEWEST:
                self._add_finding(too_few(images.n), None)
            return
        self._show_mean(images.mean)
        unit = "1/Å" if particles is not None and particles.pixel_size is not None else "1/px"
        frequency = np.arange(1, len(images.power) + 1) / images.extent
        self.plot.show_spectra(frequency, images.power, images.noise, unit)
        self.map_text.setText(f"Power spectrum of {images.n:,} images:")
        self.map_text.show()
        self.mean_text.setText(
            "Mean of the images. A centred spot means that the particles are centred, and its "
            "sign that of the contrast. There are no poses to check."
        )
        self.pictures.show()

    def _show_mean(self, mean: NDArray[np.float32]) -> None:
        low, high = float(mean.min()), float(mean.max())
        gray = (255 * (mean - low) / max(high - low, 1e-12)).astype(np.uint8)
        smooth = Qt.TransformationMode.SmoothTransformation
        scaled = gray_image(gray).scaled(240, 240, transformMode=smooth)
        self.mean.setPixmap(QPixmap.fromImage(scaled))

    def _show_comparison(self, comparison: Comparison) -> None:
        suggestion = comparison.suggestion
        change = partial(self._apply, lambda: self.model.change_poses(suggestion))
        self._add_finding(about_poses(comparison), change)
        title = _caption(f"How well poses explain {comparison.n:,} images:")
        title.setStyleSheet("padding: 0px")
        self.table.addWidget(title, 0, 0, 1, 3)
        top = max(comparison.best.score, 1e-6)
        rows = [(NAMES[h.change], h.score) for h in comparison.hypotheses]
        rows.sort(key=lambda row: -row[1])
        rows.append(("poses at random", comparison.chance))
        wanted = NAMES[suggestion] if comparison.fits else ""
        for number, (name, score) in enumerate(rows, 1):
            label = QLabel(f"<b>{name}</b>" if name == wanted else name)
            bar = QProgressBar()
            bar.setRange(0, 1000)
            bar.setValue(round(1000 * max(score, 0.0) / top))
            bar.setTextVisible(False)
            bar.setFixedHeight(8)
            value = QLabel(f"{score:.2f}")
            value.setToolTip("With the prediction by a map that the image is not in; 1 is best.")
            for column, widget in enumerate((label, bar, value)):
                widget.setStyleSheet(_SMALL)
                self.table.addWidget(widget, number, column, Qt.AlignmentFlag.AlignVCenter)

    def _show_map(self, result: Map) -> None:
        self.map_text.setText(f"Map from {about_map(result)}")
        self.map_text.show()
        self.show_as.show()
        unit = "1/Å" if result.pixel_size is not None else "1/px"
        frequency = np.arange(len(result.fsc)) / result.extent
        self.plot.add_fsc(frequency, result.fsc, unit, f"{result.n:,} particles")
        self._volume.show(
            result.volume,
            result.pixel_size,
            self._layer_name,
            source=self._of,
            front=True,
        )

    def _add_finding(self, finding: Finding, apply: Callable[[], None] | None) -> None:
        colors = self._colors
        color = {"good": colors.green, "bad": colors.error, "unclear": colors.warning}
        sign = {"good": "✓", "bad": "✗", "unclear": "?"}[finding.level]
        text = text_lines()
        text.setText(
            f'<span style="color: {color[finding.level]}">{sign}</span> {html.escape(finding.text)}'
        )
        line = QWidget()
        row = QHBoxLayout(line)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(text, stretch=1)
        if finding.button and apply is not None:
            button = small_button(finding.button, "Apply this here and check again.")
            button.clicked.connect(lambda _=False: apply())
            row.addWidget(button)
            self._buttons.append(button)
        self.findings.addWidget(line)

    @property
    def buttons(self) -> list[QPushButton]:
        """Buttons of the suggestions shown."""
        return list(self._buttons)

    def _apply(self, change: Callable[[], None]) -> None:
        # The change clears the panel, the button that was clicked included.
        change()
        self.start()


def _caption(text: str = "") -> QLabel:
    """One line that is cut where the dock is narrow."""
    label = QLabel(text)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return label
