"""Stages that find poses and motion together: a linear latent, then rounds of search and posterior.

A round searches poses and conformational states against a voxel basis, and infers the latent of
each particle at the new poses. It is kept only if images held out become more likely.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from sklearn.cluster import KMeans
from torch import Tensor

from ..poses import expmap
from .basis_fit import fit_basis
from .consensus import PoseAssignment, search_all
from .context import Context, Progress
from .events import Event, LatentUpdated, Warned
from .linear import LinearFit, fit_linear, infer_linear
from .pose_stages import SMALL_BOX, adopt, rebuild
from .posterior import HeldOut, Posterior, hold_out, infer_all, standardised
from .steady import SteadyFrames, steady_frames

_KEEP = (16, 8, 4, 3)
# More particles make the first guess at the motion no better.
_LINEAR_SAMPLE = 20_000
# Finer frequencies sharpen poses, but tell less of motion than they add noise.
_LATENT_LIMIT = 14.0
# States that the frame is made steady between.
_STEADY_STATES = 7
# Standard errors by which a latent must make images held out more likely.
_CLEAR_GAIN = 3.0


def linear_latent(
    context: Context, limit: float, iterations: int, n_starts: int
) -> Iterator[Event | Progress]:
    """Linear-subspace fit at the present poses; the best of some random starts by information.

    It is fitted to a sample of the particles if they are many.
    """
    state, settings = context.state, context.settings
    small = context.data.cropped(SMALL_BOX)
    rotations, shifts = context.poses()
    shifts = shifts * (small.box / context.data.box)
    limit = min(limit, small.lattice.limit)
    n = len(small)
    sample = torch.arange(n)[:: -(-n // _LINEAR_SAMPLE)]
    best: LinearFit | None = None
    for start in range(n_starts):
        fit: LinearFit | None = None
        for done, latest in fit_linear(
            small,
            rotations,
            shifts,
            settings.zdim,
            limit,
            iterations=iterations,
            seed=settings.seed + start,
            index=sample,
        ):
            fit = latest
            yield Progress((start + done / iterations) / n_starts, f"linear fit {start + 1}")
        assert fit is not None
        if best is None or fit.information > best.information:
            best = fit
    assert best is not None
    mean, covariance, state.information = infer_linear(
        small, rotations, shifts, best.volumes, limit, torch.arange(n)
    )
    state.latent = mean - mean.mean(0)
    state.deviation = covariance.diagonal(dim1=1, dim2=2).sqrt().clamp(0.05, 1)
    yield LatentUpdated(*context.latent_arrays())


def joint_round(context: Context, limit: float) -> Iterator[Event | Progress]:
    """Search poses and states together, infer the latent anew; take back what did not help."""
    state, data, settings = context.state, context.data, context.settings
    assert state.latent is not None
    limit = min(limit, data.lattice.limit)
    latent_limit = min(limit, _LATENT_LIMIT)
    caption = f"to {context.resolution(limit):.0f} Å"
    yield Progress(0.0, f"posterior {caption}")
    before = infer_all(_held_out(context, state.latent, latent_limit), state.latent)
    z = standardised(before.mean, (0.5 * before.logvar).exp())
    yield Progress(0.15, f"volumes of states {caption}")
    rotations, shifts = context.poses()
    decoder = fit_basis(data, rotations, shifts, z, limit, seed=settings.seed)
    volumes = decoder.decode_all(representatives(z, _states(settings.zdim), settings.seed))
    search = context.search_settings(data, limit, 3, _KEEP)
    old = state.rotations, state.shifts, state.scores
    for found in search_all(data, volumes, search):
        if isinstance(found, PoseAssignment):
            adopt(context, found, data)
        else:
            yield Progress(0.2 + 0.6 * found, f"poses and states {caption}")
    yield Progress(0.8, f"posterior {caption}")
    after = infer_all(_held_out(context, z, latent_limit), z)
    better = float(after.evidence.mean()) > float(before.evidence.mean())
    if not better:
        state.rotations, state.shifts, state.scores = old
    found_z = after if better else before
    deviation = (0.5 * found_z.logvar).exp()
    state.latent = standardised(found_z.mean, deviation)
    state.deviation = deviation.clamp(0.05, 1)
    state.information = _information(found_z)
    yield LatentUpdated(*context.latent_arrays())
    yield context.round_losses(limit)
    yield from rebuild(context, limit, "consensus")


def steady_frame(context: Context) -> Iterator[Event | Progress]:
    """Turn poses and states together so that most of the molecule stands still.

    The likelihood does not say how the frame turns with the state. Between the states the new
    frames are interpolated. States that differ by noise alone are left.
    """
    state, data, settings = context.state, context.data, context.settings
    assert state.latent is not None
    if state.still:
        return
    limit = min(_LATENT_LIMIT, data.lattice.limit)
    yield Progress(0.0, "a steady frame")
    z = state.latent.to(data.device)
    rotations, shifts = context.poses()
    decoder = fit_basis(data, rotations, shifts, z, limit, seed=settings.seed)
    nodes = representatives(z, _STEADY_STATES, settings.seed)
    frames: SteadyFrames | None = None
    for outcome in steady_frames(decoder.decode_all(nodes), limit):
        if isinstance(outcome, SteadyFrames):
            frames = outcome
        else:
            yield Progress(0.1 + 0.7 * outcome, "a steady frame")
    assert frames is not None
    turned, moved = _blended(frames, nodes, z)
    state.rotations = rotations @ turned.transpose(1, 2)
    state.shifts = shifts - (state.rotations[:, :2] @ moved[..., None])[..., 0]
    yield from rebuild(context, limit, "consensus in a steady frame")


def _blended(
    frames: SteadyFrames, nodes: Float[Tensor, "k zdim"], z: Float[Tensor, "n zdim"]
) -> tuple[Tensor, Tensor]:
    """Rotation (n, 3, 3) and shift (n, 3) of each particle's state, between those of the nodes."""
    distance = torch.cdist(nodes, nodes)
    width = distance.topk(2, largest=False).values[:, 1].mean().clamp_min(1e-3)
    weights = torch.softmax(-0.5 * (torch.cdist(z, nodes) / width).square(), 1)
    vectors = Rotation.from_matrix(frames.rotations.cpu().numpy()).as_rotvec()
    return expmap(weights @ torch.from_numpy(vectors).to(z)), weights @ frames.shifts


def _states(zdim: int) -> int:
    """Number of states to search."""
    return 5 if zdim == 1 else min(12, 4 + 2 * zdim)


def reproducibility(context: Context, limit: float) -> Iterator[Event | Progress]:
    """Warn when the motion seen in one half of the particles says nothing about the other half.

    Each particle is compared with volumes of the other half, with the motion and without. Noise
    taken for motion makes images held out less likely, a real motion makes them more likely.
    """
    state = context.state
    assert state.latent is not None
    yield Progress(0.0, "comparing the two halves of the particles")
    moving = infer_all(_held_out(context, state.latent, limit), state.latent).evidence
    yield Progress(0.5, "comparing the two halves of the particles")
    still = torch.zeros_like(moving)
    for half in _held_out(context, state.latent[:, :0], limit):
        still[half.index.to(still.device)] = 2 * half.pull[:, 0] - half.gram[:, 0, 0]
    gain = moving - still
    error = float(gain.std()) / len(gain) ** 0.5
    state.gain = float(gain.mean())
    state.still = state.gain < _CLEAR_GAIN * error
    if state.still:
        message = (
            "The motion is not reproducible: what one half of the particles shows does not help "
            f"to explain the other half ({state.gain:+.2f} ± {error:.2f} nats per particle). The "
            "molecule may not move, or the particles are too few."
        )
        state.warnings.append(message)
        yield Warned(message)


def _held_out(
    context: Context, z: Float[Tensor, "n zdim"], limit: float
) -> tuple[HeldOut, HeldOut]:
    """Each half of the particles against volumes of the other half at the present poses."""
    rotations, shifts = context.poses()
    z = z.to(context.data.device)
    return hold_out(context.data, rotations, shifts, z, limit, context.settings.seed)


def _information(posterior: Posterior) -> float:
    """Mean KL divergence of the posteriors from the prior, in nats."""
    logvar, mean = posterior.logvar, posterior.mean
    return float((0.5 * (mean.square() + logvar.exp() - logvar - 1)).sum(1).mean())


def representatives(
    z: Float[Tensor, "n zdim"], n_states: int, seed: int
) -> Float[Tensor, "k zdim"]:
    """Latents that stand for all: quantiles in one dimension, else centres of k-means."""
    if z.shape[1] == 1:
        quantile = (torch.arange(n_states, device=z.device) + 0.5) / n_states
        return torch.quantile(z[:, 0], quantile)[:, None]
    means = KMeans(n_states, n_init=2, random_state=seed).fit(z.cpu().numpy())
    return torch.from_numpy(means.cluster_centers_).to(z)
