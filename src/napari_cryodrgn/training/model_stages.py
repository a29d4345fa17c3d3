"""Stages that infer latents at known poses and train the networks, and the final decoder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from ..model import (
    VAE,
    CoordinateDecoder,
    Decoder,
    ImageEncoder,
    PositionalEncoding,
    build_decoder,
    build_encoder,
    density,
    gaussian,
    geometric,
    model_description,
)
from .adam import Adam
from .basis_fit import count_nodes, solve_basis
from .context import Context, Progress
from .decoder_fit import NodeStatistics, collect, fit_decoder, new_decoder
from .divergence import with_second_try
from .encoder_fit import EncoderPlan, train_encoder
from .events import EpochDone, Event, LatentUpdated
from .half_maps import reconstruct_volume
from .posterior import principal_axes, refine, standardised
from .settings import Settings
from .vae_fit import EpochLoss, EpochPlan, infer_latents, new_encoder, run_epoch

DISTILL_EPOCHS = 1
_DECODER_STEPS = 1000
_DECODER_RATE = 4e-3
_FEATURES = 128
# Frequencies that the latent is inferred from, in cycles per box. Further out the volumes of half
# the particles hold more noise than motion.
_LATENT_LIMIT = 12.0
_PASSES = 8


def trains_network(settings: Settings) -> bool:
    """Whether the latent is learnt together with a network, as in the paper.

    Otherwise the decoder is a voxel basis until the latent is known.
    """
    return settings.decoder == "plain" or not settings.linear_start


def vae_epochs(settings: Settings) -> int:
    """Epochs of the ELBO, besides those that learn from a linear start."""
    if settings.epochs is not None:
        return settings.epochs
    if not trains_network(settings):
        return 1
    return 6 if settings.linear_start else 12


def total_epochs(settings: Settings) -> int:
    """Epochs of the VAE altogether."""
    return vae_epochs(settings) + (DISTILL_EPOCHS if settings.linear_start else 0)


def vae_epoch(context: Context, number: int) -> Iterator[Event | Progress]:
    """One epoch of the VAE.

    Raises
    ------
    TrainingError
        If the loss is not finite, with half the learning rate either.
    """
    state = context.state
    spent = state.optimizer is not None and bool(state.optimizer.get("halved"))
    epoch = _network_epoch if trains_network(context.settings) else _basis_epoch
    yield from with_second_try(context, partial(epoch, context, number), spent=spent)
    assert state.mu is not None
    assert state.logvar is not None
    assert state.model is not None
    yield LatentUpdated(state.mu.cpu().numpy(), state.logvar.cpu().numpy())
    middle = build_decoder(state.model).decode(state.mu.median(0).values)
    total = total_epochs(context.settings)
    yield context.preview(middle, f"latent median, epoch {number + 1} of {total}")


def _basis_epoch(context: Context, number: int, factor: float) -> Iterator[Event | Progress]:
    """Volumes and posteriors in turn, then the encoder on the ELBO of the images held out."""
    settings, state, data = context.settings, context.state, context.data
    rotations, shifts = context.poses()
    if state.mu is not None and state.logvar is not None:
        z = standardised(state.mu, (0.5 * state.logvar).exp()).to(data.device)
    else:
        assert state.latent is not None
        z = (state.latent @ principal_axes(state.latent)).to(data.device)
    limit = min(data.lattice.limit, _LATENT_LIMIT)
    caption = f"posterior to {context.resolution(limit):.0f} Å"
    yield Progress(0.0, caption)
    refined = refine(data, rotations, shifts, z, limit, settings.seed)
    yield Progress(0.7, caption)
    encoder = _load_encoder(context)
    optimizer = _optimizer(context, encoder)
    plan = EncoderPlan(
        _PASSES, limit, factor * settings.learning_rate, settings.beta, settings.seed + number
    )
    for outcome in train_encoder(encoder, optimizer, data, shifts, refined.halves, plan):
        if isinstance(outcome, EpochLoss):
            state.epoch += 1
            yield EpochDone("", state.epoch, outcome.total, outcome.reconstruction, outcome.kl)
        else:
            yield Progress(0.7 + 0.3 * outcome, "encoder")
    posterior = refined.posterior
    state.loss = -posterior.evidence
    if settings.refine_latent:
        state.mu, state.logvar = posterior.mean, posterior.logvar
    else:
        state.mu, state.logvar = infer_latents(encoder, data, shifts)
    state.model = model_description(encoder, refined.halves[0].decoder)
    state.optimizer = {**optimizer.state_dict(), "halved": factor < 1}


def _network_epoch(context: Context, number: int, factor: float) -> Iterator[Event | Progress]:
    """The paper's VAE; the first epochs are distilled from the linear latent, if any."""
    settings, state, data = context.settings, context.state, context.data
    rotations, shifts = context.poses()
    vae = _load_vae(context)
    optimizer = _optimizer(context, vae)
    total = total_epochs(settings)
    distill = None
    if number < total - vae_epochs(settings):
        assert state.latent is not None
        assert state.deviation is not None
        distill = (state.latent.to(data.device), state.deviation.to(data.device))
    plan = EpochPlan(
        number,
        total,
        _limit(context, number, total),
        settings.batch_size,
        factor * settings.learning_rate,
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
    state.model = model_description(vae.encoder, vae.decoder)
    state.optimizer = {**optimizer.state_dict(), "halved": factor < 1}
    state.mu, state.logvar = infer_latents(vae.encoder, data, shifts)
    if settings.refine_latent and number == total - 1:
        limit = min(data.lattice.limit, _LATENT_LIMIT)
        z = standardised(state.mu, (0.5 * state.logvar).exp())
        refined = refine(data, rotations, shifts, z, limit, settings.seed)
        state.loss = -refined.posterior.evidence
        if refined.better:
            state.mu, state.logvar = refined.posterior.mean, refined.posterior.logvar


def final_decoder(context: Context) -> Iterator[Event | Progress]:
    """The decoder that the explorer uses: fitted to sums over images at the final latents.

    It reaches as far as the half maps agree, and a little further.

    Raises
    ------
    TrainingError
        If the loss is not finite, with half the learning rate either.
    """
    settings, state, data = context.settings, context.state, context.data
    rotations, shifts = context.poses()
    yield Progress(0.0, "half maps")
    whole = reconstruct_volume(data, rotations, shifts, data.lattice.limit, state.spread)
    context.final = whole
    state.volume, state.limit = whole.volume, whole.resolution_shell
    yield Progress(0.1, "summing images")
    z = torch.zeros(len(data), 0) if state.mu is None else state.mu
    z = z.to(data.device)
    limit = min(data.lattice.limit, max(state.limit + 4, 12.0))
    nodes = count_nodes(settings.zdim)
    statistics = collect(data, rotations, shifts, z, limit, nodes, settings.seed)
    yield Progress(0.2, "summing images")
    yield from with_second_try(context, partial(_fit_final, context, statistics))
    assert state.model is not None
    state.optimizer = None
    where = z.median(0).values if settings.zdim else z.new_zeros(0)
    decoded = build_decoder(state.model).decode(where)
    yield Progress(1.0, "decoder")
    yield context.preview(decoded, "decoded at the median of the latent")


def _fit_final(
    context: Context, statistics: NodeStatistics, factor: float
) -> Iterator[Event | Progress]:
    settings, state = context.settings, context.state
    decoder: Decoder
    if settings.decoder == "basis":
        decoder = solve_basis(statistics)
    else:
        decoder = network = _final_network(context, statistics)
        steps = _DECODER_STEPS if settings.zdim else 300
        rate = factor * _DECODER_RATE
        for done, loss in fit_decoder(
            network, statistics, steps=steps, seed=settings.seed, learning_rate=rate
        ):
            yield Progress(0.2 + 0.8 * done / steps, f"decoder, relative error {loss:.2f}")
    encoder = _load_encoder(context) if settings.zdim else None
    state.model = model_description(encoder, decoder)


def _final_network(context: Context, statistics: NodeStatistics) -> CoordinateDecoder:
    """The network to fit to the statistics; a plain one goes on from the VAE's."""
    settings, state = context.settings, context.state
    if settings.decoder == "residual":
        assert state.volume is not None
        return new_decoder(
            _encoding(context),
            statistics,
            state.volume.to(context.data.device),
            settings.width,
            settings.layers,
            settings.seed,
        )
    decoder = _load_network(context)
    decoder.attenuated.fill_(True)
    return decoder


def _limit(context: Context, number: int, total: int) -> float:
    """Frequency marching of the VAE, in cycles per box."""
    top = min(context.data.lattice.limit, _LATENT_LIMIT)
    start = 8.0 if context.settings.linear_start else 6.0
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


def _optimizer(context: Context, network: torch.nn.Module) -> Adam:
    """Adam with the moments of the last epoch, if there was one."""
    optimizer = Adam(network.parameters(), context.settings.learning_rate)
    if context.state.optimizer is not None:
        optimizer.load_state_dict(context.state.optimizer)
    return optimizer


def _load_encoder(context: Context) -> ImageEncoder:
    """The encoder of the last epoch, or a new one."""
    settings, state, data = context.settings, context.state, context.data
    if state.model is not None:
        return build_encoder(state.model).to(data.device)
    _, shifts = context.poses()
    return new_encoder(data, shifts, settings.zdim, settings.width, 2, settings.seed)


def _load_network(context: Context) -> CoordinateDecoder:
    """The VAE's decoder of the last epoch, or a new one."""
    settings, state, data = context.settings, context.state, context.data
    if state.model is not None:
        decoder = build_decoder(state.model)
        assert isinstance(decoder, CoordinateDecoder)
        return decoder.to(data.device)
    encoding = _encoding(context)
    width, layers = settings.width, settings.layers
    if settings.decoder == "plain":
        torch.manual_seed(settings.seed)
        decoder = CoordinateDecoder(encoding, settings.zdim, width, layers, data.box)
        return decoder.to(data.device)
    assert state.volume is not None
    rotations, shifts = context.poses()
    z = torch.zeros(len(data), settings.zdim, device=data.device)
    limit = min(data.lattice.limit, _LATENT_LIMIT)
    statistics = collect(data, rotations, shifts, z, limit, 5, settings.seed)
    volume = state.volume.to(data.device)
    decoder = new_decoder(encoding, statistics, volume, width, layers, settings.seed)
    decoder.attenuated.fill_(False)
    return decoder


def _load_vae(context: Context) -> VAE:
    return VAE(_load_encoder(context), _load_network(context))
