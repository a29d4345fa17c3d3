"""Two runs of the same particles: what is worked out of them, in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CryodrgnError, RunFolderError
from .decode_bar import Stop, decode_each
from .latent_space import LatentSpace

if TYPE_CHECKING:
    from ..analysis import Run, VolumeFit
    from ..analysis.clusters import Clusters
    from ..analysis.compare import Correspondence

Array = NDArray[np.float32]
#: Of the first picture of a pair, of the second, and of the volumes of clusters.
QUICK_BOX, FULL_BOX, CLUSTER_BOX = 32, 128, 64
#: Clusters that are found in runs without.
USUAL = 10
# Edges of two boxes in Å that count as the same.
_SAME = 0.01


@dataclass(frozen=True, eq=False)
class Side:
    """One of two runs, its particles those m that both have.

    ``rows`` (m,) are their places in the run, ``labels`` (m,) their clusters, ``space`` holds their
    latents.
    """

    run: Run
    rows: NDArray[np.intp]
    space: LatentSpace
    clusters: Clusters
    kept: bool

    @property
    def labels(self) -> NDArray[np.int32]:
        """Cluster of each of the m particles."""
        return self.clusters.labels[self.rows]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two runs; particle i of one side is particle i of the other.

    ``latent`` (k,) are the canonical correlations of their latents.
    """

    sides: tuple[Side, Side]
    clusters: Correspondence
    latent: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pair:
    """Volumes (z, y, x) of two runs with voxels of the given edges in Å, and how they correlate.

    ``correlation`` is None where the boxes differ in Å. ``turned`` tells whether the second was
    moved onto the frame of the first.
    """

    volumes: tuple[Array, Array]
    pixel_sizes: tuple[float | None, float | None]
    contours: tuple[float, float]
    correlation: float | None
    turned: bool


@dataclass(frozen=True, eq=False)
class ClusterVolumes:
    """Correlations (ka, kb) of the volumes at the clusters' centres.

    ``fit`` is how those of the second run were moved onto the frame of the first, None if not.
    """

    correlations: NDArray[np.float64]
    fit: VolumeFit | None


def compare(
    a: Run, b: Run, k: int | None, pca: Callable[[Array], Array] | None = None
) -> Comparison:
    """Match particles, latents and clusters of two runs.

    Parameters
    ----------
    a, b
        Runs with latents.
    k
        Number of clusters to find in each; those kept with the runs, else 10, if absent.
    pca
        Of `LatentSpace`; `analysis.pca` if absent.

    Raises
    ------
    CryodrgnError
        If a run has no latents, or they have no particles in common.
    """
    from ..analysis import pca as usual_pca
    from ..analysis.compare import correspondence, latent_correlation, match

    latents = [_latents(run) for run in (a, b)]
    rows = match(a, b)
    sides = []
    for run, mu, chosen in zip((a, b), latents, rows, strict=True):
        clusters, kept = _clusters(run, mu, k)
        space = LatentSpace(mu[chosen], pca or usual_pca)
        space.index(space.default_axes)
        sides.append(Side(run, chosen, space, clusters, kept))
    first, second = sides
    return Comparison(
        (first, second),
        correspondence(first.labels, second.labels),
        latent_correlation(first.space.mu, second.space.mu)
        if len(rows[0]) > 1
        else np.zeros(min(first.space.zdim, second.space.zdim)),
    )


def common_box(a: Run, b: Run, most: int) -> int:
    """Box that volumes of both runs are decoded at.

    Raises
    ------
    CryodrgnError
        If the boxes cover cubes of different sizes, so that voxels do not correspond.
    """
    sizes = [run.box * (run.pixel_size or 1) for run in (a, b)]
    told = [run.pixel_size is not None for run in (a, b)]
    if told[0] != told[1] or abs(sizes[0] - sizes[1]) > _SAME * max(sizes):
        raise CryodrgnError(
            f"The box of {a.folder.name} is {_edge(a)} wide and that of {b.folder.name} "
            f"{_edge(b)}: their voxels do not correspond, so volumes are not correlated."
        )
    return min(a.box, b.box, most)


def decode_pair(
    comparison: Comparison,
    z: tuple[Array, Array],
    most: int,
    fit: VolumeFit | None,
    stop: Stop,
) -> Pair:
    """Decode a latent of each run at boxes up to ``most`` and correlate the volumes.

    Raises
    ------
    CryodrgnError
        If one cannot be decoded, or ``stop`` said that it is no longer wanted.
    """
    from ..analysis.compare import match_volumes

    runs = [side.run for side in comparison.sides]
    try:
        box = common_box(runs[0], runs[1], most)
        boxes = box, box
    except CryodrgnError:
        boxes = min(runs[0].box, most), min(runs[1].box, most)
        fit = None
        comparable = False
    else:
        comparable = True
    first, second = (
        run.decode(latent, box, stop=stop) for run, latent, box in zip(runs, z, boxes, strict=True)
    )
    if fit is not None:
        second = _on_frame(second, fit)
    correlation = match_volumes(first[None], second[None])[0, 0] if comparable else None
    sizes = [
        None if run.pixel_size is None else run.pixel_size * run.box / box
        for run, box in zip(runs, boxes, strict=True)
    ]
    return Pair(
        (first, second),
        (sizes[0], sizes[1]),
        (runs[0].contour(), runs[1].contour()),
        None if correlation is None else float(correlation),
        fit is not None,
    )


def cluster_volumes(
    comparison: Comparison, turn: bool, stop: Stop
) -> Iterator[float | ClusterVolumes]:
    """Decode the centres of all clusters and correlate them; a job of a `DecodeBar`.

    Parameters
    ----------
    comparison
        Of both runs.
    turn
        Whether the second run's volumes are to be moved onto the frame of the first: two searches
        for poses end in two frames.
    stop
        Whether they are no longer wanted.

    Yields
    ------
    float
        Fraction done.
    ClusterVolumes
        At last.

    Raises
    ------
    CryodrgnError
        If volumes cannot be decoded or compared.
    """
    from ..analysis.compare import common_frame, match_volumes

    a, b = comparison.sides
    box = common_box(a.run, b.run, CLUSTER_BOX)
    found: list[Array] = []
    n = len(a.clusters.centres) + len(b.clusters.centres)
    for side in (a, b):
        volumes = []
        for volume in decode_each(side.run, side.clusters.centres, box, stop):
            volumes.append(volume)
            yield (sum(map(len, found)) + len(volumes)) / (n + 1)
        if stop():
            return
        found.append(np.stack(volumes))
    fit = None
    if turn:
        found[1], fit = common_frame(found[1], found[0])
    yield ClusterVolumes(match_volumes(found[0], found[1]), fit)


def _on_frame(volume: Array, fit: VolumeFit) -> Array:
    """A volume of any box moved as a fit at another box says."""
    from ..analysis.compare import moved

    scale = len(volume) / len(fit.volume)
    return moved(volume, replace(fit, shift=fit.shift * scale))


def _latents(run: Run) -> Array:
    if not run.zdim or run.latents is None or not len(run.latents.mu):
        raise RunFolderError(
            run.folder, "it has no latents yet.", remedy="Choose a run that has trained its VAE."
        )
    return np.asarray(run.latents.mu)


def _clusters(run: Run, mu: Array, k: int | None) -> tuple[Clusters, bool]:
    from ..analysis.clusters import find_clusters, kept_clusters

    if k is None and (kept := kept_clusters(run, mu)) is not None:
        return kept, True
    return find_clusters(mu, min(k or USUAL, len(mu))), False


def _edge(run: Any) -> str:
    return f"{run.box} px" if run.pixel_size is None else f"{run.box * run.pixel_size:.0f} Å"
