"""How much the voxels of a volume vary, over one particle's posterior or over all particles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray

from ..errors import CryodrgnError
from .latent_array import checked, sampled
from .run import Run

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Spread:
    """Mean and standard deviation (z, y, x) of ``n`` volumes, in their units."""

    mean: Float32[Array, "z y x"]
    deviation: Float32[Array, "z y x"]
    n: int

    @property
    def variance(self) -> float:
        """Mean variance of a voxel, in their units squared."""
        return float(np.square(self.deviation, dtype=np.float64).mean())


def posterior_draws(run: Run, particle: int, n: int, seed: int = 0) -> Float32[Array, "n zdim"]:
    """Latents drawn from the posterior of a particle, normal about its mean.

    Raises
    ------
    CryodrgnError
        If the run has no latents, or gives no variances.
    """
    if run.latents is None or not run.zdim:
        raise CryodrgnError("The run has no latent space, so its volume is the same everywhere.")
    if not run.latents.logvar.any():
        raise CryodrgnError("The run gives no widths of the latents, only their means.")
    sigma = np.exp(0.5 * run.latents.logvar[particle])
    noise = np.random.default_rng([seed, particle]).normal(size=(n, run.zdim))
    drawn: Array = (run.latents.mu[particle] + sigma * noise).astype(np.float32)
    return drawn


def particle_latents(
    run: Run, mask: Bool[NDArray[np.bool_], " n"] | None, n: int, seed: int = 0
) -> Float32[Array, "n zdim"]:
    """Latents of up to ``n`` of the particles of a mask, of all if absent.

    Raises
    ------
    CryodrgnError
        If the run has no latents, or there are no such particles.
    """
    if run.latents is None or not run.zdim:
        raise CryodrgnError("The run has no latent space, so its volume is the same everywhere.")
    mu = run.latents.mu if mask is None else run.latents.mu[mask]
    return checked(mu)[sampled(len(mu), n, seed)]


def voxel_spread(
    run: Run, latents: Sequence[Array] | Array, box: int, stop: Callable[[], bool]
) -> Iterator[float | Spread]:
    """Decode volumes and keep the running mean and variance of each voxel (Welford, 1962).

    Yields the fraction done, at last the spread; nothing more if ``stop`` says so.

    Parameters
    ----------
    run
        That decodes.
    latents
        (n, zdim), at least two.
    box
        Edge of the volumes in voxels.
    stop
        Whether they are no longer wanted.

    Raises
    ------
    CryodrgnError
        If there are fewer than two latents, or a volume cannot be decoded.
    """
    if len(latents) < 2:  # noqa: PLR2004
        raise CryodrgnError("A spread needs at least two particles.")
    mean = np.zeros((box,) * 3)
    squares = np.zeros((box,) * 3)
    for done, z in enumerate(latents, 1):
        try:
            volume = run.decode(z, box, stop=stop)
        except CryodrgnError:
            # Given up in the middle.
            if stop():
                return
            raise
        step = volume - mean
        mean += step / done
        squares += step * (volume - mean)
        yield done / len(latents)
    deviation = np.sqrt(squares / (len(latents) - 1))
    yield Spread(mean.astype(np.float32), deviation.astype(np.float32), len(latents))
