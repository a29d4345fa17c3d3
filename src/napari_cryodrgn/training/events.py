"""What a running reconstruction tells its viewers.

Every event is a frozen dataclass that carries NumPy arrays or plain numbers, never a live tensor,
so that it can cross threads. The dock and the command line consume the same stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class RunStarted:
    """The first event of a run.

    ``box`` is in pixels after cropping, ``pixel_size`` in Å per such pixel, ``stages`` the titles
    of the stages to come, in order. ``resumed`` tells whether a checkpoint was continued.
    """

    folder: Path
    n_particles: int
    box: int
    pixel_size: float
    zdim: int
    device: str
    stages: tuple[str, ...]
    resumed: bool = False


@dataclass(frozen=True)
class StageStarted:
    """A stage of the run begins; ``title`` is one of ``RunStarted.stages``."""

    title: str
    index: int


@dataclass(frozen=True)
class StepDone:
    """A bounded piece of work is done.

    ``fraction`` is the share of the whole run in [0, 1]; ``seconds_left`` the estimate of what
    remains. ``detail`` is one short line for a status bar.
    """

    stage: str
    fraction: float
    seconds_left: float
    detail: str = ""


@dataclass(frozen=True)
class EpochDone:
    """The losses after a pass (an epoch of the VAE, or a round of the pose search).

    ``epoch`` counts from 1 through the whole run, over all stages. ``reconstruction`` is the mean
    squared residual per Fourier pixel in units of the noise variance (1 is pure noise), ``kl`` the
    mean KL divergence per particle in nats, ``total`` the negative ELBO per Fourier pixel.
    """

    stage: str
    epoch: int
    total: float
    reconstruction: float
    kl: float


@dataclass(frozen=True)
class PosesUpdated:
    """Poses of all particles.

    ``rotations`` (N, 3, 3) object to image; ``shifts`` (N, 2), the displacement of the particle
    from the centre in pixels of the run's box; ``scores`` (N,) log-likelihood ratio of each
    particle's pose against no particle at all.
    """

    rotations: Array
    shifts: Array
    scores: Array


@dataclass(frozen=True)
class LatentUpdated:
    """Posterior of the latent of all particles: mean and log variance, both (N, zdim)."""

    mu: Array
    logvar: Array


@dataclass(frozen=True)
class PreviewVolume:
    """The current volume (z, y, x) with its voxel size in Å."""

    volume: Array
    pixel_size: float
    caption: str = ""


@dataclass(frozen=True)
class CheckpointSaved:
    """Everything up to here is on disk; a run stopped now can be resumed from it."""

    folder: Path
    epoch: int


@dataclass(frozen=True)
class Warned:
    """Something the user should know about the result, in one or two sentences."""

    message: str


@dataclass(frozen=True)
class RunFinished:
    """The last event: the run folder is complete."""

    folder: Path
    seconds: float


Event: TypeAlias = (
    RunStarted
    | StageStarted
    | StepDone
    | EpochDone
    | PosesUpdated
    | LatentUpdated
    | PreviewVolume
    | CheckpointSaved
    | Warned
    | RunFinished
)
