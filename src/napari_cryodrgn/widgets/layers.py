"""Particle stacks and volumes as napari layers."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils import Colormap
from numpy.typing import DTypeLike, NDArray

from ..errors import CryodrgnError
from . import notify

if TYPE_CHECKING:
    from napari.layers import Layer

    from ..particles import ImageStack, ParticleSet
    from .surfaces import Mesh

#: Contour of a volume as a share of its `bright_level`, where no better one is known.
CONTOUR = 0.4
#: Top of the contrast limits over the contour. napari applies the colormap to the lit surface: with
#: a lower top all that faces the viewer would be white.
TOP = 4.5
_SURFACE = Colormap(
    [[0.03, 0.05, 0.08, 1], [0.3, 0.46, 0.64, 1], [0.86, 0.93, 0.99, 1]], name="density"
)
_MESH = Colormap([[0.2, 0.3, 0.42, 1], [0.48, 0.66, 0.86, 1]], name="surface")


class LazyStack:
    """An image stack as an array (N, 1, D, D) float32 that reads what it is asked for.

    The axis of length 1 keeps napari from treating the stack as one volume. An image that cannot
    be read is shown empty, with a notification: napari would print a traceback at each redraw.
    """

    ndim = 4

    def __init__(self, images: ImageStack) -> None:
        self._images = images
        self.shape = (len(images), 1, images.box, images.box)
        self.dtype: DTypeLike = np.dtype(np.float32)
        self.size = int(np.prod(self.shape))
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis:
            first, rest = slice(None), [Ellipsis, *rest]
        index = np.arange(len(self))[first]
        images = self._read(np.atleast_1d(index))[:, None]
        if np.ndim(index) == 0:
            return images[0][tuple(rest)]
        return images[(slice(None), *rest)]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def _read(self, index: NDArray[np.intp]) -> NDArray[np.float32]:
        try:
            return self._images.read(index)
        except CryodrgnError as error:
            with self._lock:
                new = str(error) not in self._told
                self._told.add(str(error))
            if new:
                notify.error(error)
            return np.zeros((len(index), *self.shape[2:]), np.float32)


def stack_layer(particles: ParticleSet, name: str, layers: Iterable[Layer] = ()) -> Any:
    """Layer data of a particle set: an Image (N, 1, y, x), lazy, scaled to Å.

    Contrast limits come from a few images only. The set itself is ``metadata["particles"]``.

    Raises
    ------
    ParticleFileError
        If the images looked at cannot be read.
    """
    array = particles.images.array
    data = array[:, None] if isinstance(array, np.ndarray) else LazyStack(particles.images)
    size = particles.pixel_size
    options: dict[str, Any] = {
        "name": name,
        "contrast_limits": _stack_limits(particles.images),
        "metadata": {"particles": particles},
        "colormap": "gray",
        "scale": (1, 1, size or 1, size or 1),
        "axis_labels": ("particle", "z", "y", "x"),
    }
    if size is not None and _angstrom_fits(layers):
        options["units"] = ("pixel", "angstrom", "angstrom", "angstrom")
    return data, options, "image"


def volume_layer(
    volume: NDArray[np.float32],
    pixel_size: float | None,
    name: str,
    layers: Iterable[Layer] = (),
    contour: float | None = None,
) -> Any:
    """Layer data of a volume (z, y, x), or of volumes (t, z, y, x), as an iso-surface in Å.

    ``contour`` defaults to a share of the mean of the brightest hundredth of the voxels.
    """
    extra = volume.ndim - 3
    level = contour if contour is not None else CONTOUR * bright_level(volume)
    options: dict[str, Any] = {
        "name": name,
        "rendering": "iso",
        "iso_threshold": level,
        "contrast_limits": (0.0, TOP * level),
        "colormap": _SURFACE,
        "scale": (1,) * extra + (pixel_size or 1,) * 3,
        "axis_labels": ("step",) * extra + ("z", "y", "x"),
        "blending": "translucent_no_depth",
    }
    if pixel_size is not None and _angstrom_fits(layers):
        options["units"] = ("pixel",) * extra + ("angstrom",) * 3
    return volume, options, "image"


def surface_layer(
    data: Mesh, pixel_size: float | None, name: str, layers: Iterable[Layer] = ()
) -> Any:
    """Layer data of a mesh in voxels, (n, 3) or (n, 4) with the step first, in Å."""
    extra = data[0].shape[1] - 3
    options: dict[str, Any] = {
        "name": name,
        "shading": "smooth",
        "contrast_limits": (0.0, 1.0),
        "colormap": _MESH,
        "scale": (1,) * extra + (pixel_size or 1,) * 3,
        "axis_labels": ("step",) * extra + ("z", "y", "x"),
    }
    if pixel_size is not None and _angstrom_fits(layers):
        options["units"] = ("pixel",) * extra + ("angstrom",) * 3
    return data, options, "surface"


def bright_level(volume: NDArray[np.float32]) -> float:
    """Mean of the brightest hundredth of the voxels; 1 for an empty volume."""
    values = volume[np.isfinite(volume)]
    if not values.size:
        return 1.0
    count = max(values.size // 100, 1)
    level = float(np.partition(values, values.size - count)[-count:].mean())
    return level if level > 0 else 1.0


def _stack_limits(images: ImageStack, looked_at: int = 8) -> tuple[float, float]:
    index = np.unique(np.linspace(0, len(images) - 1, looked_at).astype(int))
    low, high = np.percentile(images.read(index), (0.5, 99.8))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1)


def _angstrom_fits(layers: Iterable[Layer]) -> bool:
    """Whether layers in Å would share their units with those there; napari drops mixed ones."""
    return all(str(layer.units[-1]) == "angstrom" for layer in layers)
