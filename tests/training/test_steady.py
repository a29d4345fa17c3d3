"""A frame in which most of the molecule stands still."""

from __future__ import annotations

import math

import pytest
import torch

from napari_cryodrgn.poses import angular_distance, expmap
from napari_cryodrgn.training.steady import SteadyFrames, steady_frames

BOX = 32
ANGLES = (-24.0, -12.0, 0.0, 12.0, 24.0)


@pytest.fixture(scope="module")
def atoms() -> torch.Tensor:
    """(250, 3) in voxels: a body of 190, and an arm of 60 to its right."""
    random = torch.Generator().manual_seed(3)
    body = 3.0 * torch.randn(190, 3, generator=random) * torch.tensor([1.0, 0.8, 1.2])
    arm = torch.tensor([7.0, 0.0, 0.0]) + 1.2 * torch.randn(60, 3, generator=random)
    return torch.cat([body, arm])


def density(points: torch.Tensor) -> torch.Tensor:
    x = torch.arange(BOX) - BOX // 2
    out = torch.zeros(BOX, BOX, BOX)
    for p in points:
        wave = [torch.exp(-((x - c) ** 2) / 2) for c in p]
        out += wave[2][:, None, None] * wave[1][:, None] * wave[0]
    return out


def about_z(degrees: float) -> torch.Tensor:
    return expmap(torch.tensor([0.0, 0.0, math.radians(degrees)]))


def test_the_body_stands_still_while_the_arm_swings(atoms: torch.Tensor) -> None:
    """The body was turned against the arm, as least squares do."""
    rocked = []
    for angle in ANGLES:
        swung = atoms.clone()
        swung[190:] = swung[190:] @ about_z(angle).T
        rocked.append(density(swung @ about_z(-angle / 4).T + torch.tensor([0.0, angle / 48, 0.0])))
    *fractions, found = steady_frames(torch.stack(rocked), 12.0)
    assert isinstance(found, SteadyFrames)
    assert fractions == sorted(fractions)  # type: ignore[type-var]
    for angle, turn, shift in zip(ANGLES, found.rotations, found.shifts, strict=True):
        back = about_z(angle / 4)
        assert float(angular_distance(turn, back)) < 2
        assert float((shift + back @ torch.tensor([0.0, angle / 48, 0.0])).norm()) < 0.3


def test_volumes_that_are_alike_stay(atoms: torch.Tensor) -> None:
    random = torch.Generator().manual_seed(0)
    volume = density(atoms)
    noise = 0.005 * float(volume.max()) * torch.randn(3, BOX, BOX, BOX, generator=random)
    *_, found = steady_frames(volume + noise, 12.0)
    assert isinstance(found, SteadyFrames)
    # All may turn together: that is only another frame.
    assert float(angular_distance(found.rotations, found.rotations[1]).max()) < 0.5
    assert float((found.shifts - found.shifts[1]).abs().max()) < 0.1
