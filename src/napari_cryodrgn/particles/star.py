"""Reading RELION's STAR files, versions 3.0 to 5."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.imaging import CTFParameters

from .image_stack import ImageStack
from .mrc import open_stack
from .particle_set import ParticleSet, ParticleTable, Poses
from .stack_paths import find_stack
from .star_columns import (
    IMAGE_NAME,
    StarColumns,
    ctf_parameters,
    declared_box,
    pixel_sizes,
    poses,
)
from .star_text import read_star_text


@dataclass(frozen=True, eq=False)
class StarParticles:
    """What a STAR file says of its N particles, before any stack is looked for.

    Attributes
    ----------
    table
        The file as read.
    stacks
        Names of the stack files, each once, as written.
    stack_index
        Which of them holds each image, (N,).
    image_index
        Where in it, from 0, (N,).
    pixel_size
        Å per pixel, None if not given.
    box
        In pixels, None if not given.
    ctf
        Parameters of N particles, None if not given.
    poses
        Of N particles, None if not given.
    """

    table: ParticleTable
    stacks: tuple[str, ...]
    stack_index: NDArray[np.intp]
    image_index: NDArray[np.intp]
    pixel_size: float | None
    box: int | None
    ctf: CTFParameters | None
    poses: Poses | None


def read_table(path: Path | str, amplitude_contrast: float | None = None) -> StarParticles:
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
    table = _table(Path(path))
    columns = StarColumns(table)
    stacks, stack_index, image_index = _image_names(table.path, columns.text(IMAGE_NAME))
    sizes = pixel_sizes(columns)
    return StarParticles(
        table,
        stacks,
        stack_index,
        image_index,
        None if sizes is None else float(np.median(sizes)),
        declared_box(columns),
        ctf_parameters(columns, amplitude_contrast),
        poses(columns, sizes),
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
    star = read_table(path, amplitude_contrast)
    source = star.table.path
    # Two names may lead to one file: each is opened once.
    paths = [find_stack(name, source, data_folder) for name in star.stacks]
    files = {found: open_stack(found) for found in dict.fromkeys(paths)}
    order = {found: i for i, found in enumerate(files)}
    file_index = np.array([order[found] for found in paths], np.intp)[star.stack_index]
    images = ImageStack(tuple(files.values()), file_index, star.image_index)
    _check_stacks(star, images)
    pixel_size = star.pixel_size
    if pixel_size is None:
        pixel_size = images.files[0].pixel_size
    return ParticleSet(
        images=images,
        pixel_size=pixel_size,
        ctf=star.ctf,
        rotations=None if star.poses is None else star.poses.rotations,
        shifts=None if star.poses is None else star.poses.shifts,
        source=source,
        table=star.table,
        rows=np.arange(len(images)),
    )


def _table(path: Path) -> ParticleTable:
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
    path: Path, names: tuple[str, ...]
) -> tuple[tuple[str, ...], NDArray[np.intp], NDArray[np.intp]]:
    """Stack names, and each row's stack and image in it, of INDEX@PATH."""
    stacks: dict[str, int] = {}
    stack_index, image_index = [], []
    for row, name in enumerate(names, 1):
        number, at, stack = name.partition("@")
        if not at or not stack or not number.isdecimal() or int(number) < 1:
            raise ParticleFileError(
                path,
                f"{name!r} in row {row} is not of the form INDEX@PATH, with images counted from 1.",
                field=IMAGE_NAME,
                remedy="Export the particles as stacks (.mrcs).",
            )
        stack_index.append(stacks.setdefault(stack, len(stacks)))
        image_index.append(int(number) - 1)
    return tuple(stacks), np.array(stack_index, np.intp), np.array(image_index, np.intp)


def _check_stacks(star: StarParticles, images: ImageStack) -> None:
    path = star.table.path
    first = images.files[0]
    for file in images.files:
        if file.box != first.box:
            raise ParticleFileError(
                path,
                f"Images of two sizes: {first.path} has {first.box} pixels, {file.path} has "
                f"{file.box}.",
                field=IMAGE_NAME,
                remedy="Extract all particles again in one box, or keep those of one size.",
            )
    if star.box is not None and star.box != first.box:
        raise ParticleFileError(
            path,
            f"The table says images of {star.box} pixels, but {first.path} has {first.box}.",
            field="rlnImageSize",
            remedy="The stack was rescaled or cropped after the table was written: use the table "
            "that belongs to it, or correct its box and pixel size.",
        )
    lengths = np.array([len(file) for file in images.files])[images.file_index]
    beyond = images.image_index >= lengths
    if beyond.any():
        row = int(np.argmax(beyond))
        file = images.files[images.file_index[row]]
        raise ParticleFileError(
            path,
            f"Row {row + 1} asks for image {images.image_index[row] + 1}, but {file.path} has "
            f"{len(file)}.",
            field=IMAGE_NAME,
            remedy="Use the stack that belongs to the table; this one may be cut short.",
        )
