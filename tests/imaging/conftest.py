"""A few blobs whose transform is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor


@dataclass(frozen=True)
class Blobs:
    """Gaussian blobs in pixels of a box: voxels, and their Fourier transform anywhere."""

    box: int
    centres: NDArray[np.float64]
    weights: NDArray[np.float64]
    sigma: float

    def volume(self) -> Tensor:
        x = np.arange(self.box) - self.box // 2
        profiles = [
            np.exp(-0.5 * ((x - c[:, None]) / self.sigma) ** 2) / self.sigma / np.sqrt(2 * np.pi)
            for c in self.centres.T
        ]
        density = np.einsum("a,az,ay,ax->zyx", self.weights, profiles[2], profiles[1], profiles[0])
        return torch.from_numpy(density).float()

    def transform(self, k: Tensor) -> Tensor:
        """At frequencies (..., 3), x y z, in cycles per box."""
        f = k.double().numpy() / self.box
        phases = np.exp(-2j * np.pi * f @ self.centres.T) @ self.weights
        envelope = np.exp(-2 * (np.pi * self.sigma) ** 2 * (f**2).sum(-1))
        return torch.from_numpy(np.asarray(phases * envelope)).to(torch.complex64)


@pytest.fixture
def blobs() -> Blobs:
    random = np.random.default_rng(3)
    centres = random.uniform(-7, 7, (12, 3))
    return Blobs(32, centres, random.uniform(0.5, 1.5, 12), 1.6)


@pytest.fixture
def rotations() -> Tensor:
    random = np.random.default_rng(5)
    return torch.from_numpy(Rotation.random(300, rng=random).as_matrix()).float()
