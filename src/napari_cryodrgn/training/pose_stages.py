"""Stages that find poses of one structure: random starts and rounds of search."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..poses import SearchSettings, align_poses, angular_distance
from .abinitio import SoftEMSettings, soft_em
from .checks import check_density, check_shifts, check_views
from .consensus import PoseAssignment, refine_all, search_all
from .context import Context, Progress
from .dataset import Dataset, shift_step
from .events import Event, PosesUpdated, Warned
from .half_maps import reconstruct_volume

SMALL_BOX = 32
_JUDGES = 300
# A start whose likelihood gain exceeds the others' by this share has found the structure.
_CLEAR_LEAD = 1.08
# Two starts whose poses agree to this many degrees have found the same structure.
_AGREEMENT = 20.0
# Poses have settled when a round turns fewer than this share of the particles by so many degrees.
_FAR, _FEW = 10.0, 0.03
_ROUNDS = 10


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


def settle(
    context: Context, limit: float, keep: tuple[int, ...], levels: int
) -> Iterator[Event | Progress]:
    """Rounds of search until nearly all particles stay where they are.

    A start that is right in part only grows right over several rounds.
    """
    for number in range(_ROUNDS):
        before, _ = context.poses()
        for outcome in consensus_round(context, limit, keep, levels):
            if isinstance(outcome, Progress):
                fraction = 1 - 0.5 ** (number + outcome.fraction)
                yield Progress(fraction, f"round {number + 1}, {outcome.detail}")
            else:
                yield outcome
        moved = angular_distance(before, context.poses()[0]) > _FAR
        if float(moved.float().mean()) < _FEW:
            return


def adopt(context: Context, found: PoseAssignment, small: Dataset) -> None:
    """Take over poses found in a cropped box."""
    state = context.state
    state.rotations, state.scores, state.spread = found.rotations, found.scores, found.spread
    state.shifts = found.shifts * (context.data.box / small.box)


def rebuild(context: Context, limit: float, caption: str) -> Iterator[Event | Progress]:
    """Consensus volume and noise spectrum from the present poses."""
    state, data = context.state, context.data
    rotations, shifts = context.poses()
    result = reconstruct_volume(data, rotations, shifts, limit, state.spread)
    state.volume, state.limit = result.volume, result.resolution_shell
    index = torch.arange(len(data))[:: max(1, len(data) // 2000)]
    data.noise = data.residual_noise(result.volume, rotations, shifts, limit, index)
    state.noise = data.noise
    yield context.preview(result.volume, caption)
    yield PosesUpdated(
        rotations.cpu().numpy(), shifts.cpu().numpy(), context.scores().cpu().numpy()
    )


def refine_round(context: Context, limit: float) -> Iterator[Event | Progress]:
    """Refine the present poses locally, to where the half maps agree."""
    data = context.data
    yield Progress(0.0, "half maps")
    maps = reconstruct_volume(data, *context.poses(), min(limit, data.lattice.limit))
    limit = min(limit, data.lattice.limit, max(8.0, maps.resolution_shell))
    for found in refine_all(data, maps.references, *context.poses(), limit, context.max_shift):
        if isinstance(found, PoseAssignment):
            adopt(context, found, data)
        else:
            yield Progress(0.1 + 0.8 * found, f"poses to {context.resolution(limit):.0f} Å")
    yield context.round_losses(limit)
    yield from rebuild(context, limit, "volume at the refined poses")


def judge_poses(context: Context) -> Iterator[Event | Progress]:
    """Warn of what the poses and their volume show to be wrong."""
    yield Progress(0.0, "looking at the poses")
    settings, state = context.settings, context.state
    rotations, shifts = context.poses()
    assert state.volume is not None
    messages = [check_views(rotations), check_density(state.volume)]
    if settings.poses == "search":
        messages.append(check_shifts(shifts, context.max_shift))
    for message in messages:
        if message is not None and message not in state.warnings:
            state.warnings.append(message)
            yield Warned(message)
