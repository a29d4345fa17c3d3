"""How evenly particles are seen from all directions, and what that does to a volume.

A particle seen along an axis measures the plane through the origin of Fourier space that is
perpendicular to it, with half a Fourier voxel to each side. So the directions of the views tell
how often each direction of Fourier space is measured, and that tells the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import healpix
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import dawsn

Array = NDArray[np.float32]
Counts = NDArray[np.intp]
# HEALPix resolutions of counts, and particles that a pixel should have on average: of those, fewer
# than one in a hundred pixels are empty by chance.
_SIDES, _ENOUGH = (16, 8, 4, 2), 5
# As in the program of Baldwin and Lyumkis: so many particles, on a shell of that many Fourier
# voxels, where an empty direction counts as if sampled at that share of the mean.
_SAMPLE, _RADIUS, _UNSEEN = 10_000, 50, 0.02
# A smaller shell, which has fewer places, where directions would be seen less often than that.
_SEEN, _LEAST_RADIUS = 20, 5
# Directions of Fourier space and of the point spread function, as HEALPix resolutions.
_FOURIER_SIDE, _PSF_SIDE = 16, 8
# Small enough that what is compared stays in a processor's cache.
_CHUNK = 32
_BINS = 512
# Sets of random views that a mean is taken over, one alone of so many views.
_DRAWS, _MANY = 8, 1000


@dataclass(frozen=True, eq=False)
class OrientationBias:
    """How far ``n`` views are from even.

    ``efficiency`` is 1 for many even views and 0 for views from one side; ``scf`` is the sampling
    compensation factor, 1 for many even views, 8/pi² for even views around one axis, near 0 for
    views from one side. Few views leave gaps even if none is preferred: ``efficiency_if_even`` and
    ``scf_if_even`` are the means of as many random views.

    ``unseen`` is the share of directions of Fourier space that no view measures, ``empty`` that of
    HEALPix pixels of ``spacing`` degrees without a view and ``empty_if_even`` what chance leaves of
    it. Along ``blurred`` (3,), a direction of the volume, the point spread function is widest:
    ``stretch`` times its mean width.
    """

    n: int
    efficiency: float
    scf: float
    unseen: float
    empty: float
    empty_if_even: float
    spacing: float
    blurred: Array
    stretch: float
    scf_if_even: float
    efficiency_if_even: float


def orientation_bias(axes: Float[Array, "n 3"], seed: int = 0) -> OrientationBias | None:
    """Measure how evenly views along unit vectors are distributed; None without any.

    Of many a sample is looked at, except for the empty pixels.
    """
    n = len(axes)
    if not n:
        return None
    n_side = count_side(n)
    counts = count_views(axes, n_side)
    if n > _SAMPLE:
        axes = axes[np.random.default_rng(seed).choice(n, _SAMPLE, replace=False)]
    sampling, widths = _sampling_and_widths(axes)
    # Selections of about as many particles share what is expected of them.
    step = 10 ** max(len(str(len(axes))) - 2, 0)
    scf_if_even, efficiency_if_even = _if_even(round(len(axes) / step) * step)
    return OrientationBias(
        n,
        efficiency(widths),
        sampling_compensation(sampling),
        float((sampling == 0).mean()),
        float((counts == 0).mean()),
        float(np.exp(-n / len(counts))),
        pixel_spacing(n_side),
        half_sphere(_PSF_SIDE)[widths.argmax()],
        float(widths.max() / widths.mean()),
        scf_if_even,
        efficiency_if_even,
    )


def _sampling_and_widths(axes: Float[Array, "n 3"]) -> tuple[Array, Array]:
    radius = int(np.clip(len(axes) / (2 * _SEEN), _LEAST_RADIUS, _RADIUS))
    directions = half_sphere(_FOURIER_SIDE)
    sampling = fourier_sampling(axes, directions, radius)
    return sampling, psf_widths(sampling, directions, half_sphere(_PSF_SIDE))


@lru_cache(maxsize=256)
def _if_even(n: int) -> tuple[float, float]:
    """Mean sampling compensation factor and efficiency of ``n`` random views."""
    random = np.random.default_rng(n)
    found = []
    for _ in range(_DRAWS if n < _MANY else 1):
        axes = random.normal(size=(n, 3)).astype(np.float32)
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        sampling, widths = _sampling_and_widths(axes)
        found.append((sampling_compensation(sampling), efficiency(widths)))
    scf, even = np.mean(found, axis=0).tolist()
    return scf, even


def count_side(n: int) -> int:
    """HEALPix resolution at which ``n`` views are counted: the coarser the fewer there are."""
    return next((side for side in _SIDES if n >= _ENOUGH * 12 * side**2), _SIDES[-1])


def pixel_spacing(n_side: int) -> float:
    """Edge of a HEALPix pixel in degrees."""
    return float(np.rad2deg(np.sqrt(4 * np.pi / (12 * n_side**2))))


def count_views(axes: Float[Array, "n 3"], n_side: int) -> Counts:
    """Views in each of the 12 n_side² HEALPix pixels (Górski et al., 2005), in ring order."""
    pixels = healpix.vec2pix(n_side, axes[:, 0], axes[:, 1], axes[:, 2])
    return np.bincount(pixels, minlength=12 * n_side**2)


@lru_cache(maxsize=4)
def half_sphere(n_side: int) -> Float[Array, "m 3"]:
    """Centres of HEALPix pixels, one of each pair of opposite ones."""
    x, y, z = (np.asarray(v) for v in healpix.pix2vec(n_side, np.arange(12 * n_side**2)))
    flat = np.abs(z) < 1e-9
    kept = (z > 1e-9) | (flat & ((y > 1e-9) | ((np.abs(y) <= 1e-9) & (x > 0))))
    centres: Array = np.stack([x, y, z], 1)[kept].astype(np.float32)
    return centres


def fourier_sampling(
    axes: Float[Array, "n 3"], directions: Float[Array, "m 3"], radius: float
) -> Float[Array, " m"]:
    """How often views measure points at ``radius`` Fourier voxels, relative to even views."""
    half = np.float32(0.5 / radius)
    counts = np.zeros(len(directions), np.intp)
    for first in range(0, len(axes), _CHUNK):
        away = np.abs(axes[first : first + _CHUNK] @ directions.T)
        counts += np.count_nonzero(away < half, axis=0)
    # |cosine| of the angle to a random direction is uniform in [0, 1].
    return (counts / (len(axes) * half)).astype(np.float32)


def sampling_compensation(sampling: Float[Array, " m"]) -> float:
    """Sampling compensation factor: what uneven views leave of the signal-to-noise ratio.

    The SCF of Baldwin and Lyumkis (Prog. Biophys. Mol. Biol. 150, 160, 2020), 1 over the mean of
    1 / sampling, sampling being relative to its mean. Where directions without any view would make
    it 0 it is their SCF*, as their program has it: with a share q of such directions,
    1/SCF* = 1/SCF' + q / (1 - q) / 0.02, SCF' being of the other directions alone.
    """
    seen = sampling > 0
    share = float(seen.mean())
    if not share:
        return 0.0
    inverse = float((sampling.mean(dtype=np.float64) / sampling[seen]).mean())
    return 1 / (inverse + (1 - share) / share / _UNSEEN)


def psf_widths(
    sampling: Float[Array, " m"], directions: Float[Array, "m 3"], along: Float[Array, "k 3"]
) -> Float[Array, " k"]:
    """Half width at half maximum of the point spread function of a volume, along directions.

    The transfer function is taken to be sampling(k / |k|) / |k| times a Gaussian of |k|, and the
    widths are in a unit that is the same for all of them.
    """
    # In polar coordinates the integral over |k| of |k| exp(-|k|²) cos(2 r t |k|), t being the
    # cosine of the angle between k and the direction, is (1 - 2 r t D(r t)) / 2 with Dawson's D.
    cosines = np.abs(along @ directions.T)
    bins = np.minimum((cosines * _BINS).astype(np.intp), _BINS - 1)
    bins += np.arange(len(along))[:, None] * _BINS
    weights = np.broadcast_to(sampling, cosines.shape).ravel()
    spread = np.bincount(bins.ravel(), weights, len(along) * _BINS).reshape(-1, _BINS)
    radii = np.geomspace(0.1, 200, 400)
    x = (np.arange(_BINS) + 0.5)[:, None] / _BINS * radii
    psf = spread @ (1 - 2 * x * dawsn(x))
    psf /= spread.sum(1, keepdims=True)
    below = np.argmax(psf < 0.5, axis=1)
    below[(psf >= 0.5).all(1)] = len(radii) - 1
    rows = np.arange(len(along))
    high, low = psf[rows, below - 1], psf[rows, below]
    part = np.clip((high - 0.5) / np.maximum(high - low, 1e-9), 0, 1)
    widths: Array = (radii[below - 1] + part * (radii[below] - radii[below - 1])).astype(np.float32)
    return widths


def efficiency(widths: Float[Array, " k"]) -> float:
    """Orientation efficiency 1 - 2 sigma / mean of the widths over all directions, at least 0.

    After the E_od of Naydenova and Russo (Nat. Commun. 8, 629, 2017), but from the widths that
    `psf_widths` gives: their program cryoEF, which asks for a B factor and a diameter, finds other
    numbers for the same views.
    """
    return max(0.0, 1 - 2 * float(widths.std()) / float(widths.mean()))
