"""Reading RELION's STAR files, versions 3.0 to 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError

from .listed import ListedParticles
from .origin import read_origin
from .particle_set import ParticleSet
from .star_columns import (
    BOX,
    IMAGE_NAME,
    StarColumns,
    ctf_parameters,
    declared_box,
    half_sets,
    optics_groups,
    pixel_sizes,
    poses,
)
from .star_text import read_star_text
from .tables import ParticleTable

# Of a number of 64 bits.
_MOST_DIGITS = 18
# Few, so that their parts are gone before the next are made.
_NAMES_AT_ONCE = 1 << 14


def read_table(
    path: Path | str, amplitude_contrast: float | None = None
) -> ListedParticles[ParticleTable]:
    """Read a STAR file without its stacks.

    Parameters
    ----------
    path
        A STAR file with rlnImageName; RELION 3.0 (one table) or 3.1 and later (optics groups).
    amplitude_contrast
        Used if the file has none.

    Raises
    ------
    ParticleFileError
        If it is no STAR file, or a column is missing or has bad values.
    """
    table = open_star_table(Path(path))
    columns = StarColumns(table)
    stacks, stack_index, image_index = _image_names(table.path, columns.text(IMAGE_NAME))
    sizes = pixel_sizes(columns)
    return ListedParticles(
        table=table,
        stacks=stacks,
        stack_index=stack_index,
        image_index=image_index,
        fields=(IMAGE_NAME, BOX),
        pixel_size=None if sizes is None else float(np.median(sizes)),
        box=declared_box(columns),
        ctf=ctf_parameters(columns, amplitude_contrast, sizes),
        poses=poses(columns, sizes),
        half_sets=half_sets(columns),
        optics_groups=optics_groups(columns),
    )


def read_star(
    path: Path | str, data_folder: Path | None = None, amplitude_contrast: float | None = None
) -> ParticleSet:
    """Read a STAR file and find its stacks.

    Parameters
    ----------
    path
        As :func:`read_table`.
    data_folder
        Where to look for stacks that are neither beside the STAR file nor above it.
    amplitude_contrast
        Used if the file has none.

    Raises
    ------
    ParticleFileError
        As :func:`read_table`, or if a stack is missing or does not fit the table.
    """
    particles = read_table(path, amplitude_contrast).open(data_folder)
    origin = read_origin(particles.source)
    # One of another length is of a table that stood here before.
    known = origin is not None and len(origin) == len(particles)
    return replace(particles, origin=origin) if known else particles


def open_star_table(path: Path) -> ParticleTable:
    """The tables of a STAR file of particles, as text.

    Raises
    ------
    ParticleFileError
        If it is missing, damaged or lists no particle images.
    """
    blocks = read_star_text(path)
    optics = next((b for b in blocks if b.name == "optics" and b.columns), None)
    with_images = [b for b in blocks if b is not optics and IMAGE_NAME in b.columns]
    named = [b for b in with_images if b.name == "particles"] or with_images
    if not named:
        there = ", ".join(f"data_{b.name}" for b in blocks)
        raise ParticleFileError(
            path,
            f"It lists no particle images: no table with this column among {there}.",
            field=IMAGE_NAME,
            remedy="Open the STAR file of extracted particles (such as particles.star or "
            "run_data.star), not one of micrographs, coordinates or a model.",
        )
    particles = named[0]
    if not len(particles):
        raise ParticleFileError(
            path,
            f"The table data_{particles.name} has no rows.",
            field=IMAGE_NAME,
            remedy="Select some particles and export them again.",
        )
    version: Literal["3.0", "3.1"] = "3.0" if optics is None else "3.1"
    return ParticleTable(path, version, tuple(blocks), particles, optics)


def _image_names(
    path: Path, names: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.intp], NDArray[np.intp]]:
    """Stack names, and each row's stack and image in it, of INDEX@PATH."""
    stacks: dict[str, int] = {}
    stack_index, image_index = np.empty((2, len(names)), np.intp)
    for first in range(0, len(names), _NAMES_AT_ONCE):
        pairs = [name.partition("@") for name in names[first : first + _NAMES_AT_ONCE]]
        for row, (number, _, stack) in enumerate(pairs, first):
            if not (number.isdecimal() and stack and len(number) <= _MOST_DIGITS):
                raise _no_image(path, names[row], row)
        some = slice(first, first + len(pairs))
        image_index[some] = [int(number) for number, _, _ in pairs]
        stack_index[some] = [stacks.setdefault(stack, len(stacks)) for _, _, stack in pairs]
    if (image_index < 1).any():
        row = int(np.argmin(image_index))
        raise _no_image(path, names[row], row)
    return tuple(stacks), stack_index, image_index - 1


def _no_image(path: Path, name: str, row: int) -> ParticleFileError:
    return ParticleFileError(
        path,
        f"{name!r} in row {row + 1} is not of the form INDEX@PATH, with images counted from 1.",
        field=IMAGE_NAME,
        remedy="Export the particles as stacks (.mrcs).",
    )
