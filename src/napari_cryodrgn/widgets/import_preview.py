"""Random particles of a set, and the CTF of the one that is chosen."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from .form_parts import small_button
from .import_model import ImportModel, low_passes, random_rows
from .montage import Montage, gray_image
from .particle_preview import CtfPicture, Preview
from .qt_tools import Colors, note
from .still_plot import StillPlot

COUNT, _COLUMNS = 12, 4
_ROWS = COUNT // _COLUMNS


class CtfView(QWidget):
    """The CTF of a particle as an image and as a curve."""

    def __init__(self, colors: Colors) -> None:
        super().__init__()
        self.image = QLabel()
        self.image.setFixedSize(112, 112)
        self.image.setScaledContents(True)
        self.image.setToolTip("CTF up to Nyquist, bright where it is positive.")
        self.plot = StillPlot(height=112, axis_width=26)
        self.plot.setYRange(-1, 1, padding=0.05)
        self.curve = self.plot.plot()
        self.plot.addItem(pg.InfiniteLine(0, angle=0, pen=pg.mkPen((128, 128, 128, 120))))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.image)
        layout.addWidget(self.plot, stretch=1)
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.plot.set_colors(colors)
        self.curve.setPen(pg.mkPen(colors.blue, width=1.5))
        self.plot.setLabel("bottom", "1/Å", color=colors.text, **{"font-size": "8pt"})

    def show_ctf(self, picture: CtfPicture) -> None:
        """Draw one."""
        gray = (127.5 * (picture.image + 1)).astype(np.uint8)
        self.image.setPixmap(QPixmap.fromImage(gray_image(gray)))
        self.curve.setData(picture.frequency, picture.curve)
        self.plot.setXRange(0, float(picture.frequency[-1]), padding=0)


class PreviewPanel(QWidget):
    """Random particles of the model's set; a click on one shows its CTF."""

    def __init__(self, model: ImportModel, colors: Colors) -> None:
        super().__init__()
        self.model = model
        self._seed = 0
        self._of: object = None
        self._shown: Preview | None = None
        self.montage = Montage(colors, _COLUMNS, _ROWS)
        self.montage.clicked.connect(self.choose)
        self.low_pass = QComboBox()
        self.low_pass.setToolTip("Resolution that is left of the images shown.")
        self.low_pass.currentIndexChanged.connect(self._load)
        self.others = small_button("Others", "Show other particles, chosen at random.")
        self.others.clicked.connect(self.show_others)
        self.caption = note(selectable=True)
        self.ctf = CtfView(colors)
        top = QHBoxLayout()
        top.addWidget(QLabel("Low-pass"))
        top.addWidget(self.low_pass, stretch=1)
        top.addWidget(self.others)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(top)
        layout.addWidget(self.montage)
        layout.addWidget(self.caption)
        layout.addWidget(self.ctf)
        layout.addStretch()
        model.changed.connect(self._on_model)
        model.previewed.connect(self._on_images)
        model.ctf_drawn.connect(self._on_ctf)
        self._on_model()

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.montage.colors = colors
        self.montage.update()
        self.ctf.set_colors(colors)

    def show_others(self) -> None:
        """Show other particles."""
        self._seed += 1
        self._load()

    def choose(self, cell: int) -> None:
        """Show the CTF of one of the particles."""
        if self._shown is not None:
            self.montage.choose(cell)
            self.model.draw_ctf(self._shown.rows[cell])

    def _on_model(self) -> None:
        particles = self.model.particles
        now = (particles, self.model.inverted)
        if now == self._of:
            return
        before, self._of = self._of, now
        if particles is None:
            self._shown = None
            self.montage.show_images([], [])
            self.caption.clear()
            self.ctf.hide()
            return
        if before is None or before[0] is not particles:  # type: ignore[index]
            unit = "Å" if particles.pixel_size is not None else "px"
            self.low_pass.blockSignals(True)
            self.low_pass.clear()
            choices = low_passes(particles)
            for value in choices:
                self.low_pass.addItem(f"{value:g} {unit}", value)
            self.low_pass.addItem("none", None)
            self.low_pass.setCurrentIndex(min(1, len(choices) - 1))
            self.low_pass.blockSignals(False)
        self._load()

    def _load(self, _: object = None) -> None:
        particles = self.model.particles
        if particles is not None:
            rows = random_rows(len(particles), COUNT, self._seed)
            self.model.preview(rows, self.low_pass.currentData())

    def _on_images(self, preview: Preview) -> None:
        self._shown = preview
        titles = [f"{row + 1:,}" for row in preview.rows]
        self.montage.show_images(list(preview.images), titles)
        self.choose(0)

    def _on_ctf(self, picture: CtfPicture | None) -> None:
        self.ctf.setVisible(picture is not None)
        if picture is None:
            particles = self.model.particles
            lacking = particles is not None and particles.ctf is not None
            self.caption.setText(
                "The CTF cannot be drawn: the pixel size is not known."
                if lacking
                else "No CTF: the file has no defocus."
            )
            return
        self.caption.setText(f"Particle {picture.row + 1:,}: {picture.text}")
        self.ctf.show_ctf(picture)
