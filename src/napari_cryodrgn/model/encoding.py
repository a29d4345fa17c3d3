"""Positional encodings of Fourier coordinates."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PositionalEncoding(nn.Module):
    """sin and cos of fixed linear phases of a frequency k in cycles per box.

    Parameters
    ----------
    phases
        (3, F): the phase in radians that each unit of kx, ky, kz adds to each feature.
    """

    phases: Tensor

    def __init__(self, phases: Float[Tensor, "3 features"]) -> None:
        super().__init__()
        self.register_buffer("phases", phases.float())

    @property
    def n_features(self) -> int:
        """Length of the encoding."""
        return 2 * self.phases.shape[1]

    def forward(self, k: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch features"]:
        """Encode frequencies in cycles per box."""
        angle = k @ self.phases
        return torch.cat([angle.sin(), angle.cos()], -1)


def geometric(box: int, *, noisy: bool = False) -> PositionalEncoding:
    """The paper's encoding: sin and cos of k_j D pi (2/D)^(2i/D), i = 1 ... D/2, for each axis j.

    There k_j is in [-0.5, 0.5], so the wavelengths form a geometric series from 1, the box, down
    to the Nyquist limit 2/D. ``noisy`` leaves out the top 10 percentile of the highest
    frequencies, the paper's variant for noisy images.
    """
    i = torch.arange(1, box // 2 + 1, dtype=torch.float64)
    frequency = box * math.pi * (2 / box) ** (2 * i / box)
    if noisy:
        frequency = frequency[frequency <= torch.quantile(frequency, 0.9)]
    return PositionalEncoding(torch.block_diag(*[frequency[None] / box] * 3))


def gaussian(box: int, n: int, sigma: float = 0.5, seed: int = 0) -> PositionalEncoding:
    """Random Fourier features: directions from a Gaussian of standard deviation ``sigma`` D/2.

    The unit is radians per k in [-0.5, 0.5].
    """
    random = torch.Generator().manual_seed(seed)
    return PositionalEncoding(torch.randn(3, n, generator=random) * sigma * (box // 2) / box)


def density(volume: Float[Tensor, "z y x"], n: int, seed: int = 0) -> PositionalEncoding:
    """Phases 2 pi k.x / D with points x drawn from a density.

    A linear layer on these features is a set of atoms inside the density.
    """
    random = torch.Generator().manual_seed(seed)
    d = volume.shape[-1]
    weight = volume.detach().cpu().clamp_min(0).flatten()
    if float(weight.sum()) <= 0:
        weight = volume.detach().cpu().abs().flatten() + 1e-12
    index = torch.multinomial(weight, n, replacement=True, generator=random)
    x = torch.stack([index % d, index // d % d, index // d**2]) - d // 2
    jitter = torch.rand(3, n, generator=random) - 0.5
    return PositionalEncoding(2 * math.pi / d * (x + jitter))
