"""Paths through latent space: along straight lines, or through the particles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.neighbors import NearestNeighbors

from ..errors import CryodrgnError
from .latent_array import checked, sampled
from .run_files import Array

_SAMPLE = 20_000
_NEIGHBOURS = 10


def equal_arc(points: Float32[Array, "m zdim"], n: int) -> Float32[Array, "n zdim"]:
    """``n`` points along the line through ``points``, equally far apart along it, with both ends.

    One is the first point; of a line without length all are the same.

    Raises
    ------
    CryodrgnError
        If there are no points, or some are not finite, or ``n`` is below 1.
    """
    line = checked(points).astype(np.float64)
    if n < 1:
        raise CryodrgnError(f"Steps of a path: expected at least 1, got {n}.")
    lengths = np.linalg.norm(np.diff(line, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.linspace(0.0, arc[-1], n)
    return np.stack([np.interp(at, arc, x) for x in line.T], axis=1).astype(np.float32)


def neighbour_path(
    mu: Float32[Array, "n zdim"], start: int, end: int, seed: int = 0
) -> Int[NDArray[np.intp], " m"]:
    """Particles along the shortest path from one to another through a graph of neighbours.

    Each particle is joined to its nearest ones. A step costs its length squared, so that many
    short steps where particles are dense win over a leap across a gap. Of many particles a sample
    makes the graph. Parts of it that are not joined are bridged where they come nearest.

    Parameters
    ----------
    mu
        Latents (n, zdim).
    start, end
        The particles at its ends.
    seed
        Of the sample.

    Raises
    ------
    CryodrgnError
        If there is no such particle, or some latents are not finite.
    """
    return _path_through(checked(mu), [start, end], seed)


def through(
    mu: Float32[Array, "n zdim"], anchors: Sequence[int], graph: bool, seed: int = 0
) -> Float32[Array, "m zdim"]:
    """Latents of a path from particle to particle, in the order of ``anchors``.

    Parameters
    ----------
    mu
        Latents (n, zdim).
    anchors
        At least two particles.
    graph
        Take the `neighbour_path` from each to the next instead of the straight line.
    seed
        Of the sample for the graph.

    Raises
    ------
    CryodrgnError
        If there are fewer than two anchors or one is no particle, or some latents are not finite.
    """
    mu = checked(mu)
    if len(anchors) < 2:
        raise CryodrgnError(f"A path goes from one particle to another: got {len(anchors)}.")
    if graph:
        return mu[_path_through(mu, anchors, seed)]
    return mu[_existing(anchors, len(mu))]


def _existing(particles: Sequence[int], n: int) -> NDArray[np.intp]:
    rows = np.asarray(particles, np.intp)
    if ((rows < 0) | (rows >= n)).any():
        raise CryodrgnError(f"Particles of a path: expected 0 to {n - 1}, got {rows.tolist()}.")
    return rows


def _path_through(mu: Array, anchors: Sequence[int], seed: int) -> NDArray[np.intp]:
    """Particles along the graph from each anchor to the next, no one twice in succession."""
    stops = _existing(anchors, len(mu))
    rows = np.union1d(sampled(len(mu), _SAMPLE, seed), stops)
    # Equal latents share a node, else they would have only one another for neighbours.
    points, first, inverse = np.unique(mu[rows], axis=0, return_index=True, return_inverse=True)
    nodes = inverse.reshape(-1)[np.searchsorted(rows, stops)]
    graph = _neighbour_graph(points - points.mean(0), nodes)
    path = [stops[:1]]
    for i in range(len(stops) - 1):
        _, before = dijkstra(graph, directed=False, indices=nodes[i], return_predecessors=True)
        node, leg = int(before[nodes[i + 1]]), []
        while node >= 0 and node != nodes[i]:
            leg.append(node)
            node = int(before[node])
        between = rows[first[np.array(leg[::-1], np.intp)]]
        path.append(np.append(between, stops[i + 1]))
    found = np.concatenate(path)
    once: NDArray[np.intp] = found[np.append(True, np.diff(found) != 0)]
    return once


def _neighbour_graph(points: Array, needed: NDArray[np.intp]) -> csr_array:
    """Squared distances (m, m) of each of m points to its neighbours, ``needed`` all joined."""
    m = len(points)
    if m == 1:
        return csr_array((1, 1))
    # Brute force takes the same second or two for any zdim; trees can take minutes.
    finder = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, m - 1), algorithm="brute").fit(points)
    graph = coo_array(finder.kneighbors_graph(mode="distance"))
    starts, ends = graph.coords
    _, part = connected_components(graph, directed=False)
    bridges = _bridges(points, part, needed)
    lengths = np.append(graph.data, [length for *_, length in bridges])
    starts = np.append(starts, [i for i, *_ in bridges]).astype(np.intp)
    ends = np.append(ends, [j for _, j, _ in bridges]).astype(np.intp)
    return csr_array((lengths**2, (starts, ends)), shape=(m, m))


def _bridges(
    points: Array, part: NDArray[np.integer], needed: NDArray[np.intp]
) -> list[tuple[int, int, float]]:
    """Shortest bridges (from, to, length) that join the parts of the points that are needed.

    It starts with the part of the first and takes in the nearest other part, again and again.
    """
    inside = np.zeros(len(points), bool)
    distance = np.full(len(points), np.inf)
    nearest = np.zeros(len(points), np.intp)
    bridges: list[tuple[int, int, float]] = []
    taken = part == part[needed[0]]
    while True:
        inside |= taken
        if inside[needed].all():
            return bridges
        rows, outside = np.flatnonzero(taken), np.flatnonzero(~inside)
        found, lengths = pairwise_distances_argmin_min(points[outside], points[rows])
        closer = lengths < distance[outside]
        distance[outside[closer]] = lengths[closer]
        nearest[outside[closer]] = rows[found[closer]]
        end = int(outside[distance[outside].argmin()])
        bridges.append((int(nearest[end]), end, float(distance[end])))
        taken = part == part[end]
