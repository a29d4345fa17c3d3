"""Volumes that can be cut through, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari.layers import Layer

    from ..analysis import Run
    from .decode_model import Decoded

Array = NDArray[np.float32]
Triple = tuple[float, float, float]
# Percentiles that are black and white, and about how many voxels they are found from.
_ENDS = (0.5, 99.9)
_SAMPLE = 200_000
# Share of what is white from which density is strong, and steps of its reach in an edge.
_STRONG, _STEPS = 0.3, 16


@dataclass(frozen=True, eq=False)
class Density:
    """A volume (z, y, x).

    ``size`` is the edge of its voxels along z, y, x, in Å or else as ``unit`` says; ``centre`` the
    place of voxel D // 2 in the viewer. ``framed`` tells that it covers the cube of the run's
    images, ``final`` that no finer one of the same follows.
    """

    name: str
    data: Array
    size: Triple
    centre: Triple
    unit: str
    framed: bool
    final: bool = True

    @property
    def edge(self) -> float:
        """Longest edge of the volume in its unit."""
        return float(np.max(np.array(self.data.shape) * self.size))

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Densities to show as black and white."""
        step = max(1, round((self.data.size / _SAMPLE) ** (1 / 3)))
        low, high = np.percentile(self.data[::step, ::step, ::step], _ENDS).tolist()
        return (low, high) if high > low else (low, low + 1)

    @cached_property
    def reach(self) -> float:
        """Radius of a sphere about the centre that holds nearly all strong density."""
        step = max(1, round((self.data.size / _SAMPLE) ** (1 / 3)))
        part = self.data[::step, ::step, ::step]
        axes = [
            np.square((step * np.arange(n) - edge // 2) * size)
            for n, edge, size in zip(part.shape, self.data.shape, self.size, strict=True)
        ]
        away = np.sqrt(axes[0][:, None, None] + axes[1][:, None] + axes[2])
        strong = away[part > _STRONG * self.limits[1]]
        radius = 1.1 * float(np.percentile(strong, 99)) if strong.size else self.edge
        # In a few steps: it is not to flicker from one volume to the next.
        return float(min(np.ceil(_STEPS * radius / self.edge) / _STEPS, 0.5) * self.edge)

    def kept(self) -> Density:
        """The same with a memory of its own."""
        return replace(self, name=f"{self.name}, kept", data=self.data.copy())


def of_particle(decoded: Decoded, particle: int) -> Density:
    """The volume decoded at a particle's latent."""
    size = decoded.pixel_size or decoded.step
    centre = size * (decoded.box // 2)
    unit = "px" if decoded.pixel_size is None else "Å"
    return Density(
        f"particle {particle}",
        decoded.data,
        (size,) * 3,
        (centre,) * 3,
        unit,
        framed=True,
        final=decoded.final,
    )


def of_consensus(run: Run) -> Density:
    """The consensus of a run.

    Raises
    ------
    RunFolderError
        If there is none yet.
    """
    return _of_run(run, "consensus", np.asarray(run.consensus().data, np.float32))


def _of_run(run: Run, name: str, data: Array) -> Density:
    size = run.pixel_size or 1.0
    centre = size * (len(data) // 2)
    unit = "px" if run.pixel_size is None else "Å"
    return Density(name, data, (size,) * 3, (centre,) * 3, unit, framed=True)


def of_latent(run: Run, name: str, z: Array, stop: Callable[[], bool]) -> Density:
    """The volume at a latent (zdim,); ``stop`` says that it is no longer wanted.

    Raises
    ------
    CryodrgnError
        If it cannot be decoded, or ``stop`` said so.
    """
    return _of_run(run, name, run.decode(z, stop=stop))


def volume_layers(layers: Iterable[Layer]) -> list[Any]:
    """The layers that hold a volume (z, y, x)."""
    from napari.layers import Image

    return [
        layer
        for layer in layers
        if isinstance(layer, Image)
        and layer.ndim == 3
        and not (layer.rgb or layer.multiscale)
        and min(layer.data.shape) > 1
    ]


def of_layer(layer: Any, run: Run | None) -> Callable[[Density | None], Density]:
    """What gives the volume of a layer, in any thread: it may have to be read and converted.

    It tells whether it covers the cube of the images of ``run``. Called with what it gave before,
    it gives that again if nothing has changed.
    """
    data = layer.data
    size = tuple(float(s) for s in np.abs(layer.scale))
    centre = np.array(layer.translate) + np.array(layer.scale) * (np.array(data.shape) // 2)
    edges = np.array(data.shape) * size
    wanted = None if run is None else run.box * (run.pixel_size or 1.0)
    cube = len(set(data.shape)) == 1 and len(data) % 2 == 0
    framed = cube and wanted is not None and bool(np.allclose(edges, wanted, rtol=0.01))
    # napari's pixels have a scale where units would not go together with those of other layers.
    unit = "px" if str(layer.units[-1]) == "pixel" and set(size) == {1.0} else "Å"
    name, place = layer.name, tuple(centre.tolist())

    def density(before: Density | None) -> Density:
        # A copy: the layer may be changed in place.
        values = np.array(data, np.float32)
        found = Density(name, values, size, place, unit, framed)  # type: ignore[arg-type]
        if before is None or (before.size, before.centre) != (size, place):
            return found
        return before if np.array_equal(before.data, values) else found

    return density
