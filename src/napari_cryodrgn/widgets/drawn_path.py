"""What a line drawn on the map means in latent space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from .latent_space import LatentSpace

Array = NDArray[np.float32]
_POINTS = 64
_SAMPLE = 50_000
_NEIGHBOURS = 30
_SMOOTH = 2.0


def along_drawing(space: LatentSpace, axes: Sequence[str], points: NDArray[np.floating]) -> Array:
    """Points (m, zdim) under a drawing, in all other dimensions amid the particles there.

    Parameters
    ----------
    space
        Whose axes were drawn on.
    axes
        Names of one or two axes.
    points
        The drawn line (k, 1 or 2) on them.
    """
    from ..analysis.trajectory import equal_arc

    rows = slice(None, None, max(len(space) // _SAMPLE, 1))
    mu, drawn = space.mu[rows], space.coordinates(axes)[rows]
    # What is far on one axis may be near on another: both count by their spread.
    scale = np.maximum(drawn.std(0), 1e-6)
    line = equal_arc(np.asarray(points, np.float32), _POINTS)
    near = cKDTree(drawn / scale).query(line / scale, min(_NEIGHBOURS, len(mu)))[1]
    around = mu[near.reshape(len(line), -1)].mean(1)
    # Which particles are near changes from point to point, and a path must not tremble with it.
    around = gaussian_filter1d(around, _SMOOTH, axis=0, mode="nearest")
    if not space.is_linear(axes):
        return around
    return np.stack(
        [space.z_at(axes, point, base) for point, base in zip(line, around, strict=True)]
    )
