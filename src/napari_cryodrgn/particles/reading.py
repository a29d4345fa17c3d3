"""Particles from a file of any kind that can be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError

from .cryodrgn_files import read_ctf, read_indices, read_poses
from .cs import read_cs, read_cs_table
from .cs_table import CsTable
from .image_stack import ImageStack
from .listed import ListedParticles
from .mrc import MrcFile, open_mrc, open_stack
from .optics import SAME_PIXEL_SIZE
from .particle_set import ParticleSet
from .stack_lists import read_list
from .star import read_star, read_table
from .tables import ParticleTable

READABLE = (
    ".star (RELION), .cs and .csg (cryoSPARC), .mrcs and .mrc (stacks), .txt (list of stacks)"
)


def read(
    path: Path | str,
    data_folder: Path | None = None,
    *,
    amplitude_contrast: float | None = None,
    pixel_size: float | None = None,
    passthrough: Sequence[Path | str] = (),
    poses: Path | str | None = None,
    ctf: Path | str | None = None,
    indices: Path | str | None = None,
) -> ParticleSet:
    """Open particles; no image is loaded.

    Parameters
    ----------
    path
        A RELION STAR file, a cryoSPARC .cs or .csg file, a stack, or a list of stacks.
    data_folder
        Where to look for stacks that are neither beside the file nor above it.
    amplitude_contrast
        Used if a table has a defocus but no amplitude contrast.
    pixel_size
        In Å; used if no file says.
    passthrough
        Further .cs files of a .cs file's particles; looked for beside it if none are given and
        the images, the CTF or the poses are missing.
    poses, ctf
        cryoDRGN's .pkl files, which go before what the table has: for all particles of ``path``,
        or for those that ``indices`` selects.
    indices
        cryoDRGN's .pkl of a selection.

    Raises
    ------
    ParticleFileError
        If a file is missing, of another kind, damaged or not a set of particles, or if files do
        not fit each other.
    """
    particles = _read(Path(path), data_folder, amplitude_contrast, passthrough)
    whole, chosen = len(particles), _indices(particles, indices)
    if chosen is not None:
        particles = particles.select(chosen)
    if poses is not None:
        found = read_poses(poses, particles.box)
        rows = _rows(particles, whole, chosen, Path(poses), "poses", len(found.rotations))
        particles = particles.with_poses(found.rotations[rows], found.shifts[rows])
    if ctf is not None:
        parameters, box, size = read_ctf(ctf)
        rows = _rows(particles, whole, chosen, Path(ctf), "ctf", len(parameters))
        particles = replace(
            particles,
            ctf=parameters.select(rows),
            # Of the same field of view: stacks are made smaller, and their CTF file is not.
            pixel_size=_pixel_size(particles, Path(ctf), size * box / particles.box),
        )
    if particles.pixel_size is None and pixel_size is not None:
        particles = replace(particles, pixel_size=pixel_size)
    return particles


def read_listed(
    path: Path | str,
    passthrough: Sequence[Path | str] = (),
    amplitude_contrast: float | None = None,
) -> ListedParticles[ParticleTable] | ListedParticles[CsTable] | None:
    """What a table says of its particles without its stacks; None if ``path`` is no table.

    Raises
    ------
    ParticleFileError
        If the table is missing or damaged.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".star":
        return read_table(path, amplitude_contrast)
    if suffix in (".cs", ".csg"):
        return read_cs_table(path, passthrough, amplitude_contrast)
    return None


def _read(
    path: Path,
    data_folder: Path | None,
    amplitude_contrast: float | None,
    passthrough: Sequence[Path | str],
) -> ParticleSet:
    suffix = path.suffix.lower()
    if passthrough and suffix not in (".cs", ".csg"):
        raise ParticleFileError(
            path,
            "Passthrough files belong to particles of cryoSPARC (.cs or .csg), not to this file.",
            field="passthrough",
            remedy="Leave them out, or choose the .cs file as the particles.",
        )
    if os.path.isdir(path):
        raise ParticleFileError(
            path,
            "It is a folder.",
            remedy=f"Choose a file in it, such as run_data.star: {READABLE}.",
        )
    if not os.path.exists(path):
        raise ParticleFileError(
            path, "There is no such file.", remedy="Check the name and the folder."
        )
    if suffix == ".star":
        return read_star(path, data_folder, amplitude_contrast)
    if suffix in (".cs", ".csg"):
        return read_cs(path, data_folder, passthrough, amplitude_contrast)
    if suffix == ".txt":
        return read_list(path, data_folder)
    if suffix == ".mrcs":
        return _bare(open_stack(path))
    if suffix == ".mrc":
        if open_mrc(path).kind == "volume":
            raise ParticleFileError(
                path,
                "It is a volume, not a stack of images.",
                remedy="Open it as a volume; if it is a stack, rename it to .mrcs.",
            )
        return _bare(open_stack(path))
    beside = " cryoDRGN's .pkl files are given beside one of these." if suffix == ".pkl" else ""
    raise ParticleFileError(
        path,
        f"Files of the kind {suffix or path.name!r} hold no particles.",
        remedy=f"Can be read: {READABLE}.{beside}",
    )


def _bare(file: MrcFile) -> ParticleSet:
    return ParticleSet(
        images=ImageStack.whole(file),
        pixel_size=file.pixel_size,
        ctf=None,
        rotations=None,
        shifts=None,
        source=file.path,
        table=None,
        rows=np.arange(len(file)),
    )


def _indices(particles: ParticleSet, path: Path | str | None) -> NDArray[np.intp] | None:
    if path is None:
        return None
    index = read_indices(path)
    beyond = (index < 0) | (index >= len(particles))
    if beyond.any():
        raise ParticleFileError(
            path,
            f"It selects particle {index[np.argmax(beyond)]}, but {particles.source} has those "
            f"from 0 to {len(particles) - 1}.",
            field="indices",
            remedy="Give the file of all particles that it was made for.",
        )
    if not len(index):
        raise ParticleFileError(
            path, "It selects no particles.", field="indices", remedy="Make a selection again."
        )
    return index


def _rows(
    particles: ParticleSet,
    whole: int,
    chosen: NDArray[np.intp] | None,
    path: Path,
    name: str,
    n: int,
) -> NDArray[np.intp]:
    """Which of a file's ``n`` rows belong to the particles."""
    if n == whole and chosen is not None:
        return chosen
    if n == len(particles):
        return np.arange(n)
    selected = "" if chosen is None else f", of which {len(particles)} are selected"
    raise ParticleFileError(
        path,
        f"It has {n} rows, but {particles.source} has {whole} particles{selected}.",
        field=name,
        remedy="Give the file that belongs to these particles, or the selection it was made for.",
    )


def _pixel_size(particles: ParticleSet, path: Path, size: float) -> float:
    known = particles.pixel_size
    if particles.table is None or known is None:
        return size
    if abs(known - size) > SAME_PIXEL_SIZE * known:
        raise ParticleFileError(
            path,
            f"It makes the pixels {size:.4g} Å, but {particles.source} says {known:.4g} Å.",
            field="ctf",
            remedy="Give the CTF file of these particles, or leave it out: the table has a CTF of "
            "its own.",
        )
    return known
