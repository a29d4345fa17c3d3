"""Particles go out to files and come back the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.imaging import CTFParameters
from napari_cryodrgn.particles import (
    Origin,
    ParticleSet,
    ParticleTable,
    PreprocessSettings,
    preprocess,
    read,
    read_cs_table,
    read_indices,
    read_table,
    write_ctf,
    write_original,
    write_subset,
)
from napari_cryodrgn.particles.cs_write import write_cs_rows

from .conftest import MakeCs, MakeStack, MakeStar, cs_fields


def other_poses(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.default_rng(8)
    return Rotation.random(n, rng=random).as_matrix(), random.uniform(-3, 3, (n, 2))


def columns(table: ParticleTable) -> dict[str, list[str]]:
    return {name: table.column(name) for name in table.columns}


@pytest.fixture
def cs(tmp_path: Path, make_stack: MakeStack, make_cs: MakeCs) -> ParticleSet:
    make_stack(tmp_path / "J1/extract/a.mrc", 6)
    return read(make_cs(tmp_path / "J2/J2_particles.cs"))


@pytest.fixture
def star(tmp_path: Path, make_stack: MakeStack, make_star: MakeStar) -> ParticleSet:
    make_stack(tmp_path / "a.mrcs", 6)
    numbers = [f"{i}.50000" for i in range(6)]
    names = [f"{i}@a.mrcs" for i in range(1, 7)]
    return read(make_star(tmp_path / "a.star", names, rlnAngleRot=numbers))


def test_cs_is_the_same_byte_for_byte(cs: ParticleSet, tmp_path: Path) -> None:
    write_subset(tmp_path / "out.cs", cs)
    assert (tmp_path / "out.cs").read_bytes() == cs.source.read_bytes()
    group = yaml.safe_load((tmp_path / "out.csg").read_text())
    assert group["results"]["alignments3D"] == {
        "metafile": ">out.cs",
        "num_items": 6,
        "type": "particle.alignments3D",
    }
    assert set(group["results"]) == {"blob", "ctf", "alignments3D"}
    assert {"created", "group", "version"} <= set(group)
    assert len(read(tmp_path / "out.csg")) == 6


def test_cs_of_some_particles(cs: ParticleSet, tmp_path: Path) -> None:
    write_subset(tmp_path / "out.cs", cs.select([4, 1]))
    before, after = np.load(cs.source), np.load(tmp_path / "out.cs")
    assert after.dtype == before.dtype
    np.testing.assert_array_equal(after, before[[4, 1]])


def test_cs_with_new_poses_changes_these_alone(cs: ParticleSet, tmp_path: Path) -> None:
    assert cs.rotations is not None
    assert cs.shifts is not None
    rotations, shifts = cs.rotations.copy(), cs.shifts.copy()
    rotations[2], shifts[4] = other_poses(1)[0][0], [1.5, -2]
    write_subset(tmp_path / "out.cs", cs, rotations, shifts)
    before, after = np.load(cs.source), np.load(tmp_path / "out.cs")
    for name in before.dtype.names:
        changed = (before[name] != after[name]).reshape(6, -1).any(axis=1)
        expected = {"alignments3D/pose": [2], "alignments3D/shift": [4]}.get(name, [])
        assert np.flatnonzero(changed).tolist() == expected, name
    # The opposite, in pixels of 5 Å where the image has 2.5.
    np.testing.assert_allclose(after["alignments3D/shift"][4], [-0.75, 1])
    again = read(tmp_path / "out.cs")
    np.testing.assert_allclose(again.rotations, rotations, atol=1e-6)
    np.testing.assert_allclose(again.shifts, shifts, atol=1e-5)


def test_cs_without_poses_gets_them(tmp_path: Path, make_stack: MakeStack, make_cs: MakeCs) -> None:
    make_stack(tmp_path / "J1/extract/a.mrc", 6)
    particles = read(make_cs(tmp_path / "a.cs", 6, ["blob", "ctf"]))
    rotations, shifts = other_poses(6)
    write_subset(tmp_path / "b.cs", particles, rotations, shifts)
    again = read(tmp_path / "b.cs")
    np.testing.assert_allclose(again.rotations, rotations, atol=1e-6)
    np.testing.assert_allclose(again.shifts, shifts, atol=1e-6)
    before, after = np.load(tmp_path / "a.cs"), np.load(tmp_path / "b.cs")
    for name in before.dtype.names:
        np.testing.assert_array_equal(before[name], after[name])
    assert (after["alignments3D/psize_A"] == np.float32(2.5)).all()
    assert "alignments3D" in yaml.safe_load((tmp_path / "b.csg").read_text())["results"]


def test_passthrough_goes_back_to_a_file_of_its_own(
    tmp_path: Path, make_stack: MakeStack, make_cs: MakeCs
) -> None:
    make_stack(tmp_path / "J1/extract/a.mrc", 6)
    order = [3, 1, 5, 0, 4, 2]
    shuffled = {k: (kind, np.array(v)[order]) for k, (kind, v) in cs_fields(6).items()}
    make_cs(tmp_path / "J2_passthrough_particles.cs", 6, ["ctf", "alignments3D"], shuffled)
    particles = read(make_cs(tmp_path / "J2_particles.cs", 6, ["blob"]))
    rotations, shifts = other_poses(2)
    write_subset(tmp_path / "sub.cs", particles.select([5, 2]), rotations, shifts)
    main = np.load(tmp_path / "sub.cs")
    other = np.load(tmp_path / "sub_passthrough.cs")
    np.testing.assert_array_equal(main["uid"], other["uid"])
    np.testing.assert_array_equal(main, np.load(particles.source)[[5, 2]])
    again = read(tmp_path / "sub.csg")
    np.testing.assert_allclose(again.rotations, rotations, atol=1e-6)
    np.testing.assert_allclose(again.shifts, shifts, atol=1e-5)


def test_real_cs_is_the_same_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "formats/cryosparc_P12_J24_001_particles.cs"
    table = read_cs_table(source).table
    every = np.arange(len(table))
    write_cs_rows(tmp_path / "a.cs", table, every, None, None)
    assert (tmp_path / "a.cs").read_bytes() == source.read_bytes()
    write_cs_rows(tmp_path / "b.cs", table, every[[7, 3]], None, None)
    np.testing.assert_array_equal(np.load(tmp_path / "b.cs"), np.load(source)[[7, 3]])


def test_cs_as_star(cs: ParticleSet, tmp_path: Path) -> None:
    write_subset(tmp_path / "out.star", cs.select([3, 0]))
    again, before = read(tmp_path / "out.star"), cs.select([3, 0])
    np.testing.assert_array_equal(again.images.read(slice(None)), before.images.read(slice(None)))
    np.testing.assert_allclose(again.rotations, before.rotations, atol=1e-6)
    np.testing.assert_allclose(again.shifts, before.shifts, atol=1e-5)
    np.testing.assert_array_equal(again.half_sets, before.half_sets)
    assert again.ctf is not None
    assert before.ctf is not None
    np.testing.assert_allclose(again.ctf.defocus_u, before.ctf.defocus_u)


def test_star_as_cs_is_refused(star: ParticleSet, tmp_path: Path) -> None:
    with pytest.raises(ParticleFileError, match=r"\.star") as caught:
        write_subset(tmp_path / "out.cs", star)
    assert caught.value.remedy
    with pytest.raises(ParticleFileError, match="kind"):
        write_subset(tmp_path / "out.txt", star)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mrcs", "a.star"]


def test_star_with_some_new_poses_keeps_the_others_as_written(
    star: ParticleSet, tmp_path: Path
) -> None:
    assert star.rotations is not None
    assert star.shifts is not None
    rotations, shifts = star.rotations.copy(), star.shifts.copy()
    rotations[2], shifts[4] = other_poses(1)[0][0], [1.5, -2]
    order = [4, 0, 2]
    write_subset(tmp_path / "b.star", star.select(order), rotations[order], shifts[order])
    before, after = (columns(read_table(tmp_path / f"{name}.star").table) for name in "ab")
    assert list(before) == list(after)
    for name, values in before.items():
        place = 0 if name.startswith("rlnOrigin") else 2 if name.startswith("rlnAngle") else None
        for i, row in enumerate(order):
            assert (after[name][i] == values[row]) == (i != place), (name, i)
    np.testing.assert_allclose(read(tmp_path / "b.star").rotations, rotations[order], atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["FinalRefinement-OriginalParticles-PfCRT.star", "relion31.star", "empiar_10076_7.star",
     "toy.star"],
)  # fmt: skip
def test_real_stars_are_the_same_column_by_column(
    shared_data: Path, tmp_path: Path, make_stack: MakeStack, name: str
) -> None:
    source = shared_data / "formats" / name
    listed = read_table(source, 0.1)
    # Where their stacks are not here, others take the place, and the names lead to them.
    stars = tmp_path / "stars"
    stars.mkdir()
    (stars / name).write_bytes(source.read_bytes())
    box = listed.box or 8
    for i, stack in enumerate(listed.stacks):
        n = int(listed.image_index[listed.stack_index == i].max()) + 1
        make_stack(stars / stack, n, box)
    write_subset(stars / "again.star", read(stars / name, amplitude_contrast=0.1))
    before, after = read_table(source, 0.1).table, read_table(stars / "again.star").table
    # Only the contrast that was given when reading is added, so that it is not asked for again.
    own = {column for block in before.blocks for column in block.columns}
    given = () if "rlnAmplitudeContrast" in own else ("rlnAmplitudeContrast",)
    assert columns(after) == columns(before) | dict.fromkeys(given, ["0.100000"] * len(before))
    assert [b.name for b in after.blocks] == [b.name for b in before.blocks]
    for one, other in zip(before.blocks, after.blocks, strict=True):
        assert other.comments == one.comments
        assert other.columns == one.columns + (given if one is before.particles else ())
        added = " 0.100000" if given and one is before.particles else ""
        assert list(other.rows) == [row + added for row in one.rows]


def test_indices(star: ParticleSet, tmp_path: Path) -> None:
    write_subset(tmp_path / "ind.pkl", star.select([4, 1]))
    assert read_indices(tmp_path / "ind.pkl").tolist() == [4, 1]
    assert read(star.source, indices=tmp_path / "ind.pkl").rows.tolist() == [4, 1]
    with pytest.raises(CryodrgnError, match="no particles"):
        write_subset(tmp_path / "none.pkl", star.select([]))


@pytest.fixture
def halved(
    star: ParticleSet, tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> ParticleSet:
    """Rows 4, 2, 0 of the STAR file in half the box, made by hand."""
    small = tmp_path / "small"
    make_stack(small / "s.mrcs", 3, box=4)
    made = read(
        make_star(
            small / "s.star",
            ["1@s.mrcs", "2@s.mrcs", "3@s.mrcs"],
            [{"rlnOpticsGroup": "1", "rlnVoltage": "300", "rlnSphericalAberration": "2.7",
              "rlnAmplitudeContrast": "0.1", "rlnImagePixelSize": "5.0", "rlnImageSize": "4"}],
            rlnAngleRot=["4.5", "2.5", "0.5"],
        )
    )  # fmt: skip
    return replace(made, origin=Origin(star.source, np.array([4, 2, 0]), 8, 2.5))


def test_original_rows_come_back_untouched(halved: ParticleSet, tmp_path: Path) -> None:
    write_original(tmp_path / "b.star", halved.select([2, 0]))
    before, after = (columns(read_table(tmp_path / f"{name}.star").table) for name in "ab")
    assert after == {name: [values[0], values[4]] for name, values in before.items()}


def test_original_gets_new_poses_in_its_own_pixels(
    halved: ParticleSet, star: ParticleSet, tmp_path: Path
) -> None:
    rotations, shifts = other_poses(3)
    write_original(tmp_path / "b.star", halved, rotations, shifts)
    again = read(tmp_path / "b.star")
    assert (again.box, again.pixel_size) == (8, 2.5)
    np.testing.assert_allclose(again.rotations, rotations, atol=1e-6)
    np.testing.assert_allclose(again.shifts, 2 * shifts, atol=1e-5)
    np.testing.assert_array_equal(again.images.read(slice(None)), star.images.read([4, 2, 0]))


def test_origin_goes_along(halved: ParticleSet, star: ParticleSet, tmp_path: Path) -> None:
    write_subset(tmp_path / "sub.star", halved.select([2, 1]))
    origin = read(tmp_path / "sub.star").origin
    assert origin is not None
    assert origin.rows.tolist() == [0, 2]
    assert "box 8 px" in read(tmp_path / "sub.star").describe()["Made from"]
    write_subset(tmp_path / "sub.star", star.select([2, 1]))
    assert read(tmp_path / "sub.star").origin is None


def test_original_without_its_stack(halved: ParticleSet, tmp_path: Path) -> None:
    (tmp_path / "a.mrcs").unlink()
    write_original(tmp_path / "elsewhere.star", halved)
    names = read_table(tmp_path / "elsewhere.star").table.column("rlnImageName")
    assert names == ["5@a.mrcs", "3@a.mrcs", "1@a.mrcs"]


def test_original_of_other_kinds(halved: ParticleSet, cs: ParticleSet, tmp_path: Path) -> None:
    write_original(tmp_path / "ind.pkl", halved)
    assert read_indices(tmp_path / "ind.pkl").tolist() == [4, 2, 0]
    assert halved.origin is not None
    from_cs = replace(halved, origin=replace(halved.origin, path=cs.source))
    rotations, shifts = other_poses(3)
    for name in ("o.cs", "o.star"):
        write_original(tmp_path / name, from_cs, rotations, shifts)
        again = read(tmp_path / name)
        np.testing.assert_allclose(again.rotations, rotations, atol=1e-6)
        np.testing.assert_allclose(again.shifts, 2 * shifts, atol=1e-5)
        np.testing.assert_array_equal(again.images.read(slice(None)), cs.images.read([4, 2, 0]))
    stack = replace(halved, origin=replace(halved.origin, path=tmp_path / "a.mrcs"))
    write_original(tmp_path / "s.star", stack, rotations, shifts)
    np.testing.assert_allclose(read(tmp_path / "s.star").shifts, 2 * shifts, atol=1e-5)


def test_original_stack_keeps_what_files_beside_it_told(
    tmp_path: Path, make_stack: MakeStack
) -> None:
    make_stack(tmp_path / "raw.mrcs", 4, box=32)
    ctf = CTFParameters.create(np.arange(4) + 15000.0, 14000)
    write_ctf(tmp_path / "ctf.pkl", ctf, 32, 2.5)
    raw = read(tmp_path / "raw.mrcs", ctf=tmp_path / "ctf.pkl").select([3, 1])
    *_, small = preprocess(raw, tmp_path / "small", PreprocessSettings(16))
    assert isinstance(small, ParticleSet)
    write_original(tmp_path / "back.star", small, *other_poses(2))
    back = read(tmp_path / "back.star")
    assert (back.box, back.pixel_size) == (32, 2.5)
    assert back.ctf is not None
    assert back.ctf.defocus_u.tolist() == [15003, 15001]
    np.testing.assert_array_equal(back.images.read(slice(None)), raw.images.read(slice(None)))


def test_original_that_is_not_known(halved: ParticleSet, star: ParticleSet, tmp_path: Path) -> None:
    with pytest.raises(CryodrgnError, match="what these particles were"):
        write_original(tmp_path / "b.star", star)
    assert halved.origin is not None
    beyond = replace(halved, origin=replace(halved.origin, rows=np.array([4, 9, 0])))
    with pytest.raises(ParticleFileError, match="row 10"):
        write_original(tmp_path / "b.star", beyond)
    moved = (tmp_path / "a.star").read_text().replace("o'brien.mrc", "other.mrc")
    (tmp_path / "a.star").write_text(moved)
    with pytest.raises(ParticleFileError, match=r"Row 5 was .*brien.* is .*other") as caught:
        write_original(tmp_path / "b.star", halved)
    assert caught.value.field == "rlnMicrographName"
    (tmp_path / "a.star").unlink()
    with pytest.raises(ParticleFileError, match="no longer there"):
        write_original(tmp_path / "b.star", halved)
    assert not (tmp_path / "b.star").exists()
