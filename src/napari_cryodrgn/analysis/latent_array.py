"""Latents of particles as an array: checked, sampled, and told from others."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from jaxtyping import Float32, Int
from numpy.typing import ArrayLike, NDArray

from ..errors import CryodrgnError


def checked(mu: ArrayLike) -> Float32[NDArray[np.float32], "n zdim"]:
    """Latents (n, zdim) as contiguous float32.

    Raises
    ------
    CryodrgnError
        If they have another shape, there are none, or some are not finite.
    """
    array = np.ascontiguousarray(mu, np.float32)
    if array.ndim != 2 or 0 in array.shape:
        raise CryodrgnError(
            f"Latents: expected (particles, zdim), at least one of each, got {array.shape}."
        )
    if not np.isfinite(array).all():
        raise CryodrgnError("Some latents are not finite: the training diverged. Train again.")
    return array


def fingerprint(mu: ArrayLike) -> str:
    """A short text that differs between different latents (n, zdim)."""
    array = np.ascontiguousarray(mu, np.float32)
    digest = blake2b(repr(array.shape).encode(), digest_size=16)
    digest.update(array.data)
    return digest.hexdigest()


def sampled(n: int, size: int, seed: int) -> Int[NDArray[np.intp], " rows"]:
    """At most ``size`` of ``n`` rows in rising order, the same for the same seed."""
    if n <= size:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))
