from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_cryodrgn.analysis import align_volumes
from napari_cryodrgn.imaging import hinge, simulate
from napari_cryodrgn.poses import align_poses, angular_distance, flip_hand

BOX, PIXEL_SIZE = 32, 9.0


def moved(rotation: torch.Tensor, shift: torch.Tensor, flipped: bool) -> torch.Tensor:
    """Density of the hinge's atoms turned, then displaced (voxels), then mirrored along z."""
    atoms = hinge().positions(torch.tensor([0.2]))[0] @ rotation.T / PIXEL_SIZE + shift
    if flipped:
        atoms = atoms * torch.tensor([1.0, 1.0, -1.0])
    x = torch.arange(BOX) - BOX // 2.0
    width = 2 * (10.0 / PIXEL_SIZE) ** 2
    parts = [torch.exp(-((x - atoms[:, i, None]) ** 2) / width) for i in range(3)]
    return torch.einsum("ax,ay,az->zyx", *parts)


@pytest.mark.parametrize("seed", range(2))
def test_finds_rotation_displacement_and_hand(seed: int) -> None:
    random = np.random.default_rng(seed)
    turn = torch.from_numpy(Rotation.random(rng=random).as_matrix()).float()
    shift = torch.from_numpy(random.uniform(-3, 3, 3)).float()
    flipped = bool(seed % 2)
    fixed = moved(torch.eye(3), torch.zeros(3), False)
    moving = moved(turn, shift, flipped)
    noise = torch.randn(fixed.shape, generator=torch.Generator().manual_seed(seed))
    fit = align_volumes(moving + noise * moving.std(), fixed)
    assert fit.flipped == flipped
    # moving'(y) = fixed(A^T (y - s)), so fixed(x) = moving'(A x + s): G = A^T, t = -A^T s.
    assert float(angular_distance(fit.rotation, turn.T)) < 2
    assert float((fit.shift + turn.T @ shift).norm()) < 0.2
    assert fit.correlation > 0.9
    alike = torch.corrcoef(torch.stack([fit.volume.flatten(), fixed.flatten()]))[0, 1]
    assert float(alike) > 0.6  # at all frequencies, most of them noise


@pytest.mark.parametrize("flipped", [False, True])
def test_frame_is_that_of_the_poses(flipped: bool) -> None:
    """The fit of two volumes and the alignment of the poses behind them say the same."""
    truth = torch.from_numpy(simulate(hinge(), 50, BOX, PIXEL_SIZE).rotations)
    turn = torch.from_numpy(Rotation.random(rng=np.random.default_rng(9)).as_matrix()).float()
    # Turning the object by A leaves the images of poses R A^T as they were.
    estimate = truth @ turn.T
    estimate = flip_hand(estimate) if flipped else estimate
    frame = align_poses(estimate, truth)
    fixed, zero = moved(torch.eye(3), torch.zeros(3), False), torch.zeros(3)
    fit = align_volumes(moved(turn, zero, flipped), fixed)
    assert fit.flipped == frame.flipped == flipped
    assert float(angular_distance(fit.rotation, frame.frame)) < 1


def test_a_volume_lies_on_itself() -> None:
    volume = moved(torch.eye(3), torch.zeros(3), False)
    fit = align_volumes(volume, volume, limit=15)
    assert not fit.flipped
    assert float(angular_distance(fit.rotation, torch.eye(3))) < 0.2
    assert fit.correlation > 0.999
    error = (fit.volume - volume + volume.mean()).square().mean().sqrt()
    assert float(error / volume.std()) < 0.1


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="two even cubes of one size"):
        align_volumes(torch.zeros(8, 8, 8), torch.zeros(10, 10, 10))
    with pytest.raises(ValueError, match="two even cubes"):
        align_volumes(torch.zeros(9, 9, 9), torch.zeros(9, 9, 9))
