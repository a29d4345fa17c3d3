"""Views of the latent space."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray


def pca(mu: Float32[NDArray[np.float32], "n zdim"]) -> Float32[NDArray[np.float32], "n k"]:
    """Coordinates of the latents on their principal axes, the axis of largest variance first.

    An axis points where its largest component is positive, so that the same latents always give
    the same picture.
    """
    centred = mu.astype(np.float64) - mu.mean(0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1]
    largest = np.abs(axes).argmax(0)
    axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])
    coordinates: NDArray[np.float32] = (centred @ axes).astype(np.float32)
    return coordinates
