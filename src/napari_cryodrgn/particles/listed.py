"""Particles as a table lists them, before any stack is looked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.imaging import CTFParameters

from .cs_table import CsTable
from .description import facts
from .particle_set import ParticleSet, Poses
from .stack_lists import open_images
from .tables import ParticleTable

Table = TypeVar("Table", bound=ParticleTable | CsTable)


@dataclass(frozen=True, eq=False, kw_only=True)
class ListedParticles(Generic[Table]):
    """What a STAR or .cs file says of its N particles.

    Attributes
    ----------
    table
        The file as read.
    stacks
        Names of the stack files, each once.
    stack_index
        Which of them holds each image, (N,).
    image_index
        Where in it, from 0, (N,).
    fields
        Columns that name the stacks and the box, for errors.
    pixel_size
        Å per pixel, None if not given.
    box
        In pixels, None if not given.
    ctf, poses
        Of N particles, None if not given.
    half_sets, optics_groups, dark
        As in :class:`ParticleSet`.
    """

    table: Table
    stacks: tuple[str, ...]
    stack_index: NDArray[np.intp]
    image_index: NDArray[np.intp]
    fields: tuple[str, str]
    pixel_size: float | None
    box: int | None
    ctf: CTFParameters | None
    poses: Poses | None
    half_sets: NDArray[np.int8] | None
    optics_groups: NDArray[np.intp] | None
    dark: bool | None = None

    def __len__(self) -> int:
        return len(self.image_index)

    def open(self, data_folder: Path | None = None) -> ParticleSet:
        """Find the stacks.

        Parameters
        ----------
        data_folder
            Where to look for those that are neither beside the table nor above it.

        Raises
        ------
        ParticleFileError
            If a stack is missing or does not fit the table.
        """
        images = open_images(
            self.table.path,
            self.stacks,
            self.stack_index,
            self.image_index,
            data_folder,
            fields=self.fields,
            box=self.box,
        )
        size = self.pixel_size
        return ParticleSet(
            images=images,
            pixel_size=images.files[0].pixel_size if size is None else size,
            ctf=self.ctf,
            rotations=None if self.poses is None else self.poses.rotations,
            shifts=None if self.poses is None else self.poses.shifts,
            source=self.table.path,
            table=self.table,
            rows=np.arange(len(images)),
            half_sets=self.half_sets,
            optics_groups=self.optics_groups,
            dark=self.dark,
        )

    def describe(self) -> dict[str, str]:
        """What a person wants to know at a glance, as label and text."""
        known = facts(
            self.table.path,
            self.table,
            len(self),
            self.box,
            self.pixel_size,
            self.ctf,
            self.poses is not None,
            self.optics_groups,
            self.half_sets,
            self.dark,
        )
        n = len(self.stacks)
        return {**known, "Stacks": f"{n:,} named, not opened"}
