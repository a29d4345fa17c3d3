from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_cryodrgn.analysis.crossed_poses import CrossedPoses, crossed_poses
from napari_cryodrgn.imaging import hinge, simulate
from napari_cryodrgn.particles import read, write_simulation
from napari_cryodrgn.poses import angular_distance
from napari_cryodrgn.training.dataset import Dataset, load
from napari_cryodrgn.training.settings import Settings

N = 400


@pytest.fixture
def data(tmp_path):
    star = write_simulation(tmp_path, simulate(hinge(), N, 24, 12.0, snr=0.3, seed=5))
    particles = read(star)
    *_, data = load(particles, Settings(output=tmp_path, poses="given"), torch.device("cpu"))
    assert isinstance(data, Dataset)
    return data, torch.from_numpy(particles.rotations), torch.from_numpy(particles.shifts)


def test_near_poses_get_nearer_and_lost_ones_are_told(data):
    data, rotations, shifts = data
    random = np.random.default_rng(0)
    turns = Rotation.from_rotvec(np.radians(8) * random.normal(size=(N, 3))).as_matrix()
    start = torch.from_numpy(turns).float() @ rotations
    lost = torch.arange(N) % 5 == 0
    start[lost] = torch.from_numpy(Rotation.random(N, rng=random).as_matrix()).float()[lost]
    before = start.clone()
    halves = torch.arange(N) // 2 % 2
    *done, poses = crossed_poses(data, start, shifts + 0.5, halves, 8.0)
    assert isinstance(poses, CrossedPoses)
    assert done == sorted(done)
    assert done[-1] == 1
    assert torch.equal(start, before)
    wrong = angular_distance(poses.rotations, rotations)[~lost]
    assert wrong.median() < 0.7 * angular_distance(start, rotations)[~lost].median()
    assert (poses.shifts - shifts)[~lost].norm(dim=1).median() < 0.5 * 0.5 * 2**0.5
    assert poses.holds[~lost].float().mean() > 0.98
    assert poses.holds[lost].float().mean() < 0.7


def test_an_image_has_no_part_in_what_its_pose_is_refined_against(data):
    data, rotations, shifts = data
    halves = torch.arange(N) % 2
    *_, poses = crossed_poses(data, rotations, shifts, halves, 8.0)
    # Were it in its own reference, an image without a particle would match itself.
    data.pixels[:] = torch.randn(data.pixels.shape, dtype=data.pixels.dtype)
    *_, noise = crossed_poses(data, rotations, shifts, halves, 8.0)
    assert poses.holds.float().mean() > 0.98
    assert noise.holds.float().mean() < 0.7
