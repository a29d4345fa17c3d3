"""Variational inference with a voxel basis as the decoder: the ELBO without drawing an image.

Under a voxel basis the likelihood of an image is a quadratic form in the basis functions of z
(``posterior``), so that the encoder learns from the ELBO at the cost of the encoder alone, and the
decoder's maximisation is exact. One epoch is expectation maximisation with both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..imaging import shift_phases
from ..model import ImageEncoder
from .adam import Adam
from .dataset import Dataset
from .divergence import LossNotFinite
from .posterior import HeldOut
from .vae_fit import ENCODER_LIMIT, EpochLoss, encoder_inputs

_BATCH = 64


@dataclass(frozen=True)
class EncoderPlan:
    """How to train the encoder: ``passes`` over the particles, and the weight of the KL term."""

    passes: int
    limit: float
    learning_rate: float
    beta: float
    seed: int


def train_encoder(
    encoder: ImageEncoder,
    optimizer: Adam,
    data: Dataset,
    shifts: Float[Tensor, "n 2"],
    halves: tuple[HeldOut, HeldOut],
    plan: EncoderPlan,
) -> Iterator[float | EpochLoss]:
    """Train in place on the ELBO; yields the fraction done, and at last the last pass's losses.

    Raises
    ------
    LossNotFinite
        If the loss is.
    """
    torch.manual_seed(plan.seed)
    p = data.lattice.count(plan.limit)
    n_batches = sum(-(-len(half.index) // _BATCH) for half in halves)
    step = 0
    for _ in range(plan.passes):
        sum_reconstruction = sum_kl = 0.0
        batches = [
            (half, rows)
            for half in halves
            for rows in torch.randperm(len(half.index)).split(_BATCH)
        ]
        for i in torch.randperm(len(batches)).tolist():
            half, rows = batches[i]
            progress = step / (plan.passes * n_batches)
            optimizer.learning_rate = plan.learning_rate * min(1.0, (step + 1) / 20)
            optimizer.learning_rate *= 0.475 * (1 + math.cos(math.pi * progress)) + 0.05
            with torch.enable_grad():
                reconstruction, kl = _elbo(encoder, data, shifts, half, rows)
                loss = (reconstruction + plan.beta * kl) / p
                optimizer.zero_grad()
                loss.backward()
            if not math.isfinite(float(loss.detach())):
                raise LossNotFinite
            optimizer.step()
            step += 1
            share = len(rows) / len(data)
            sum_reconstruction += float(reconstruction.detach()) / p * share
            sum_kl += float(kl.detach()) * share
        yield step / (plan.passes * n_batches)
    yield EpochLoss(sum_reconstruction, sum_kl, p)


def _elbo(
    encoder: ImageEncoder,
    data: Dataset,
    shifts: Tensor,
    half: HeldOut,
    rows: Tensor,
) -> tuple[Tensor, Tensor]:
    """Monte Carlo terms of the negative ELBO, with one sample of z per image."""
    part = half.index[rows]
    pixels, ctf = data.batch(part, ENCODER_LIMIT)
    phases = shift_phases(data.lattice.k[: pixels.shape[1]], data.box, shifts[part])
    mean, logvar = encoder(encoder_inputs(pixels * phases, ctf))
    z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
    rows = rows.to(z.device)
    a = half.decoder.coefficients(z)
    quadratic = (half.gram[rows] @ a[..., None])[..., 0]
    residual = half.power[rows] - (a * (2 * half.pull[rows] - quadratic)).sum(1)
    kl = -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum(1)
    return residual.mean(), kl.mean()
