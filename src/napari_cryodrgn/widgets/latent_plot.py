"""The map: a latent space of up to millions of particles that answers the mouse."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt, Signal, SignalInstance
from qtpy.QtGui import QFocusEvent, QKeyEvent

from .density_image import Cloud, Look
from .map_colors import Coloring, Values, coloring, density_table
from .map_histogram import CountAxis
from .map_legend import MapLegend
from .map_marks import MapMarks
from .map_particles import UNIFORM, Ask, MapParticles
from .map_ranges import Range, limits, ranges
from .map_view import TOOLS, MapView, Tool
from .qt_tools import Colors, disable_menu

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
#: Above this many points an image is drawn, with some of the points on top.
MANY = 50_000
SAMPLE = 20_000
_KEYS = dict(zip((Qt.Key.Key_D, Qt.Key.Key_L, Qt.Key.Key_R, Qt.Key.Key_P), TOOLS, strict=True))


class LatentPlot(pg.PlotWidget):
    """Particles on one axis as a histogram, on two as points, or as an image if they are many.

    Points are given out with one or two entries, as there are axes, together with the size of a
    pixel in data units. The wheel zooms; the middle and right button and Shift or Space with the
    left one move the map; a double click or the key A shows everything; Escape gives up a stroke.

    Parameters
    ----------
    colors
        Of the theme.
    ask
        Where images of many particles are made; in the calling thread if absent. Whatever else is
        asked there keeps the map waiting.
    """

    clicked = Signal(object, object)
    #: While the mouse is dragged with the tool "decode", and at its end.
    dragged = Signal(object, object)
    released = Signal(object, object)
    #: A polygon (m, 2) was drawn around particles. With one axis it holds a range of it at y = 0.
    lassoed = Signal(object)
    #: A path (m, 1 or 2) was drawn.
    path_drawn = Signal(object)
    tool_changed = Signal(str)

    def __init__(self, colors: Colors, ask: Ask | None = None) -> None:
        self.view = MapView()
        super().__init__(viewBox=self.view, axisItems={"left": CountAxis("left")})
        self.setMinimumHeight(240)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        plot = self.getPlotItem()
        disable_menu(plot, self)
        plot.hideButtons()
        self.scene().setMoveDistance(3)
        for side in ("left", "bottom"):
            plot.getAxis(side).enableAutoSIPrefix(False)
        plot.getAxis("left").setWidth(48)
        self.legend = MapLegend()
        plot.layout.addItem(self.legend, 4, 0, 1, 3)
        self.particles = MapParticles(self, ask)
        self.marks = MapMarks(self)
        self.density, self.points = self.particles.image, self.particles.points
        self.bars = self.particles.histogram.bars
        self.here, self.nearest = self.marks.here, self.marks.nearest
        self.line, self.nearest_line = self.marks.line, self.marks.nearest_line
        self._xy: tuple[Array, ...] = ()
        self._axes: tuple[str, ...] = ()
        self._values: Values | None = None
        self._clip: tuple[float, float] | None = None
        self._coloring: Coloring | None = None
        self._faint: Mask | None = None
        self._chosen: Mask | None = None
        self._home: list[Range] = []
        self._all: list[Range] = []
        for signal, own in (
            (self.view.clicked, self.clicked),
            (self.view.dragged, self.dragged),
            (self.view.released, self.released),
        ):
            signal.connect(partial(self._give_point, own))
        self.view.stroked.connect(self._give_stroke)
        self.view.all_wanted.connect(self.show_all)
        self.set_colors(colors)
        self.clear_points()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Small: the scene's own hint would make the dock wide."""
        return QSize(360, 360)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.setBackground(colors.background)
        self._colors = colors
        for side in ("left", "bottom"):
            self.getAxis(side).setPen(colors.dim)
            self.getAxis(side).setTextPen(colors.text)
        self._look = Look(
            density_table(colors.background),
            faint=pg.mkColor(colors.dim).getRgb()[:3],
            chosen=pg.mkColor(colors.orange).getRgb()[:3],
        )
        for part in (self.view, self.particles, self.marks, self.legend):
            part.set_colors(colors)
        self._label_axes()
        self._color()
        self._draw()

    # What is drawn

    def clear_points(self) -> None:
        """Draw nothing."""
        self._xy = ()
        self.particles.clear()
        self.legend.set_nothing()
        self._clear_marks()

    def set_points(self, points: Array, axes: Sequence[str], *, keep_view: bool = False) -> None:
        """Draw particles (N, 1 or 2) on the named axes, all in view unless it is to be kept.

        Values, masks and the selection stay if there are as many particles as before. A view that
        shows everything goes on to do so.
        """
        same = len(self._xy) == points.shape[1] and len(self._xy[0]) == len(points)
        before, was_home = self._home, self._is_at(self._home)
        if not self._xy or len(self._xy[0]) != len(points):
            self._values = self._faint = self._chosen = None
        self._xy = tuple(np.ascontiguousarray(c, np.float32) for c in points.T)
        self._axes = tuple(axes)
        if not (keep_view and same):
            self.particles.clear()
        self._clear_marks()
        self._label_axes()
        self._measure()
        flat = len(self._xy) == 1
        self.view.flat = flat
        self.view.setMouseEnabled(x=True, y=not flat)
        self.view.disableAutoRange()
        if not (keep_view and same and before and not was_home):
            self._go(self._home)
        self._color()
        self._draw()

    def set_values(self, values: Values | None, clip: tuple[float, float] | None = None) -> None:
        """Colour particles by values, or by how many lie at a place.

        Parameters
        ----------
        values
            Of all particles.
        clip
            Numbers that get the first and the last colour; the 1st and 99th percentile if absent.
        """
        self._values, self._clip = values, clip
        self._color()
        self._draw()

    def set_mask(self, mask: Mask | None) -> None:
        """Draw some particles (N,) faintly."""
        self._faint = mask
        self._draw()

    def set_selection(self, mask: Mask | None) -> None:
        """Highlight some particles (N,)."""
        self._chosen = mask
        self._draw()

    def set_path(self, points: NDArray[np.floating] | None) -> None:
        """Draw a path (m, 1 or 2) with its beginning marked."""
        self.marks.set_path(points)

    def set_centres(self, points: NDArray[np.floating], names: Sequence[str]) -> None:
        """Draw centres of clusters (k, 1 or 2) and their names; none if ``k`` is 0."""
        self.marks.set_centres(points, names)

    def mark(self, here: Sequence[float], nearest: Sequence[float] | None = None) -> None:
        """Mark the decoded point and the particle nearest to it."""
        self.marks.mark(here, nearest)

    def clear_marks(self) -> None:
        """Take the marks of the last click away."""
        self.marks.clear()

    def show_all(self) -> None:
        """Show all particles but far outliers; if that is so already, show those too."""
        if self._xy:
            self._go(self._all if self._is_at(self._home) else self._home)

    def _clear_marks(self) -> None:
        self.clear_marks()
        self.set_path(None)
        self.set_centres(np.zeros((0, 2)), ())

    # The mouse and the keys

    @property
    def tool(self) -> Tool:
        """What the left button does: "decode", "lasso", "rectangle" or "path"."""
        return self.view.tool

    @tool.setter
    def tool(self, tool: Tool) -> None:
        if tool not in TOOLS:
            raise ValueError(f"no tool {tool!r}; there are {', '.join(TOOLS)}")
        if tool != self.view.tool:
            self.view.tool = tool
            self.tool_changed.emit(tool)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Choose a tool, show everything, or give up a stroke."""
        key = Qt.Key(event.key())
        plain = event.modifiers() == Qt.KeyboardModifier.NoModifier
        if key == Qt.Key.Key_Space:
            self.view.left_moves = True
        elif key == Qt.Key.Key_A and plain:
            self.show_all()
        elif key in _KEYS and plain:
            self.tool = _KEYS[key]
        elif key != Qt.Key.Key_Escape or not self.view.drop_stroke():
            # Not ours: the window may know it.
            event.ignore()

    def keyReleaseEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Space moves the map no more."""
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self.view.left_moves = False

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        """The release of a key would be told to another."""
        self.view.left_moves = False
        super().focusOutEvent(event)

    def _give_point(self, signal: SignalInstance, x: float, y: float) -> None:
        if self._xy:
            k = len(self._xy)
            signal.emit([x, y][:k], list(self.view.viewPixelSize())[:k])

    def _give_stroke(self, stroke: NDArray[np.float64]) -> None:
        if not self._xy:
            return
        if self.tool == "path":
            self.path_drawn.emit(stroke[:, : len(self._xy)])
        else:
            self.lassoed.emit(stroke)

    # Drawing

    def _label_axes(self) -> None:
        if not self._axes:
            return
        style = {"color": self._colors.text, "font-size": "9pt"}
        self.setLabel("bottom", self._axes[0], **style)
        self.setLabel("left", self._axes[1] if len(self._axes) > 1 else "particles", **style)

    def _measure(self) -> None:
        """Find out what there is to be shown, without and with outliers."""
        self._home, self._all = ranges(self._xy)
        if len(self._xy) == 1:
            self._home.append((0.0, 1.0))
            self._all.append((0.0, 1.0))
        self.view.setLimits(**limits(self._all))
        if len(self._xy) == 1:
            self.view.setLimits(yMin=0, yMax=None, minYRange=None)

    def _go(self, shown: list[Range]) -> None:
        self.view.setRange(xRange=shown[0], yRange=shown[1], padding=0)

    def _is_at(self, shown: list[Range]) -> bool:
        return bool(shown) and np.allclose(self.view.viewRange(), shown, rtol=1e-6)

    def _color(self) -> None:
        """Translate the values, and tell in the legend what the colours mean."""
        if not self._xy:
            return
        self._coloring = None
        if self._values is not None:
            self._coloring = coloring(self._values, self._clip, self._colors.background)
            self.legend.set_values(self._values, self._coloring)
        elif len(self._xy) == 2 and len(self._xy[0]) > UNIFORM:
            self.legend.set_density(self._look.density)
        else:
            self.legend.set_nothing()

    def _draw(self) -> None:
        if not self._xy:
            return
        x, y = self._xy[0], self._xy[-1]
        cloud = Cloud(x, y, self._look, self._coloring, self._faint, self._chosen)
        if len(self._xy) == 1:
            self.particles.show_histogram(cloud, self._home[0], self._on_counted)
        elif len(x) <= MANY:
            self.particles.show_points(cloud)
        else:
            self.particles.show_image(cloud, SAMPLE)

    def _on_counted(self, highest: int) -> None:
        """The height of a histogram is known when it has been counted."""
        self._home[1] = self._all[1] = (0.0, 1.06 * max(highest, 1))
        self.view.setYRange(*self._home[1], padding=0)
