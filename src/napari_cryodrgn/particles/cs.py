"""Reading cryoSPARC's .cs files: what their fields mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.imaging import CTFParameters

from .cs_table import CsTable, open_table
from .encoding import decode
from .listed import ListedParticles
from .optics import common_pixel_size, ctf_at
from .particle_set import ParticleSet, Poses

PATH, INDEX, SHAPE, SIZE = "blob/path", "blob/idx", "blob/shape", "blob/psize_A"
POSE, SHIFT, SHIFT_SIZE = "alignments3D/pose", "alignments3D/shift", "alignments3D/psize_A"
_SIGN, _SPLIT, _GROUP = "blob/sign", "alignments3D/split", "ctf/exp_group_id"
_CONTRAST, _PHASE = "ctf/amp_contrast", "ctf/phase_shift_rad"


def read_cs_table(
    path: Path | str,
    passthrough: Sequence[Path | str] = (),
    amplitude_contrast: float | None = None,
) -> ListedParticles[CsTable]:
    """Read a .cs file without its stacks.

    Parameters
    ----------
    path
        A .cs file of extracted particles, or a .csg that names it.
    passthrough
        Further .cs files of the same particles, joined on their uid. If none are given and the
        images, the CTF or the poses are missing, they are looked for beside the file.
    amplitude_contrast
        Used if the file has none.

    Raises
    ------
    ParticleFileError
        If a file is no .cs file, or a field is missing or has bad values.
    """
    table = open_table(Path(path), passthrough)
    stacks, stack_index = _stacks(table)
    image_index = _whole(table, INDEX)
    sizes = table.numbers(SIZE) if SIZE in table else None
    pixel_size = None if sizes is None else common_pixel_size(table.path, SIZE, sizes)
    return ListedParticles(
        table=table,
        stacks=stacks,
        stack_index=stack_index,
        image_index=image_index,
        fields=(PATH, SHAPE),
        pixel_size=pixel_size,
        box=_box(table),
        ctf=_ctf(table, amplitude_contrast, sizes, pixel_size),
        poses=poses(table),
        half_sets=_half_sets(table),
        optics_groups=_optics_groups(table),
        dark=_dark(table),
    )


def read_cs(
    path: Path | str,
    data_folder: Path | None = None,
    passthrough: Sequence[Path | str] = (),
    amplitude_contrast: float | None = None,
) -> ParticleSet:
    """Read a .cs file and find its stacks.

    Parameters
    ----------
    path, passthrough, amplitude_contrast
        As :func:`read_cs_table`.
    data_folder
        Where to look for stacks that are neither beside the file nor above it: the project folder.

    Raises
    ------
    ParticleFileError
        As :func:`read_cs_table`, or if a stack is missing or does not fit the table.
    """
    return read_cs_table(path, passthrough, amplitude_contrast).open(data_folder)


def poses(table: CsTable) -> Poses | None:
    """Poses of N particles, shifts in pixels of their images; None if there are none.

    Poses in each of several classes (``alignments3D_multi``) are none of one structure, and 2D
    alignments none at all.
    """
    if POSE not in table:
        return None
    vectors = table.numbers(POSE, (3,))
    # As in RELION, the shift that centres the particle; it lies at the opposite.
    shifts = -table.numbers(SHIFT, (2,)) * shift_scale(table)[:, None]
    with np.errstate(all="ignore"):
        matrices = Rotation.from_rotvec(vectors).as_matrix().transpose(0, 2, 1)
    table.check(POSE, np.isfinite(matrices).all(axis=(1, 2)), "it is not a rotation")
    with np.errstate(over="ignore"):
        placed = shifts.astype(np.float32)
    table.check(SHIFT, np.isfinite(placed).all(axis=1), "it is not a shift in an image")
    return Poses(matrices.astype(np.float32), placed)


def shift_scale(table: CsTable) -> NDArray[np.float64]:
    """Pixels of the image per pixel of the alignment, (N,)."""
    if SIZE not in table or SHIFT_SIZE not in table:
        return np.ones(len(table))
    aligned = table.numbers(SHIFT_SIZE)
    table.check(SHIFT_SIZE, aligned > 0, "a pixel size must be positive")
    return aligned / table.numbers(SIZE)


def _stacks(table: CsTable) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    names = table.values(PATH)
    if names.dtype.kind not in "SU" or names.ndim != 1:
        raise _unlike(table, PATH, "a path per particle")
    found, index = np.unique(names, return_inverse=True)
    table.check(PATH, (np.char.str_len(found) > 0)[index], "it is empty")
    texts = [name if isinstance(name, str) else decode(name) for name in found.tolist()]
    # cryoSPARC marks paths relative to the project folder.
    return tuple(text.removeprefix(">") for text in texts), index.astype(np.intp)


def _whole(table: CsTable, name: str) -> NDArray[np.intp]:
    values = table.values(name)
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise _unlike(table, name, "a whole number per particle")
    small = values < 1 << 62
    table.check(name, small & (values >= 0), "it must be from 0")
    return values.astype(np.intp)


def _box(table: CsTable) -> int | None:
    if SHAPE not in table:
        return None
    shapes = table.numbers(SHAPE, (2,))
    table.check(SHAPE, shapes[:, 0] == shapes[:, 1], "particle images must be square")
    boxes = np.unique(shapes)
    if len(boxes) > 1:
        raise ParticleFileError(
            table.path,
            f"Images of {', '.join(f'{box:g}' for box in boxes[:4])} pixels are mixed.",
            field=SHAPE,
            remedy="Extract all particles again in one box, or keep those of one size.",
        )
    return int(boxes[0])


def _ctf(
    table: CsTable,
    amplitude_contrast: float | None,
    sizes: NDArray[np.float64] | None,
    pixel_size: float | None,
) -> CTFParameters | None:
    if "ctf/df1_A" not in table:
        return None
    names = ("ctf/df1_A", "ctf/df2_A", "ctf/df_angle_rad", "ctf/accel_kv", "ctf/cs_mm")
    u, v, angle, voltage, cs = (table.numbers(name) for name in names)
    table.check("ctf/accel_kv", voltage > 0, "a voltage must be positive")
    contrast = _contrast(table, amplitude_contrast)
    phase = table.numbers(_PHASE) if _PHASE in table else np.zeros(len(table))
    ctf = CTFParameters(u, v, np.rad2deg(angle), voltage, cs, contrast, np.rad2deg(phase))
    return ctf_at(ctf, sizes, pixel_size)


def _contrast(table: CsTable, given: float | None) -> NDArray[np.float64]:
    if _CONTRAST in table:
        contrast = table.numbers(_CONTRAST)
        table.check(_CONTRAST, (contrast >= 0) & (contrast <= 1), "it must be between 0 and 1")
        return contrast
    if given is None:
        raise ParticleFileError(
            table.path,
            "The field is missing.",
            field=_CONTRAST,
            remedy="Give the amplitude contrast when reading; 0.1 is usual for protein in ice.",
        )
    return np.full(len(table), given)


def _half_sets(table: CsTable) -> NDArray[np.int8] | None:
    if _SPLIT not in table:
        return None
    splits = table.numbers(_SPLIT)
    return (splits + 1).astype(np.int8) if np.isin(splits, (0, 1)).all() else None


def _optics_groups(table: CsTable) -> NDArray[np.intp] | None:
    if _GROUP not in table:
        return None
    return np.unique(table.numbers(_GROUP), return_inverse=True)[1].astype(np.intp)


def _dark(table: CsTable) -> bool | None:
    if _SIGN not in table:
        return None
    signs = table.numbers(_SIGN)
    table.check(
        _SIGN,
        signs == signs[0],
        f"others are {signs[0]:g}, and the images of one set must be of one contrast",
    )
    return bool(signs[0] < 0)


def _unlike(table: CsTable, name: str, wanted: str) -> ParticleFileError:
    values = table.values(name)
    return ParticleFileError(
        table.path,
        f"Expected {wanted}, found {values.dtype} of {values.shape[1:]}.",
        field=name,
        remedy="Export the particles again.",
    )
