"""The one carrier of particles: images, CTF, poses, and the table they came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import CryodrgnError
from napari_cryodrgn.imaging import CTFParameters

from .image_stack import ImageStack, as_index
from .star_text import StarBlock


@dataclass(frozen=True, eq=False)
class Poses:
    """``rotations`` (N, 3, 3) float32, object to image, and ``shifts`` (N, 2) float32 in pixels."""

    rotations: NDArray[np.float32]
    shifts: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ParticleTable:
    """A RELION STAR file as read: all its blocks and columns, as text.

    Attributes
    ----------
    path
        The file.
    version
        ``"3.0"`` (one table) or ``"3.1"`` (optics groups in a table of their own; also 4 and 5).
    blocks
        All blocks in the order of the file.
    particles
        The block with a row per particle.
    optics
        The block of optics groups, None in 3.0.
    """

    path: Path
    version: Literal["3.0", "3.1"]
    blocks: tuple[StarBlock, ...] = field(repr=False)
    particles: StarBlock
    optics: StarBlock | None

    def __len__(self) -> int:
        return len(self.particles)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the particles' columns, without the leading underscore."""
        return self.particles.columns

    def column(self, name: str, rows: ArrayLike | slice = slice(None)) -> list[str]:
        """Text of one of the particles' columns, for some rows.

        Raises
        ------
        ParticleFileError
            If there is no such column.
        """
        values = self.particles.values([name])[name]
        return [values[i] for i in as_index(rows, len(values))]


@dataclass(frozen=True, eq=False, repr=False)
class ParticleSet:
    """N particles.

    Attributes
    ----------
    images
        (N, D, D), as stored, read when asked for.
    pixel_size
        Å per pixel, None if no file says.
    ctf
        Parameters of N particles, None if no file has them.
    rotations
        (N, 3, 3) float32, object to image; None without poses.
    shifts
        (N, 2) float32, displacement (x, y) of the particle from the box centre in pixels; None
        without poses.
    source
        The file that was read.
    table
        The STAR file's whole table, None for a bare stack.
    rows
        (N,) row of each particle in ``table``, or image in the stack, from 0.
    """

    images: ImageStack
    pixel_size: float | None
    ctf: CTFParameters | None
    rotations: NDArray[np.float32] | None
    shifts: NDArray[np.float32] | None
    source: Path
    table: ParticleTable | None
    rows: NDArray[np.intp]

    def __post_init__(self) -> None:
        for name in ("ctf", "rotations", "shifts", "rows"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.images):
                raise ValueError(f"{len(self.images)} images, but {name} for {len(value)}")
        if (self.rotations is None) != (self.shifts is None):
            raise ValueError("rotations and shifts come together")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        size = "unknown pixel size" if self.pixel_size is None else f"{self.pixel_size:.4g} Å/px"
        parts = [
            f"{len(self)} of {self.box} px",
            size,
            "no CTF" if self.ctf is None else "CTF",
            "poses" if self.has_poses else "no poses",
        ]
        return f"<ParticleSet {self.source}: {', '.join(parts)}>"

    @property
    def box(self) -> int:
        """Edge D of the images in pixels."""
        return self.images.box

    @property
    def has_poses(self) -> bool:
        """Whether rotations and shifts are known."""
        return self.rotations is not None

    def select(self, indices: ArrayLike | slice) -> ParticleSet:
        """Some particles (integers, a slice or a mask), in that order; ``rows`` follows.

        Raises
        ------
        IndexError
            If an index is out of range.
        """
        index = as_index(indices, len(self))
        return replace(
            self,
            images=self.images.select(index),
            ctf=None if self.ctf is None else self.ctf.select(index),
            rotations=None if self.rotations is None else self.rotations[index],
            shifts=None if self.shifts is None else self.shifts[index],
            rows=self.rows[index],
        )

    def with_poses(self, rotations: ArrayLike, shifts: ArrayLike | None = None) -> ParticleSet:
        """The same particles with other poses.

        Parameters
        ----------
        rotations
            (N, 3, 3), object to image.
        shifts
            (N, 2) in pixels; zero if absent.

        Raises
        ------
        CryodrgnError
            If they are not one per particle, or not finite.
        """
        r = np.array(rotations, np.float32)
        t = np.zeros((len(self), 2), np.float32) if shifts is None else np.array(shifts, np.float32)
        if r.shape != (len(self), 3, 3) or t.shape != (len(self), 2):
            raise CryodrgnError(
                f"{self.source}: poses of {len(self)} particles have shapes ({len(self)}, 3, 3) "
                f"and ({len(self)}, 2), but these have {r.shape} and {t.shape}."
            )
        if not (np.isfinite(r).all() and np.isfinite(t).all()):
            raise CryodrgnError(f"{self.source}: the poses given are not all finite numbers.")
        return replace(self, rotations=r, shifts=t)

    def describe(self) -> dict[str, str]:
        """What a person wants to know at a glance, as label and text."""
        table = f"RELION STAR, version {self.table.version}" if self.table else "MRC stack"
        size = self.pixel_size
        used = [self.images.files[i] for i in np.unique(self.images.file_index)]
        gigabytes = sum(file.nbytes for file in used) / 1e9
        files = "1 file" if len(used) == 1 else f"{len(used)} files"
        edge = f"{self.box} px"
        return {
            "File": str(self.source),
            "Format": table,
            "Particles": f"{len(self):,}",
            "Box": edge if size is None else f"{edge} ({self.box * size:.1f} Å)",
            "Pixel size": "unknown" if size is None else f"{size:.4g} Å",
            "CTF": _describe_ctf(self.ctf),
            "Poses": "given" if self.has_poses else "none",
            "Stacks": f"{files}, {gigabytes:.3g} GB",
        }


def _describe_ctf(ctf: CTFParameters | None) -> str:
    if ctf is None:
        return "none"
    if not len(ctf):
        return "given"
    mean = (ctf.defocus_u + ctf.defocus_v) / 2e4
    voltages = ", ".join(f"{v:g}" for v in np.unique(ctf.voltage))
    return f"defocus {mean.min():.2f} to {mean.max():.2f} µm, {voltages} kV"
