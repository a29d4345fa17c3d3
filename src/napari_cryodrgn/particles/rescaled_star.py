"""A set's STAR file with the same particles in another stack, in another box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError

from .particle_set import ParticleSet
from .star_columns import BOX, IMAGE_NAME, StarColumns
from .star_edits import better_known
from .star_fresh import fresh_blocks
from .star_rows import StarRows
from .star_text import StarBlock, format_star, write_star_text
from .tables import ParticleTable

# What a column is multiplied by when pixels become larger by some factor: its power.
_POWERS = {
    "rlnImagePixelSize": 1,
    "rlnPixelSize": 1,
    # RELION changes the magnification, and leaves the detector as it is.
    "rlnMagnification": -1,
    "rlnOriginX": -1,
    "rlnOriginY": -1,
    "rlnOriginZ": -1,
    "rlnOriginXPrior": -1,
    "rlnOriginYPrior": -1,
    "rlnOriginZPrior": -1,
}
# Of a table, whose text is held a second time while it is edited.
_ROWS_AT_ONCE = 1 << 15


def write_rescaled(path: Path, particles: ParticleSet, stack: str, box: int) -> None:
    """Write the STAR file of a set whose images are in another stack and box.

    Every column of the set's own STAR file is kept as it is written, but for the names of the
    images, their size, and what is measured in pixels. What the set knows better than its table,
    poses or CTF, is put in. A set of another kind gets a fresh table.

    Parameters
    ----------
    path
        Of the file, in the folder of the stack.
    particles
        N particles in their present box.
    stack
        Name of the new stack, whose images are in the order of the particles.
    box
        Of the new images in pixels, which show the same field of view.

    Raises
    ------
    ParticleFileError
        If a column to be changed has a value that is no number, or shifts cannot be put in Å for
        want of a pixel size.
    OSError
        If the file cannot be written.
    """
    names = [f"{i:06d}@{stack}" for i in range(1, len(particles) + 1)]
    scale, table = particles.box / box, particles.table
    if not isinstance(table, ParticleTable):
        size, shifts = particles.pixel_size, particles.shifts
        blocks = fresh_blocks(
            path,
            names,
            box,
            None if size is None else size * scale,
            particles.ctf,
            particles.rotations,
            None if shifts is None else shifts / np.float32(scale),
            particles.half_sets,
        )
        write_star_text(path, blocks)
        return
    edits = {IMAGE_NAME: names, **better_known(StarColumns(table), particles)}
    edits |= _in_pixels(table.particles, particles.rows, edits, scale, box)
    with path.open("wb") as file:
        for block in table.blocks:
            every = np.arange(len(block))
            if block is table.particles:
                file.writelines(_pieces(block, particles.rows, edits))
            elif block is table.optics:
                file.writelines(_pieces(block, every, _in_pixels(block, every, {}, scale, box)))
            else:
                file.write(format_star([block]))


def _pieces(
    block: StarBlock, rows: NDArray[np.intp], edits: dict[str, Sequence[str]]
) -> Iterator[bytes]:
    """Text of some rows of a block with their edits, a part at a time to spare memory."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        chosen = block.edited(rows[part], {name: text[part] for name, text in edits.items()})
        if start == 0:
            # An empty line ends a block; more rows may follow here.
            yield format_star([chosen]).removesuffix(b"\n")
        else:
            yield b"".join(line + b"\n" for line in StarRows.of(chosen.rows).lines())
    yield b"\n"


def _in_pixels(
    block: StarBlock,
    rows: NDArray[np.intp],
    edits: dict[str, Sequence[str]],
    scale: float,
    box: int,
) -> dict[str, Sequence[str]]:
    """Columns that follow the size of a pixel, which is ``scale`` times what it was."""
    columns: dict[str, Sequence[str]] = {}
    if scale == 1:
        return columns
    if BOX in block.columns:
        columns[BOX] = [str(box)] * len(rows)
    written = [name for name in _POWERS if name in block.columns and name not in edits]
    parsed = block.parse((), written)[1] if written else {}
    found = {name: values[rows] for name, values in parsed.items()}
    found |= {name: np.array(edits[name], np.float64) for name in _POWERS if name in edits}
    for name, values in found.items():
        if not np.isfinite(values).all():
            row = rows[int(np.argmin(np.isfinite(values)))]
            raise ParticleFileError(
                block.path,
                f"Row {row + 1} of the table {block.name!r} has no finite number here.",
                field=name,
                remedy="Remove the particle or mend the value.",
            )
        columns[name] = [f"{value:.9g}" for value in (values * scale ** _POWERS[name]).tolist()]
    return columns
