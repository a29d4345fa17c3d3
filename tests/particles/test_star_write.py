from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.imaging import CTFParameters
from napari_cryodrgn.particles import (
    ParticleSet,
    ParticleTable,
    PreprocessSettings,
    preprocess,
    read,
    read_table,
    write_ctf,
    write_star,
)

from .conftest import OPTICS, MakeStack, MakeStar

POSES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst")


def table_of(path: Path) -> ParticleTable:
    return read_table(path).table


def same_columns(
    one: ParticleTable, other: ParticleTable, but: tuple[str, ...] = (), rows: object = slice(None)
) -> None:
    assert other.version == one.version
    assert other.columns[: len(one.columns)] == one.columns
    for name in set(one.columns) - set(but):
        assert one.column(name, rows) == other.column(name), name  # type: ignore[arg-type]
    assert [b.name for b in one.blocks] == [b.name for b in other.blocks]
    for mine, theirs in zip(one.blocks, other.blocks, strict=True):
        if mine is not one.particles:
            assert list(mine.rows) == list(theirs.rows)
            assert mine.columns == theirs.columns
        assert mine.comments == theirs.comments


def new_poses(n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    return Rotation.random(n, rng=random).as_matrix(), random.uniform(-4, 4, (n, 2))


@pytest.fixture
def particles(tmp_path: Path, make_stack: MakeStack, make_star: MakeStar) -> ParticleSet:
    make_stack(tmp_path / "project/Extract/a.mrcs", 6)
    names = [f"{i}@Extract/a.mrcs" for i in (6, 5, 4, 3, 2, 1)]
    numbers = [f"{i}.50000" for i in range(6)]
    return read(
        make_star(tmp_path / "project/Refine3D/run.star", names, rlnAngleRot=numbers, rlnX=numbers)
    )


def test_untouched_round_trip(particles: ParticleSet, tmp_path: Path) -> None:
    path = tmp_path / "project/again.star"
    write_star(path, particles)
    same_columns(table_of(particles.source), table_of(path))
    again = read(path)
    np.testing.assert_array_equal(again.rotations, particles.rotations)
    np.testing.assert_array_equal(again.shifts, particles.shifts)
    write_star(path, again)
    assert list(table_of(path).particles.rows) == list(table_of(particles.source).particles.rows)


def test_selection_of_a_selection(particles: ParticleSet, tmp_path: Path) -> None:
    chosen = particles.select([5, 1, 3]).select([2, 0])
    assert chosen.rows.tolist() == [3, 5]
    path = tmp_path / "project/sub.star"
    write_star(path, chosen)
    same_columns(table_of(particles.source), table_of(path), rows=[3, 5])
    np.testing.assert_array_equal(
        read(path).images.read(slice(None)), particles.images.read([3, 5])
    )


def test_new_poses_replace_old_ones(particles: ParticleSet, tmp_path: Path) -> None:
    rotations, shifts = new_poses(6)
    path = tmp_path / "project/new.star"
    write_star(path, particles, rotations, shifts)
    same_columns(table_of(particles.source), table_of(path), POSES)
    again = read(path)
    np.testing.assert_allclose(again.rotations, rotations, atol=1e-6)
    np.testing.assert_allclose(again.shifts, shifts, atol=1e-5)
    # Å, and the shift that centres.
    assert float(table_of(path).column("rlnOriginXAngst")[0]) == pytest.approx(-shifts[0, 0] * 2.5)


def test_shifts_alone_leave_the_angles_as_written(particles: ParticleSet, tmp_path: Path) -> None:
    path = tmp_path / "project/new.star"
    write_star(path, particles, shifts=np.ones((6, 2)))
    same_columns(table_of(particles.source), table_of(path), POSES[3:])
    assert set(table_of(path).column("rlnOriginYAngst")) == {"-2.500000"}


def test_poses_of_the_set_are_written(particles: ParticleSet, tmp_path: Path) -> None:
    rotations, shifts = new_poses(6)
    path = tmp_path / "project/new.star"
    write_star(path, particles.with_poses(rotations, shifts).select([4, 2]))
    np.testing.assert_allclose(read(path).shifts, shifts[[4, 2]], atol=1e-5)


def test_version_30_keeps_pixels(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "a.mrcs", 3)
    star = make_star(
        tmp_path / "a.star",
        ["1@a.mrcs", "2@a.mrcs", "3@a.mrcs"],
        None,
        rlnOriginXAngst=None,
        rlnOriginYAngst=None,
        rlnOriginX="1.5",
        rlnOriginY="-2",
        rlnPixelSize="3.0",
        rlnVoltage="300",
        rlnSphericalAberration="2.7",
        rlnAmplitudeContrast="0.07",
    )
    particles = read(star)
    rotations, shifts = new_poses(3)
    write_star(tmp_path / "b.star", particles, rotations, shifts)
    pixels = ("rlnOriginX", "rlnOriginY")
    same_columns(table_of(star), table_of(tmp_path / "b.star"), (*POSES[:3], *pixels))
    written = table_of(tmp_path / "b.star").column("rlnOriginX")
    np.testing.assert_allclose([float(v) for v in written], -shifts[:, 0], atol=1e-5)
    assert not set(table_of(tmp_path / "b.star").columns) & set(POSES[3:])


@pytest.mark.parametrize(("optics", "origin"), [(OPTICS, "rlnOriginXAngst"), (None, "rlnOriginX")])
def test_poses_are_added_where_there_were_none(
    tmp_path: Path,
    make_stack: MakeStack,
    make_star: MakeStar,
    optics: dict[str, str] | None,
    origin: str,
) -> None:
    make_stack(tmp_path / "a.mrcs", 2)
    absent = dict.fromkeys((*POSES, "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"))
    star = make_star(tmp_path / "a.star", ["1@a.mrcs", "2@a.mrcs"], optics and [optics], **absent)
    rotations, shifts = new_poses(2)
    write_star(tmp_path / "b.star", read(star), rotations, shifts)
    same_columns(table_of(star), table_of(tmp_path / "b.star"))
    assert origin in table_of(tmp_path / "b.star").columns
    again = read(tmp_path / "b.star")
    np.testing.assert_allclose(again.rotations, rotations, atol=1e-6)
    np.testing.assert_allclose(again.shifts, shifts, atol=1e-5)


def test_stack_names_follow_the_file(particles: ParticleSet, tmp_path: Path) -> None:
    def name(path: Path) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_star(path, particles)
        assert read(path).images.files[0].path.samefile(particles.images.files[0].path)
        return table_of(path).column("rlnImageName")[0]

    assert name(tmp_path / "project/Select/job9/a.star") == "6@Extract/a.mrcs"
    assert name(tmp_path / "run/a.star") == "6@../project/Extract/a.mrcs"
    # Another stack of that name stands here.
    (tmp_path / "other/Extract").mkdir(parents=True)
    (tmp_path / "other/Extract/a.mrcs").write_text("")
    assert name(tmp_path / "other/a.star") == "6@../project/Extract/a.mrcs"


def test_bare_stack_gets_a_fresh_table(tmp_path: Path, make_stack: MakeStack) -> None:
    images = make_stack(tmp_path / "my data/a.mrcs", 4, pixel_size=2.5)
    rotations, shifts = new_poses(4)
    particles = read(tmp_path / "my data/a.mrcs").select([3, 1])
    write_star(tmp_path / "b.star", particles, rotations[:2], shifts[:2])
    again = read(tmp_path / "b.star")
    assert again.pixel_size == 2.5
    assert again.ctf is None
    np.testing.assert_array_equal(again.images.read(slice(None)), images[[3, 1]])
    np.testing.assert_allclose(again.rotations, rotations[:2], atol=1e-6)
    np.testing.assert_allclose(again.shifts, shifts[:2], atol=1e-5)


def test_bare_stack_of_unknown_pixel_size(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "a.mrcs", 4)
    particles = read(tmp_path / "a.mrcs")
    write_star(tmp_path / "b.star", particles)
    assert "pixel size is unknown" in (tmp_path / "b.star").read_text()
    again = read(tmp_path / "b.star")
    assert again.pixel_size == 1.0
    assert not again.has_poses


def test_poses_that_do_not_fit(particles: ParticleSet, tmp_path: Path) -> None:
    rotations, shifts = new_poses(5)
    with pytest.raises(CryodrgnError, match="6 particles"):
        write_star(tmp_path / "b.star", particles, rotations, shifts)
    bare = read(particles.images.files[0].path)
    with pytest.raises(CryodrgnError, match="no rotations"):
        write_star(tmp_path / "b.star", bare, shifts=np.zeros((6, 2)))
    rotations, shifts = new_poses(6)
    shifts[3] = np.nan
    with pytest.raises(CryodrgnError, match="finite"):
        write_star(tmp_path / "b.star", particles, rotations, shifts)
    assert not (tmp_path / "b.star").exists()


def test_table_without_a_pixel_size_gets_pixels(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "a.mrcs", 2, pixel_size=3.0)
    optics = {k: v for k, v in OPTICS.items() if k != "rlnImagePixelSize"}
    star = make_star(
        tmp_path / "a.star", ["1@a.mrcs", "2@a.mrcs"], [optics], **dict.fromkeys(POSES)
    )
    rotations, shifts = new_poses(2)
    write_star(tmp_path / "b.star", read(star), rotations, shifts)
    np.testing.assert_allclose(read(tmp_path / "b.star").shifts, shifts, atol=1e-5)


def test_ctf_given_apart_is_written(particles: ParticleSet, tmp_path: Path) -> None:
    write_ctf(tmp_path / "ctf.pkl", CTFParameters.create(np.arange(6) + 9000.0, 8000), 8, 2.5)
    given = read(particles.source, ctf=tmp_path / "ctf.pkl")
    write_star(tmp_path / "b.star", given.select([4, 0]))
    again = read(tmp_path / "b.star", tmp_path / "project")
    assert again.ctf is not None
    assert again.ctf.defocus_u.tolist() == [9004, 9000]
    assert again.ctf.defocus_v.tolist() == [8000, 8000]
    names = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnImageName")
    same = tuple(name for name in particles.table.columns if name not in names)
    before, after = table_of(particles.source), table_of(tmp_path / "b.star")
    for name in same:
        assert after.column(name) == before.column(name, [4, 0]), name


@pytest.mark.parametrize("header", [None, 3.0])
@pytest.mark.parametrize("version", ["3.0", "3.1"])
def test_pixel_size_given_apart_is_written(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar, version: str, header: float | None
) -> None:
    make_stack(tmp_path / "a.mrcs", 2, box=32, pixel_size=header)
    optics = {k: v for k, v in OPTICS.items() if k not in ("rlnImagePixelSize", "rlnImageSize")}
    bare = dict.fromkeys(("rlnOriginXAngst", "rlnOriginYAngst", "rlnAngleRot", "rlnAngleTilt"))
    star = make_star(
        tmp_path / "a.star",
        ["1@a.mrcs", "2@a.mrcs"],
        [optics] if version == "3.1" else None,
        **bare if version == "3.1" else {**bare, **optics},
    )
    given = read(star, pixel_size=2.5)
    write_star(tmp_path / "b.star", given)
    assert read(tmp_path / "b.star").pixel_size == given.pixel_size == (header or 2.5)
    added = len(table_of(tmp_path / "b.star").columns) - len(table_of(star).columns)
    assert added == (header is None)
    *_, small = preprocess(given, tmp_path / "small", PreprocessSettings(16))
    assert isinstance(small, ParticleSet)
    assert small.pixel_size == pytest.approx(2 * (header or 2.5))


def test_empty_selection_is_not_written(particles: ParticleSet, tmp_path: Path) -> None:
    with pytest.raises(CryodrgnError, match="no particles"):
        write_star(tmp_path / "b.star", particles.select([]))


def test_nothing_is_left_of_a_failure(
    particles: ParticleSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.star"
    path.write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ParticleFileError, match="No space left"):
        write_star(path, particles)
    assert path.read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.star", "project"]


@pytest.mark.parametrize("name", ["relion31.star", "empiar_10076_7.star"])
def test_real_files_come_back(shared_data: Path, tmp_path: Path, name: str) -> None:
    source = shared_data / "formats" / name
    path = tmp_path / name
    write_star(path, read(source))
    same_columns(table_of(source), table_of(path), ("rlnImageName",))
    assert read(path).images.files[0].path.samefile(read(source).images.files[0].path)
    rotations, shifts = new_poses(len(read(source)))
    write_star(path, read(source), rotations, shifts)
    np.testing.assert_allclose(read(path).rotations, rotations, atol=1e-6)
    np.testing.assert_allclose(read(path).shifts, shifts, atol=1e-5)


def test_angles_of_a_real_file_survive_the_matrix(shared_data: Path, tmp_path: Path) -> None:
    particles = read(shared_data / "formats" / "relion31.star")
    nudged = particles.with_poses(particles.rotations * np.float32(1 + 1e-6), particles.shifts)
    write_star(tmp_path / "a.star", nudged)
    before, after = table_of(particles.source), table_of(tmp_path / "a.star")
    for column in POSES[:3]:
        one = np.array(before.column(column), float)
        other = np.array(after.column(column), float)
        assert before.column(column) != after.column(column)
        np.testing.assert_allclose(other, one, atol=1e-4)
