"""A run from particles to poses, latents and volumes, as a generator of events."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import torch

from ..errors import TrainingError
from ..particles import ParticleSet
from .checks import check_count, check_zdim
from .context import Context, Progress, Task, Work
from .dataset import Dataset, load
from .events import (
    CheckpointSaved,
    EpochDone,
    Event,
    RunFinished,
    RunStarted,
    StageStarted,
    StepDone,
    Warned,
)
from .half_maps import reconstruct_volume
from .model_stages import final_decoder, total_epochs, vae_epoch
from .motion_stages import joint_round, linear_latent, reproducibility, steady_frame
from .pose_stages import (
    consensus_round,
    judge_poses,
    random_starts,
    rebuild,
    refine_round,
    settle,
)
from .settings import Settings
from .state import RunFolder, RunState

_STAGES = {
    "read": "Reading particles",
    "start": "Structure from nothing",
    "poses": "Pose search",
    "joint": "Poses and motion",
    "vae": "Variational autoencoder",
    "decoder": "Decoder",
}


def reconstruct(
    settings: Settings, particles: ParticleSet, resume: bool = False
) -> Iterator[Event]:
    """Infer poses, latents and volumes; the only way to train.

    Closing the generator at any event stops the run cleanly: the last checkpoint stays valid.

    Parameters
    ----------
    settings
        What to infer and how; ``settings.output`` is the run folder.
    particles
        Images, with CTF, and with poses if ``settings.poses`` is "given".
    resume
        Go on from the checkpoint in the run folder.

    Raises
    ------
    TrainingError
        If these particles cannot be used with these settings.
    ParticleFileError
        If images cannot be read.
    RunFolderError
        If the folder cannot be used, or there is nothing to resume.
    """
    device = _check(settings, particles)
    folder = RunFolder(settings.output)
    state = folder.load() if resume else RunState()
    if resume:
        folder.check_resumable(settings, settings.box or particles.box)
    if resume and state.rotations is not None and len(state.rotations) != len(particles):
        raise TrainingError(
            f"{settings.output}: the run has {len(state.rotations)} particles, "
            f"{particles.source} has {len(particles)}. Resume with the particles of the run."
        )
    yield from _quick(_run(settings, particles, folder, state, device, resume))


def _quick(events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    """Compute in a thread of its own, without gradients and denormal numbers.

    Denormal numbers make the CPU several times slower. Whether they are kept is a matter of each
    thread, and torch's helpers have it from the thread that first needed them: one that had
    computed before would keep its old ones.
    """
    with ThreadPoolExecutor(1, "reconstruct", initializer=_set_up_thread) as thread:
        try:
            while (event := thread.submit(next, events, None).result()) is not None:
                yield event
        finally:
            thread.submit(events.close).result()


def _set_up_thread() -> None:
    torch.set_flush_denormal(True)
    torch.set_grad_enabled(False)


def _check(settings: Settings, particles: ParticleSet) -> torch.device:
    if settings.poses == "given" and not particles.has_poses:
        raise TrainingError(
            f"{particles.source}: it holds no poses (rlnAngleRot, rlnAngleTilt, rlnAnglePsi). "
            "Search the poses instead."
        )
    if len(particles) < 20:
        raise TrainingError(
            f"{particles.source}: {len(particles)} particles are too few; at least 20 are needed."
        )
    if 10 * settings.zdim > len(particles):
        raise TrainingError(
            f"zdim: {settings.zdim} latent dimensions are too many for {len(particles)} particles; "
            f"choose at most {len(particles) // 10}."
        )
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError('device: no CUDA GPU was found. Choose "auto" or "cpu".')
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.device)


def _run(
    settings: Settings,
    particles: ParticleSet,
    folder: RunFolder,
    state: RunState,
    device: torch.device,
    resume: bool,
) -> Generator[Event, None, None]:
    began = time.monotonic() - state.seconds
    data: Dataset | None = None
    box = settings.box or particles.box
    pixel_size = (particles.pixel_size or 0.0) * particles.box / box
    stages = _stage_titles(settings)
    first = RunStarted(
        settings.output,
        len(particles),
        box,
        pixel_size,
        settings.zdim,
        device.type,
        stages,
        resume,
    )
    if not resume:
        folder.check(particles)
    started = False
    for outcome in load(particles, settings, device):
        # The first images were read without a fault.
        if not started:
            yield first
            yield StageStarted(stages[0], 0)
            started = True
        if isinstance(outcome, Dataset):
            data = outcome
        else:
            yield StepDone(stages[0], 0.02 * outcome, float("nan"), "transforming images")
    assert data is not None
    # Nothing of an earlier run is replaced before all images were read without a fault.
    if not resume:
        folder.create(settings, particles, box, pixel_size)
    folder.record(first)
    if not resume:
        doubts = [*data.warnings, check_zdim(settings.zdim, len(particles))]
        if settings.poses == "search":
            doubts.append(check_count(len(particles)))
        for message in filter(None, doubts):
            state.warnings.append(message)
            warning = Warned(message)
            folder.record(warning)
            yield warning
    if state.noise is not None:
        data.noise = state.noise.to(device)
    if settings.poses == "given" and state.rotations is None:
        assert particles.rotations is not None
        assert particles.shifts is not None
        state.rotations = torch.from_numpy(particles.rotations).float()
        state.shifts = torch.from_numpy(particles.shifts).float() * (box / particles.box)
    context = Context(settings, particles, data, state)
    tasks = _tasks(context)
    yield from _carry_out(context, folder, tasks, stages, began)

    final = context.final
    if final is None:  # resumed after the last task
        final = reconstruct_volume(data, *context.poses(), data.lattice.limit, state.spread)
    folder.finish(state, particles, final, data)
    yield context.preview(final.volume, "final consensus")
    last = RunFinished(settings.output, time.monotonic() - began)
    folder.record(last)
    yield last


def _carry_out(
    context: Context, folder: RunFolder, tasks: list[Task], stages: tuple[str, ...], began: float
) -> Iterator[Event]:
    """Run the tasks that are not done yet, with a checkpoint after each."""
    state = context.state
    total = sum(t.weight for t in tasks)
    done = sum(t.weight for t in tasks[: state.task])
    clock, start = time.monotonic(), 0.02 + 0.98 * done / total
    stage = ""
    for task in tasks[state.task :]:
        if task.stage != stage:
            stage = task.stage
            event: Event = StageStarted(stage, stages.index(stage))
            folder.record(event)
            yield event
        for outcome in task.work():
            if isinstance(outcome, Progress):
                fraction = 0.02 + 0.98 * (done + task.weight * outcome.fraction) / total
                pace = (time.monotonic() - clock) / max(fraction - start, 1e-6)
                left = (1 - fraction) * pace if fraction - start > 0.01 else float("nan")
                yield StepDone(stage, fraction, left, outcome.detail)
                continue
            event = replace(outcome, stage=stage) if isinstance(outcome, EpochDone) else outcome
            if isinstance(event, EpochDone | Warned):
                folder.record(event)
            yield event
        done += task.weight
        state.task += 1
        state.seconds = time.monotonic() - began
        folder.save(state, context.data)
        saved = CheckpointSaved(folder.path, state.epoch)
        folder.record(saved)
        yield saved


def _stage_titles(settings: Settings) -> tuple[str, ...]:
    names = ["read"]
    names += ["start", "poses"] if settings.poses == "search" else ["poses"]
    if settings.zdim:
        names += ["joint"] if settings.linear_start else []
        names += ["vae"]
    names += ["decoder"]
    return tuple(_STAGES[n] for n in names)


def _tasks(context: Context) -> list[Task]:
    """The run as a list of tasks; weights are rough seconds for 1,000 particles on two cores."""
    settings, data = context.settings, context.data
    n = len(data) / 1000
    top = data.lattice.limit
    tasks: list[Task] = []

    def add(stage: str, weight: float, work: partial[Work]) -> None:
        tasks.append(Task(_STAGES[stage], weight, work))

    if settings.poses == "search":
        add("start", 30.0, partial(random_starts, context))
        keep, last = (16, 8, 4, 3), min(top, 18.0)
        add("poses", 3 * n, partial(consensus_round, context, 10.0, (8, 6, 4), 3))
        add("poses", 4 * n, partial(consensus_round, context, min(top, 12.0), keep, 3))
        if settings.zdim:
            add("poses", 6 * n, partial(consensus_round, context, last, keep, 3))
        else:
            add("poses", 12 * n, partial(settle, context, last, keep, 3))
            add("poses", 3 * n, partial(refine_round, context, top))
    else:
        add("poses", 1 * n, partial(rebuild, context, min(top, 24.0), "volume at the given poses"))
        if settings.refine_poses:
            for limit in (12.0, 24.0):
                add("poses", 2 * n, partial(refine_round, context, limit))
    add("poses", 0.1, partial(judge_poses, context))
    if settings.zdim and settings.linear_start:
        if settings.poses == "search":
            add("joint", 6 * n, partial(linear_latent, context, 8.0, 20, 3))
        else:
            add("joint", 2 * n, partial(linear_latent, context, 8.0, 10, 2))
        add("joint", 2 * n, partial(reproducibility, context, 8.0))
        if settings.poses == "search":
            for limit in (10.0, 12.0, 14.0):
                add("joint", 10 * n, partial(joint_round, context, limit))
            add("joint", 10.0, partial(steady_frame, context))
            add("joint", 10 * n, partial(joint_round, context, 16.0))
    if settings.zdim:
        for epoch in range(total_epochs(settings)):
            add("vae", 5 * n, partial(vae_epoch, context, epoch))
    add("decoder", 12 + n, partial(final_decoder, context))
    return tasks
