"""Stages that find poses: random starts, consensus rounds, joint rounds of pose and latent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..poses import SearchSettings, align_poses
from .abinitio import SoftEMSettings, soft_em
from .consensus import (
    PoseAssignment,
    reconstruct_volume,
    search_all,
    state_volumes,
)
from .context import Context, Progress
from .dataset import Dataset, shift_step
from .events import Event, LatentUpdated, PosesUpdated, Warned
from .linear import LinearFit, fit_linear, split_half_correlation

SMALL_BOX = 32
_JUDGES = 300
# A start whose likelihood gain exceeds the others' by this share has found the structure.
_CLEAR_LEAD = 1.08
# Two starts whose poses agree to this many degrees have found the same structure.
_AGREEMENT = 20.0
# Below this split-half correlation a latent component is not reproducible.
_REPRODUCIBLE = 0.25


def random_starts(context: Context) -> Iterator[Event | Progress]:
    """Soft EM from random poses until two starts agree, or one clearly leads.

    A wrong structure shows without knowing the truth: its likelihood is lower, and no other start
    finds it again.
    """
    settings, state = context.settings, context.state
    small = context.data.cropped(SMALL_BOX)
    ratio = small.box / context.data.box
    max_shift = context.max_shift * ratio
    judges = torch.arange(len(small))[:: max(1, len(small) // _JUDGES)][:_JUDGES]
    look = SearchSettings(
        levels=3, keep=(4,), last_limit=10.0, max_shift=max_shift, shift_step=shift_step(small.box)
    )
    tries: list[tuple[float, PoseAssignment, Tensor]] = []
    convinced = False
    em = SoftEMSettings()
    for start in range(settings.starts):
        seed = settings.seed * 1000 + start
        for done, _, volume in soft_em(small, seed, max_shift, shift_step(small.box), em):
            # Two or three starts are enough as a rule: how many is not known beforehand.
            fraction = 1 - 0.6 ** (start + done / em.steps)
            yield Progress(fraction, f"start {start + 1}, step {done} of {em.steps}")
            if done and done % 20 == 0:
                yield context.preview(volume, f"random start {start + 1}")
        for found in search_all(small, volume[None], look, judges):
            if isinstance(found, PoseAssignment):
                tries.append((float(found.scores.mean()), found, volume))
        scores = [t[0] for t in tries]
        best = max(range(len(tries)), key=lambda i: scores[i])
        others = [s for i, s in enumerate(scores) if i != best]
        convinced = bool(others) and scores[best] > _CLEAR_LEAD * float(np.median(others))
        for i, (_, other, _) in enumerate(tries):
            if i != best:
                agree = align_poses(other.rotations.cpu(), tries[best][1].rotations.cpu())
                convinced = convinced or agree.median < _AGREEMENT
        if convinced:
            break
    if not convinced and settings.starts > 1:
        message = (
            f"None of {len(tries)} random starts stood out or was found twice: the structure is "
            "probably wrong. Try more particles, more starts, a smaller box, or another seed."
        )
        state.warnings.append(message)
        yield Warned(message)
    state.volume = tries[best][2]


def consensus_round(
    context: Context, limit: float, keep: tuple[int, ...], levels: int
) -> Iterator[Event | Progress]:
    """Search every particle against the present volume, then reconstruct."""
    state, data = context.state, context.data
    assert state.volume is not None
    small = data.cropped(int(state.volume.shape[-1]))
    limit = min(limit, small.lattice.limit)
    settings = context.search_settings(small, limit, levels, keep)
    volume = state.volume.to(data.device)[None]
    for found in search_all(small, volume, settings):
        if isinstance(found, PoseAssignment):
            adopt(context, found, small)
        else:
            yield Progress(0.9 * found, f"frequencies to {context.resolution(limit):.0f} Å")
    # Before the noise is re-estimated: the scores are in its present units.
    yield context.round_losses(limit)
    yield from rebuild(context, limit, "consensus")


def adopt(context: Context, found: PoseAssignment, small: Dataset) -> None:
    """Take over poses found in a cropped box."""
    state = context.state
    state.rotations, state.scores = found.rotations, found.scores
    state.shifts = found.shifts * (context.data.box / small.box)


def rebuild(context: Context, limit: float, caption: str) -> Iterator[Event | Progress]:
    """Consensus volume and noise spectrum from the present poses."""
    state, data = context.state, context.data
    rotations, shifts = context.poses()
    result = reconstruct_volume(data, rotations, shifts, limit)
    state.volume, state.limit = result.volume, result.resolution_shell
    index = torch.arange(len(data))[:: max(1, len(data) // 2000)]
    data.noise = data.residual_noise(result.volume, rotations, shifts, limit, index)
    state.noise = data.noise
    yield context.preview(result.volume, caption)
    yield PosesUpdated(
        rotations.cpu().numpy(), shifts.cpu().numpy(), context.scores().cpu().numpy()
    )


def linear_latent(
    context: Context, limit: float, iterations: int, n_starts: int
) -> Iterator[Event | Progress]:
    """Linear-subspace fit at the present poses; the best of some random starts by information."""
    state, settings = context.state, context.settings
    small = context.data.cropped(SMALL_BOX)
    rotations, shifts = context.poses()
    shifts = shifts * (small.box / context.data.box)
    limit = min(limit, small.lattice.limit)
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
            start=state.latent if n_starts == 1 else None,
        ):
            fit = latest
            yield Progress((start + done / iterations) / n_starts, f"linear fit {start + 1}")
        assert fit is not None
        if best is None or fit.information > best.information:
            best = fit
    assert best is not None
    set_latent(context, best)
    yield LatentUpdated(*context.latent_arrays())


def set_latent(context: Context, fit: LinearFit) -> None:
    """Take over the posterior of a linear fit."""
    state = context.state
    state.information = fit.information
    state.latent = fit.mean
    state.deviation = fit.covariance.diagonal(dim1=1, dim2=2).sqrt().clamp(0.05, 1)


def joint_round(context: Context, limit: float) -> Iterator[Event | Progress]:
    """Search over pose and conformational state together; the state found is the new latent."""
    state, data, settings = context.state, context.data, context.settings
    assert state.latent is not None
    n_states = 5 if settings.zdim == 1 else min(12, 4 + 2 * settings.zdim)
    rotations, shifts = context.poses()
    limit = min(limit, data.lattice.limit)
    volumes, centres = state_volumes(
        data, rotations, shifts, state.latent, n_states, limit, settings.seed
    )
    search = context.search_settings(data, limit, 4, (8, 6, 4, 3, 2))
    for found in search_all(data, volumes, search):
        if isinstance(found, PoseAssignment):
            adopt(context, found, data)
            latent = centres[found.states]
            spread = latent.std(0).clamp_min(1e-3)
            state.latent = (latent - latent.mean(0)) / spread
        else:
            yield Progress(0.9 * found, f"poses and states to {context.resolution(limit):.0f} Å")
    yield context.round_losses(limit)
    yield from rebuild(context, limit, "consensus")


def reproducibility(context: Context, limit: float) -> Iterator[Event | Progress]:
    """Fit the two halves of the particles apart; warn when their motions have nothing in common."""
    state, data, settings = context.state, context.data, context.settings
    assert state.latent is not None
    small = data.cropped(SMALL_BOX)
    rotations, shifts = context.poses()
    shifts = shifts * (small.box / data.box)
    fits: list[LinearFit] = []
    for half in (0, 1):
        fit: LinearFit | None = None
        for done, latest in fit_linear(
            small,
            rotations,
            shifts,
            settings.zdim,
            limit,
            iterations=12,
            seed=settings.seed + 100 + half,
            index=torch.arange(half, len(data), 2),
        ):
            fit = latest
            yield Progress((half + done / 12) / 2, "comparing the two halves of the particles")
        assert fit is not None
        fits.append(fit)
    correlation = split_half_correlation(*fits)
    if correlation < _REPRODUCIBLE:
        message = (
            f"The motion is not reproducible: fitted to each half of the particles it correlates "
            f"by {correlation:.2f} only. The molecule may not move, or the particles are too few."
        )
        state.warnings.append(message)
        yield Warned(message)
