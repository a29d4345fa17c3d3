"""Verdicts about simulated images, of which everything is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from napari_cryodrgn.analysis.agreement import Agreement
from napari_cryodrgn.analysis.evidence import Rings
from napari_cryodrgn.imaging import (
    CTF,
    FourierGrid,
    Lattice,
    Map,
    hinge,
    images_to_pixels,
    shift_phases,
    simulate,
    slice_points,
)

BOX, SIZE, N = 32, 8.0, 100


class Case:
    """Images of one volume, and what they are with projections of any."""

    def __init__(self, snr: float) -> None:
        volume = hinge().volume(0.5, BOX, SIZE)
        self.made = simulate(Map(volume.numpy(), SIZE), N, BOX, SIZE, snr=snr, seed=5)
        self.lattice = Lattice.create(BOX)
        self.images = images_to_pixels(
            torch.from_numpy(np.concatenate(list(self.made.chunks()))), self.lattice
        )
        self.volume = torch.as_tensor(self.made.volumes[0])
        self.noise = self.rings(self.images, self.project(self.made.rotations)).noise()

    def project(self, rotations: object) -> Tensor:
        grid, k = FourierGrid(BOX, BOX // 2 - 1), self.lattice.k
        turns = torch.as_tensor(np.asarray(rotations, np.float32))
        slices = grid.sample(grid.transform(self.volume)[None], slice_points(turns, k))
        shifts = torch.as_tensor(np.asarray(self.made.shifts, np.float32))
        ctf = CTF(self.made.ctf, k, BOX, SIZE)(torch.arange(N), len(self.lattice))
        return slices * ctf * shift_phases(k, BOX, shifts).conj()

    def rings(self, images: Tensor, projections: Tensor) -> Rings:
        return Rings.of(images, projections, self.lattice)

    def judge(self, images: Tensor, projections: Tensor) -> list[Agreement]:
        rings = self.rings(images, projections)
        frc, expected = rings.frc().numpy(), rings.expected(self.noise).numpy()
        scale = (rings.cross.sum(1) / rings.projection.sum(1)).tolist()
        size = 2 * rings.size.numpy()[1:]
        return [Agreement(frc[i, 1:], expected[i, 1:], size, scale[i]) for i in range(N)]


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(snr=0.2)


def turned(case: Case, degrees: float) -> np.ndarray:
    random = np.random.default_rng(0)
    axes = random.normal(size=(N, 3))
    axes *= np.deg2rad(degrees) / np.linalg.norm(axes, axis=1, keepdims=True)
    return Rotation.from_rotvec(axes).as_matrix() @ np.asarray(case.made.rotations)


def kinds(found: list[Agreement]) -> Counter[str]:
    return Counter(one.kind for one in found)


def test_images_agree_with_what_they_show(case: Case) -> None:
    found = case.judge(case.images, case.project(case.made.rotations))
    assert kinds(found) == {"full": N}
    assert np.mean([one.share for one in found]) == pytest.approx(1, abs=0.05)


def test_a_pose_that_is_off_agrees_less_far(case: Case) -> None:
    right, off, far = (
        case.judge(case.images, case.project(turned(case, degrees))) for degrees in (0, 8, 20)
    )
    rings = [np.median([one.ring or 0 for one in found]) for found in (right, off, far)]
    shares = [np.median([one.share for one in found]) for found in (right, off, far)]
    assert rings == sorted(rings, reverse=True)
    assert rings[0] > 1.5 * rings[2]
    assert shares[0] > shares[1] + 0.05
    assert shares[1] > shares[2] + 0.1
    assert kinds(far)["full"] < 0.3 * N


def test_poses_of_other_particles(case: Case) -> None:
    poses = np.roll(np.asarray(case.made.rotations), 1, axis=0)
    found = kinds(case.judge(case.images, case.project(poses)))
    assert found["full"] <= 0.02 * N
    assert found["none"] > 0.5 * N


def test_noise_does_not_agree(case: Case) -> None:
    power = case.noise.clamp_min(0).sqrt()[case.lattice.shell]
    generator = torch.Generator().manual_seed(2)
    parts = [torch.randn(case.images.shape, generator=generator) for _ in range(2)]
    noise = torch.complex(*parts) * power / 2**0.5
    found = kinds(case.judge(noise, case.project(case.made.rotations)))
    assert found["none"] + found["negative"] == N
    assert found["negative"] <= 0.05 * N


def test_inverted_contrast(case: Case) -> None:
    found = case.judge(-case.images, case.project(case.made.rotations))
    assert kinds(found) == {"negative": N}


def test_too_little_to_tell() -> None:
    faint = Case(snr=0.002)
    found = faint.judge(faint.images, faint.project(faint.made.rotations))
    assert kinds(found)["none"] == 0
    assert kinds(found)["faint"] > 0.5 * N


def test_rings_beyond_the_last_that_agree() -> None:
    size, expected = np.full(10, 100, np.float32), np.full(10, 0.5, np.float32)
    frc = np.float32([-0.1, 0.6, 0.5, 0.1, 0.6, 0.5, 0.0, 0.0, 0.1, -0.1])
    assert Agreement(frc, expected, size, 1.0).ring == 6
    assert Agreement(np.zeros_like(frc), expected, size, 0.0).ring is None
    nothing = np.zeros(0, np.float32)
    assert Agreement(nothing, nothing, nothing, 1.0).kind == "faint"
