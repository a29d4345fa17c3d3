"""Training of the VAE on images at known poses, with frequency marching."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ..imaging import shift_phases, slice_points
from ..model import VAE, ConsensusSlices, ImageEncoder
from .adam import Adam
from .dataset import Dataset
from .divergence import LossNotFinite

_CHUNK = 512
ENCODER_LIMIT = 12.0


def encoder_inputs(
    pixels: Complex[Tensor, "batch pixels"], ctf: Float[Tensor, "batch pixels"]
) -> Float[Tensor, "batch inputs"]:
    """What the encoder sees: real and imaginary parts of the CTF-weighted, centred image."""
    return torch.view_as_real(pixels * ctf).flatten(-2)


def new_encoder(
    data: Dataset, shifts: Float[Tensor, "n 2"], zdim: int, width: int, layers: int, seed: int
) -> ImageEncoder:
    """Encoder of the low frequencies, normalised to the spread of its inputs."""
    torch.manual_seed(seed)
    count = data.lattice.count(ENCODER_LIMIT)
    sample = torch.arange(len(data))[:: max(1, len(data) // 2000)]
    inputs = []
    for part, pixels, ctf in data.batches(_CHUNK, ENCODER_LIMIT, sample):
        phases = shift_phases(data.lattice.k[:count], data.box, shifts[part])
        inputs.append(encoder_inputs(pixels * phases, ctf))
    deviation = torch.cat(inputs).std(0).clamp_min(1e-3)
    return ImageEncoder(2 * count, zdim, width, layers, deviation).to(data.device)


@dataclass(frozen=True)
class EpochPlan:
    """One epoch of a schedule of ``total`` epochs: a cosine over all of them.

    ``limit`` is the frequency limit of the reconstruction term in cycles per box. With
    ``distill`` the latent is drawn from a given posterior (mean, deviation), (N, zdim) each, and
    the encoder learns to predict it, in place of the ELBO.
    """

    number: int
    total: int
    limit: float
    batch: int
    learning_rate: float
    beta: float
    seed: int
    distill: tuple[Float[Tensor, "n zdim"], Float[Tensor, "n zdim"]] | None = None


@dataclass(frozen=True)
class EpochLoss:
    """Means over an epoch: ``reconstruction`` per Fourier pixel, ``kl`` in nats per particle."""

    reconstruction: float
    kl: float
    n_pixels: int

    @property
    def total(self) -> float:
        """Negative ELBO per Fourier pixel."""
        return self.reconstruction + self.kl / self.n_pixels


def run_epoch(
    vae: VAE,
    optimizer: Adam,
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    plan: EpochPlan,
) -> Iterator[float | EpochLoss]:
    """Train for one epoch in place; yields the fraction done, and at last the losses.

    Raises
    ------
    LossNotFinite
        If the loss is.
    """
    torch.manual_seed(plan.seed * 1000 + plan.number)
    order = torch.randperm(len(data))
    parts = order.split(plan.batch)
    reach = max(plan.limit, ENCODER_LIMIT)
    n_inputs, p = data.lattice.count(ENCODER_LIMIT), data.lattice.count(plan.limit)
    consensus = ConsensusSlices(vae.decoder, plan.limit) if vae.decoder.residual else None
    sum_reconstruction = sum_kl = 0.0
    for i, part in enumerate(parts):
        step = plan.number * len(parts) + i
        warm = min(1.0, (step + 1) / 20)
        cosine = 0.475 * (1 + math.cos(math.pi * step / (plan.total * len(parts)))) + 0.05
        optimizer.learning_rate = plan.learning_rate * warm * cosine
        pixels, ctf = data.batch(part, reach)
        k = data.lattice.k[: pixels.shape[1]]
        pixels = pixels * shift_phases(k, data.box, shifts[part])
        inputs = encoder_inputs(pixels[:, :n_inputs], ctf[:, :n_inputs])
        points = slice_points(rotations[part], k[:p])
        with torch.enable_grad():
            if plan.distill is None:
                terms, _, _ = vae.elbo(inputs, pixels[:, :p], ctf[:, :p], points, consensus)
                reconstruction, kl = terms.reconstruction, terms.kl
                loss = (reconstruction + plan.beta * kl) / p
            else:
                reconstruction, kl, loss = _distilled(
                    vae, inputs, pixels[:, :p], ctf[:, :p], points, consensus, plan.distill, part
                )
            optimizer.zero_grad()
            loss.backward()
        if not math.isfinite(float(loss.detach())):
            raise LossNotFinite
        optimizer.step()
        share = len(part) / len(data)
        sum_reconstruction += float(reconstruction.detach()) / p * share
        sum_kl += float(kl.detach()) * share
        if i % 8 == 7:
            yield (i + 1) / len(parts)
    yield EpochLoss(sum_reconstruction, sum_kl, p)


def _distilled(
    vae: VAE,
    inputs: Tensor,
    pixels: Tensor,
    ctf: Tensor,
    points: Tensor,
    consensus: ConsensusSlices | None,
    posterior: tuple[Tensor, Tensor],
    part: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses with z from a given posterior, which the encoder learns to predict."""
    mean, deviation = posterior[0][part], posterior[1][part]
    z = mean + deviation * torch.randn_like(mean)
    predicted = vae.decoder(points, z[:, None])
    if consensus is not None:
        predicted = predicted + consensus(points)
    residual = torch.view_as_real(pixels - ctf * predicted)
    reconstruction = residual.square().sum((1, 2)).mean()
    guess, logvar = vae.encoder(inputs)
    # KL from the given Gaussian to the encoder's.
    spread = (deviation.square() + (mean - guess).square()) / logvar.exp()
    divergence = 0.5 * (logvar - 2 * deviation.log() + spread - 1).sum(1).mean()
    logvar = logvar.detach()
    kl = -0.5 * (1 + logvar - guess.detach().square() - logvar.exp()).sum(1).mean()
    return reconstruction, kl, (reconstruction + divergence) / pixels.shape[1]


@torch.no_grad()
def infer_latents(
    encoder: ImageEncoder, data: Dataset, shifts: Float[Tensor, "n 2"]
) -> tuple[Float[Tensor, "n zdim"], Float[Tensor, "n zdim"]]:
    """Amortised posterior of all particles: mean and log variance."""
    means, logvars = [], []
    for part, pixels, ctf in data.batches(_CHUNK, ENCODER_LIMIT):
        k = data.lattice.k[: pixels.shape[1]]
        centred = pixels * shift_phases(k, data.box, shifts[part])
        mean, logvar = encoder(encoder_inputs(centred, ctf))
        means.append(mean)
        logvars.append(logvar)
    return torch.cat(means), torch.cat(logvars)
