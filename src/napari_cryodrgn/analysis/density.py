"""How densely particles lie in a latent space."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float32]
# So many particles stand for all; each is spread to its neighbour of that rank: more would be
# smoother, but drown a state that one particle in twenty is in.
_CENTRES, _NEIGHBOUR = 1024, 32
_CHUNK = 4096
# Of the overall scale: particles in one place are no infinite density.
_NARROWEST = 1e-3
# An exponent below it adds nothing; numbers too small for float32 take long.
_NOTHING = -40.0


def log_density(mu: Float32[Array, "n zdim"], seed: int = 0) -> Float32[Array, " n"]:
    """log10 of the density of particles at each of them, in particles per unit volume of z.

    A sum of Gaussians about a sample of the particles, each as wide as the sample is sparse there
    (Breiman, Meisel and Purcell, 1977). NaN where a latent is not finite.
    """
    density = np.full(len(mu), np.nan, np.float32)
    finite = np.isfinite(mu).all(1)
    points = mu[finite].astype(np.float32)
    n, zdim = points.shape
    if not n or not zdim:
        return density
    points -= points.mean(0)
    scale = math.sqrt(float(points.var(0, dtype=np.float64).sum()) / zdim) or 1.0
    points /= scale
    random = np.random.default_rng(seed)
    sample = points[np.sort(random.choice(n, min(n, _CENTRES), replace=False))]
    rank = min(_NEIGHBOUR, len(sample))
    reach = np.asarray(cKDTree(sample).query(sample, [rank])[0])[:, 0]
    # A Gaussian's typical radius is its width times the square root of the dimensions.
    width = np.maximum(reach / math.sqrt(zdim), _NARROWEST)
    # The exponent -|x - c|²/2w² - zdim log w is a product of (x, |x|², 1) with these.
    inverse = 1 / width**2
    offset = -0.5 * (sample**2).sum(1) * inverse - zdim * np.log(width)
    terms = np.concatenate([sample * inverse[:, None], -0.5 * inverse[:, None], offset[:, None]], 1)
    columns = torch.from_numpy(terms.T.astype(np.float32))
    constant = math.log(n / len(sample)) - zdim * math.log(math.sqrt(2 * math.pi) * scale)
    logs = np.empty(n, np.float32)
    for first in range(0, n, _CHUNK):
        x = torch.from_numpy(points[first : first + _CHUNK])
        square = (x * x).sum(1, keepdim=True)
        exponent = torch.cat([x, square, torch.ones_like(square)], 1) @ columns
        most = exponent.amax(1, keepdim=True)
        total = exponent.sub_(most).clamp_(min=_NOTHING).exp_().sum(1).log_()
        logs[first : first + _CHUNK] = (total + most[:, 0]).numpy()
    density[finite] = (logs + constant) / math.log(10)
    return density
