"""Images of a run's particles, as its model compares them with slices of its volumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Complex, Float
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import ParticleFileError, RunFolderError
from ..imaging import CTF, Lattice, images_to_pixels
from ..particles import ParticleSet, read
from .run import Run
from .source_table import given_ctf

Read = Callable[[Path], ParticleSet]


def open_particles(run: Run, read: Read = read) -> ParticleSet:
    """The n particles of a run, with their images, as their file lists them.

    Raises
    ------
    RunFolderError
        If the run does not tell its particles any more.
    ParticleFileError
        If they cannot be read, or the file has changed.
    """
    path = run.particles_path
    if path is None:
        raise RunFolderError(run.folder, "the run does not say which particles it used.")
    particles = read(path)
    chosen = particles if run.indices is None else particles.select(run.indices)
    if len(chosen) != run.n_particles:
        raise ParticleFileError(
            path,
            f"It has {len(chosen):,} particles now, but the run used {run.n_particles:,}.",
            remedy="Put back the file that the run was made of.",
        )
    return chosen


class RunImages:
    """Images of a run's particles in Fourier space, read when asked for.

    ``particles`` are as `open_particles` gives them, ``lattice`` holds the frequencies of the run's
    box up to Nyquist, ``ctf_parameters`` are of all particles, None if unknown. Safe in any thread.

    Parameters
    ----------
    run
        Whose particles they are.
    read
        Opens a particle file; `particles.read` if absent.

    Raises
    ------
    CryodrgnError
        As `open_particles`.
    """

    def __init__(self, run: Run, read: Read = read) -> None:
        self.run = run
        self.particles = open_particles(run, read)
        self.lattice = Lattice.create(run.box)
        dark = run.settings.get("invert_contrast", self.particles.dark)
        self._sign = -1.0 if dark else 1.0
        parameters = self.ctf_parameters = given_ctf(run) or self.particles.ctf
        size = run.pixel_size or 1.0
        self._ctf = None if parameters is None else CTF(parameters, self.lattice.k, run.box, size)

    def pixels(self, rows: ArrayLike) -> Complex[Tensor, "n pixels"]:
        """Transforms of images, cropped to the run's box, particles bright on dark, mean 0.

        They are in units in which a slice through `FourierGrid.transform` of a decoded volume,
        times the CTF and moved by the shift, explains them.

        Raises
        ------
        ParticleFileError
            If images cannot be read.
        """
        images = torch.from_numpy(self.particles.images.read(rows))
        images -= images.mean((1, 2), keepdim=True)
        return self._sign * images_to_pixels(images, self.lattice)

    def ctf(self, rows: ArrayLike) -> Float[Tensor, "n pixels"]:
        """CTF of particles; 1 if there is none."""
        index = torch.as_tensor(rows)
        if self._ctf is None:
            return torch.ones(len(index), len(self.lattice))
        return self._ctf(index, len(self.lattice))

    def poses(self, rows: ArrayLike) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 2"]]:
        """Rotations and shifts in pixels of the run's box.

        Raises
        ------
        RunFolderError
            If the run has saved no poses yet.
        """
        run = self.run
        if run.rotations is None or run.shifts is None:
            raise RunFolderError(
                run.folder, "no poses are saved yet.", remedy="Wait for the first checkpoint."
            )
        index = torch.as_tensor(rows)
        return torch.from_numpy(run.rotations)[index], torch.from_numpy(run.shifts)[index]
