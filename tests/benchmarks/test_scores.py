"""The benchmarks' yardsticks, on answers that are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from benchmarks.scores import (
    canonical_correlations,
    pose_errors,
    rank_correlation,
    state_accuracy,
)
from benchmarks.volumes import half_resolution, in_true_frame, latent_at
from napari_cryodrgn.imaging import hinge
from napari_cryodrgn.poses import angular_distance, expmap, flip_hand
from napari_cryodrgn.training.state import RunFolder, RunState

N = 300


def rotations(seed: int, n: int | None = N) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(Rotation.random(n, rng=random).as_matrix()).float()


def test_a_frame_that_turns_with_the_state_is_no_error_within_the_state() -> None:
    t = np.random.default_rng(0).random((N, 1))
    turn = torch.from_numpy(np.radians(40) * (t - 0.5) * [0, 0, 1]).float()
    found = rotations(1) @ expmap(turn) @ rotations(2, None)
    errors = pose_errors(found.numpy(), rotations(1).numpy(), t)
    assert 5 < errors["median_degrees"] < 15
    assert errors["median_degrees_within_t"] < 2
    assert errors["under_10_degrees_within_t"] == 1


@pytest.mark.parametrize("flipped", [False, True])
def test_poses_come_back_to_the_true_frame(flipped: bool, tmp_path: Path) -> None:
    true, frame = rotations(1), rotations(2, None)
    random = np.random.default_rng(3)
    shifts = torch.from_numpy(random.uniform(-2, 2, (N, 2))).float()
    offset = torch.tensor([1.5, -0.5, 0.8])
    found = true @ frame
    folder = tmp_path / "run"
    folder.mkdir()
    spread = torch.eye(5).expand(N, 5, 5)
    RunFolder(folder).save(RunState(spread=spread), cast(Any, None))
    run = SimpleNamespace(
        folder=folder,
        rotations=(flip_hand(found) if flipped else found).numpy(),
        shifts=(shifts + true[:, :2] @ offset).numpy(),
    )
    truth = SimpleNamespace(rotations=true.numpy(), shifts=shifts.numpy())
    back, moved, turned = in_true_frame(run, truth)
    assert turned is not None
    # Mirrored, turns about x and y go the other way.
    assert torch.equal(turned[0].diagonal(), torch.tensor([-1.0, -1, 1, 1, 1]) ** flipped)
    assert float(angular_distance(back, true).max()) < 0.1
    torch.testing.assert_close(moved, shifts, atol=1e-3, rtol=0)


def test_motions_and_states_are_recognised_up_to_mixing_and_names() -> None:
    random = np.random.default_rng(0)
    motions = random.random((N, 2))
    mixed = motions @ [[1.0, 2.0], [-1.0, 0.5]]
    assert min(canonical_correlations(mixed, motions)) > 0.999
    one_only = np.stack([motions[:, 0], random.random(N)], 1)
    assert canonical_correlations(one_only, motions)[1] < 0.3
    states = (motions[:, 0] > 0.5).astype(float)
    z = -states[:, None] + 0.05 * random.normal(size=(N, 1))
    assert state_accuracy(z, states) == 1
    assert state_accuracy(random.normal(size=(N, 1)), states) < 0.7


def test_a_latent_that_runs_backwards_is_as_good() -> None:
    t = np.linspace(0, 1, N, dtype=np.float32)
    z = -(t[:, None] ** 3)
    assert rank_correlation(z, t) == pytest.approx(1)
    assert latent_at(z, t, 0.25)[0] == pytest.approx(-(0.25**3), abs=0.01)


def test_resolution_is_where_the_correlation_halves() -> None:
    data = SimpleNamespace(box=32, pixel_size=8.0, lattice=SimpleNamespace(limit=15.0))
    true = hinge().volume(0.5, 32, 8.0)
    spectrum = torch.fft.fftn(true)
    f = torch.fft.fftfreq(32) * 32
    radius = (f[:, None, None] ** 2 + f[:, None] ** 2 + f**2).sqrt()
    noise = torch.randn(32, 32, 32, generator=torch.Generator().manual_seed(0))
    other = torch.where(radius < 8, spectrum, torch.fft.fftn(noise))
    resolution = half_resolution(torch.fft.ifftn(other).real, true, data)
    assert 32 * 8 / 9 < resolution < 32 * 8 / 6.5
