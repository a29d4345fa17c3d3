"""What the stages of a run share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..particles import ParticleSet
from ..poses import SearchSettings
from .dataset import Dataset, shift_step
from .events import EpochDone, Event, PreviewVolume
from .half_maps import Reconstruction
from .settings import Settings
from .state import RunState


@dataclass(frozen=True)
class Progress:
    """Share of the present task that is done, in [0, 1], and a line for the status bar."""

    fraction: float
    detail: str = ""


@dataclass(frozen=True)
class Task:
    """A piece of a run between two checkpoints.

    ``weight`` is its expected share of the time, in any unit common to all tasks.
    """

    stage: str
    weight: float
    work: Callable[[], Iterator[Event | Progress]]


Work: TypeAlias = Iterator[Event | Progress]


@dataclass
class Context:
    """Settings, particles and state of a run in progress."""

    settings: Settings
    particles: ParticleSet
    data: Dataset
    state: RunState
    final: Reconstruction | None = None

    @property
    def max_shift(self) -> float:
        """Largest shift searched, in pixels of the run's box."""
        if self.settings.max_shift is None:
            return 0.08 * self.data.box
        return self.settings.max_shift * self.data.box / self.particles.box

    def search_settings(
        self, data: Dataset, limit: float, levels: int, keep: tuple[int, ...]
    ) -> SearchSettings:
        """Settings of a global search in the box of ``data`` up to ``limit``."""
        return SearchSettings(
            first_limit=min(10.0, limit),
            last_limit=limit,
            levels=levels,
            keep=keep,
            max_shift=self.max_shift * data.box / self.data.box,
            shift_step=shift_step(data.box),
        )

    def resolution(self, limit: float) -> float:
        """Å at a frequency in cycles per box."""
        return self.data.box * self.data.pixel_size / limit

    def poses(self) -> tuple[Tensor, Tensor]:
        """Present rotations (N, 3, 3) and shifts (N, 2) in pixels of the run's box."""
        assert self.state.rotations is not None
        assert self.state.shifts is not None
        device = self.data.device
        return self.state.rotations.to(device), self.state.shifts.to(device)

    def scores(self) -> Tensor:
        """Log-likelihood ratio of each particle's pose; zero where poses were given."""
        if self.state.scores is None:
            return torch.zeros(len(self.data))
        return self.state.scores

    def latent_arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and log variance of the latest posterior, (N, zdim) each."""
        mean, deviation = self.state.latent, self.state.deviation
        assert mean is not None
        assert deviation is not None
        return mean.cpu().numpy(), (2 * deviation.log()).cpu().numpy()

    def preview(self, volume: Tensor, caption: str) -> PreviewVolume:
        """Volume in the units of the particles."""
        box = int(volume.shape[-1])
        pixel_size = self.data.pixel_size * self.data.box / box
        # The same transform on fewer voxels: density per voxel of the run's box.
        values = (volume / self.data.scale * (box / self.data.box) ** 3).cpu().numpy()
        return PreviewVolume(values.astype(np.float32), pixel_size, caption)

    def round_losses(self, limit: float) -> EpochDone:
        """Losses after a round of the search, from the scores of the poses found.

        The KL term is the information of the linear latent, if there is one.
        """
        index = torch.arange(len(self.data))[:: max(1, len(self.data) // 1000)]
        power = [x.abs().square().sum(1) for _, x, _ in self.data.batches(250, limit, index)]
        count = self.data.lattice.count(limit)
        gain = self.scores().cpu()[index].mean()
        reconstruction = float(torch.cat(power).mean().cpu() - gain) / count
        self.state.epoch += 1
        kl = self.state.information
        return EpochDone("", self.state.epoch, reconstruction + kl / count, reconstruction, kl)
