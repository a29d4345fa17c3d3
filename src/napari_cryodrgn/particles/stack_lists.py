"""The images of particles whose stacks are named in another file, or in a list of stacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError

from .encoding import decode
from .image_stack import ImageStack
from .mrc import MrcFile, open_stack
from .particle_set import ParticleSet
from .stack_paths import find_stack

# More than any system's paths.
_LONGEST_LINE = 1 << 15
_LIST_REMEDY = "Write one path of a stack (.mrcs) a line."


def open_images(
    source: Path,
    names: Sequence[str],
    stack_index: NDArray[np.intp],
    image_index: NDArray[np.intp],
    data_folder: Path | None = None,
    *,
    fields: tuple[str, str],
    box: int | None = None,
) -> ImageStack:
    """Find the stacks of N images and check that these are there.

    Parameters
    ----------
    source
        The file that names the stacks.
    names
        Of the stacks, each once.
    stack_index
        Which of them holds each image, (N,).
    image_index
        Where in it, from 0, (N,).
    data_folder
        Where to look for stacks that are neither beside the file nor above it.
    fields
        Columns of names and of the box, for errors.
    box
        In pixels as the file has it, None if it does not say.

    Raises
    ------
    ParticleFileError
        If a stack is missing, the boxes differ, or an image is beyond a stack's end.
    """
    files, index = _open_stacks(source, names, data_folder, fields[0])
    images = ImageStack(files, index[stack_index], image_index)
    if box is not None and box != images.box:
        raise ParticleFileError(
            source,
            f"The table says images of {box} pixels, but {files[0].path} has {images.box}.",
            field=fields[1],
            remedy="The stack was rescaled or cropped after the table was written: use the table "
            "that belongs to it, or correct its box and pixel size.",
        )
    lengths = np.array([len(file) for file in files])[images.file_index]
    beyond = (image_index >= lengths) | (image_index < 0)
    if beyond.any():
        row = int(np.argmax(beyond))
        file = files[images.file_index[row]]
        raise ParticleFileError(
            source,
            f"Row {row + 1} asks for image {image_index[row] + 1}, but {file.path} has "
            f"{len(file)}.",
            field=fields[0],
            remedy="Use the stack that belongs to the table; this one may be cut short.",
        )
    return images


def read_list(path: Path | str, data_folder: Path | None = None) -> ParticleSet:
    """Read a list of stacks as the images of all of them, one after the other.

    One path a line, relative to the list's folder, those above it or ``data_folder``; empty lines
    and lines that begin with # are left out.

    Raises
    ------
    ParticleFileError
        If the file is no such list, or a stack is missing, damaged, listed twice or of another
        box.
    """
    path = Path(path)
    files: dict[Path, MrcFile] = {}
    for number, name in _names(path):
        found = find_stack(name, path, data_folder, None)
        if found in files:
            raise ParticleFileError(
                path,
                f"Line {number} names {found}, which is listed before.",
                remedy="Remove one of the lines.",
            )
        files[found] = open_stack(found)
    if not files:
        raise ParticleFileError(path, "It lists no stacks.", remedy=_LIST_REMEDY)
    stacks = tuple(files.values())
    _check_boxes(path, stacks, None)
    images = ImageStack(
        stacks,
        np.repeat(np.arange(len(stacks)), [len(stack) for stack in stacks]),
        np.concatenate([np.arange(len(stack)) for stack in stacks]),
    )
    sizes = {stack.pixel_size for stack in stacks}
    return ParticleSet(
        images=images,
        # Stacks that contradict each other say nothing.
        pixel_size=sizes.pop() if len(sizes) == 1 else None,
        ctf=None,
        rotations=None,
        shifts=None,
        source=path,
        table=None,
        rows=np.arange(len(images)),
    )


def _names(path: Path) -> Iterator[tuple[int, str]]:
    """Number of each line that names a stack, and the name."""
    try:
        with path.open("rb") as file:
            for number in count(1):
                raw = file.readline(_LONGEST_LINE)
                if not raw:
                    return
                if b"\0" in raw or len(raw) == _LONGEST_LINE:
                    raise ParticleFileError(
                        path, f"Line {number} is not a path.", remedy=_LIST_REMEDY
                    )
                line = decode(raw.removeprefix(b"\xef\xbb\xbf")).strip()
                if line and not line.startswith("#"):
                    yield number, line
    except OSError as error:
        raise ParticleFileError(path, f"It cannot be opened: {error.strerror}.") from error


def _open_stacks(
    source: Path, names: Sequence[str], data_folder: Path | None, field: str | None
) -> tuple[tuple[MrcFile, ...], NDArray[np.intp]]:
    """The files, and which of them each name leads to; two names may lead to one."""
    paths = [find_stack(name, source, data_folder, field) for name in names]
    files = {path: open_stack(path) for path in dict.fromkeys(paths)}
    _check_boxes(source, tuple(files.values()), field)
    order = {path: i for i, path in enumerate(files)}
    return tuple(files.values()), np.array([order[path] for path in paths], np.intp)


def _check_boxes(source: Path, files: tuple[MrcFile, ...], field: str | None) -> None:
    first, *others = files
    for file in others:
        if file.box != first.box:
            raise ParticleFileError(
                source,
                f"Images of two sizes: {first.path} has {first.box} pixels, {file.path} has "
                f"{file.box}.",
                field=field,
                remedy="Extract all particles again in one box, or keep those of one size.",
            )
