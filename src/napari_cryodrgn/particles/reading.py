"""Particles from a file of any kind that can be read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from napari_cryodrgn.errors import ParticleFileError

from .image_stack import ImageStack
from .mrc import MrcFile, open_mrc, open_stack
from .particle_set import ParticleSet
from .star import read_star

READABLE = ".star (RELION), .mrcs and .mrc (stacks)"


def read(
    path: Path | str, data_folder: Path | None = None, *, amplitude_contrast: float | None = None
) -> ParticleSet:
    """Open particles; no image is loaded.

    Parameters
    ----------
    path
        A RELION STAR file, or a stack.
    data_folder
        Where to look for a STAR file's stacks that are neither beside nor above it.
    amplitude_contrast
        Used if a STAR file has a defocus but no amplitude contrast.

    Raises
    ------
    ParticleFileError
        If the file is missing, of another kind, damaged or not a set of particles.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if os.path.isdir(path):
        raise ParticleFileError(path, "It is a folder.", remedy=f"Choose a file: {READABLE}.")
    if not os.path.exists(path):
        raise ParticleFileError(
            path, "There is no such file.", remedy="Check the name and the folder."
        )
    if suffix == ".star":
        return read_star(path, data_folder, amplitude_contrast)
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
    if suffix == ".cs":
        raise ParticleFileError(
            path,
            "cryoSPARC's .cs files are not supported yet.",
            remedy="Export the particles as a STAR file (pyem's csparc2star.py) and open that.",
        )
    raise ParticleFileError(
        path,
        f"Files of the kind {suffix or path.name!r} hold no particles.",
        remedy=f"Can be read: {READABLE}.",
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
