from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_cryodrgn.analysis import RunImages
from napari_cryodrgn.analysis.slice_power import CentralSlices, SlicePower
from napari_cryodrgn.analysis.slices import (
    axis_plane,
    correlation,
    cut,
    low_pass,
    scale_to,
    view_plane,
)
from napari_cryodrgn.imaging import Lattice, hinge, simulate
from napari_cryodrgn.model.points import fourier_crop
from napari_cryodrgn.particles import read, write_simulation

BOX, SIZE = 24, 8.0


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(10, 12, 14)).astype(np.float32)


@pytest.mark.parametrize("offset", [-2, 0, 3])
def test_planes_across_the_axes_are_planes_of_the_array(volume, offset):
    z, y, x = volume.shape
    n = 14
    # Each picture is the array's plane with both its centres on pixel n // 2.
    across = {
        "z": volume[z // 2 + offset],
        "y": volume[:, y // 2 + offset],
        "x": volume[:, :, x // 2 + offset],
    }
    for axis, plane in across.items():
        expected = np.zeros((n, n), np.float32)
        low = [n // 2 - edge // 2 for edge in plane.shape]
        expected[low[0] :, low[1] :][: plane.shape[0], : plane.shape[1]] = plane
        found = cut(volume, 2.5, axis_plane(axis, 2.5 * offset), n, 2.5)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_voxels_that_are_no_cubes_and_volumes_that_are_none(volume):
    coarse = cut(volume[::1], (3.0, 2.0, 2.0), axis_plane("z", 3.0), 12, 2.0)
    np.testing.assert_allclose(coarse[:, 0], volume[6, :, 1], atol=1e-5)
    with pytest.raises(ValueError, match="got an array of shape"):
        cut(volume[0], 1.0, axis_plane("z"), 4, 1.0)


def test_a_view_plane_shows_what_the_particle_shows():
    rotation = Rotation.random(rng=np.random.default_rng(2)).as_matrix()
    # A point at (3, -2) of the image plane and 4 along the view, in voxels of 2 Å.
    point = np.array([3, -2, 4]) @ rotation
    grid = np.mgrid[:32, :32, :32] - 16
    distance = sum((grid[i] - point[2 - i]) ** 2 for i in range(3))
    blob = np.exp(-distance / 4).astype(np.float32)
    through = cut(blob, 2.0, view_plane(rotation, 8.0), 32, 2.0)
    assert np.unravel_index(through.argmax(), through.shape) == (16 - 2, 16 + 3)
    assert through.max() > 0.8
    assert cut(blob, 2.0, view_plane(rotation, -8.0), 32, 2.0).max() < 0.01


def test_planes_across_a_view_add_up_to_the_projection():
    body = hinge()
    rotation = Rotation.random(rng=np.random.default_rng(3)).as_matrix().astype(np.float32)
    state = torch.tensor([0.5])
    density = body.volume(0.5, 32, 6.0).numpy()
    image = body.project(state, torch.from_numpy(rotation)[None], torch.zeros(1, 2), 32, 6.0)[0]
    planes = [cut(density, 6.0, view_plane(rotation, 6.0 * i), 32, 6.0) for i in range(-16, 16)]
    assert correlation(np.sum(planes, 0), image.numpy()) > 0.98


def test_correlation_by_its_definition():
    random = np.random.default_rng(7)
    a, b = random.normal(size=(2, 9, 9)).astype(np.float32)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-6)
    assert correlation(a, -3 * a + 5) == pytest.approx(-1)
    assert correlation(a, np.ones_like(a)) == 0


def test_a_low_pass_halves_waves_of_its_resolution():
    z, _, x = np.meshgrid(*(np.arange(n) for n in (24, 10, 32)), indexing="ij")
    size = (3.0, 2.0, 2.0)
    # Waves of 8 Å along x and of 18 Å along z.
    for wave, period in ((np.cos(2 * np.pi * x * 2 / 8), 8), (np.cos(2 * np.pi * z * 3 / 18), 18)):
        volume = (1 + wave).astype(np.float32)
        for resolution in (8.0, 18.0):
            gain = 0.5 ** ((resolution / period) ** 2)
            expected = 1 + gain * wave
            found = low_pass(volume, size, resolution)
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_scale_is_that_of_least_squares():
    random = np.random.default_rng(3)
    b = random.normal(size=500)
    a = 2.5 * b + 0.3 * random.normal(size=500)
    (expected,), *_ = np.linalg.lstsq(b[:, None], a, rcond=None)
    assert scale_to(a, b) == pytest.approx(expected)
    assert scale_to(-a, b) == 1
    assert scale_to(a, 0 * b) == 1


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> RunImages:
    simulation = simulate(hinge(), 40, BOX, SIZE, snr=1e6, seed=3)
    star = write_simulation(tmp_path_factory.mktemp("set"), simulation)
    particles = read(star)
    fields = {
        "folder": Path("/runs/one"),
        "box": BOX,
        "pixel_size": SIZE,
        "n_particles": 40,
        "particles_path": star,
        "indices": None,
        "ctf_path": None,
        "settings": {},
        "rotations": particles.rotations,
        "shifts": particles.shifts,
    }
    return RunImages(SimpleNamespace(**fields))


def test_power_of_noiseless_images_is_that_of_the_slices_times_the_ctf(images):
    slices = CentralSlices(hinge().volume(0.5, BOX, SIZE).numpy(), BOX)
    rows = np.arange(40)
    power = slices.compare(images, rows)
    low = slice(0, 5)  # the hinge moves
    found, expected = power.rings(power.images)[low], power.rings(power.expected)[low]
    np.testing.assert_allclose(found, expected, rtol=0.12)
    assert power.n == 40
    # By the definition of each.
    one = slices.compare(images, [7])
    np.testing.assert_allclose(one.expected, one.volume * one.ctf, rtol=1e-5)
    np.testing.assert_allclose(one.images, images.pixels([7])[0].abs().square(), rtol=1e-5)
    np.testing.assert_allclose(slices.alone(images.run.rotations[7]).volume, one.volume, rtol=1e-5)


def test_where_noise_dominates():
    lattice = Lattice.create(BOX, 11)
    rings = np.arange(1, 12)
    signal = np.where(rings == 3, 0.0, 10.0 ** -(rings - 5.0))  # the CTF passes through zero
    shell = np.concatenate([[0], signal])[lattice.shell.numpy()].astype(np.float32)
    power = SlicePower(1, lattice, shell, np.ones_like(shell), shell, shell + 1)
    # Signal 1 at ring 5, 0.1 at ring 6: noise has ten times as much from about there.
    assert power.noise_from in (6, 7)
    assert replace(power, images=1.5 * shell).noise_from is None
    assert replace(power, images=shell + 1e9).noise_from == 1
    assert replace(power, images=None).noise_from is None


def test_a_coarser_grid_of_the_same_cube_has_the_same_power():
    fine = hinge().volume(0.5, 32, 6.0)
    coarse = fourier_crop(fine, 24)
    rotation = Rotation.random(rng=np.random.default_rng(1)).as_matrix()[None]
    large, small = CentralSlices(fine.numpy(), 32), CentralSlices(coarse.numpy(), 32)
    low = small.lattice.count(6)
    a, b = (s.power(rotation)[0, :low] for s in (large, small))
    assert float((a - b).abs().max()) < 0.05 * float(a.max())
    with pytest.raises(ValueError, match="even cube"):
        CentralSlices(fine[:30].numpy(), 32)


def test_the_picture_of_power_is_symmetric_about_its_centre(images):
    slices = CentralSlices(hinge().volume(0.5, BOX, SIZE).numpy(), BOX)
    power = slices.compare(images, [3])
    picture = power.picture(power.images)
    c = len(picture) // 2
    assert np.isnan(picture[c, c])
    assert np.isnan(picture[0, 0])
    np.testing.assert_array_equal(picture, picture[::-1, ::-1])
    # A whole transform by numpy; its origin is of no matter to the power.
    image = images.particles.images.read([3])[0]
    whole = np.abs(np.fft.fft2(image - image.mean())) ** 2
    np.testing.assert_allclose(picture[c + 2, c - 3], whole[2, -3], rtol=1e-3)
    np.testing.assert_allclose(picture[c, c + 4], whole[0, 4], rtol=1e-3)
