from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_cryodrgn.analysis import RunImages, alignment, back_project, half_sets
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
    assert good.shared_poses
    with pytest.raises(CryodrgnError, match="at least 20 particles"):
        curves(images, {"tiny": tiny}, tmp_path)


def test_a_half_set_of_few_is_none(star, tmp_path):
    images = RunImages(run_of(star))
    first = read(star).half_sets == 1
    few = np.flatnonzero(~first)[:9]
    mask = first & (np.cumsum(first) <= 60)
    mask[few] = True
    (curve,) = curves(images, {"uneven": mask}, tmp_path)
    assert curve.n == 69
    assert curve.how == (
        "every other particle, as the file has only 9 of these in one of its half sets"
    )
    mask[np.flatnonzero(~first)[9]] = True
    (curve,) = curves(images, {"enough": mask}, tmp_path)
    assert curve.how == "half sets of the file"


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


def test_halves_are_written_both_or_none(star, tmp_path, monkeypatch):
    written = []

    def export(run, mask, path):
        if written:
            raise CryodrgnError("The disk is full.")
        written.append(path)
        path.write_text("data_particles")
        path.with_suffix(".origin.json").write_text("{}")

    monkeypatch.setattr(half_sets, "export", export)
    with pytest.raises(CryodrgnError, match="disk is full"):
        split_halves(run_of(star), None, tmp_path / "halves")
    assert written == [tmp_path / "halves" / "half_1.star"]
    assert list((tmp_path / "halves").iterdir()) == []


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

    same = compare_runs(run(density), run(turned, particles_path=Path("/other.star")))
    assert same.n == 2 * N
    assert same.how == "two runs"
    assert not same.shared_poses
    assert same.pixel_size == PIXEL_SIZE
    assert same.fsc[:8].min() > 0.9


def test_whether_two_runs_are_independent_is_said(star, monkeypatch):
    monkeypatch.setattr(half_sets, "align_volumes", lambda a, _: SimpleNamespace(volume=a))
    # Falls off, with noise that both do not share.
    density = hinge().volume(0.5, BOX, PIXEL_SIZE)
    noise = torch.randn(2, *density.shape, generator=torch.Generator().manual_seed(0))

    def half(number, poses="search", **more):
        volume = Volume((density + density.std() * noise[number - 1]).numpy(), PIXEL_SIZE)
        fields = {
            "settings": {"poses": poses},
            "particles_path": Path(f"/data/half_{number}.star"),
            "consensus": lambda: volume,
        }
        return run_of(star, **fields | more)

    same = compare_runs(half(1), half(2))
    assert same.how == "two runs"
    # One at poses that were found with both halves.
    given = compare_runs(half(1), half(2, "given"))
    assert given.how.startswith("two runs at given poses: not independent")
    again = compare_runs(half(1), half(2, particles_path=Path("/data/half_1.star")))
    assert again.how == "two runs that share particles: not independent"
    rows = np.arange(N)
    apart = {"particles_path": star, "indices": rows[::2]}
    other = half(2, **apart | {"indices": rows[1::2]})
    assert compare_runs(half(1, **apart), other).how == "two runs"
    # Pixels of unknown size are none of 1 Å.
    unknown = compare_runs(half(1, pixel_size=None), half(2, pixel_size=None))
    assert unknown.pixel_size is None
    assert unknown.resolution(0.5) == pytest.approx(same.resolution(0.5) / PIXEL_SIZE)
    with pytest.raises(RunFolderError, match="24 px of unknown size, that of one is 24 px of 12 Å"):
        compare_runs(half(1), half(2, pixel_size=None))
    with pytest.raises(RunFolderError, match="its box is 32 px"):
        compare_runs(half(1), half(2, box=32))
