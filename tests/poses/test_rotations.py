from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from napari_cryodrgn.imaging import Atoms
from napari_cryodrgn.poses import align_poses, angular_distance, expmap, flip_hand, logmap


def test_expmap_is_scipys() -> None:
    w = np.random.default_rng(0).normal(size=(4, 5, 3))
    expected = Rotation.from_rotvec(w.reshape(-1, 3)).as_matrix().reshape(4, 5, 3, 3)
    np.testing.assert_allclose(expmap(torch.from_numpy(w)), expected, atol=1e-12)
    np.testing.assert_allclose(expmap(torch.from_numpy(w).float()), expected, atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-6, math.pi])
def test_expmap_at_the_edges(angle: float) -> None:
    w = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64) * angle
    expected = Rotation.from_rotvec(w.numpy()).as_matrix()
    np.testing.assert_allclose(expmap(w), expected, atol=1e-9)


def test_logmap_undoes_expmap() -> None:
    w = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    w = w / w.norm(dim=1, keepdim=True) * torch.linspace(1e-3, 3.1, 200)[:, None]
    torch.testing.assert_close(logmap(expmap(w)), w, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(logmap(torch.eye(3)), torch.zeros(3))


def test_angular_distance(rotations: Tensor) -> None:
    for degrees in (0.0, 1.0, 90.0, 180.0):
        axis = torch.nn.functional.normalize(torch.tensor([1.0, -2.0, 0.5]), dim=0).double()
        turned = expmap(axis * math.radians(degrees)) @ rotations.double()
        found = angular_distance(rotations, turned)
        torch.testing.assert_close(found, torch.full_like(found, degrees), atol=0.1, rtol=0)
        torch.testing.assert_close(angular_distance(turned, rotations), found)


def test_flip_hand_shows_the_mirror_image(rotations: Tensor) -> None:
    frames = np.random.default_rng(1).normal(size=(1, 20, 3)) * 10
    here, there = Atoms(frames, 4.0), Atoms(frames * [1, 1, -1], 4.0)
    r, t, still = rotations[:6], torch.zeros(6), torch.zeros(6, 2)
    image = here.project(t, r, still, 24, 3.0)
    torch.testing.assert_close(there.project(t, flip_hand(r), still, 24, 3.0), image)
    assert float((there.project(t, r, still, 24, 3.0) - image).abs().max()) > 0.1 * image.max()
    torch.testing.assert_close(flip_hand(flip_hand(r)), r)
    torch.testing.assert_close(torch.linalg.det(flip_hand(r)), torch.ones(6))


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("n", [30, 200])
def test_align_poses_finds_frame_and_hand(rotations: Tensor, flipped: bool, n: int) -> None:
    truth = rotations[:n].double()
    frame = torch.from_numpy(Rotation.random(rng=5).as_matrix())
    random = torch.Generator().manual_seed(2)
    jitter = 0.05 * torch.randn(n, 3, generator=random, dtype=torch.float64)
    found = expmap(jitter) @ truth @ frame
    if flipped:
        found = flip_hand(found)
    # Three in ten are elsewhere altogether.
    n_bad = 3 * n // 10
    found[:n_bad] = torch.from_numpy(Rotation.random(n_bad, rng=6).as_matrix())
    alignment = align_poses(found, truth)
    assert alignment.flipped is flipped
    assert float(angular_distance(alignment.frame, frame)) < 3
    torch.testing.assert_close(
        alignment.errors[n_bad:], torch.rad2deg(jitter.norm(dim=1))[n_bad:], atol=3, rtol=0
    )
    assert float(alignment.errors[:n_bad].median()) > 45
    assert alignment.median < 6
    assert len(alignment.errors) == n


def test_align_poses_of_the_same_poses(rotations: Tensor) -> None:
    alignment = align_poses(rotations, rotations)
    assert not alignment.flipped
    assert float(alignment.errors.max()) < 0.1
    np.testing.assert_allclose(alignment.frame, np.eye(3), atol=1e-5)
    assert align_poses(rotations, rotations.flip(0)).median > 30
