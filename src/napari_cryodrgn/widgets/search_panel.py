"""The search for a particle's pose, seen: candidates at each level and the posterior."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from ..errors import CryodrgnError
from . import notify
from .background import Deliver
from .form_parts import combo_box
from .inspector_model import InspectorModel
from .montage import Montage
from .qt_tools import Colors, note
from .search_model import SearchModel, Source
from .search_plots import CandidateMap, ScorePlot
from .search_words import about_level, about_own, about_volumes, doubt, verdict

if TYPE_CHECKING:
    from napari.components import ViewerModel

Array = NDArray[np.float32]
_HINT = "Open a run to see how the pose of a particle is found."


class SearchPanel(QWidget):
    """Shows which poses explain the image of the inspected particle, and how surely.

    Parameters
    ----------
    model
        The run and the particle.
    viewer
        Of napari; nothing is drawn there.
    deliver
        Brings answers of other threads to this one, see `Background`.
    colors
        Of the theme.
    """

    def __init__(
        self, model: InspectorModel, viewer: ViewerModel, deliver: Deliver, colors: Colors
    ) -> None:
        super().__init__()
        self.model = SearchModel(model, deliver)
        self._colors = colors
        self._build(colors)
        self.model.found_changed.connect(self._on_found)
        self.model.busy_changed.connect(self._on_busy)
        self.model.level_changed.connect(self._on_level)
        self.model.chosen_changed.connect(self._on_chosen)
        self.model.clusters_changed.connect(self._on_clusters)
        self.model.failed.connect(self._on_failed)
        self._on_found()
        self._on_clusters()

    def set_active(self, on: bool) -> None:
        """Search only while this is seen."""
        self.model.active = on

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._colors = colors
        self.map.set_colors(colors)
        self.plot.set_colors(colors)
        self.pictures.colors = colors
        self.pictures.update()

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self.model.close()

    # Showing

    def _on_found(self) -> None:
        found = self.model.found
        self.content.setVisible(found is not None)
        if found is None:
            self.text.setText(_HINT if self.model.inspector.run is None else "")
            self.text.setToolTip("")
            return
        lines = [verdict(found), about_own(found), about_volumes(found, self.model.own_cluster)]
        self.text.setText("<br>".join(filter(None, lines)))
        self.text.setToolTip(doubt(found))
        with QSignalBlocker(self.level):
            self.level.setRange(0, self.model.n_levels - 1)

    def _on_busy(self) -> None:
        self.status.setText("Searching …" if self.model.busy else "")
        self.status.setVisible(self.model.busy)
        # Not the slider: it would lose the keyboard.
        for widget in (self.map, self.plot, self.pictures):
            widget.setEnabled(not self.model.busy)

    def _on_clusters(self) -> None:
        there = self.model.has_clusters
        item = self.source.model().item(self.source.findData("clusters"))  # type: ignore[union-attr]
        item.setEnabled(there)
        item.setToolTip("" if there else "Find clusters in the Latent explorer first.")

    def _on_failed(self, error: Exception) -> None:
        message = str(error) if isinstance(error, CryodrgnError) else notify.error(error)
        color = self._colors.error
        self.text.setText(f'<span style="color: {color}">{html.escape(message)}</span>')

    def _on_level(self) -> None:
        found, shown = self.model.found, self.model.candidates
        if found is None or shown is None:
            return
        with QSignalBlocker(self.level):
            self.level.setValue(self.model.level)
        self.level_text.setText(about_level(found, self.model.level))
        self.map.show_candidates(shown.rotations, shown.behind, shown.kept)
        own, difference = None, found.difference
        if found.rotation is not None:
            self.map.mark(found.rotation[2].numpy())
        # At lower frequencies its score would be another one.
        if self.model.level == len(found.levels) and difference and found.score is not None:
            own = (difference.angle, found.score - found.posterior.peaks[0].score)
        self.plot.show_candidates(shown.angles, shown.behind, shown.kept, own)

    def _on_chosen(self) -> None:
        found, shown, chosen = self.model.found, self.model.candidates, self.model.chosen
        if found is None or shown is None:
            return
        self.map.choose(chosen)
        self.plot.choose(chosen)
        best = found.posterior.peaks[0]
        rotation, shift, state, what = best.rotation, best.shift, best.state, "best pose"
        if chosen is not None:
            rotation = torch.from_numpy(shown.rotations[chosen])
            shift = torch.from_numpy(shown.shifts[chosen])
            state, what = int(shown.states[chosen]), "chosen pose"
        projections, titles = [found.projection(rotation, shift, state)], [what]
        if found.rotation is not None and found.shift is not None:
            projections.append(found.projection(found.rotation, found.shift, best.state))
            titles.append("run's pose")
        self.pictures.show_images(_gray(found.image(), projections), ["image", *titles])
        text = "Click a candidate in a plot to see its projection beside the image."
        if chosen is not None:
            text = (
                f"The chosen pose is {shown.angles[chosen]:.1f}° from the best; log-likelihood "
                f"{shown.behind[chosen]:+.1f} against the best of its level."
            )
        self.chosen_text.setText(text)

    # Building

    def _build(self, colors: Colors) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.setSpacing(4)
        row = QHBoxLayout()
        row.addWidget(QLabel("Compare with"))
        self.source = combo_box({"own volume": "own", "cluster centres": "clusters"})
        self.source.setToolTip(
            "The volumes whose projections are compared with the image: that at the particle's own "
            "latent, or those of all clusters."
        )
        self.source.currentIndexChanged.connect(
            lambda _: self.model.set_source(cast(Source, self.source.currentData()))
        )
        row.addWidget(self.source, stretch=1)
        layout.addLayout(row)
        self.text = note(selectable=True)
        layout.addWidget(self.text)
        self.status = note()
        self.status.hide()
        layout.addWidget(self.status)
        self.content = QWidget()
        layout.addWidget(self.content)
        layout.addStretch()
        inner = QVBoxLayout(self.content)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.setSpacing(4)
        row = QHBoxLayout()
        row.addWidget(QLabel("coarse"))
        self.level = QSlider(Qt.Orientation.Horizontal)
        self.level.setToolTip(
            "Levels of the search, from the coarse grid to the last, and then the posterior."
        )
        self.level.setPageStep(1)
        self.level.setTickPosition(QSlider.TickPosition.TicksBelow)
        self.level.setTickInterval(1)
        self.level.valueChanged.connect(self.model.set_level)
        row.addWidget(self.level, stretch=1)
        row.addWidget(QLabel("posterior"))
        inner.addLayout(row)
        self.level_text = note()
        inner.addWidget(self.level_text)
        self.map = CandidateMap(colors)
        self.map.chosen.connect(self.model.choose)
        inner.addWidget(self.map)
        self.plot = ScorePlot(colors)
        self.plot.chosen.connect(self.model.choose)
        inner.addWidget(self.plot)
        self.chosen_text = note()
        inner.addWidget(self.chosen_text)
        self.pictures = Montage(colors, 3, 1)
        inner.addWidget(self.pictures)


def _gray(image: Array, projections: list[Array]) -> list[NDArray[np.uint8]]:
    """The image in its own grey scale, and projections in one of theirs, which is narrower."""
    pictures = []
    for group in ([image], projections):
        low, high = np.percentile(group, (0.5, 99.5))
        scale = 255 / max(float(high - low), 1e-12)
        pictures += [((x - low) * scale).clip(0, 255).astype(np.uint8) for x in group]
    return pictures
