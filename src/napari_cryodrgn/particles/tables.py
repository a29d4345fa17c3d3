"""The table of a RELION STAR file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from numpy.typing import ArrayLike

from .image_stack import as_index
from .star_text import StarBlock


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
        chosen = self.particles.edited(as_index(rows, len(self)), {})
        return list(chosen.values([name])[name])
