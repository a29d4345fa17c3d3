"""Simulated particle sets with a known answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from .ctf import CTF, CTFParameters
from .lattice import Lattice, images_to_pixels, pixels_to_images
from .molecules import Molecule

_SAMPLE = 512


@dataclass(frozen=True)
class Simulation:
    """A particle set that is computed as it is written, image by image from the seed.

    ``rotations`` (n, 3, 3) map object to image; ``shifts`` (n, 2) are the particles' displacements
    in pixels; ``t`` (n,) the conformations in [0, 1]; ``volumes`` (m, box, box, box) the densities
    at ``volume_t`` (m,). ``noise`` is the standard deviation of the white noise added to a pixel.
    """

    molecule: Molecule
    box: int
    pixel_size: float
    ctf: CTFParameters
    rotations: NDArray[np.float32]
    shifts: NDArray[np.float32]
    t: NDArray[np.float32]
    volumes: NDArray[np.float32]
    volume_t: NDArray[np.float32]
    noise: float
    seed: int

    @property
    def n(self) -> int:
        """Number of particles."""
        return len(self.t)

    def chunks(self, size: int = 256) -> Iterator[NDArray[np.float32]]:
        """Noisy images (up to ``size``, box, box), in order; the same whatever the size."""
        for start in range(0, self.n, size):
            index = slice(start, min(start + size, self.n))
            images = _clean_images(self, index)
            noise = [
                np.random.default_rng([self.seed, 1, i]).standard_normal(
                    (self.box,) * 2, np.float32
                )
                for i in range(index.start, index.stop)
            ]
            yield images.numpy() + self.noise * np.stack(noise)


def _clean_images(simulation: Simulation, index: slice) -> Float[Tensor, "batch y x"]:
    """Projections times CTF."""
    images = simulation.molecule.project(
        torch.from_numpy(simulation.t[index]),
        torch.from_numpy(simulation.rotations[index]),
        torch.from_numpy(simulation.shifts[index]),
        simulation.box,
        simulation.pixel_size,
    )
    lattice = Lattice.create(simulation.box)
    ctf = CTF(simulation.ctf.select(index), lattice.k, simulation.box, simulation.pixel_size)
    return pixels_to_images(images_to_pixels(images, lattice) * ctf(slice(None)), lattice)


def simulate(
    molecule: Molecule,
    n_particles: int,
    box: int,
    pixel_size: float,
    *,
    snr: float = 0.1,
    max_shift: float = 2.0,
    defocus: tuple[float, float] = (10_000.0, 25_000.0),
    seed: int = 0,
) -> Simulation:
    """Uniformly random views of a molecule under a microscope at 300 kV.

    Parameters
    ----------
    molecule
        What to look at.
    n_particles, box, pixel_size
        Number of images, their edge in pixels (even), Å per pixel.
    snr
        Variance of the signal (after CTF, over whole images) over that of the white noise;
        infinity adds none.
    max_shift
        Shifts are uniform in [-max_shift, max_shift]², in pixels.
    defocus
        Range in Å; astigmatism of up to 500 Å comes on top.
    seed
        Everything random follows from it.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    if n_particles < 1 or box < 8 or box % 2 or pixel_size <= 0 or snr <= 0 or max_shift < 0:
        raise ValueError(
            "expected at least one particle, an even box of 8 pixels or more, and positive pixel "
            f"size and SNR; got n={n_particles}, box={box}, pixel size={pixel_size}, snr={snr}, "
            f"max shift={max_shift}"
        )
    random = np.random.default_rng([seed, 0])
    rotations = Rotation.random(n_particles, rng=random).as_matrix().astype(np.float32)
    shifts = random.uniform(-max_shift, max_shift, (n_particles, 2)).astype(np.float32)
    t = random.random(n_particles).astype(np.float32)
    mean = random.uniform(*defocus, n_particles)
    astigmatism = random.uniform(0, 250, n_particles)
    ctf = CTFParameters.create(
        mean + astigmatism, mean - astigmatism, random.uniform(0, 180, n_particles)
    )
    volume_t = (
        np.linspace(0, 1, 11, dtype=np.float32) if molecule.moves else np.zeros(1, np.float32)
    )
    volumes = np.stack([molecule.volume(float(v), box, pixel_size).numpy() for v in volume_t])
    clean = Simulation(
        molecule, box, pixel_size, ctf, rotations, shifts, t, volumes, volume_t, 0.0, seed
    )
    if np.isinf(snr):
        return clean
    signal = float(_clean_images(clean, slice(0, _SAMPLE)).var())
    return Simulation(**{**clean.__dict__, "noise": float(np.sqrt(signal / snr))})
