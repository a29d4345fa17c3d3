"""Where volumes differ, as colours on the surface of their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer
from napari.utils import Colormap

from .layers import surface_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from .validity_model import SpreadSurface

# In the metadata of the layers of `VolumeView`.
_VOLUME = "napari-cryodrgn volume"
# From the grey of steady parts: black ones could not be made out.
_DIFFER = Colormap(
    [[0.36, 0.42, 0.5, 1], [0.78, 0.4, 0.32, 1], [1, 0.66, 0.2, 1], [1, 0.95, 0.65, 1]],
    name="spread",
)


class SpreadLayer:
    """Shows one standard deviation after another in one layer.

    Parameters
    ----------
    viewer
        Where the layer goes.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Any = None

    @property
    def layer(self) -> Layer | None:
        """The layer, if it is in the viewer."""
        return self._layer if self._layer in self._viewer.layers else None

    def show(self, found: SpreadSurface) -> None:
        """Show it in place of the last one; grey where volumes agree, bright where they differ."""
        data, options, kind = surface_layer(
            found.surface, found.pixel_size, found.name, self._viewer.layers
        )
        values = found.surface[2]
        top = float(np.quantile(values, 0.99)) if len(values) > 1 else 1.0
        options |= {
            "scale": (found.size,) * 3,
            "colormap": _DIFFER,
            "contrast_limits": (0.0, max(top, 1e-12)),
            "metadata": {"spread": found.spread},
        }
        if self.layer is not None:
            self._viewer.layers.remove(self._layer)
        # A surface in the same place would hide it.
        for layer in self._viewer.layers:
            if _VOLUME in layer.metadata and layer.visible:
                layer.visible = False
        self._layer = Layer.create(data, options, kind)
        self._viewer.add_layer(self._layer)
        self._viewer.dims.ndisplay = 3
