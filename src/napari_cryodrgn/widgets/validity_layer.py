"""Where volumes differ, as colours on the surface of their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from napari.utils import Colormap

from .layers import surface_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from .validity_spread import SpreadSurface

# In the metadata of the layers of `VolumeView`, which hides this one as one of them.
_VOLUME = "napari-cryodrgn volume"
#: Colours (r, g, b) from parts that are steady to those that differ most. From grey: black ones
#: could not be made out.
STOPS = ((0.36, 0.42, 0.5), (0.78, 0.4, 0.32), (1.0, 0.66, 0.2), (1.0, 0.95, 0.65))
_DIFFER = Colormap([[*stop, 1] for stop in STOPS], name="spread")


class SpreadLayer:
    """Shows one standard deviation after another in one layer, and never beside a volume.

    Parameters
    ----------
    viewer
        Where the layer goes.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Any = None
        self._hidden: list[Layer] = []

    @property
    def layer(self) -> Layer | None:
        """The layer, if it is in the viewer."""
        return self._layer if self._layer in self._viewer.layers else None

    def put(self, found: SpreadSurface) -> None:
        """Add it in place of the last one, not to be seen yet."""
        data, options, kind = surface_layer(
            found.surface, found.pixel_size, found.name, self._viewer.layers
        )
        options |= {
            "scale": (found.size,) * 3,
            "colormap": _DIFFER,
            "contrast_limits": (0.0, found.top),
            "metadata": {"spread": found.spread, _VOLUME: True},
            "visible": False,
        }
        if self.layer is not None:
            self._viewer.layers.remove(self._layer)
        self._layer = Layer.create(data, options, kind)
        self._viewer.add_layer(self._layer)

    def show(self) -> None:
        """Show the layer in place of volumes, which would lie in the same place."""
        layer = self.layer
        if layer is None or layer.visible:
            return
        for other in self._viewer.layers:
            if _VOLUME in other.metadata and other.visible:
                other.visible = False
                self._hidden.append(other)
        layer.visible = True
        self._viewer.dims.ndisplay = 3

    def hide(self) -> None:
        """Hide the layer, and show what it has hidden; nothing if something else has hidden it."""
        layer, hidden = self.layer, self._hidden
        self._hidden = []
        if layer is None or not layer.visible:
            return
        layer.visible = False
        for other in hidden:
            if other in self._viewer.layers:
                other.visible = True
