"""Simulated particles, written as a RELION project and cryoDRGN users expect them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.imaging import CTFParameters

from .files import replacing
from .mrc_write import StackWriter
from .star_fresh import fresh_blocks
from .star_text import write_star_text

STACK, STAR, TRUTH = "particles.mrcs", "particles.star", "truth.npz"


class SimulatedParticles(Protocol):
    """What a simulation must offer to be written; ``imaging.Simulation`` does."""

    @property
    def box(self) -> int:
        """Edge of the images in pixels."""
        ...

    @property
    def pixel_size(self) -> float:
        """In Å."""
        ...

    @property
    def n(self) -> int:
        """Number of images."""
        ...

    @property
    def ctf(self) -> CTFParameters:
        """Of n particles."""
        ...

    @property
    def rotations(self) -> NDArray[np.float32]:
        """(n, 3, 3), object to image."""
        ...

    @property
    def shifts(self) -> NDArray[np.float32]:
        """(n, 2), displacements in pixels."""
        ...

    @property
    def t(self) -> NDArray[np.float32]:
        """(n,), the conformation in [0, 1]."""
        ...

    @property
    def volumes(self) -> NDArray[np.float32]:
        """(m, box, box, box)."""
        ...

    @property
    def volume_t(self) -> NDArray[np.float32]:
        """(m,), the conformations of ``volumes``."""
        ...

    def chunks(self, size: int = 256) -> Iterator[NDArray[np.float32]]:
        """Images in order, (k, box, box) with k at most ``size``."""
        ...


def write_simulation(
    folder: Path | str,
    simulation: SimulatedParticles,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a simulation as a stack, a STAR file with the true poses, and the truth.

    ``particles.mrcs`` and ``particles.star`` (version 3.1, rlnRandomSubset alternating between 1
    and 2) are as from a microscope. ``truth.npz`` holds ``rots`` (n, 3, 3), ``trans`` (n, 2)
    displacements in pixels, ``t`` (n,), ``vols`` (m, D, D, D), ``vol_t`` (m,) and ``apix``. All
    three appear together at the end, in place of earlier ones; after an exception none does.

    Parameters
    ----------
    folder
        Made if absent.
    simulation
        What to write; its images are computed chunk by chunk.
    progress
        Called with the number of images written and the total after each chunk.

    Returns
    -------
    Path
        Of the STAR file.

    Raises
    ------
    ParticleFileError
        If a file cannot be written.
    CryodrgnError
        If the simulation yields another number of images than it said.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParticleFileError(
            folder, f"The folder cannot be made: {error.strerror}.", remedy="Choose another."
        ) from error
    star = folder / STAR
    n = simulation.n
    # Left in the opposite order: the STAR file comes last, when what it names is there.
    with (
        replacing(star) as star_file,
        replacing(folder / TRUTH) as truth_file,
        StackWriter(folder / STACK, simulation.box, simulation.pixel_size) as stack,
    ):
        for chunk in simulation.chunks():
            stack.write(chunk)
            if progress is not None:
                progress(stack.written, n)
        if stack.written != n:
            raise CryodrgnError(f"The simulation of {n} images made {stack.written}.")
        with truth_file.open("wb") as file:
            np.savez(
                file,
                rots=simulation.rotations,
                trans=simulation.shifts,
                t=simulation.t,
                vols=simulation.volumes,
                vol_t=simulation.volume_t,
                apix=np.float64(simulation.pixel_size),
            )
        blocks = fresh_blocks(
            star,
            [f"{i + 1:06d}@{STACK}" for i in range(n)],
            simulation.box,
            simulation.pixel_size,
            simulation.ctf,
            simulation.rotations,
            simulation.shifts,
            (1 + np.arange(n) % 2).astype(np.int8),
        )
        write_star_text(star_file, blocks)
    return star
