"""Clusters of particles in latent space: found, named, kept with the run."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float32, Int, Int32
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin
from sklearn.mixture import GaussianMixture

from ..errors import CryodrgnError, RunFolderError
from .kept import damaged, load_arrays, save_arrays
from .latent import pca
from .latent_array import checked, sampled
from .run_files import Array, Products

if TYPE_CHECKING:
    from .run import Run

Method = Literal["k-means", "gaussian mixture"]

_FILE = "clusters"
# Particles that a model is fitted to: more of them move its centres less than another seed does.
_SAMPLE: dict[Method, int] = {"k-means": 100_000, "gaussian mixture": 20_000}
_SAMPLE_PER_CLUSTER = 20
_CHUNK = 100_000
_MOST_ORDERED = 300  # the best order of more centres takes seconds


@dataclass(frozen=True)
class Clusters:
    """Which cluster each of n particles is in, and where the k clusters are.

    ``labels`` (n,) count from 0; ``centres`` (k, zdim) are latents, ``particles`` (k,) those
    nearest to them, and ``names`` (k,) what the user calls them.
    """

    labels: Int32[NDArray[np.int32], " n"]
    centres: Float32[Array, "k zdim"]
    particles: Int[NDArray[np.intp], " k"]
    names: tuple[str, ...]

    @property
    def counts(self) -> Int[NDArray[np.intp], " k"]:
        """Number of particles in each cluster."""
        return np.bincount(self.labels, minlength=len(self.names))

    def renamed(self, i: int, name: str) -> Clusters:
        """The same clusters, the one of label ``i`` with another name; its first if empty."""
        names = list(self.names)
        names[i] = name.strip() or _first_name(i)
        return replace(self, names=tuple(names))


def find_clusters(
    mu: Float32[Array, "n zdim"], k: int, method: Method = "k-means", seed: int = 0
) -> Clusters:
    """Group particles by their latents; clusters near one another get numbers near one another.

    The model is fitted to a sample of many particles and then assigns them all. It keeps fewer
    than ``k`` clusters if no particle falls into some.

    Parameters
    ----------
    mu
        Latents (n, zdim).
    k
        Number of clusters.
    method
        "k-means" finds round clusters of similar extent, "gaussian mixture" ellipsoids of any.
    seed
        Of the sample and of the first guess; the same seed gives the same clusters.

    Raises
    ------
    CryodrgnError
        If there are fewer particles than clusters, or some latents are not finite.
    """
    mu = checked(mu)
    n = len(mu)
    if not 1 <= k <= n:
        raise CryodrgnError(f"Clusters: expected a number from 1 to {n} (particles), got {k}.")
    mean = mu.mean(0, dtype=np.float64)
    if k == 1:
        labels, centres = np.zeros(n, np.int32), mean[None]
    else:
        # At unit scale the mixture's regularisation is small, whatever the latents' unit.
        scale = float(mu.std(0, dtype=np.float64).max()) or 1.0
        rows = sampled(n, max(_SAMPLE[method], _SAMPLE_PER_CLUSTER * k), seed)
        model, centres = _fit((mu[rows] - mean) / scale, k, method, seed)
        labels = np.empty(n, np.int32)
        for start in range(0, n, _CHUNK):
            part = slice(start, start + _CHUNK)
            labels[part] = model.predict((mu[part] - mean) / scale)
        labels, centres = _in_order(labels, centres * scale + mean)
    return _named(labels, centres.astype(np.float32), mu)


def from_products(products: Products, mu: Float32[Array, "n zdim"]) -> Clusters | None:
    """Clusters that an analysis has left, under the numbers it gave them; None if it left none.

    Centres that it did not keep are the means of their particles.

    Raises
    ------
    RunFolderError
        If its files do not fit one another or the latents ``mu`` (n, zdim).
    """
    mu, labels, centres = checked(mu), products.labels, products.centres
    if labels is None:
        return None
    k = int(labels.max(initial=-1)) + 1 if centres is None else len(centres)
    fits = labels.shape == mu.shape[:1] and bool(((labels >= 0) & (labels < k)).all())
    if not fits or (centres is not None and centres.shape != (k, mu.shape[1])):
        raise RunFolderError(
            products.folder,
            f"its clusters are not of these latents ({len(mu)} particles, zdim {mu.shape[1]}).",
            remedy="Analyse the run again, or move that folder away.",
        )
    if centres is None:
        counts = np.maximum(np.bincount(labels, minlength=k), 1)
        sums = [np.bincount(labels, column, k) for column in mu.T]
        centres = (np.stack(sums, axis=1) / counts[:, None]).astype(np.float32)
    return _named(labels.astype(np.int32), centres, mu, products.centre_particles)


def kept_clusters(run: Run, mu: Float32[Array, "n zdim"]) -> Clusters | None:
    """Clusters of the latents ``mu`` kept with a run, by us or else by cryoDRGN's analysis.

    Raises
    ------
    RunFolderError
        As `load_clusters` and `from_products`.
    """
    clusters = load_clusters(run.folder, mu)
    if clusters is None and (products := run.products()) is not None:
        clusters = from_products(products, mu)
    return clusters


def save_clusters(folder: Path, clusters: Clusters, mu: Float32[Array, "n zdim"]) -> None:
    """Keep clusters of the latents ``mu`` in a run folder.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    save_arrays(
        folder,
        _FILE,
        mu,
        labels=clusters.labels,
        centres=clusters.centres,
        particles=clusters.particles,
        names=np.array(clusters.names),
    )


def load_clusters(folder: Path, mu: Float32[Array, "n zdim"]) -> Clusters | None:
    """Clusters kept in a run folder; None if there are none or they are of other latents.

    Raises
    ------
    RunFolderError
        If the file is damaged.
    """
    found = load_arrays(folder, _FILE, mu)
    if found is None:
        return None
    try:
        names = tuple(str(name) for name in found["names"])
        clusters = Clusters(
            found["labels"].astype(np.int32),
            found["centres"].astype(np.float32),
            found["particles"].astype(np.intp),
            names,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(folder, _FILE) from error
    n, k = len(mu), len(names)
    shapes = (clusters.labels.shape, clusters.centres.shape, clusters.particles.shape)
    if shapes != ((n,), (k, mu.shape[1]), (k,)) or not (
        _all_below(clusters.labels, k)
        and _all_below(clusters.particles, n)
        and np.isfinite(clusters.centres).all()
    ):
        raise damaged(folder, _FILE)
    return clusters


def _fit(
    sample: NDArray[np.float64], k: int, method: Method, seed: int
) -> tuple[KMeans | GaussianMixture, NDArray[np.float64]]:
    """A model that predicts labels, and its centres (k, zdim)."""
    with warnings.catch_warnings():
        # Fewer different latents than clusters, or a mixture still moving: both usable.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if method == "k-means":
            means = KMeans(k, n_init=3, random_state=seed).fit(sample)
            return means, means.cluster_centers_
        mixture = GaussianMixture(k, random_state=seed).fit(sample)
        return mixture, mixture.means_


def _in_order(
    labels: NDArray[np.int32], centres: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Labels and centres without the empty clusters, neighbours next to each other."""
    used = np.flatnonzero(np.bincount(labels, minlength=len(centres)))
    order = used
    if len(used) > 1:
        tree = linkage(centres[used], "average", optimal_ordering=len(used) <= _MOST_ORDERED)
        order = used[leaves_list(tree)]
        axis = pca(centres[order].astype(np.float32))[:, 0]
        order = order[::-1] if axis[0] > axis[-1] else order
    numbers = np.zeros(len(centres), np.int32)
    numbers[order] = np.arange(len(order))
    return numbers[labels], centres[order]


def _named(
    labels: NDArray[np.int32],
    centres: Array,
    mu: Array,
    particles: NDArray[np.intp] | None = None,
) -> Clusters:
    """Clusters under their first names; particles found for the centres if absent or wrong."""
    k = len(centres)
    if particles is None or particles.shape != (k,) or not _all_below(particles, len(mu)):
        particles = pairwise_distances_argmin(np.ascontiguousarray(centres), mu).astype(np.intp)
    return Clusters(labels, centres, particles, tuple(map(_first_name, range(k))))


def _first_name(i: int) -> str:
    return f"Cluster {i + 1}"


def _all_below(numbers: NDArray[np.integer], end: int) -> bool:
    return bool(((numbers >= 0) & (numbers < end)).all())
