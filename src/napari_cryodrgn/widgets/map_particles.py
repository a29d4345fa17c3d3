"""Draws the particles of a map, and draws them again for what is in view."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, QTimer
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QWidget

from .density_image import Cloud, Picture, Region, Rows, palette, point_codes, render
from .map_colors import Table
from .map_dots import MapDots
from .map_histogram import Counts, MapHistogram, count
from .qt_tools import Colors

# Up to so many points are all blue; above, their colour tells how crowded they are.
UNIFORM = 2_000
# Size of a bin in pixels, and how much of the surroundings is drawn too, in widths of the view.
_BIN = 2.0
_MARGIN = 0.4
_MOST_BINS = 1000
_WAIT_MS = 30
_numbers = itertools.count()


class Ask(Protocol):
    """Runs a job, mostly in a thread; see `Background.ask`."""

    def __call__(
        self,
        key: str,
        job: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run ``job``, then ``done`` or ``failed`` in the thread of the window."""


class MapParticles:
    """The items of a plot that show a `Cloud`.

    Parameters
    ----------
    plot
        Shows them.
    ask
        Where images of many particles are made; in the calling thread if absent.
    """

    def __init__(self, plot: pg.PlotWidget, ask: Ask | None) -> None:
        self._ask = ask or _ask_here
        self._view = plot.getViewBox()
        self.image = _SmoothImage(axisOrder="row-major")
        self.points = MapDots()
        self.chosen = MapDots()
        for item in (self.image, self.points, self.chosen):
            plot.addItem(item, ignoreBounds=True)
        self.histogram = MapHistogram(plot)
        # Another map may ask at the same place.
        self._key = f"map {next(_numbers)}"
        # What is or will be drawn, and the same if it is drawn anew for what is in view.
        self._drawn: Cloud | None = None
        self._cloud: Cloud | None = None
        self._limit = 0
        self._picture: Picture | None = None
        self._asked = False
        #: How many pictures have been drawn.
        self.pictures = 0
        self._timer = QTimer(plot)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_WAIT_MS)
        self._timer.timeout.connect(self._look_again)
        self._view.sigRangeChanged.connect(self._on_moved)
        self._view.sigResized.connect(self._on_moved)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._blue, self._orange = pg.mkColor(colors.blue), pg.mkColor(colors.orange)
        self._background = pg.mkColor(colors.background)
        self.histogram.set_colors(colors)

    def clear(self) -> None:
        """Draw nothing."""
        for item in (self.image, self.points, self.chosen):
            item.setVisible(False)
        self.histogram.hide()
        self._drawn = self._cloud = self._picture = None

    def show_points(self, cloud: Cloud) -> None:
        """Draw all particles as points."""
        self._drawn, self._cloud = cloud, None
        self.image.setVisible(False)
        self.histogram.hide()
        rows = np.arange(len(cloud.x))
        n = len(rows)
        if cloud.coloring is None and n <= UNIFORM:
            table = np.array([self._blue.getRgb()[:3], cloud.look.faint], np.uint8)
            codes = np.zeros(n, np.int32) if cloud.faint is None else cloud.faint.astype(np.int32)
        else:
            table, codes = palette(cloud), point_codes(cloud, rows)
        size = 10.0 if n < 20 else 6.0 if n <= UNIFORM else 4.0 if n <= 20_000 else 3.0
        self._draw_points(cloud, rows, codes, table, size, 180 if n <= 20_000 else 140)

    def show_image(self, cloud: Cloud, limit: int) -> None:
        """Draw many particles as an image, with at most ``limit`` points on top.

        What is drawn now stays until then.
        """
        self._drawn = self._cloud = cloud
        self._limit = limit
        self.histogram.hide()
        self._look()

    def show_histogram(
        self, cloud: Cloud, core: tuple[float, float], shown: Callable[[int], None]
    ) -> None:
        """Draw counts along ``x``; ``shown`` is called with the largest one when they are there.

        ``core`` is the range that the bins must suit.
        """
        self.clear()
        self._drawn = cloud

        def done(counts: Counts) -> None:
            if self._drawn is cloud:
                self.histogram.show(counts)
                shown(int(counts.everything.max()))

        self._ask(self._key, partial(count, cloud, core), done, _fail)

    def _on_moved(self, *_: object) -> None:
        if self._cloud is not None and not self._timer.isActive():
            self._timer.start()

    def _look_again(self) -> None:
        if self._cloud is None:
            return
        if self._asked:
            # One picture at a time: a thread that is late would never catch up.
            self._timer.start()
        elif not self._covered():
            self._look()

    def _look(self) -> None:
        cloud = self._cloud
        region = self._region()
        if cloud is None or region is None:
            return
        self._asked = True
        self._ask(self._key, partial(render, cloud, region, self._limit), self._show, self._failed)

    def _failed(self, error: Exception) -> None:
        self._asked = False
        _fail(error)

    def _show(self, picture: Picture) -> None:
        self._asked = False
        cloud = self._cloud
        if cloud is None:
            return
        self._picture = picture
        self.pictures += 1
        self.image.setVisible(picture.image is not None)
        if picture.image is not None:
            self.image.setImage(picture.image, autoLevels=False, levels=None)
            region = picture.region
            size = (region.right - region.left, region.top - region.bottom)
            self.image.setRect(QRectF(region.left, region.bottom, *size))
        alone = picture.image is None
        few = len(picture.rows) <= UNIFORM
        size_px = 5.0 if alone and few else 3.5 if alone else 2.5
        self._draw_points(
            cloud, picture.rows, picture.codes, palette(cloud), size_px, 200, alone=alone
        )

    def _draw_points(
        self,
        cloud: Cloud,
        rows: Rows,
        codes: NDArray[np.int32],
        table: Table,
        size: float,
        alpha: int,
        *,
        alone: bool = True,
    ) -> None:
        faint = len(table) - 1
        if cloud.faint is not None:
            # Faint ones first: they lie below.
            order = np.argsort(codes != faint, kind="stable")
            rows, codes = rows[order], codes[order]
        shades = [QColor(r, g, b, alpha) for r, g, b in table.tolist()]
        shades[-1].setAlpha(alpha // 3)
        self.points.set_dots(cloud.x[rows], cloud.y[rows], codes, shades, size)
        self.points.setVisible(len(rows) > 0)
        self.chosen.setVisible(False)
        if cloud.chosen is None:
            return
        chosen = rows[cloud.chosen[rows]]
        edge = self._background if alone and size > 4 else None
        orange = QColor(self._orange)
        orange.setAlpha(alpha)
        codes = np.zeros(len(chosen), np.int32)
        self.chosen.set_dots(cloud.x[chosen], cloud.y[chosen], codes, [orange], size, edge)
        self.chosen.setVisible(len(chosen) > 0)

    def _bin_size(self) -> tuple[float, float]:
        across, up = self._view.viewPixelSize()
        return _BIN * across, _BIN * up

    def _covered(self) -> bool:
        """Whether what is drawn is still right for what is in view."""
        picture = self._picture
        if picture is None:
            return False
        region = picture.region
        (left, right), (bottom, top) = self._wanted(0)
        inside = (
            region.left <= left
            and right <= region.right
            and region.bottom <= bottom
            and top <= region.top
        )
        if picture.image is None:
            return inside
        across, up = self._bin_size()
        same = np.allclose(
            (across, up),
            (
                (region.right - region.left) / region.width,
                (region.top - region.bottom) / region.height,
            ),
            rtol=0.02,
        )
        return inside and same

    def _wanted(self, margin: float) -> list[tuple[float, float]]:
        """The part of the view, with a margin, where there are particles at all."""
        wanted = []
        assert self._cloud is not None
        for (low, high), (first, last) in zip(
            self._view.viewRange(), self._cloud.extent, strict=True
        ):
            more = margin * (high - low)
            start = min(max(low - more, first), last)
            wanted.append((start, max(min(high + more, last), start)))
        return wanted

    def _region(self) -> Region | None:
        if self._cloud is None:
            return None
        edges = []
        for (low, high), step in zip(self._wanted(_MARGIN), self._bin_size(), strict=True):
            # Bins stay where they are when the map moves, so that it does not shimmer.
            first, last = np.floor(low / step) - 1, np.floor(high / step) + 2
            edges.append((first * step, last * step, int(min(last - first, _MOST_BINS))))
        (left, right, width), (bottom, top, height) = edges
        return Region(left, bottom, right, top, width, height)


class _SmoothImage(pg.ImageItem):
    """An image whose pixels run into each other."""

    def paint(self, painter: QPainter, option: object, widget: QWidget | None = None) -> None:
        """Draw it."""
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        super().paint(painter, option, widget)


def _ask_here(
    key: str,
    job: Callable[[], Any],
    done: Callable[[Any], None],
    failed: Callable[[Exception], None],
) -> None:
    done(job())


def _fail(error: Exception) -> None:
    raise error
