"""The one carrier of particles: images, CTF, poses, and the table they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import CryodrgnError
from napari_cryodrgn.imaging import CTFParameters

from .cs_table import CsTable
from .description import facts
from .image_stack import ImageStack, as_index
from .origin import Origin
from .tables import ParticleTable


@dataclass(frozen=True, eq=False)
class Poses:
    """``rotations`` (N, 3, 3) float32, object to image, and ``shifts`` (N, 2) float32 in pixels."""

    rotations: NDArray[np.float32]
    shifts: NDArray[np.float32]


_PER_PARTICLE = (
    "ctf", "rotations", "shifts", "rows", "half_sets", "optics_groups", "origin"
)  # fmt: skip


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
        Parameters of N particles, None if no file has them. Optics groups whose pixel sizes differ
        a little have theirs stated for ``pixel_size``, so that each keeps its own CTF.
    rotations
        (N, 3, 3) float32, object to image; None without poses.
    shifts
        (N, 2) float32, displacement (x, y) of the particle from the box centre in pixels; None
        without poses.
    source
        The file that was read.
    table
        The whole table of a STAR or .cs file, None for bare stacks.
    rows
        (N,) row of each particle in ``table``, or image in the stack or list of stacks, from 0.
    half_sets
        (N,) the half, 1 or 2, that each particle was refined in; None if no file says.
    optics_groups
        (N,) number of each particle's optics group, from 0; None if no file says.
    dark
        Whether the file calls the particles dark on light, so that the images have to be inverted
        (cryoSPARC's ``blob/sign``); None if it does not say.
    origin
        What the particles were before they were preprocessed; None if they were not.
    """

    images: ImageStack
    pixel_size: float | None
    ctf: CTFParameters | None
    rotations: NDArray[np.float32] | None
    shifts: NDArray[np.float32] | None
    source: Path
    table: ParticleTable | CsTable | None
    rows: NDArray[np.intp]
    half_sets: NDArray[np.int8] | None = None
    optics_groups: NDArray[np.intp] | None = None
    dark: bool | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        for name in _PER_PARTICLE:
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
            half_sets=None if self.half_sets is None else self.half_sets[index],
            optics_groups=None if self.optics_groups is None else self.optics_groups[index],
            origin=None if self.origin is None else self.origin.select(index),
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
        known = facts(
            self.source,
            self.table,
            len(self),
            self.box,
            self.pixel_size,
            self.ctf,
            self.has_poses,
            self.optics_groups,
            self.half_sets,
            self.dark,
        )
        used = [self.images.files[i] for i in np.unique(self.images.file_index)]
        size = sum(file.nbytes for file in used)
        amount = f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
        files = "1 file" if len(used) == 1 else f"{len(used)} files"
        known["Stacks"] = f"{files}, {amount}"
        if self.origin is not None:
            known["Made from"] = f"{self.origin.path}, box {self.origin.box} px"
        return known
