"""Images of the particles that are looked at: which, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .import_model import low_passes, random_rows

if TYPE_CHECKING:
    from ..analysis import Run
    from ..particles import ParticleSet
    from .explorer_model import Pick

#: Images shown at most.
IMAGES = 24


@dataclass(frozen=True, eq=False)
class Images:
    """Images (n, y, x), 0..255, of particles ``rows``, which together are called ``what``.

    They were filtered to ``low_pass``, None if not at all, and could be to ``low_passes``, in Å or
    as ``unit`` says.
    """

    rows: tuple[int, ...]
    images: NDArray[np.uint8]
    what: str
    low_pass: float | None
    low_passes: list[float]
    unit: str


class ImageReader:
    """Reads images of a run's particles, whose file it opens once.

    Parameters
    ----------
    read
        Opens a particle file; `particles.read` if absent.
    """

    def __init__(self, read: Callable[[Path], ParticleSet] | None = None) -> None:
        self._read = read
        self._opened: tuple[Run, ParticleSet] | None = None

    def images(
        self,
        run: Run,
        mask: NDArray[np.bool_] | None,
        pick: Pick | None,
        seed: int,
        low_pass: float | None,
    ) -> Images:
        """Images of the particles that `choose_rows` gives.

        ``low_pass`` is a resolution in Å, 0 for a usual one and None for none.

        Raises
        ------
        CryodrgnError
            If the particles or their images cannot be read.
        """
        from .particle_preview import load_preview

        rows, what = choose_rows(run, mask, pick, seed)
        particles = self._particles(run)
        choices = low_passes(particles)
        if low_pass == 0:
            low_pass = choices[min(1, len(choices) - 1)]
        if rows:
            preview = load_preview(particles, rows, low_pass, _is_dark(run, particles))
            rows, images = list(preview.rows), preview.images
        else:
            images = np.zeros((0, 1, 1), np.uint8)
        unit = "px" if particles.pixel_size is None else "Å"
        return Images(tuple(rows), images, what, low_pass, choices, unit)

    def _particles(self, run: Run) -> ParticleSet:
        if self._opened is None or self._opened[0] is not run:
            from ..analysis import open_particles
            from ..particles import read

            self._opened = run, open_particles(run, self._read or read)
        return self._opened[1]


def has_others(run: Run, mask: NDArray[np.bool_] | None, pick: Pick | None) -> bool:
    """Whether `choose_rows` gives others with another seed."""
    if mask is not None:
        return int(np.count_nonzero(mask)) > IMAGES
    return run.n_particles > IMAGES and (pick is None or run.latents is None)


def choose_rows(
    run: Run, mask: NDArray[np.bool_] | None, pick: Pick | None, seed: int
) -> tuple[list[int], str]:
    """Particles to show, and what they are called.

    Some of the selection; without one those nearest to the pick in z, nearest first; without that
    some of all.
    """
    if mask is not None:
        chosen = np.flatnonzero(mask)
        places = random_rows(len(chosen), IMAGES, seed) if len(chosen) else []
        return chosen[places].tolist(), f"{len(places)} of {len(chosen):,} selected particles"
    n = run.n_particles
    if pick is None or run.latents is None:
        return random_rows(n, IMAGES, seed), f"{min(IMAGES, n)} of all {n:,} particles"
    offset = np.asarray(run.latents.mu) - pick.z
    squares = np.einsum("nk,nk->n", offset, offset)
    count = min(IMAGES, n)
    nearest = np.argpartition(squares, count - 1)[:count]
    rows = nearest[np.argsort(squares[nearest])].tolist()
    return rows, f"the {count} particles nearest to the picked point"


def _is_dark(run: Run, particles: ParticleSet) -> bool:
    return bool(run.settings.get("invert_contrast", particles.dark))
