"""Two runs compared: the same particles, their clusters, latents and volumes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import affine_transform
from scipy.optimize import linear_sum_assignment

from .alignment import VolumeFit, align_volumes
from .common_particles import Index, match

__all__ = [
    "Correspondence",
    "common_frame",
    "correspondence",
    "latent_correlation",
    "match",
    "match_volumes",
    "moved",
    "volume_correlation",
]

Volumes = Float32[NDArray[np.float32], "k z y x"]
# Of half the box: inside it all is counted, and nothing from the edge on.
_INNER, _EDGE = 0.8, 1.0


class Correspondence(NamedTuple):
    """How the clusters of the same particles in two runs correspond.

    ``table`` (ka, kb) counts particles by cluster in both. ``order`` (kb,) puts the clusters of
    the second run where they meet the first's: ``table[:, order]`` has as much as possible on its
    diagonal, clusters without a partner last. ``agreement`` is the adjusted Rand index (Hubert and
    Arabie, 1985): 1 for the same clusters, about 0 for chance.
    """

    table: Int[NDArray[np.int64], "ka kb"]
    order: Int[Index, " kb"]
    agreement: float


def correspondence(labels_a: ArrayLike, labels_b: ArrayLike) -> Correspondence:
    """How clusters correspond.

    Parameters
    ----------
    labels_a, labels_b
        Cluster, from 0, of each of the same m particles in both runs.

    Raises
    ------
    ValueError
        If they are not as many, none, or negative.
    """
    from sklearn.metrics import adjusted_rand_score

    a, b = np.asarray(labels_a), np.asarray(labels_b)
    if a.shape != b.shape or a.ndim != 1 or not a.size or min(a.min(), b.min()) < 0:
        raise ValueError(
            f"expected labels from 0 of the same particles, got {a.shape} and {b.shape}"
        )
    table = np.zeros((int(a.max()) + 1, int(b.max()) + 1), np.int64)
    np.add.at(table, (a, b), 1)
    _, columns = linear_sum_assignment(table, maximize=True)
    rest = np.setdiff1d(np.arange(table.shape[1]), columns)
    return Correspondence(
        table, np.concatenate([columns, rest]).astype(np.intp), float(adjusted_rand_score(a, b))
    )


def latent_correlation(
    mu_a: Float[NDArray[np.floating], "m za"], mu_b: Float[NDArray[np.floating], "m zb"]
) -> Float64[NDArray[np.float64], " k"]:
    """Canonical correlations of two runs' latents of the same particles, the largest first.

    They do not change when either latent space is turned, sheared or scaled (Hotelling, 1936).
    There are as many as the smaller space has dimensions; an axis without spread correlates by 0.

    Raises
    ------
    ValueError
        If the latents are not of as many particles, or of fewer than two.
    """
    if mu_a.ndim != 2 or mu_b.ndim != 2 or len(mu_a) != len(mu_b) or len(mu_a) < 2:
        raise ValueError(
            f"expected latents of the same particles, got {mu_a.shape} and {mu_b.shape}"
        )
    a, b = (np.asarray(mu, np.float64) - mu.mean(0, dtype=np.float64) for mu in (mu_a, mu_b))
    cross = _whitening(a).T @ (a.T @ b) @ _whitening(b)
    found = np.linalg.svd(cross, compute_uv=False)
    correlations = np.zeros(min(a.shape[1], b.shape[1]))
    correlations[: len(found)] = np.clip(found, 0, 1)
    return correlations


def volume_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Correlation of the voxels of two volumes (z, y, x); 0 where one is constant.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"expected volumes of one size, got {first.shape} and {second.shape}")
    return float(_normal(first.ravel()[None])[0] @ _normal(second.ravel()[None])[0])


def match_volumes(
    volumes_a: Float32[NDArray[np.float32], "ka z y x"],
    volumes_b: Float32[NDArray[np.float32], "kb z y x"],
    radius: float | None = None,
) -> Float64[NDArray[np.float64], "ka kb"]:
    """Correlations of every volume of one run with every one of another, in a soft sphere.

    Both must lie in one frame: bring those of another pose search there with `common_frame`.

    Parameters
    ----------
    volumes_a, volumes_b
        (k, z, y, x), cubes of one size.
    radius
        Of the sphere in voxels; half the box if absent. It fades over its last fifth.

    Raises
    ------
    ValueError
        If they are no cubes of one size.
    """
    if volumes_a.ndim != 4 or volumes_a.shape[1:] != volumes_b.shape[1:]:
        raise ValueError(
            f"expected volumes of one size, got {volumes_a.shape} and {volumes_b.shape}"
        )
    weights = _soft_sphere(volumes_a.shape[1:], radius)
    inside = weights > 0
    weight = weights[inside]
    a, b = (_normal(v[:, inside].astype(np.float64), weight) for v in (volumes_a, volumes_b))
    return a @ b.T


def common_frame(volumes_b: Volumes, volumes_a: Volumes) -> tuple[Volumes, VolumeFit]:
    """Volumes of one run, turned, displaced and mirrored as their mean fits another run's mean.

    Two searches for poses end in two frames, and perhaps hands; one motion serves all volumes.

    Parameters
    ----------
    volumes_b, volumes_a
        (k, z, y, x), even cubes of one size and voxel size; the first are moved to the second.

    Raises
    ------
    ValueError
        If they are no even cubes of one size.
    """
    moving, fixed = (
        torch.from_numpy(np.asarray(v, np.float32).mean(0)) for v in (volumes_b, volumes_a)
    )
    fit = align_volumes(moving, fixed)
    return np.stack([moved(volume, fit) for volume in volumes_b]), fit


def moved(
    volume: Float32[NDArray[np.float32], "z y x"], fit: VolumeFit
) -> Float32[NDArray[np.float32], "z y x"]:
    """A volume moved as a fit says, whose displacement is in its voxels, by cubic splines."""
    # volume(x) = moving(M G^T (x - t)), and arrays are (z, y, x).
    turn = fit.rotation.numpy().astype(np.float64).T
    if fit.flipped:
        turn = np.diag([1.0, 1.0, -1.0]) @ turn
    turn = turn[::-1, ::-1]
    centre = np.array(volume.shape) // 2
    offset = centre - turn @ (centre + fit.shift.numpy().astype(np.float64)[::-1])
    found: NDArray[np.float32] = affine_transform(volume, turn, offset, order=3)
    return found


def _whitening(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axes (z, k) on which (m, z) numbers about 0 are of length 1; those without spread are not."""
    sizes, axes = np.linalg.eigh(x.T @ x)
    there = sizes > 1e-12 * max(float(sizes[-1]), 1e-300)
    whitening: NDArray[np.float64] = axes[:, there] / np.sqrt(sizes[there])
    return whitening


def _soft_sphere(shape: tuple[int, ...], radius: float | None) -> NDArray[np.float64]:
    """1 inside, a cosine to 0 at ``radius`` voxels from the centre D // 2."""
    lines = [np.arange(d) - d // 2 for d in shape]
    distance = np.sqrt(sum(line**2 for line in np.meshgrid(*lines, indexing="ij", sparse=True)))
    part = distance / (radius or min(shape) / 2)
    faded = np.clip((part - _INNER) / (_EDGE - _INNER), 0, 1)
    return 0.5 * (1 + np.cos(np.pi * faded))


def _normal(
    rows: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Rows (k, n) about their mean and of length 1, elements counted by their weight (n,)."""
    rows = rows - np.average(rows, axis=1, weights=weight)[:, None]
    if weight is not None:
        rows = rows * np.sqrt(weight)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    normal: NDArray[np.float64] = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return normal
