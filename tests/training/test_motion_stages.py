"""Stages that find poses and motion together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr

from napari_cryodrgn.imaging import simulate
from napari_cryodrgn.particles import read, write_simulation
from napari_cryodrgn.poses import align_poses, expmap
from napari_cryodrgn.training import (
    LatentUpdated,
    PosesUpdated,
    Warned,
    motion_stages,
    pose_stages,
)
from napari_cryodrgn.training.consensus import PoseAssignment
from napari_cryodrgn.training.context import Context
from napari_cryodrgn.training.motion_stages import (
    joint_round,
    linear_latent,
    representatives,
    reproducibility,
    steady_frame,
)
from napari_cryodrgn.training.pose_stages import refine_round, settle
from napari_cryodrgn.training.state import RunState

Make = Callable[..., Context]


@pytest.fixture
def make(make_data: Any, settings: Any) -> Make:
    """Context of a run with its particles' true poses, off by ``degrees`` at random."""

    def make(particles: Any, degrees: float = 0.0, zdim: int = 1) -> Context:
        random = torch.Generator().manual_seed(0)
        turn = torch.deg2rad(torch.tensor(degrees)) * torch.randn(
            len(particles), 3, generator=random
        )
        state = RunState(
            rotations=expmap(turn) @ torch.from_numpy(particles.rotations),
            shifts=torch.from_numpy(particles.shifts),
        )
        return Context(settings(zdim=zdim), particles, make_data(particles), state)

    return make


def order(context: Context, t: torch.Tensor) -> float:
    latent = context.state.latent
    assert latent is not None
    return abs(float(spearmanr(latent[:, 0], t).statistic))


def error(context: Context, particles: Any) -> float:
    truth = torch.from_numpy(particles.rotations)
    assert context.state.rotations is not None
    return align_poses(context.state.rotations, truth).median


def test_a_joint_round_betters_poses_and_latent(make: Make, toy: Any) -> None:
    particles, t = toy
    context = make(particles, degrees=4.0)
    list(linear_latent(context, 8.0, 12, 1))
    rho, degrees = order(context, t), error(context, particles)

    events = list(joint_round(context, 12.0))

    assert error(context, particles) < 0.7 * degrees
    assert order(context, t) > max(rho, 0.9)
    assert [type(e) for e in events if isinstance(e, LatentUpdated | PosesUpdated)] == [
        LatentUpdated,
        PosesUpdated,
    ]


def test_a_round_that_makes_images_held_out_less_likely_is_taken_back(
    make: Make, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make(toy[0])
    list(linear_latent(context, 8.0, 12, 1))
    rotations, n = context.state.rotations, len(toy[0])

    def astray(*_: Any) -> Any:
        turned = expmap(0.5 * torch.randn(n, 3, generator=torch.Generator().manual_seed(1)))
        yield PoseAssignment(
            turned @ rotations, torch.zeros(n, 2), torch.zeros(n, dtype=torch.long), torch.ones(n)
        )

    monkeypatch.setattr(motion_stages, "search_all", astray)
    list(joint_round(context, 10.0))

    assert context.state.rotations is rotations
    assert order(context, toy[1]) > 0.9


def test_a_motion_helps_to_explain_the_other_half(make: Make, toy: Any) -> None:
    context = make(toy[0])
    list(linear_latent(context, 8.0, 12, 1))

    events = list(reproducibility(context, 8.0))

    assert not any(isinstance(e, Warned) for e in events)
    assert context.state.gain is not None
    assert context.state.gain > 0


def test_a_still_molecule_is_told(make: Make, still: Any, tmp_path: Any) -> None:
    star = write_simulation(tmp_path / "set", simulate(still, 400, 32, 9.0, snr=0.3, seed=6))
    context = make(read(star))
    list(linear_latent(context, 8.0, 12, 1))

    events = list(reproducibility(context, 8.0))

    (warning,) = (e for e in events if isinstance(e, Warned))
    assert "not reproducible" in warning.message
    assert context.state.warnings == [warning.message]
    # Frames of states that differ by noise would be noise.
    assert context.state.still
    assert list(steady_frame(context)) == []


def test_representatives() -> None:
    z = torch.linspace(0, 1, 101)[:, None]
    assert representatives(z, 5, 0)[:, 0].tolist() == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    random = torch.Generator().manual_seed(0)
    corners = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]]).repeat(30, 1)
    found = representatives(corners + 0.1 * torch.randn(90, 2, generator=random), 3, 0)
    assert torch.cdist(corners[:3], found).min(1).values.max() < 0.2


def test_given_poses_are_refined(make: Make, toy: Any) -> None:
    particles, _ = toy
    context = make(particles, degrees=4.0)
    before = error(context, particles)

    events = list(refine_round(context, 12.0))

    assert error(context, particles) < 0.7 * before
    assert any(isinstance(e, PosesUpdated) for e in events)
    assert context.state.spread is not None
    assert context.state.spread.shape == (len(particles), 5, 5)


def test_a_steady_frame_turns_states_not_particles(make: Make, toy: Any) -> None:
    particles, t = toy
    context = make(particles)
    list(linear_latent(context, 8.0, 12, 1))

    events = list(steady_frame(context))

    assert any(isinstance(e, PosesUpdated) for e in events)
    truth, found = torch.from_numpy(particles.rotations), context.state.rotations
    assert found is not None
    alike = torch.as_tensor(t).argsort()[: len(t) // 8]
    assert align_poses(found[alike], truth[alike]).median < 1.5


@pytest.mark.parametrize(("degrees", "rounds"), [(1.0, 1), (30.0, 10)])
def test_rounds_of_search_end_when_poses_stay(
    make: Make, toy: Any, monkeypatch: pytest.MonkeyPatch, degrees: float, rounds: int
) -> None:
    context, called = make(toy[0], zdim=0), []

    def turn(context: Context, *_: Any) -> Any:
        called.append(1)
        assert context.state.rotations is not None
        by = expmap(torch.deg2rad(torch.tensor([0.0, 0.0, degrees])))
        context.state.rotations = by @ context.state.rotations
        yield from ()

    monkeypatch.setattr(pose_stages, "consensus_round", turn)
    list(settle(context, 10.0, (4,), 2))
    assert len(called) == rounds
