from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_cryodrgn.analysis import RunImages, alignment, back_project
from napari_cryodrgn.analysis.baseline import given_halves
from napari_cryodrgn.analysis.half_sets import (
    HalfCurve,
    compare_runs,
    half_map_curves,
    posed_particles,
    split_halves,
)
from napari_cryodrgn.errors import CryodrgnError, RunFolderError
from napari_cryodrgn.imaging import Atoms, hinge, simulate
from napari_cryodrgn.particles import Volume, read, write_simulation

BOX, PIXEL_SIZE, N = 24, 12.0, 240


@pytest.fixture(scope="module")
def star(tmp_path_factory) -> Path:
    """Pictures of a still molecule whose half sets alternate."""
    molecule = Atoms(hinge().positions(torch.tensor([0.5])).numpy(), sigma=6.0)
    simulation = simulate(molecule, N, BOX, PIXEL_SIZE, snr=0.1, seed=5)
    return write_simulation(tmp_path_factory.mktemp("still"), simulation)


def run_of(star: Path, **more):
    particles = read(star)
    fields = {
        "folder": Path("/runs/one"),
        "box": BOX,
        "pixel_size": PIXEL_SIZE,
        "n_particles": len(particles),
        "particles_path": star,
        "indices": None,
        "ctf_path": None,
        "settings": {},
        "rotations": particles.rotations,
        "shifts": particles.shifts,
    }
    return SimpleNamespace(**fields | more)


def curves(images, groups, scratch: Path) -> list[HalfCurve]:
    *_, last = outcomes = list(half_map_curves(images, groups, scratch))
    assert isinstance(last, HalfCurve)
    done = [o for o in outcomes if isinstance(o, float)]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)
    return [o for o in outcomes if isinstance(o, HalfCurve)]


def test_half_sets_of_the_file_are_the_halves(star, tmp_path):
    particles = read(star)
    half_sets = np.where(np.arange(N) < N // 2, 2, 1).astype(np.int8)
    *_, ours = back_project(replace(particles, half_sets=half_sets), tmp_path)
    assert ours.given
    first = particles.select(slice(N // 2, N))
    # Every other one of them twice: its halves are the first half set's, alone.
    rows = np.repeat(np.arange(len(first)), 2)
    *_, alone = back_project(replace(first.select(rows), half_sets=None), tmp_path)
    assert not alone.given
    torch.testing.assert_close(alone.halves[0], alone.halves[1])
    a, b = alone.halves[0].flatten(), ours.halves[0].flatten()
    assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) > 0.98


def test_one_half_set_alone_is_none(star):
    assert given_halves(None) is None
    assert given_halves(np.ones(4, np.int8)) is None
    assert given_halves(np.array([1, 2, 2], np.int8)).tolist() == [0, 1, 1]


def test_groups_have_curves_and_small_ones_none(star, tmp_path):
    images = RunImages(run_of(star))
    # Wrong poses agree on less.
    wrong = np.array(images.run.rotations)
    wrong[: N // 2] = Rotation.random(N // 2, rng=np.random.default_rng(0)).as_matrix()
    images.run.rotations = wrong
    is_wrong = np.arange(N) < N // 2
    tiny = np.arange(N) < 5
    good, bad = curves(images, {"good": ~is_wrong, "tiny": tiny, "bad": is_wrong}, tmp_path)
    assert (good.name, bad.name, good.n, good.how) == ("good", "bad", 120, "half sets of the file")
    assert good.resolution() < 0.8 * bad.resolution()
    assert good.resolution() < good.resolution(0.5)
    assert good.pixel_size == PIXEL_SIZE
    with pytest.raises(CryodrgnError, match="at least 20 particles"):
        curves(images, {"tiny": tiny}, tmp_path)


def test_poses_of_the_run_in_pixels_of_the_images(star):
    run = run_of(star, box=12, pixel_size=2 * PIXEL_SIZE, settings={"invert_contrast": True})
    run.shifts = run.shifts / 2
    posed, dark = posed_particles(RunImages(run))
    assert dark
    assert posed.pixel_size == PIXEL_SIZE
    np.testing.assert_allclose(posed.shifts, read(star).shifts, atol=1e-5)


def test_halves_as_files(star, tmp_path):
    run = run_of(star)
    first, second = split_halves(run, read(star).half_sets, tmp_path / "halves")
    assert first.name == "half_1.star"
    sets = [read(path) for path in (first, second)]
    assert [set(s.half_sets.tolist()) for s in sets] == [{1}, {2}]
    with pytest.raises(CryodrgnError, match=r"half_1\.star is there already"):
        split_halves(run, None, tmp_path / "halves")
    other, _ = split_halves(run, None, tmp_path / "others")
    np.testing.assert_allclose(read(other).rotations, run.rotations[::2], atol=1e-4)


def test_two_runs_are_compared_in_one_frame(star, monkeypatch):
    # A coarser grid of rotations is enough for so few details.
    monkeypatch.setattr(alignment, "_N_SIDE", 2)
    density = hinge().volume(0.5, BOX, PIXEL_SIZE)
    simulation = Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix()
    atoms = hinge().positions(torch.tensor([0.5]))[0].numpy()
    turned = Atoms((atoms @ simulation.T)[None], sigma=4.5).volume(0.5, BOX, PIXEL_SIZE)

    def run(volume, **more):
        found = Volume(volume.numpy(), PIXEL_SIZE)
        return run_of(star, consensus=lambda: found, **more)

    same = compare_runs(run(density), run(turned))
    assert same.n == 2 * N
    assert same.how == "two runs"
    assert same.fsc[:8].min() > 0.9
    with pytest.raises(RunFolderError, match="its box is 32 px"):
        compare_runs(run(density), run(density, box=32))
