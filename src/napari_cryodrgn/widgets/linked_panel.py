"""The selected particles seen in every other way, in the Latent explorer."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from ..errors import CryodrgnError
from . import notify
from .background import Deliver
from .decode_bar import DecodeBar
from .direction_plot import DirectionPlot
from .form_parts import small_button
from .linked_images import Images
from .linked_model import AVERAGED, Explorer, LinkedModel, MeanVolume
from .montage import Montage
from .qt_tools import Colors, note
from .selection_model import Mask

if TYPE_CHECKING:
    from ..particles import ParticleSet
    from .view_directions import DirectionMap

#: Takes a mean volume and its name.
ShowMean = Callable[[MeanVolume, str], None]
_COLUMNS = 6
# Directions that have a density to speak of.
_ENOUGH = 500


class LinkedPanel(QWidget):
    """Mean volume, viewing directions and images of the selected particles.

    A click on a direction or an image picks that particle. It works only while it is visible.

    Parameters
    ----------
    explorer
        Whose selection and pick are followed.
    deliver
        Brings answers of other threads to this one, see `Background`.
    colors
        Of the theme.
    show_mean
        Shows a mean volume.
    read
        Opens a particle file; `particles.read` if absent.
    """

    def __init__(
        self,
        explorer: Explorer,
        deliver: Deliver,
        colors: Colors,
        show_mean: ShowMean,
        read: Callable[[Path], ParticleSet] | None = None,
    ) -> None:
        super().__init__()
        self.model = LinkedModel(explorer, deliver, read)
        self._show_mean = show_mean
        self._mean: MeanVolume | None = None
        # What the mean, or the line about it, is of: the run's folder and the selection.
        self._mean_of: tuple[Path, Mask] | None = None
        self._build(colors)
        explorer.run_changed.connect(self._drop_mean)
        explorer.selection_changed.connect(self._drop_mean)
        self.model.changed.connect(self._on_changed)
        self.model.directions_drawn.connect(self._on_directions)
        self.model.images_loaded.connect(self._on_images)
        self.model.marked.connect(self._on_marked)
        self.model.failed.connect(notify.error)
        self._on_changed()

    def close_panel(self) -> None:
        """Stop what runs in the background; touches no widget."""
        self.job.close_job()
        self.model.close()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.directions.set_colors(colors)
        self.montage.colors = colors
        self.montage.update()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Catch up with the selection."""
        super().showEvent(event)
        self.model.active = True

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802
        """Rest."""
        super().hideEvent(event)
        self.model.active = False

    # What the controls do

    def _choose_follow(self, on: bool) -> None:
        self.model.follow = on

    def _choose_low_pass(self, _: object = None) -> None:
        self.model.set_low_pass(self.low_pass.currentData())

    def _start_mean(self) -> None:
        explorer = self.model.explorer
        assert explorer.run is not None
        assert explorer.current_mask is not None
        self._mean, self._mean_of = None, (explorer.run.folder, explorer.current_mask)
        self.job.run(self.model.mean_volume)

    def _on_mean(self, results: list[float | MeanVolume]) -> None:
        for result in results:
            if isinstance(result, MeanVolume):
                self._mean = result
            else:
                self.job.progress(result, "Decoding …")

    def _on_mean_end(self, complete: bool) -> None:
        if complete and self._mean is not None:
            n = self._mean.n
            self._show_mean(self._mean, f"Mean of {n} selected volumes")
            self.job.say(f"Mean of the volumes of {n} selected particles.")
        self._enable()

    def _drop_mean(self) -> None:
        """Drop what is of another run or selection; a run that is followed goes on."""
        if self._mean_of is None:
            return
        run, mask = self.model.explorer.run, self.model.explorer.current_mask
        folder, of = self._mean_of
        if run is None or run.folder != folder or mask is not of:
            self._mean_of = None
            self.job.drop()
            self.job.say("")
            self._enable()

    # Showing

    def _on_changed(self) -> None:
        count = self.model.count
        if count is None:
            text = "Nothing is selected: these are all particles."
        elif count == 0:
            text = "No particle is in this selection."
        else:
            text = f"<b>{count:,}</b> {'particle' if count == 1 else 'particles'} selected"
        self.text.setText(text)
        self._enable()

    def _enable(self) -> None:
        run = self.model.explorer.run
        able = run is not None and run.can_decode and bool(self.model.count)
        self.job.button.setEnabled(able and not self.job.running)
        self.others.setEnabled(self.model.has_others)

    def _on_directions(self, drawn: DirectionMap | None) -> None:
        self.directions.setVisible(drawn is not None)
        self.directions.show_map(drawn)
        if drawn is None:
            text = "No viewing directions: the run has no poses yet."
        else:
            text = "Viewing directions"
            if drawn.n >= _ENOUGH:
                text += f", up to {drawn.peak:.2g} times as dense as if even"
        self.directions_text.setText(text)

    def _on_images(self, found: Images | Exception) -> None:
        there = isinstance(found, Images)
        for widget in (self.montage, self.low_pass, self.low_pass_label, self.others):
            widget.setVisible(there)
        if not isinstance(found, Images):
            if not isinstance(found, CryodrgnError):
                notify.error(found)
            self.images_text.setText(f"The images cannot be shown. {html.escape(str(found))}")
            return
        self.images_text.setText(f"Images: {found.what}")
        with QSignalBlocker(self.low_pass):
            self.low_pass.clear()
            for value in found.low_passes:
                self.low_pass.addItem(f"{value:g} {found.unit}", value)
            self.low_pass.addItem("none", None)
            self.low_pass.setCurrentIndex(self.low_pass.findData(found.low_pass))
        self._enable()
        self.montage.show_images(list(found.images), [str(row) for row in found.rows])

    def _on_marked(self, particle: int | None) -> None:
        images, axis = self.model.images, None
        if particle is not None:
            axis = self.model.axis_of(particle)
        if axis is not None:
            self.directions.mark(axis)
        self._enable()
        there = images is not None and particle in images.rows
        self.montage.choose(images.rows.index(particle) if images and there else None)

    # Building

    def _build(self, colors: Colors) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.setSpacing(4)
        self.text = note()
        layout.addWidget(self.text)
        self.follow = QCheckBox("go to the mean of each new selection")
        self.follow.setChecked(self.model.follow)
        self.follow.setToolTip(
            "Pick the mean latent of the selected particles as soon as they are selected, and "
            "decode it."
        )
        self.follow.toggled.connect(self._choose_follow)
        layout.addWidget(self.follow)
        self.job = DecodeBar(
            "Mean of their volumes",
            f"Decode up to {AVERAGED} particles from all over the selection and average their "
            "volumes. What moves between them is blurred; the volume at the mean latent is not.",
        )
        self.job.say("")
        self.job.asked.connect(self._start_mean)
        self.job.results.connect(self._on_mean)
        self.job.ended.connect(self._on_mean_end)
        layout.addWidget(self.job)
        self.directions_text = note()
        self.directions = DirectionPlot(colors)
        self.directions.clicked.connect(self.model.pick_direction)
        layout.addWidget(self.directions_text)
        layout.addWidget(self.directions)
        self.images_text = note(selectable=True)
        layout.addWidget(self.images_text)
        row = QHBoxLayout()
        self.low_pass_label = QLabel("Low-pass")
        self.low_pass = QComboBox()
        self.low_pass.setToolTip("Resolution that is left of the images shown.")
        self.low_pass.currentIndexChanged.connect(self._choose_low_pass)
        self.others = small_button("Others", "Show other particles of the selection.")
        self.others.clicked.connect(self.model.show_others)
        row.addWidget(self.low_pass_label)
        row.addWidget(self.low_pass, stretch=1)
        row.addWidget(self.others)
        layout.addLayout(row)
        self.montage = Montage(colors, _COLUMNS, 4)
        self.montage.clicked.connect(self.model.pick_image)
        layout.addWidget(self.montage)
        layout.addStretch()
