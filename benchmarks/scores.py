"""How near a result is to the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from torch import Tensor

from napari_cryodrgn.analysis import pca
from napari_cryodrgn.poses import align_poses, angular_distance, flip_hand

Array = NDArray[np.floating[Any]]


def rank_correlation(mu: Array, t: Array) -> float:
    """|Spearman| of the true coordinate ``t`` (n,) with the first principal axis of ``mu``."""
    return abs(float(spearmanr(pca(np.asarray(mu, np.float32))[:, 0], t)[0]))


def canonical_correlations(mu: Array, coordinates: Array) -> list[float]:
    """Canonical correlations of latents (n, p) with coordinates (n, q), the largest first."""
    bases = [np.linalg.qr(a - a.mean(0))[0] for a in (mu.astype(np.float64), coordinates)]
    return [round(float(c), 4) for c in np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)]


def state_accuracy(mu: Array, states: Array, seed: int = 0) -> float:
    """Share of particles in their state when k-means cuts the latents in as many groups."""
    n = int(states.max()) + 1
    groups = KMeans(n, n_init=5, random_state=seed).fit_predict(mu)
    table = np.zeros((n, n))
    np.add.at(table, (groups, states.astype(int)), 1)
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / len(states))


def pose_errors(found: Array, truth: Array, coordinates: Array | None = None) -> dict[str, float]:
    """Rotation errors in degrees after one rotation (and hand) of all particles.

    With ``coordinates`` (n, q) of the conformation, also after one rotation for each of ten groups
    of similar ones (sixteen if q is 2): where a domain moves, the frame that the images are aligned
    to turns with it, which is no error of the poses.
    """
    estimate, true = torch.from_numpy(found).double(), torch.from_numpy(truth).double()
    fit = align_poses(estimate, true)
    result = _summary(fit.errors, "")
    if coordinates is not None:
        hand = flip_hand(estimate) if fit.flipped else estimate
        errors = torch.empty(len(true), dtype=torch.double)
        groups = torch.from_numpy(_groups(coordinates))
        for g in groups.unique():
            some = groups == g
            errors[some] = _refined(hand[some], true[some], fit.frame)
        result |= _summary(errors, "_within_t")
    return result


def _groups(coordinates: Array) -> NDArray[np.int64]:
    """Group of each particle: equally many ranks along each coordinate."""
    n, q = coordinates.shape
    bins = 10 if q == 1 else 4
    rank = coordinates.argsort(0, kind="stable").argsort(0)
    return np.asarray((rank * bins // n) @ bins ** np.arange(q))


def _summary(errors: Tensor, what: str) -> dict[str, float]:
    return {
        f"median_degrees{what}": round(float(errors.median()), 3),
        f"under_10_degrees{what}": round(float((errors < 10).double().mean()), 4),
    }


def _refined(found: Tensor, truth: Tensor, frame: Tensor) -> Tensor:
    """Errors after the rotation near ``frame`` that suits these particles, by a trimmed mean."""
    relative = truth.transpose(-1, -2) @ found
    for _ in range(5):
        errors = angular_distance(truth @ frame, found)
        near = errors <= max(10.0, float(errors.median()))
        u, _, vt = torch.linalg.svd(relative[near].mean(0))
        u[:, 2] *= torch.linalg.det(u @ vt)
        frame = u @ vt
    return angular_distance(truth @ frame, found)
