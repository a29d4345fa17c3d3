from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_cryodrgn.analysis.hypotheses import Change, Comparison, change_poses
from napari_cryodrgn.analysis.preflight import Images, Map, Progress, preflight
from napari_cryodrgn.errors import CryodrgnError
from napari_cryodrgn.imaging import Simulation, hinge, simulate
from napari_cryodrgn.particles import ParticleSet, read, read_poses, write_simulation

Results = list[Any]
# What undoes each mistake.
UNDONE: dict[Change, Change] = {
    "none": "none",
    "shifts reversed": "shifts reversed",
    "rows reversed": "rows reversed",
    "one row up": "one row down",
    "one row down": "one row up",
    "rotations transposed": "rotations transposed",
    "upside down": "upside down",
}


class Inverted:
    """A simulation whose particles are dark on light."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def __getattr__(self, name: str) -> Any:
        return getattr(self._simulation, name)

    def chunks(self, size: int = 256) -> Iterator[NDArray[np.float32]]:
        for chunk in self._simulation.chunks(size):
            yield -chunk


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> ParticleSet:
    """500 images of a moving molecule at SNR 0.05."""
    simulation = simulate(hinge(), 500, 48, 5.0, snr=0.05, seed=7)
    return read(write_simulation(tmp_path_factory.mktemp("noisy"), simulation))


def only(results: Results, kind: type) -> Any:
    (found,) = [result for result in results if isinstance(result, kind)]
    return found


@pytest.fixture
def compared() -> Callable[[ParticleSet], Comparison]:
    """The comparison of a preflight that is broken off before the maps."""

    def compare(particles: ParticleSet) -> Comparison:
        for result in preflight(particles):
            if isinstance(result, Comparison):
                return result
        raise AssertionError("nothing was compared")

    return compare


@pytest.mark.parametrize("mistake", UNDONE)
def test_each_mistake_is_found_and_undone(
    noisy: ParticleSet, compared: Callable[[ParticleSet], Comparison], mistake: Change
) -> None:
    wrong = change_poses(noisy, mistake)
    found = compared(wrong)
    assert found.fits
    assert found.suggestion == UNDONE[mistake]
    right = change_poses(wrong, found.suggestion)
    assert noisy.rotations is not None
    assert noisy.shifts is not None
    np.testing.assert_allclose(right.rotations, noisy.rotations)
    np.testing.assert_allclose(right.shifts, noisy.shifts)


def test_shifts_of_centred_images_are_found(
    tmp_path: Path, compared: Callable[[ParticleSet], Comparison]
) -> None:
    simulation = simulate(hinge(), 500, 48, 5.0, snr=0.05, seed=8, max_shift=0)
    centred = read(write_simulation(tmp_path, simulation))
    assert {h.change for h in compared(centred).hypotheses}.isdisjoint(
        {"no shifts", "shifts reversed"}
    )
    shifts = np.random.default_rng(0).uniform(-3, 3, (500, 2))
    found = compared(centred.with_poses(centred.rotations, shifts))
    assert found.suggestion == "no shifts"


def test_poses_of_other_particles_fit_in_no_way(
    noisy: ParticleSet, compared: Callable[[ParticleSet], Comparison]
) -> None:
    order = np.random.default_rng(3).permutation(len(noisy))
    assert noisy.rotations is not None
    assert noisy.shifts is not None
    found = compared(noisy.with_poses(noisy.rotations[order], noisy.shifts[order]))
    assert not found.fits
    assert found.suggestion == "none"


def test_slightly_wrong_poses_are_not_accused(
    noisy: ParticleSet, compared: Callable[[ParticleSet], Comparison]
) -> None:
    random = np.random.default_rng(4)
    shifts = noisy.shifts + random.normal(size=(len(noisy), 2))
    found = compared(noisy.with_poses(noisy.rotations, shifts))
    assert found.fits
    assert found.suggestion == "none"


def test_results_come_in_order_and_the_map_is_the_molecule(noisy: ParticleSet) -> None:
    results = list(preflight(noisy, n_map=500))
    kinds = [type(result) for result in results if not isinstance(result, Progress)]
    assert kinds == [Images, Comparison, Map]
    fractions = [result.fraction for result in results if isinstance(result, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    images, result = only(results, Images), only(results, Map)
    assert not images.inverted
    assert images.contrast > 10
    assert images.n == 500
    assert result.n == 500
    assert result.volume.shape == (48, 48, 48)
    assert result.pixel_size == 5.0
    assert 10 < result.resolution < 25
    # Bright where the molecule is: in the middle.
    middle = result.volume[16:32, 16:32, 16:32]
    assert middle.mean() > 5 * abs(result.volume.mean())


def test_maps_grow(noisy: ParticleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_cryodrgn.analysis.preflight._FIRST_MAP", 100)
    maps = [r for r in preflight(noisy, n_map=300) if isinstance(r, Map)]
    assert [m.n for m in maps] == [100, 300]
    assert maps[1].resolution < maps[0].resolution


@pytest.mark.parametrize("with_ctf", [True, False])
def test_inverted_contrast_is_found(tmp_path: Path, with_ctf: bool) -> None:
    simulation = simulate(hinge(), 500, 48, 5.0, snr=0.05, seed=9)
    dark = read(write_simulation(tmp_path, Inverted(simulation)))
    # Without poses, as no poses are needed for it.
    dark = replace(dark, rotations=None, shifts=None, ctf=dark.ctf if with_ctf else None)
    as_given = only(list(preflight(dark)), Images)
    assert as_given.inverted
    assert as_given.contrast < -10
    # What is said of it elsewhere is not said twice.
    assert as_given.warnings == ()
    switched = only(list(preflight(dark, invert_contrast=True)), Images)
    assert not switched.inverted
    assert switched.contrast == pytest.approx(-as_given.contrast, rel=1e-3)


def test_images_without_poses(noisy: ParticleSet) -> None:
    bare = replace(noisy, rotations=None, shifts=None)
    results = list(preflight(bare))
    assert {type(result) for result in results} == {Progress, Images}
    images = only(results, Images)
    assert images.extent == pytest.approx(240.0)
    assert images.mean.shape == (32, 32)
    # The mean image has the particles' outline; the noise is white, in its own unit.
    assert images.mean[14:18, 14:18].mean() > 3 * images.mean.std()
    np.testing.assert_allclose(images.noise, 1, atol=0.1)
    assert (images.power >= images.noise).all()
    assert images.power[0] > 2 * images.noise[0]


def test_few_particles_are_not_put_to_the_test(noisy: ParticleSet) -> None:
    results = list(preflight(noisy.select(slice(0, 12))))
    assert not [r for r in results if isinstance(r, Comparison)]
    assert only(results, Map).n == 12


def test_an_unknown_pixel_size_is_no_obstacle(noisy: ParticleSet) -> None:
    results = list(preflight(replace(noisy, pixel_size=None, ctf=None)))
    result = only(results, Map)
    assert result.pixel_size is None
    assert result.extent == 48.0
    assert only(results, Comparison).suggestion == "none"


def test_no_poses_cannot_be_changed(noisy: ParticleSet) -> None:
    with pytest.raises(CryodrgnError, match="no poses"):
        change_poses(replace(noisy, rotations=None, shifts=None), "rows reversed")


def test_real_projections_of_cryodrgn(
    shared_data: Path, compared: Callable[[ParticleSet], Comparison]
) -> None:
    folder = shared_data / "formats"
    hand = read(folder / "hand.mrcs")
    poses = read_poses(folder / "hand_rot_trans.pkl", hand.box)
    right = hand.with_poses(poses.rotations, poses.shifts)
    assert compared(right).suggestion == "none"
    for mistake in ("shifts reversed", "one row up", "rotations transposed"):
        assert compared(change_poses(right, mistake)).suggestion == UNDONE[mistake]


def test_real_dark_particles(shared_data: Path) -> None:
    raw = read(shared_data / "formats" / "empiar_10076_7.star")
    assert only(list(preflight(raw)), Images).inverted
