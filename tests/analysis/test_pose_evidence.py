from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_cryodrgn.analysis import RunImages
from napari_cryodrgn.analysis.pose_evidence import PoseFinder, noise_power, pose_difference
from napari_cryodrgn.errors import CryodrgnError
from napari_cryodrgn.imaging import hinge, simulate
from napari_cryodrgn.particles import Volume, read, write_simulation
from napari_cryodrgn.poses import angular_distance, expmap

BOX, N = 32, 60
SNR = 0.3


@pytest.fixture(scope="module")
def simulation():
    return simulate(hinge(), N, BOX, 9.0, snr=SNR, seed=5, max_shift=2.0)


@pytest.fixture(scope="module")
def images(simulation, tmp_path_factory) -> RunImages:
    star = write_simulation(tmp_path_factory.mktemp("set"), simulation)
    particles = read(star)
    volume = Volume(hinge().volume(0.5, BOX, 9.0).numpy(), 9.0)
    run = SimpleNamespace(
        folder=Path("/runs/one"),
        box=BOX,
        pixel_size=9.0,
        n_particles=N,
        particles_path=star,
        indices=None,
        ctf_path=None,
        settings={},
        rotations=particles.rotations,
        shifts=particles.shifts,
        consensus=lambda: volume,
    )
    return RunImages(run)


@pytest.fixture(scope="module")
def finder(images) -> PoseFinder:
    return PoseFinder(images)


def volume_of(simulation, row: int) -> np.ndarray:
    return hinge().volume(float(simulation.t[row]), BOX, 9.0).numpy()


def test_pose_differences_in_and_out_of_the_plane():
    rotation = expmap(torch.tensor([0.3, -0.8, 0.4]))
    shift = torch.tensor([1.0, 2.0])
    turned = expmap(torch.deg2rad(torch.tensor([0.0, 0.0, 20.0]))) @ rotation
    tilted = expmap(torch.deg2rad(torch.tensor([0.0, 7.0, 0.0]))) @ rotation

    in_plane = pose_difference(turned, shift + torch.tensor([3.0, 4.0]), rotation, shift)
    out = pose_difference(tilted, shift, rotation, shift)

    assert in_plane.angle == pytest.approx(20, abs=0.01)
    assert in_plane.in_plane == pytest.approx(20, abs=0.01)
    assert in_plane.out_of_plane == pytest.approx(0, abs=0.05)
    assert in_plane.shift == pytest.approx(5)
    assert (out.out_of_plane, out.in_plane) == pytest.approx((7, 0), abs=0.05)


def test_the_noise_is_what_was_added(images, simulation):
    volume = hinge().volume(0.5, BOX, 9.0)
    power = noise_power(images, volume, np.arange(N))
    # Where the particle's motion is not seen, white noise is left.
    assert (power[8:15] / (simulation.noise * BOX) ** 2).numpy() == pytest.approx(1, abs=0.15)
    images.run.rotations, kept = None, images.run.rotations
    whole = noise_power(images, volume, np.arange(N))
    images.run.rotations = kept
    assert bool((whole[1:15] >= power[1:15]).all())


def test_true_poses_are_confirmed(finder, simulation):
    for row in (0, 7, 31):
        found = finder(row, volume_of(simulation, row)[None])
        assert found.difference is not None
        assert found.difference.angle < 6
        assert found.difference.shift < 0.7
        best = found.posterior.peaks[0]
        assert best.score > found.score > best.score - 12
        assert found.own_tail > 0.001
        own = angular_distance(best.rotation, torch.from_numpy(simulation.rotations[row]))
        assert float(own) == pytest.approx(found.difference.angle, abs=0.05)


def test_a_wrong_pose_is_found_out(images, simulation):
    rotations = images.run.rotations
    images.run.rotations = rotations.copy()
    images.run.rotations[7] = rotations[7] @ expmap(torch.tensor([0.0, 1.5, 0.0])).numpy()
    found = PoseFinder(images)(7, volume_of(simulation, 7)[None])
    images.run.rotations = rotations
    assert found.difference is not None
    assert found.difference.angle > 60
    assert found.score < found.posterior.peaks[0].score - 10
    assert found.own_tail < 1e-4


@pytest.mark.parametrize("last", [0, 1, 7])
def test_what_is_no_longer_wanted_is_given_up(images, finder, simulation, last):
    def after(count):
        calls = iter(range(count))
        return lambda: next(calls, None) is None

    with pytest.raises(CryodrgnError, match="given up"):
        PoseFinder(images, after(last))
    with pytest.raises(CryodrgnError, match="given up"):
        finder(0, volume_of(simulation, 0)[None], after(last))


def test_projections_explain_the_image(finder, simulation):
    found = finder(3, volume_of(simulation, 3)[None])
    best = found.posterior.peaks[0]
    image = found.image()
    good = found.projection(best.rotation, best.shift, 0)
    bad = found.projection(best.rotation.T, best.shift, 0)
    assert image.shape == good.shape == (BOX, BOX)
    correlation = [np.corrcoef(image.ravel(), x.ravel())[0, 1] for x in (good, bad)]
    assert correlation[0] > 0.4
    assert correlation[0] > correlation[1] + 0.1


def test_of_several_volumes_the_right_one_has_the_larger_share(finder, simulation):
    row = int(np.argmax(simulation.t))
    volumes = np.stack([hinge().volume(t, BOX, 9.0).numpy() for t in (0.0, simulation.t[row])])
    found = finder(row, volumes)
    assert sum(found.state_shares) == pytest.approx(1, abs=1e-3)
    assert found.state_shares[1] > 0.9
    assert found.posterior.peaks[0].state == 1
