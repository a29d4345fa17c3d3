"""A fresh STAR file, for particles that come without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.imaging import CTFParameters

from .star_columns import CTF, GROUP, HALF, IMAGE_NAME, ORIGINS_ANGSTROM
from .star_edits import angle_columns, decimals, origin_columns
from .star_text import StarBlock, quote

_VERSION = "# version 30001"
_NO_PIXEL_SIZE = "# The pixel size is unknown: 1.0 stands in for it, so that Å here are pixels."


def fresh_blocks(
    path: Path,
    image_names: Sequence[str],
    box: int,
    pixel_size: float | None,
    ctf: CTFParameters | None = None,
    rotations: NDArray[np.float32] | None = None,
    shifts: NDArray[np.float32] | None = None,
    half_sets: NDArray[np.int8] | None = None,
) -> list[StarBlock]:
    """A STAR file of version 3.1: optics groups and particles.

    Parameters
    ----------
    path
        Where it will stand.
    image_names
        N of the form INDEX@PATH.
    box
        In pixels.
    pixel_size
        In Å; None writes 1.0 and a comment.
    ctf, rotations, shifts, half_sets
        Of N particles; columns are left out if None. Shifts are displacements in pixels.
    """
    n = len(image_names)
    size = 1.0 if pixel_size is None else pixel_size
    # One optics group per combination of what RELION keeps in that table.
    optics = np.zeros((n, 0))
    if ctf is not None:
        optics = np.stack([ctf.voltage, ctf.spherical_aberration, ctf.amplitude_contrast], axis=1)
    groups, group = np.unique(optics, axis=0, return_inverse=True)
    shared: dict[str, Sequence[str]] = {
        GROUP: [str(i + 1) for i in range(len(groups))],
        "rlnOpticsGroupName": [f"opticsGroup{i + 1}" for i in range(len(groups))],
    }
    for name, values in zip(CTF[3:6], groups.T, strict=False):
        shared[name] = decimals(values)
    shared["rlnImagePixelSize"] = decimals(np.full(len(groups), size))
    shared["rlnImageSize"] = [str(box)] * len(groups)
    shared["rlnImageDimensionality"] = ["2"] * len(groups)

    columns: dict[str, Sequence[str]] = {IMAGE_NAME: [quote(name) for name in image_names]}
    if ctf is not None:
        columns[CTF[0]] = decimals(ctf.defocus_u)
        columns[CTF[1]] = decimals(ctf.defocus_v)
        columns[CTF[2]] = decimals(ctf.defocus_angle)
        columns[CTF[6]] = decimals(ctf.phase_shift)
    if rotations is not None and shifts is not None:
        columns |= angle_columns(rotations)
        columns |= origin_columns(ORIGINS_ANGSTROM, shifts, np.full(n, size))
    columns[GROUP] = [str(i + 1) for i in np.ravel(group)]
    if half_sets is not None:
        columns[HALF] = [str(half) for half in half_sets.tolist()]
    note = () if pixel_size is not None else (_NO_PIXEL_SIZE,)
    return [
        _block(path, "optics", shared, (_VERSION, *note)),
        _block(path, "particles", columns, (_VERSION,)),
    ]


def _block(
    path: Path, name: str, columns: dict[str, Sequence[str]], comments: tuple[str, ...]
) -> StarBlock:
    rows = [" ".join(values) for values in zip(*columns.values(), strict=True)]
    return StarBlock(path, name, tuple(columns), rows, True, comments)
