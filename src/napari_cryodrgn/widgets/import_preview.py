"""Random particles of a set, and the CTF of the one that is chosen."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from .form_parts import small_button
from .import_model import ImportModel, low_passes, random_rows
from .particle_preview import CtfPicture, Preview
from .qt_tools import Colors, note
from .still_plot import StillPlot

COUNT, _COLUMNS = 12, 4
_GAP = 2
_ROWS = COUNT // _COLUMNS


def gray_image(values: NDArray[np.uint8]) -> QImage:
    """An image (y, x) for Qt, with a memory of its own."""
    height, width = values.shape
    data = values.tobytes()
    return QImage(data, width, height, width, QImage.Format.Format_Grayscale8).copy()


class Montage(QWidget):
    """Images in a grid that answers clicks with the number of the cell."""

    clicked = Signal(int)

    def __init__(self, colors: Colors) -> None:
        super().__init__()
        self._images: list[QImage] = []
        self._titles: list[str] = []
        self._chosen = 0
        self.colors = colors
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setMinimumHeight(80)

    def hasHeightForWidth(self) -> bool:  # noqa: N802
        """Cells are square."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802
        """As many rows as there are images for."""
        return width * self._n_rows // _COLUMNS

    @property
    def _n_rows(self) -> int:
        return -(-len(self._images) // _COLUMNS) or _ROWS

    def sizeHint(self) -> QSize:  # noqa: N802
        """For a dock of usual width."""
        return QSize(340, self.heightForWidth(340))

    def show_images(self, preview: Preview | None) -> None:
        """Show other images, the first of them chosen."""
        self._images, self._titles, self._chosen = [], [], 0
        if preview is not None:
            for image, row in zip(preview.images, preview.rows, strict=True):
                self._images.append(gray_image(image))
                self._titles.append(f"{row + 1:,}")
        self.updateGeometry()
        self.update()

    def choose(self, cell: int) -> None:
        """Mark a cell."""
        self._chosen = cell
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw the cells."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        font = painter.font()
        font.setPointSize(7)
        painter.setFont(font)
        for cell in range(self._n_rows * _COLUMNS):
            where = self._cell(cell)
            if cell >= len(self._images):
                painter.fillRect(where, QColor(128, 128, 128, 30))
                continue
            painter.drawImage(where, self._images[cell])
            text = QRect(where.x() + 1, where.bottom() - 13, where.width(), 13)
            painter.setPen(QColor("black"))
            painter.drawText(text.translated(3, 1), Qt.AlignmentFlag.AlignLeft, self._titles[cell])
            painter.setPen(QColor("white"))
            painter.drawText(text.translated(2, 0), Qt.AlignmentFlag.AlignLeft, self._titles[cell])
            if cell == self._chosen:
                painter.setPen(QPen(QColor(self.colors.orange), 2))
                painter.drawRect(where.adjusted(1, 1, -1, -1))
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Choose the cell under the mouse."""
        if event is None:
            return
        point = event.position().toPoint()
        for cell in range(len(self._images)):
            if self._cell(cell).contains(point):
                self.clicked.emit(cell)

    def _cell(self, number: int) -> QRect:
        edge = min(self.width() // _COLUMNS, self.height() // self._n_rows)
        row, column = divmod(number, _COLUMNS)
        return QRect(column * edge, row * edge, edge - _GAP, edge - _GAP)


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
        self.montage = Montage(colors)
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
            self.montage.show_images(None)
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
        self.montage.show_images(preview)
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
