"""Viewing directions on a sphere around the volume, in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import healpix
import numpy as np
from napari.utils import Colormap
from numpy.typing import NDArray

from .direction_plot import TABLE
from .layers import surface_layer
from .opengl import remove_layers
from .surfaces import Floats, Mesh

if TYPE_CHECKING:
    from napari.components import ViewerModel

#: Key of the metadata of these layers.
SPHERE = "napari-cryodrgn sphere"
# Of the sphere in boxes of the volume; of bars and of the arrow, in radii of it.
_RADIUS, _HEIGHT, _WIDEST = 0.62, 0.3, 0.05
_FROM, _TO, _THICK = 1.6, 1.05, 0.04
_ORANGE = Colormap([[0.5, 0.25, 0.05, 1], [1, 0.6, 0.2, 1]], name="arrow")
# Of a bar, in the distance between bars: the molecule is to be seen between them.
_WIDTH = 0.35
#: HEALPix resolution up to which there are not too many bars.
MOST_SIDE = 8
_NAMES = ("Viewing directions", "Direction of the particle")
# Corners of a bar (dx, dy, top) and its faces: the sides and the top.
_CORNERS = [(x, y, top) for top in (0, 1) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
_SIDES = [(i, (i + 1) % 4, 4 + (i + 1) % 4) for i in range(4)]
_SIDES += [(i, 4 + (i + 1) % 4, 4 + i) for i in range(4)] + [(4, 5, 6), (4, 6, 7)]


class DirectionSphere:
    """Shows how many particles are seen from each direction, and where one is seen from.

    Numbers of particles are bars on a sphere: their mesh is as large for a million particles.

    The layers are made by `show` and go with `remove`; one that the user deleted comes back with
    the next `show`.

    Parameters
    ----------
    viewer
        Where the layers go.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._sphere: Any = None
        self._arrow: Any = None
        self._counts: NDArray[np.intp] | None = None
        # Before the camera went back for the sphere, and after.
        self._zooms: tuple[float, float] | None = None

    @property
    def shown(self) -> bool:
        """Whether the sphere is in the viewer."""
        return self._sphere is not None and self._sphere in self._viewer.layers

    def show(self, counts: NDArray[np.intp], box: int, pixel_size: float | None) -> None:
        """Show views counted in HEALPix pixels around a volume.

        Parameters
        ----------
        counts
            (12 n_side²,), in ring order.
        box, pixel_size
            Edge of the volume in voxels, and of a voxel in Å.
        """
        if self.shown and counts is self._counts:
            return
        self._counts = counts
        bars = sphere_bars(counts, box)
        if self.shown:
            self._sphere.data = bars
            return
        data, options, _ = surface_layer(bars, pixel_size, _NAMES[0], self._viewer.layers)
        colors = Colormap(TABLE / np.float32(255), name="viewing directions")
        options |= {"shading": "flat", "colormap": colors, "metadata": {SPHERE: True}}
        self._sphere = _bare(self._viewer.add_surface(data, **options))
        self._fit(box * (pixel_size or 1.0))

    def point(self, axis: Floats | None, box: int, pixel_size: float | None) -> None:
        """Show the direction (3,) that a particle is seen along as an arrow, or none.

        Only together with the sphere.
        """
        layers = self._viewer.layers
        there = self._arrow is not None and self._arrow in layers
        if axis is None or not self.shown:
            if there:
                layers.remove(self._arrow)
            return
        arrow = arrow_mesh(np.asarray(axis), box)
        if there:
            if not np.array_equal(self._arrow.data[0], arrow[0]):
                self._arrow.data = arrow
            return
        data, options, _ = surface_layer(arrow, pixel_size, _NAMES[1], layers)
        options |= {"shading": "flat", "colormap": _ORANGE, "metadata": {SPHERE: True}}
        self._arrow = _bare(self._viewer.add_surface(data, **options))

    def _fit(self, edge: float) -> None:
        """Go back with the camera until the sphere around a box of that edge fits."""
        camera = self._viewer.scene.camera
        whole = min(self._viewer.canvas.size) / (2 * _RADIUS * (1 + _HEIGHT) * edge)
        if whole < camera.zoom:
            self._zooms = camera.zoom, whole
            camera.zoom = whole

    def remove(self) -> None:
        """Take the layers out of the viewer."""
        remove_layers(self._viewer, (self._arrow, self._sphere))
        self._sphere = self._arrow = None
        if self._zooms is not None:
            before, fitted = self._zooms
            self._zooms = None
            # Unless the user has moved it since.
            if self._viewer.scene.camera.zoom == fitted:
                self._viewer.scene.camera.zoom = before


def sphere_bars(counts: NDArray[np.intp], box: int) -> Mesh:
    """Views in HEALPix pixels (12 n_side²,) as bars around a volume, in its voxels (z, y, x).

    A bar is as high as its pixel's share of the most, and a value is the root of that.
    """
    share = (counts / max(int(counts.max()), 1)).astype(np.float32)
    pixels = np.flatnonzero(counts)
    n_side = healpix.npix2nside(len(counts))
    out = np.stack([np.asarray(v) for v in healpix.pix2vec(n_side, pixels)], 1)
    east, north = _across(out)
    width = min(_WIDTH * np.sqrt(np.pi / 3) / n_side, _WIDEST) / 2
    tall = 1.0 + _HEIGHT * share[pixels][:, None]
    corners = [
        (tall if top else 1) * out + width * (x * east + y * north) for x, y, top in _CORNERS
    ]
    vertices = _RADIUS * box * np.stack(corners, 1).reshape(-1, 3)[:, ::-1] + box // 2
    starts = len(_CORNERS) * np.arange(len(pixels))
    faces = (starts[:, None, None] + np.array(_SIDES)).reshape(-1, 3)
    values = np.repeat(np.sqrt(share[pixels]), len(_CORNERS))
    return vertices.astype(np.float32), faces.astype(np.int32), values


def arrow_mesh(axis: NDArray[np.floating], box: int) -> Mesh:
    """A cone that points along a direction (3,) at a volume, in its voxels (z, y, x)."""
    out = np.asarray(axis, np.float64)
    ((east,), (north,)) = _across(out[None])
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)[:, None]
    rim = _FROM * out + _THICK * (np.cos(turn) * east + np.sin(turn) * north)
    points = np.concatenate([rim, [_TO * out, _FROM * out]])
    first = np.arange(len(rim))
    second, tip = (first + 1) % len(rim), np.full(len(rim), len(rim))
    faces = np.concatenate([np.stack([first, second, end], 1) for end in (tip, tip + 1)])
    vertices = _RADIUS * box * points[:, ::-1] + box // 2
    return vertices.astype(np.float32), faces.astype(np.int32), np.ones(len(points), np.float32)


def _across(out: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Two unit vectors (n, 3) perpendicular to unit vectors and to each other."""
    pole = np.where(np.abs(out[:, 2:]) < 0.999, [[0.0, 0, 1]], [[1.0, 0, 0]])
    east = np.cross(pole, out)
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    return east, np.cross(out, east)


def _bare(layer: Any) -> Any:
    """What the viewer's list holds: a plugin gets it behind a proxy."""
    return getattr(layer, "__wrapped__", layer)
