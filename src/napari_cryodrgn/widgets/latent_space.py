"""The axes of a latent space: what is drawn, and which z a point of the drawing means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_FIT_ROWS = 20_000


class LatentSpace:
    """Coordinates of N particles on the axes z0, z1, ... and PC1, PC2, ...

    Each axis is a linear function of z. A point of a drawing fixes two of them; the others are
    taken from a particle, so that the decoded z stays where there are data.

    Parameters
    ----------
    mu
        Posterior means (N, zdim).
    pca
        Takes ``mu`` and returns coordinates (N, k) on the principal axes.
    """

    def __init__(self, mu: Array, pca: Callable[[Array], Array]) -> None:
        self.mu = mu
        n, zdim = mu.shape
        self._coordinates = mu
        self._directions = np.eye(zdim)
        self.names = [f"z{i}" for i in range(zdim)]
        self._origin = mu.mean(0, dtype=np.float64)
        # One latent dimension is its own principal axis, and one particle has none.
        if zdim > 1 and n > 1:
            scores = pca(mu)
            rows = slice(None, None, max(n // _FIT_ROWS, 1))
            centred = mu[rows] - self._origin
            directions = np.linalg.lstsq(centred, scores[rows] - scores.mean(0), rcond=None)[0].T
            self._coordinates = np.concatenate([mu, scores], axis=1)
            self._directions = np.concatenate([self._directions, directions])
            self.names += [f"PC{i + 1}" for i in range(scores.shape[1])]
        # An axis is directions @ z + offset.
        self._offsets = self._coordinates.mean(0, dtype=np.float64) - (
            self._directions @ self._origin
        )

    def __len__(self) -> int:
        return len(self.mu)

    @property
    def zdim(self) -> int:
        """Number of latent dimensions."""
        return self.mu.shape[1]

    @property
    def default_axes(self) -> tuple[str, ...]:
        """One axis for a one-dimensional latent, z0 and z1 for two, else PC1 and PC2."""
        if self.zdim == 1:
            return ("z0",)
        return ("z0", "z1") if self.zdim == 2 or "PC2" not in self.names else ("PC1", "PC2")

    def coordinates(self, axes: Sequence[str]) -> Array:
        """Coordinates (N, len(axes)) of all particles."""
        return self._coordinates[:, [self.names.index(a) for a in axes]]

    def project(self, axes: Sequence[str], z: NDArray[np.floating]) -> NDArray[np.float64]:
        """Coordinates (len(axes),) of one z (zdim,)."""
        index = [self.names.index(a) for a in axes]
        return self._directions[index] @ z + self._offsets[index]

    def z_at(
        self, axes: Sequence[str], point: Sequence[float], base: NDArray[np.floating]
    ) -> Array:
        """The z (zdim,) at a point of the drawing that is closest to ``base`` (zdim,)."""
        index = [self.names.index(a) for a in axes]
        step = np.asarray(point) - self.project(axes, base)
        return (base + np.linalg.pinv(self._directions[index]) @ step).astype(np.float32)

    def walk(self, axis: str, steps: int) -> Array:
        """Points (steps, zdim) along an axis through the mean, from its 5th to 95th percentile."""
        low, high = np.percentile(self.coordinates([axis]), (5, 95))
        points = np.linspace(low, high, steps)
        return np.stack([self.z_at([axis], [p], self._origin) for p in points])

    def nearest(self, axes: Sequence[str], point: Sequence[float], unit: Sequence[float]) -> int:
        """Index of the particle drawn nearest to a point, with distances in ``unit`` per axis."""
        offset = (self.coordinates(axes) - np.asarray(point)) / np.asarray(unit)
        return int(np.argmin(np.einsum("nk,nk->n", offset, offset)))
