"""What the columns of a RELION table mean: pixel size, CTF, poses.

Every function raises ParticleFileError, naming the column and the first bad row, where values
are missing, are no numbers or make no sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.imaging import CTFParameters

from .euler import rotations_from_euler
from .optics import common_pixel_size, ctf_at
from .particle_set import Poses
from .tables import ParticleTable

IMAGE_NAME = "rlnImageName"
GROUP = "rlnOpticsGroup"
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS_ANGSTROM = ("rlnOriginXAngst", "rlnOriginYAngst")
ORIGINS_PIXELS = ("rlnOriginX", "rlnOriginY")
# In the order of CTFParameters' fields.
CTF = (
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnPhaseShift",
)
# For tables that have none.
USUAL_CONTRAST = 0.1
# The flag of RELION for images that already are multiplied by their CTF.
_PREMULTIPLIED = "rlnCtfDataAreCtfPremultiplied"
_PIXEL_SIZE = ("rlnImagePixelSize", "rlnDetectorPixelSize", "rlnMagnification", "rlnPixelSize")
BOX = "rlnImageSize"
_TEXT = (IMAGE_NAME, GROUP)
HALF = "rlnRandomSubset"
_REMEDIES = {
    "rlnAmplitudeContrast": "Add the column, or give the amplitude contrast when reading; 0.1 is "
    "usual for protein in ice.",
}


class StarColumns:
    """The columns needed here, one value per particle, those of its optics group joined on.

    A particle's own column goes before its optics group's.
    """

    def __init__(self, table: ParticleTable) -> None:
        self.path = table.path
        self.n = len(table)
        self.version = table.version
        groups = (ANGLES, ORIGINS_ANGSTROM, ORIGINS_PIXELS, CTF, _PIXEL_SIZE)
        wanted = [IMAGE_NAME, GROUP, BOX, HALF, _PREMULTIPLIED, *chain.from_iterable(groups)]
        own = [name for name in wanted if name in table.columns]
        in_words = [name for name in own if name in _TEXT]
        in_numbers = [name for name in own if name not in _TEXT]
        self._table = table
        self._own, self._numbers = table.particles.parse(in_words, in_numbers)
        self._shared: dict[str, tuple[str, ...]] = {}
        self.group: NDArray[np.intp] = np.zeros(self.n, np.intp)
        if table.optics is not None:
            names = [name for name in wanted if name in table.optics.columns]
            self._shared = table.optics.values(names)
            self._join(len(table.optics))

    def __contains__(self, name: str) -> bool:
        return name in self._own or name in self._numbers or name in self._shared

    def text(self, name: str) -> Sequence[str]:
        """A particle column as text."""
        return self._own[name]

    def as_written(
        self, names: Sequence[str], rows: NDArray[np.intp]
    ) -> dict[str, tuple[str, ...]]:
        """Text of particle columns in some rows."""
        return self._table.particles.edited(rows, {}).values(names) if names else {}

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as finite numbers, shape (N,)."""
        if name in self._numbers:
            values = self._numbers[name]
            if not np.isfinite(values).all():
                row = int(np.argmin(np.isfinite(values)))
                text = self._table.column(name, [row])[0]
                raise self._bad(name, text, f"Row {row + 1}")
            return values.copy()
        if name not in self._shared:
            raise ParticleFileError(
                self.path,
                "The column is missing.",
                field=name,
                remedy=_REMEDIES.get(name, "Export the particles again with this column."),
            )
        shared = self._shared[name]
        values = np.full(len(shared), np.nan)
        # A group without particles may say what it likes.
        for group in np.unique(self.group).tolist():
            values[group] = _number(shared[group])
            if not np.isfinite(values[group]):
                raise self._bad(name, shared[group], f"Table data_optics, row {group + 1}")
        return values[self.group]

    def _bad(self, name: str, value: str, where: str) -> ParticleFileError:
        what = "a number" if np.isnan(_number(value)) and value.lower() != "nan" else "finite"
        return ParticleFileError(
            self.path,
            f"{where}: {value!r} is not {what}.",
            field=name,
            remedy="Remove the particle or mend the value.",
        )

    def _join(self, n_groups: int) -> None:
        if GROUP not in self._own:
            if n_groups != 1:
                raise ParticleFileError(
                    self.path,
                    f"There are {n_groups} optics groups, but particles do not say which is "
                    "theirs.",
                    field=GROUP,
                    remedy="Export the particles again with this column.",
                )
            return
        if GROUP not in self._shared:
            raise ParticleFileError(
                self.path,
                "The table of optics groups does not number them.",
                field=GROUP,
                remedy="Add the column to data_optics.",
            )
        rows = {name: i for i, name in enumerate(self._shared[GROUP])}
        group = np.array([rows.get(name, -1) for name in self._own[GROUP]], np.intp)
        if (group < 0).any():
            row = int(np.argmax(group < 0))
            raise ParticleFileError(
                self.path,
                f"Row {row + 1} is of optics group {self._own[GROUP][row]}, which data_optics "
                "does not list.",
                field=GROUP,
                remedy="Export the particles again, or add the group to data_optics.",
            )
        self.group = group


def pixel_sizes(columns: StarColumns) -> NDArray[np.float64] | None:
    """Å per pixel of each particle's image (N,), None if the table does not say."""
    if "rlnImagePixelSize" in columns:
        name, sizes = "rlnImagePixelSize", columns.numbers("rlnImagePixelSize")
    elif "rlnDetectorPixelSize" in columns and "rlnMagnification" in columns:
        name, scale = "rlnDetectorPixelSize", columns.numbers("rlnMagnification")
        _check(columns, "rlnMagnification", scale, scale > 0, "a magnification must be positive")
        # The detector's pixel is in µm.
        sizes = columns.numbers(name) * 1e4 / scale
    elif "rlnPixelSize" in columns:
        name, sizes = "rlnPixelSize", columns.numbers("rlnPixelSize")
    else:
        return None
    common_pixel_size(columns.path, name, sizes)
    return sizes


def declared_box(columns: StarColumns) -> int | None:
    """Box in pixels that the table states, None if it does not."""
    if BOX not in columns:
        return None
    sizes = np.unique(columns.numbers(BOX))
    if len(sizes) > 1:
        raise ParticleFileError(
            columns.path,
            f"Images of {', '.join(f'{s:g}' for s in sizes)} pixels are mixed.",
            field=BOX,
            remedy="Extract all particles again in one box, or keep one optics group.",
        )
    return int(sizes[0])


def ctf_parameters(
    columns: StarColumns,
    amplitude_contrast: float | None = None,
    sizes: NDArray[np.float64] | None = None,
) -> CTFParameters | None:
    """CTF parameters, None if there is no defocus.

    Parameters
    ----------
    columns
        Of the table.
    amplitude_contrast
        Stands in where the table has none; a phase shift is 0 unless given.
    sizes
        Å per pixel (N,). Where they differ, the parameters are those that give each particle's
        own CTF at their median.
    """
    if not any(name in columns for name in CTF[:3]):
        return None
    if _PREMULTIPLIED in columns and columns.numbers(_PREMULTIPLIED).any():
        raise ParticleFileError(
            columns.path,
            "Its images are already multiplied by their CTF, which would count twice.",
            field=_PREMULTIPLIED,
            remedy="Extract the particles again without premultiplying them.",
        )
    values = {name: columns.numbers(name) for name in CTF[:5]}
    if "rlnAmplitudeContrast" in columns or amplitude_contrast is None:
        values["rlnAmplitudeContrast"] = columns.numbers("rlnAmplitudeContrast")
    else:
        values["rlnAmplitudeContrast"] = np.full(columns.n, amplitude_contrast)
    values[CTF[6]] = columns.numbers(CTF[6]) if CTF[6] in columns else np.zeros(columns.n)
    voltage, contrast = values["rlnVoltage"], values["rlnAmplitudeContrast"]
    _check(columns, "rlnVoltage", voltage, voltage > 0, "a voltage must be positive")
    within = (contrast >= 0) & (contrast <= 1)
    _check(columns, "rlnAmplitudeContrast", contrast, within, "it must be between 0 and 1")
    ctf = CTFParameters(*[values[name] for name in CTF])
    return ctf if sizes is None else ctf_at(ctf, sizes, float(np.median(sizes)))


def half_sets(columns: StarColumns) -> NDArray[np.int8] | None:
    """Half (1 or 2) of each particle (N,), None if the table does not say."""
    if HALF not in columns:
        return None
    halves = columns.numbers(HALF)
    return halves.astype(np.int8) if np.isin(halves, (1, 2)).all() else None


def optics_groups(columns: StarColumns) -> NDArray[np.intp] | None:
    """Row of each particle's group in the table of optics groups (N,), None if there is none."""
    return columns.group if columns.version == "3.1" else None


def poses(columns: StarColumns, sizes: NDArray[np.float64] | None) -> Poses | None:
    """Poses, None if there are none.

    Picked particles often carry rlnAnglePsi, and 2D classes psi and origins: without rot and tilt,
    or with both 0 throughout as 2D classification writes them, these place the particle in its
    image but are no pose.

    Parameters
    ----------
    columns
        Of the table.
    sizes
        Å per pixel (N,), for origins in Å.
    """
    if ANGLES[0] not in columns and ANGLES[1] not in columns:
        return None
    angles = np.stack([columns.numbers(name) for name in ANGLES], axis=-1)
    if angles[:, 2].any() and not angles[:, :2].any():
        return None
    # Either column of a pair is enough to tell the unit; the other is then asked for by name.
    in_angstrom = any(name in columns for name in ORIGINS_ANGSTROM)
    in_pixels = any(name in columns for name in ORIGINS_PIXELS)
    angstrom = in_angstrom or (not in_pixels and columns.version == "3.1")
    names = ORIGINS_ANGSTROM if angstrom else ORIGINS_PIXELS
    origins = np.stack([columns.numbers(name) for name in names], axis=-1)
    if angstrom and sizes is None:
        raise ParticleFileError(
            columns.path,
            "Origins are in Å, but no pixel size is given.",
            field="rlnImagePixelSize",
            remedy="Add the column to data_optics.",
        )
    # An origin is the shift that centres the particle; it lies at the opposite.
    with np.errstate(over="ignore"):
        unit = sizes[:, None] if angstrom and sizes is not None else 1.0
        shifts = (-origins / unit).astype(np.float32)
    for name, values, good in zip(names, origins.T, np.isfinite(shifts).T, strict=True):
        _check(columns, name, values, good, "it lies in no image")
    return Poses(rotations_from_euler(angles).astype(np.float32), shifts)


def _check(
    columns: StarColumns,
    name: str,
    values: NDArray[np.float64],
    good: NDArray[np.bool_],
    rule: str,
) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise ParticleFileError(
            columns.path,
            f"{values[row]:g} in row {row + 1}: {rule}.",
            field=name,
            remedy="Remove the particle or mend the value.",
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
