"""The viewer seen the way a particle is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.components import ViewerModel

# Ways that napari's axes point on the screen which make a mirror image of the scene each.
_MIRRORS = frozenset({"away", "up", "left"})


def turn_to(viewer: ViewerModel, rotation: np.ndarray) -> None:
    """Turn a 3D view so that volumes show what a particle's projection shows.

    The x axis of the image then points to the right and its y axis down, as napari draws images.
    What the camera looks at, and from how far, stays.

    Parameters
    ----------
    viewer
        Whose camera is turned.
    rotation
        Of the particle, object to image (3, 3); its rows are the axes of the image.
    """
    _, y, along = np.asarray(rotation, np.float64)[:, ::-1]
    viewer.dims.ndisplay = 3
    camera = viewer.scene.camera
    # A projection does not tell front from back: x and y decide which of them is seen.
    mirrored = sum(str(way) in _MIRRORS for way in camera.orientation) % 2
    camera.set_view_direction(tuple(along if mirrored else -along), tuple(-y))
