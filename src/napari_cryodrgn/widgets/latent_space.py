"""The axes of a latent space: what is drawn, and which z a point of the drawing means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float32]
_FIT_ROWS = 20_000
# Particles that stand for all where closeness in z is concerned, and those asked for the scale.
_KNOWN_ROWS = 10_000
_SCALE_ROWS = 1_000
_NEIGHBOURS = 8
# Pairs of axes for which a tree is kept.
_TREES = 3
# A search that would look at more candidates than this goes through all particles instead.
_CANDIDATES = 20_000


class LatentSpace:
    """Coordinates of N particles on the axes z0, z1, ..., PC1, PC2, ... and on further ones.

    An axis z or PC is a linear function of z. A point of a drawing fixes two of them; the others
    are taken from a particle, so that the decoded z stays where there are data. Further axes, as
    those of UMAP, are known at the particles only: there a point means the z of those around it.

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
        names = [f"z{i}" for i in range(zdim)]
        self._directions = np.eye(zdim)
        self._origin = mu.mean(0, dtype=np.float64)
        # Each axis in one piece: they are asked for one by one, and read from end to end.
        self._columns = dict(zip(names, np.ascontiguousarray(mu.T), strict=True))
        # One latent dimension is its own principal axis, and one particle has none.
        if zdim > 1 and n > 1:
            scores = pca(mu)
            rows = slice(None, None, max(n // _FIT_ROWS, 1))
            centred = mu[rows] - self._origin
            directions = np.linalg.lstsq(centred, scores[rows] - scores.mean(0), rcond=None)[0].T
            self._directions = np.concatenate([self._directions, directions])
            components = [f"PC{i + 1}" for i in range(scores.shape[1])]
            self._columns |= zip(components, np.ascontiguousarray(scores.T), strict=True)
        self._linear = list(self._columns)
        # An axis is directions @ z + offset.
        means = [c.mean(dtype=np.float64) for c in self._columns.values()]
        self._offsets = np.array(means) - self._directions @ self._origin
        self._trees: dict[tuple[str, ...], tuple[cKDTree, NDArray[np.float64]]] = {}
        self._known = np.arange(0, n, max(n // _KNOWN_ROWS, 1))
        self._z_tree = cKDTree(mu[self._known])
        self._rank = max(len(self._known) // 1000, 1)
        self.distance_scale = self._scale()

    def __len__(self) -> int:
        return len(self.mu)

    @property
    def zdim(self) -> int:
        """Number of latent dimensions."""
        return self.mu.shape[1]

    @property
    def names(self) -> list[str]:
        """All axes."""
        return list(self._columns)

    @property
    def default_axes(self) -> tuple[str, ...]:
        """One axis for a one-dimensional latent, z0 and z1 for two, else PC1 and PC2."""
        if self.zdim == 1:
            return ("z0",)
        return ("z0", "z1") if self.zdim == 2 or "PC2" not in self._columns else ("PC1", "PC2")

    def add_axes(self, axes: Mapping[str, NDArray[np.floating]]) -> None:
        """Add axes, or replace them, by the coordinates (N,) of all particles on each.

        Raises
        ------
        ValueError
            If there is not one coordinate per particle, or if an axis z or PC has that name.
        """
        for name, values in axes.items():
            if name in self._linear:
                raise ValueError(f"{name} is a linear axis of this space")
            if values.shape != (len(self),):
                raise ValueError(f"{name} needs shape ({len(self)},), not {values.shape}")
            self._columns[name] = np.ascontiguousarray(values, np.float32)
            for drawn in [a for a in self._trees if name in a]:
                del self._trees[drawn]

    def is_linear(self, axes: Sequence[str]) -> bool:
        """Whether any z has its exact place on these axes, and not only the particles."""
        return set(axes) <= set(self._linear)

    def coordinates(self, axes: Sequence[str]) -> Array:
        """Coordinates (N, len(axes)) of all particles."""
        return np.stack([self._columns[a] for a in axes], axis=1)

    def place(self, axes: Sequence[str], particle: int) -> NDArray[np.float64]:
        """Coordinates (len(axes),) of one particle, at once however many there are."""
        return np.array([self._columns[a][particle] for a in axes], np.float64)

    def plane(self, axes: Sequence[str]) -> Array:
        """Coordinates (N, 2) of all particles; with one axis, all at 0 on the second."""
        first = self._columns[axes[0]]
        second = self._columns[axes[1]] if len(axes) > 1 else np.zeros_like(first)
        return np.stack([first, second], axis=1)

    def project(self, axes: Sequence[str], z: NDArray[np.floating]) -> NDArray[np.float64]:
        """Coordinates (len(axes),) of one z (zdim,); of the particles around it if not linear."""
        if not self.is_linear(axes):
            distance, near = self._around(z, _NEIGHBOURS)
            rows = self._known[near]
            weights = _weights(distance)
            return np.array([weights @ self._columns[a][rows] for a in axes])
        index = [self._linear.index(a) for a in axes]
        return self._directions[index] @ z + self._offsets[index]

    def z_at(
        self, axes: Sequence[str], point: Sequence[float], base: NDArray[np.floating]
    ) -> Array:
        """The z (zdim,) at a point of the drawing that is closest to ``base`` (zdim,).

        On axes that are not linear it is a mean over the particles drawn around the point.
        """
        if not self.is_linear(axes):
            rows, distance = self._drawn_around(axes, point)
            return (_weights(distance) @ self.mu[rows]).astype(np.float32)
        index = [self._linear.index(a) for a in axes]
        step = np.asarray(point) - self.project(axes, base)
        return (base + np.linalg.pinv(self._directions[index]) @ step).astype(np.float32)

    def walk(self, axis: str, steps: int) -> Array:
        """Points (steps, zdim) along an axis through the mean, from its 5th to 95th percentile."""
        low, high = np.percentile(self.coordinates([axis]), (5, 95))
        points = np.linspace(low, high, steps)
        return np.stack([self.z_at([axis], [p], self._origin) for p in points])

    # Nearness

    def off_data(self, z: NDArray[np.floating]) -> float:
        """How far from the data a z (zdim,) lies, in units of `distance_scale`.

        Up to 1 it lies as close as 19 of 20 particles lie to the others; from about 2 on a decoder
        has seen nothing like it.
        """
        if len(self) < 2:
            return 0.0
        distance = float(self._around(z, self._rank)[0][-1])
        if self.distance_scale == 0:
            return 0.0 if distance == 0 else float("inf")
        return distance / self.distance_scale

    def index(self, axes: Sequence[str]) -> None:
        """Prepare for `nearest` on some axes, which is quick for many particles afterwards.

        Takes a second for a million particles; may be called in another thread.
        """
        axes = tuple(axes)
        if axes in self._trees:
            return
        scale = np.array([max(float(self._columns[a].std()), 1e-12) for a in axes])
        tree = cKDTree(self.coordinates(axes) / scale, balanced_tree=False, compact_nodes=False)
        while len(self._trees) >= _TREES:
            self._trees.pop(next(iter(self._trees)), None)
        self._trees[axes] = (tree, scale)

    def nearest(self, axes: Sequence[str], point: Sequence[float], unit: Sequence[float]) -> int:
        """Index of the particle drawn nearest to a point, with distances in ``unit`` per axis."""
        at, per = np.asarray(point, np.float64), np.asarray(unit, np.float64)
        candidates = self._candidates(tuple(axes), at, per)
        squares = sum(
            ((self._columns[a][candidates] - np.float32(p)) / np.float32(u)) ** 2
            for a, p, u in zip(axes, at, per, strict=True)
        )
        best = int(np.argmin(squares))
        return best if isinstance(candidates, slice) else int(candidates[best])

    def _candidates(
        self, axes: tuple[str, ...], at: NDArray[np.float64], per: NDArray[np.float64]
    ) -> NDArray[np.intp] | slice:
        """Particles of which one is the nearest; all of them if there is no quicker way."""
        found = self._trees.get(axes)
        if found is None:
            return slice(None)
        tree, scale = found
        # The tree measures in its own units. Its nearest particle bounds the distance of the true
        # one, and so the ball in which that lies.
        _, first = tree.query(at / scale)
        there = np.array([self._columns[a][first] for a in axes], np.float64)
        pixels = float(np.linalg.norm((there - at) / per))
        # A little more, for what single precision cannot tell apart.
        radius = pixels * float((per / scale).max()) * 1.0001 + 1e-6
        if tree.query_ball_point(at / scale, radius, return_length=True) > _CANDIDATES:
            return slice(None)
        return np.append(np.asarray(tree.query_ball_point(at / scale, radius), np.intp), first)

    def _drawn_around(
        self, axes: Sequence[str], point: Sequence[float]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The particles drawn around a point, and how far they are."""
        k = min(_NEIGHBOURS, len(self))
        found = self._trees.get(tuple(axes))
        if found is not None:
            tree, scale = found
            distance, rows = tree.query(np.asarray(point) / scale, k=[*range(1, k + 1)])
            return np.asarray(rows, np.intp), np.asarray(distance)
        squares = np.zeros(len(self), np.float32)
        for axis, p in zip(axes, point, strict=True):
            column = self._columns[axis]
            squares += ((column - np.float32(p)) / np.float32(max(column.std(), 1e-12))) ** 2
        rows = np.argpartition(squares, k - 1)[:k]
        return rows, np.sqrt(squares[rows]).astype(np.float64)

    def _around(
        self, z: NDArray[np.floating], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Distances (k,) in z to those of the known particles that are nearest, and their rows."""
        k = min(k, len(self._known))
        distance, near = self._z_tree.query(z, k=[*range(1, k + 1)])
        return np.asarray(distance), np.asarray(near, np.intp)

    def _scale(self) -> float:
        """Distance within which 19 of 20 particles have one in a thousand of the others."""
        if len(self) < 2:
            return 0.0
        some = self.mu[self._known[:: max(len(self._known) // _SCALE_ROWS, 1)]]
        # One more than the rank: the first is the particle itself.
        distance, _ = self._z_tree.query(some, k=[self._rank + 1])
        return float(np.percentile(distance, 95))


def _weights(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (k,) that fall with the distance, and are all on a particle at distance 0."""
    weights = 1 / np.maximum(distance, 1e-9 + 1e-6 * float(distance.max())) ** 2
    return np.asarray(weights / weights.sum())
