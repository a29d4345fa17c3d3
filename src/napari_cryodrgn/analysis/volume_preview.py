"""Volumes at any latent from a few that were decoded, at once but not exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy.typing import NDArray

_NODES = 128
# Particles that nodes are chosen from.
_SAMPLE = 4000
# Principal components of the nodes' volumes that are interpolated.
_COMPONENTS = 32
# Error of a preview as a share of how much volumes differ: with more it would mislead.
_WORST = 0.5


@dataclass(frozen=True)
class VolumePreview:
    """Interpolates between volumes decoded at the latents of a few particles.

    Radial basis functions, cubic with a linear part, for the volumes' principal components: no
    length scale has to be chosen. ``error`` is the median relative error of what it has not seen,
    ||preview - volume|| / ||volume - mean||. Make one with `fit_preview`; safe in any thread.
    """

    error: float
    _nodes: Float[NDArray[np.floating[Any]], "m zdim"]
    _reach: float
    _mean: Float32[NDArray[np.float32], " voxels"]
    _components: Float32[NDArray[np.float32], "c voxels"]
    _interpolate: Any
    _box: int

    def at(
        self, z: Float[NDArray[np.floating[Any]], " zdim"]
    ) -> Float32[NDArray[np.float32], "b b b"] | None:
        """Volume at a latent; None where it would mislead: far from all nodes, or all over."""
        near = np.sqrt(np.square(self._nodes - z).sum(1).min())
        if self.error > _WORST or near > self._reach:
            return None
        return self._volume(z)

    def _volume(
        self, z: Float[NDArray[np.floating[Any]], " zdim"]
    ) -> Float32[NDArray[np.float32], "b b b"]:
        scores = self._interpolate(np.asarray(z, np.float64)[None])[0]
        flat = self._mean + scores.astype(np.float32) @ self._components
        return np.asarray(flat).reshape((self._box,) * 3)


def preview_nodes(
    mu: Float[NDArray[np.floating[Any]], "n zdim"], count: int = _NODES
) -> Int[NDArray[np.intp], " m"]:
    """Particles whose volumes a preview is made of, so that a first part of them is spread too.

    Chosen as k-means++ chooses its first centres. At most ``count``, fewer if latents repeat.
    """
    from sklearn.cluster import kmeans_plusplus

    random = np.random.default_rng(0)
    if len(mu) > _SAMPLE:
        sample = np.sort(random.choice(len(mu), _SAMPLE, replace=False))
    else:
        sample = np.arange(len(mu))
    points, first = np.unique(np.asarray(mu[sample], np.float64), axis=0, return_index=True)
    _, chosen = kmeans_plusplus(points, min(count, len(points)), random_state=0)
    return np.asarray(sample[first[chosen]])


def fit_preview(
    mu: Float[NDArray[np.floating[Any]], "n zdim"],
    nodes: Int[NDArray[np.intp], " m"],
    volumes: Sequence[Float32[NDArray[np.float32], "b b b"]],
) -> VolumePreview | None:
    """Preview from the volumes of the first of ``nodes``; None if they are too few.

    Half of the volumes are held back to measure the error, then all are used.
    """
    count, least = len(volumes), 2 * (np.shape(mu)[1] + 2)
    if count < least:
        return None
    z = np.asarray(mu[nodes[:count]], np.float64)
    flat = np.stack([np.asarray(volume, np.float32).ravel() for volume in volumes])
    box = volumes[0].shape[0]
    half = _fit(z[: count // 2], flat[: count // 2], 0.0, 0.0, box)
    held, points = flat[count // 2 :], z[count // 2 :]
    found = np.stack([half._volume(point).ravel() for point in points])
    spread = np.linalg.norm(held - flat.mean(0), axis=1)
    errors = np.linalg.norm(found - held, axis=1) / np.maximum(spread, np.finfo(np.float32).tiny)
    return _fit(z, flat, float(np.median(errors)), _reach(mu, z), box)


def _reach(
    mu: Float[NDArray[np.floating[Any]], "n zdim"], z: Float[NDArray[np.floating[Any]], "m zdim"]
) -> float:
    """How far particles are from the nearest node at most, by a sample."""
    from sklearn.metrics import pairwise_distances_argmin_min

    sample = mu[:: max(1, len(mu) // _SAMPLE)]
    return float(pairwise_distances_argmin_min(np.asarray(sample, np.float64), z)[1].max())


def _fit(
    z: Float[NDArray[np.floating[Any]], "m zdim"],
    flat: Float32[NDArray[np.float32], "m voxels"],
    error: float,
    reach: float,
    box: int,
) -> VolumePreview:
    from scipy.interpolate import RBFInterpolator

    mean = flat.mean(0)
    centred = flat - mean
    # Eigenvectors of the small matrix of products are those of the volumes' covariance.
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    kept = values > max(1e-9 * values[-1], 1e-30)
    scores = vectors[:, kept][:, -_COMPONENTS:]
    if not scores.size:  # all volumes are the same
        scores = np.zeros((len(z), 1))
    components = scores.T.astype(np.float32) @ centred
    try:
        interpolate = RBFInterpolator(z, scores, kernel="cubic", degree=1)
    except np.linalg.LinAlgError:  # nodes on a plane, which has no one linear part
        interpolate = RBFInterpolator(z, scores, kernel="linear", degree=0)
    return VolumePreview(error, z, reach, mean, components, interpolate, box)
