"""What the evidence about a run's particles is taken from, opened in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import RunFolderError

if TYPE_CHECKING:
    from ..analysis import Run, RunImages
    from ..analysis.evidence import Examiner

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class EvidenceSource:
    """Compares images with volumes; ``losses`` (n,) and ``limit`` are None if the run has none.

    ``limit`` is the resolution in Å beyond which the half maps no longer agree.
    """

    examiner: Examiner
    losses: Array | None
    limit: float | None

    @classmethod
    def of(cls, images: RunImages) -> EvidenceSource:
        """That of the run of these images."""
        from ..analysis.evidence import Examiner

        return cls(Examiner(images), _losses(images.run), _limit(images.run))


def _losses(run: Run) -> Array | None:
    from ..analysis.particle_values import LOSS

    path = Path(run.folder) / LOSS
    if not path.is_file():
        return None
    try:
        losses: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # shown as unknown; the explorer says what is wrong with the file
    return losses if losses.shape == (run.n_particles,) else None


def _limit(run: Run) -> float | None:
    from ..analysis.evidence import half_map_resolution

    try:
        return half_map_resolution(run)
    except RunFolderError:
        return None
