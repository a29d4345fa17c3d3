"""Stages that train networks: the VAE at known poses, and the final decoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..model import (
    VAE,
    CoordinateDecoder,
    PositionalEncoding,
    build_decoder,
    build_encoder,
    density,
    gaussian,
    geometric,
    model_description,
)
from .adam import Adam
from .context import Context, Progress
from .decoder_fit import collect, fit_decoder, new_decoder
from .events import EpochDone, Event, LatentUpdated
from .settings import Settings
from .vae_fit import EpochLoss, EpochPlan, infer_latents, new_encoder, run_epoch

_NODES = 12
DISTILL_EPOCHS = 2
_DECODER_STEPS = 1000
_FEATURES = 128


def vae_epochs(settings: Settings) -> int:
    """Epochs of the ELBO: as the user says, else few after a linear start and more without."""
    if settings.epochs is not None:
        return settings.epochs
    return 6 if settings.linear_start else 12


def vae_epoch(context: Context, number: int) -> Iterator[Event | Progress]:
    """One epoch of the VAE; the first ones are distilled from the linear latent, if any."""
    settings, state, data = context.settings, context.state, context.data
    rotations, shifts = context.poses()
    vae = _load_vae(context)
    optimizer = Adam(vae.parameters(), settings.learning_rate)
    if state.optimizer is not None:
        optimizer.load_state_dict(state.optimizer)
    distill_epochs = DISTILL_EPOCHS if settings.linear_start else 0
    total = distill_epochs + vae_epochs(settings)
    distill = None
    if number < distill_epochs:
        assert state.latent is not None
        assert state.deviation is not None
        distill = (state.latent.to(data.device), state.deviation.to(data.device))
    plan = EpochPlan(
        number,
        total,
        _limit(context, number, total),
        settings.batch_size,
        settings.learning_rate,
        settings.beta,
        settings.seed,
        distill,
    )
    for outcome in run_epoch(vae, optimizer, data, rotations, shifts, plan):
        if isinstance(outcome, EpochLoss):
            state.epoch += 1
            kind = "encoder learns the linear latent" if distill else "ELBO"
            yield Progress(1.0, kind)
            yield EpochDone("", state.epoch, outcome.total, outcome.reconstruction, outcome.kl)
        else:
            yield Progress(outcome, f"to {context.resolution(plan.limit):.0f} Å")
    state.model = model_description(vae, vae.decoder)
    state.optimizer = optimizer.state_dict()
    state.mu, state.logvar = infer_latents(vae, data, shifts)
    yield LatentUpdated(state.mu.cpu().numpy(), state.logvar.cpu().numpy())
    with torch.no_grad():
        middle = vae.decoder.decode(state.mu.median(0).values)
    yield context.preview(middle, f"latent median, epoch {number + 1} of {total}")


def final_decoder(context: Context) -> Iterator[Event | Progress]:
    """The decoder that the explorer uses: trained on sums over images at the final latents."""
    settings, state, data = context.settings, context.state, context.data
    assert state.volume is not None
    rotations, shifts = context.poses()
    n = len(data)
    z = state.mu.to(data.device) if state.mu is not None else torch.zeros(n, 0, device=data.device)
    limit = min(data.lattice.limit, max(state.limit + 4, 12.0))
    yield Progress(0.0, "summing images")
    statistics = collect(data, rotations, shifts, z, limit, _NODES, settings.seed)
    yield Progress(0.2, "summing images")
    consensus = state.volume.to(data.device)
    encoding = _encoding(context)
    decoder = new_decoder(
        encoding, statistics, consensus, settings.width, settings.layers, settings.seed
    )
    steps = _DECODER_STEPS if settings.zdim else 300
    for done, loss in fit_decoder(decoder, statistics, steps=steps, seed=settings.seed):
        yield Progress(0.2 + 0.8 * done / steps, f"decoder, relative error {loss:.2f}")
    vae = _load_vae(context) if settings.zdim else None
    state.model = model_description(vae, decoder)
    state.optimizer = None
    where = z.median(0).values if settings.zdim else z.new_zeros(0)
    yield context.preview(decoder.decode(where), "decoded at the median of the latent")


def _limit(context: Context, number: int, total: int) -> float:
    """Frequency marching of the VAE, in cycles per box."""
    largest = context.data.lattice.limit
    if context.settings.decoder == "plain":
        top = min(largest, max(12.0, context.state.limit))
    else:
        top = min(largest, 12.0)
    start = 6.0 if not context.settings.linear_start else 8.0
    return start + (top - start) * number / max(1, total - 1)


def _encoding(context: Context) -> PositionalEncoding:
    settings, box = context.settings, context.data.box
    if settings.encoding == "geometric":
        return geometric(box)
    if settings.encoding == "geometric_noisy":
        return geometric(box, noisy=True)
    if settings.encoding == "gaussian":
        return gaussian(box, _FEATURES, seed=settings.seed)
    assert context.state.volume is not None
    return density(context.state.volume, _FEATURES, seed=settings.seed)


def _load_vae(context: Context) -> VAE:
    """The VAE of the last epoch, or a new one."""
    settings, state, data = context.settings, context.state, context.data
    if state.model is not None:
        vae = VAE(build_encoder(state.model), build_decoder(state.model))
        return vae.to(data.device)
    rotations, shifts = context.poses()
    encoder = new_encoder(data, shifts, settings.zdim, settings.width, 2, settings.seed)
    encoding = _encoding(context)
    torch.manual_seed(settings.seed)
    if settings.decoder == "plain":
        decoder = CoordinateDecoder(
            encoding, settings.zdim, settings.width, settings.layers, data.box
        )
    else:
        assert state.volume is not None
        flat = torch.zeros(len(data), settings.zdim, device=data.device)
        z = flat if state.latent is None else state.latent.to(data.device)
        limit = min(data.lattice.limit, 12.0)
        statistics = collect(data, rotations, shifts, z, limit, 5, settings.seed)
        volume = state.volume.to(data.device)
        decoder = new_decoder(
            encoding, statistics, volume, settings.width, settings.layers, settings.seed
        )
        decoder.attenuated.fill_(False)
    return VAE(encoder, decoder).to(data.device)
