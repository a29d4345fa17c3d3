from __future__ import annotations

import pickle
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.imaging import CTF, CTFParameters
from napari_cryodrgn.particles import read, read_table, rotations_from_euler, write_star

from .conftest import OPTICS, MakeStack, MakeStar


def names(n: int, stack: str = "Extract/job1/a.mrcs") -> list[str]:
    return [f"{i + 1:06d}@{stack}" for i in range(n)]


def test_version_31(tmp_path: Path, make_stack: MakeStack, make_star: MakeStar) -> None:
    images = make_stack(tmp_path / "Extract/job1/a.mrcs")
    star = make_star(tmp_path / "Refine3D/job2/run_data.star", names(6)[::-1])
    particles = read(star)
    assert len(particles) == 6
    assert particles.box == 8
    assert particles.pixel_size == 2.5
    assert particles.table is not None
    assert particles.table.version == "3.1"
    np.testing.assert_array_equal(particles.images.read([0, 5]), images[[5, 0]])
    assert particles.rotations is not None
    np.testing.assert_allclose(
        particles.rotations[0], rotations_from_euler([[10.5, 80.25, -33.125]])[0], atol=1e-6
    )
    np.testing.assert_allclose(particles.shifts[0], [-2, 1])
    assert particles.ctf is not None
    ctf = particles.ctf
    assert ctf.defocus_u[0] == 15100
    assert ctf.defocus_angle[0] == -20.5
    assert ctf.amplitude_contrast[5] == 0.1
    assert ctf.phase_shift[0] == 0
    column = particles.table.column("rlnMicrographName", [0])
    assert column == ["Micrographs/grid#2/o'brien.mrc"]


def test_version_30(tmp_path: Path, make_stack: MakeStack, make_star: MakeStar) -> None:
    make_stack(tmp_path / "a.mrcs")
    star = make_star(
        tmp_path / "a.star",
        names(6, "a.mrcs"),
        None,
        rlnOriginXAngst=None,
        rlnOriginYAngst=None,
        rlnOriginX="1.5",
        rlnOriginY="-2",
        rlnVoltage="300",
        rlnSphericalAberration="2.7",
        rlnAmplitudeContrast="0.07",
        rlnPhaseShift="90",
        rlnMagnification="38168",
        rlnDetectorPixelSize="5",
    )
    particles = read(star)
    assert particles.table is not None
    assert particles.table.version == "3.0"
    assert particles.pixel_size == pytest.approx(5e4 / 38168)
    np.testing.assert_allclose(particles.shifts[3], [-1.5, 2])
    assert particles.ctf is not None
    assert particles.ctf.phase_shift[0] == 90


def test_pixel_size_columns(tmp_path: Path, make_star: MakeStar) -> None:
    origins = {"rlnOriginXAngst": None, "rlnOriginYAngst": None, "rlnAngleRot": None}
    plain = {**origins, "rlnAngleTilt": None, "rlnDefocusU": None, "rlnDefocusV": None}
    plain["rlnDefocusAngle"] = None
    star = make_star(tmp_path / "a.star", names(2), None, rlnPixelSize="1.25", **plain)
    assert read_table(star).pixel_size == 1.25
    assert read_table(make_star(star, names(2), None, **plain)).pixel_size is None


def test_pixel_size_of_the_stack_stands_in(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "a.mrcs", pixel_size=3.25)
    star = make_star(
        tmp_path / "a.star",
        names(6, "a.mrcs"),
        None,
        rlnDefocusU=None,
        rlnDefocusV=None,
        rlnDefocusAngle=None,
        rlnAngleRot=None,
        rlnAngleTilt=None,
    )
    particles = read(star)
    assert particles.pixel_size == pytest.approx(3.25)
    assert particles.ctf is None


def test_many_stacks_in_any_order(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    a = make_stack(tmp_path / "a.mrcs", 4, seed=1)
    b = make_stack(tmp_path / "b.mrcs", 5, seed=2)
    wanted = ["3@b.mrcs", "1@a.mrcs", "5@b.mrcs", "4@./a.mrcs", "1@b.mrcs", "3@b.mrcs"]
    particles = read(make_star(tmp_path / "s.star", wanted))
    expected = np.stack([b[2], a[0], b[4], a[3], b[0], b[2]])
    np.testing.assert_array_equal(particles.images.read(slice(None)), expected)
    order = [5, 3, 0, 0]
    np.testing.assert_array_equal(particles.images.read(order), expected[order])
    np.testing.assert_array_equal(np.asarray(particles.images.array), expected)


def test_optics_groups(tmp_path: Path, make_star: MakeStar) -> None:
    groups = [
        {**OPTICS, "rlnOpticsGroup": "7", "rlnAmplitudeContrast": "0.07"},
        {**OPTICS, "rlnOpticsGroup": "2", "rlnVoltage": "200", "rlnImagePixelSize": "2.5001"},
        # Not used by any particle, so its other sizes do no harm.
        {**OPTICS, "rlnOpticsGroup": "3", "rlnImagePixelSize": "9", "rlnImageSize": "64"},
    ]
    star = read_table(
        make_star(tmp_path / "a.star", names(3), groups, rlnOpticsGroup=["2", "7", "2"])
    )
    assert star.ctf is not None
    assert star.ctf.voltage.tolist() == [200, 300, 200]
    assert star.ctf.amplitude_contrast.tolist() == [0.1, 0.07, 0.1]
    assert star.pixel_size == pytest.approx(2.5, rel=1e-4)


def test_optics_groups_keep_their_own_pixel_size(tmp_path: Path, make_star: MakeStar) -> None:
    sizes = {"1": 2.5, "2": 2.502}
    groups = [
        {**OPTICS, "rlnOpticsGroup": name, "rlnImagePixelSize": str(size)}
        for name, size in sizes.items()
    ]
    star = read_table(
        make_star(tmp_path / "a.star", names(3), groups, rlnOpticsGroup=["1", "2", "1"])
    )
    assert star.pixel_size == 2.5
    assert star.optics_groups is not None
    assert star.optics_groups.tolist() == [0, 1, 0]
    assert star.describe()["Optics groups"] == "2 (2, 1)"
    assert star.poses is not None
    np.testing.assert_allclose(star.poses.shifts[:, 0], [-2, -5 / 2.502, -2], rtol=1e-6)
    # Each CTF at the set's pixel size is that of the file's parameters at the group's own.
    assert star.ctf is not None
    k = torch.stack([torch.arange(1, 65), torch.arange(64)], 1)
    for particle, group in enumerate("121"):
        given = CTFParameters.create(15100, 15000.25, -20.5)
        own = CTF(given, k, 128, sizes[group])(slice(None))[0]
        ours = CTF(star.ctf.select([particle]), k, 128, 2.5)(slice(None))[0]
        torch.testing.assert_close(ours, own, atol=1e-5, rtol=0)


def test_half_sets(tmp_path: Path, make_star: MakeStar) -> None:
    star = read_table(make_star(tmp_path / "a.star", names(3), rlnRandomSubset=["1", "2", "2"]))
    assert star.half_sets is not None
    assert star.half_sets.tolist() == [1, 2, 2]
    unset = read_table(make_star(tmp_path / "a.star", names(2), rlnRandomSubset="0"))
    assert unset.half_sets is None
    assert read_table(make_star(tmp_path / "a.star", names(2))).half_sets is None


def test_version_5(tmp_path: Path, make_star: MakeStar) -> None:
    star = make_star(tmp_path / "a.star", names(2))
    star.write_text(star.read_text().replace("# version 30001", "# version 50001"))
    assert read_table(star).describe()["Format"] == "RELION STAR, version 5"


def test_particle_column_goes_before_optics(tmp_path: Path, make_star: MakeStar) -> None:
    star = make_star(tmp_path / "a.star", names(2), rlnVoltage=["200", "80"])
    ctf = read_table(star).ctf
    assert ctf is not None
    assert ctf.voltage.tolist() == [200, 80]


def test_no_poses(tmp_path: Path, make_star: MakeStar) -> None:
    # As RELION extracts picked particles: psi of the picking template, and nothing else.
    star = make_star(
        tmp_path / "a.star",
        names(2),
        rlnAngleRot=None,
        rlnAngleTilt=None,
        rlnOriginXAngst=None,
        rlnOriginYAngst=None,
        rlnAnglePsi="-999",
    )
    assert read_table(star).poses is None


def test_alignments_of_2d_classes_are_no_poses(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "a.mrcs", 2)
    flat = {"rlnAngleRot": "0.000000", "rlnAngleTilt": "0.000000"}
    star = make_star(tmp_path / "a.star", ["1@a.mrcs", "2@a.mrcs"], rlnAnglePsi="40", **flat)
    classified = read(star)
    assert not classified.has_poses
    write_star(tmp_path / "b.star", classified)
    assert read_table(tmp_path / "b.star").table.column("rlnAnglePsi") == ["40", "40"]
    # One of them elsewhere, and these are views of a structure.
    flat["rlnAngleTilt"] = ["0", "9"]
    assert read(make_star(star, ["1@a.mrcs", "2@a.mrcs"], **flat)).has_poses


def test_premultiplied_images_are_refused(tmp_path: Path, make_star: MakeStar) -> None:
    flag = "rlnCtfDataAreCtfPremultiplied"
    for value in "01":
        star = make_star(tmp_path / f"{value}.star", names(2), [{**OPTICS, flag: value}])
        if value == "0":
            assert read_table(star).ctf is not None
    with pytest.raises(ParticleFileError, match="count twice") as caught:
        read_table(star)
    assert caught.value.field == flag


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rlnAngleTilt": None}, "rlnAngleTilt"),
        ({"rlnAnglePsi": None}, "rlnAnglePsi"),
        ({"rlnOriginYAngst": None}, "rlnOriginYAngst"),
        ({"rlnOriginXAngst": None, "rlnOriginYAngst": None}, "rlnOriginXAngst"),
        ({"rlnDefocusV": None}, "rlnDefocusV"),
    ],
)
def test_missing_columns(
    tmp_path: Path, make_star: MakeStar, changes: dict[str, None], field: str
) -> None:
    star = make_star(tmp_path / "a.star", names(2), **changes)
    with pytest.raises(ParticleFileError, match="missing") as caught:
        read_table(star)
    assert caught.value.field == field
    assert caught.value.remedy


def test_missing_amplitude_contrast(tmp_path: Path, make_star: MakeStar) -> None:
    optics = {k: v for k, v in OPTICS.items() if k != "rlnAmplitudeContrast"}
    star = make_star(tmp_path / "a.star", names(2), [optics])
    with pytest.raises(ParticleFileError) as caught:
        read_table(star)
    assert caught.value.field == "rlnAmplitudeContrast"
    ctf = read_table(star, amplitude_contrast=0.08).ctf
    assert ctf is not None
    assert ctf.amplitude_contrast.tolist() == [0.08, 0.08]


@pytest.mark.parametrize("field", ["rlnAngleRot", "rlnOriginXAngst", "rlnDefocusU"])
@pytest.mark.parametrize("value", ["nan", "inf", "<NA>", "none"])
def test_bad_values_name_column_and_row(
    tmp_path: Path, make_star: MakeStar, field: str, value: str
) -> None:
    star = make_star(tmp_path / "a.star", names(4), **{field: ["1", "2", value, value]})
    with pytest.raises(ParticleFileError, match="Row 3") as caught:
        read_table(star)
    assert caught.value.field == field
    assert value in caught.value.problem


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rlnVoltage": "0"}, "rlnVoltage"),
        ({"rlnAmplitudeContrast": "7"}, "rlnAmplitudeContrast"),
        ({"rlnImagePixelSize": "-1"}, "rlnImagePixelSize"),
        ({"rlnImagePixelSize": "nan"}, "rlnImagePixelSize"),
    ],
)
def test_senseless_optics(
    tmp_path: Path, make_star: MakeStar, changes: dict[str, str], field: str
) -> None:
    star = make_star(tmp_path / "a.star", names(2), [{**OPTICS, **changes}])
    with pytest.raises(ParticleFileError) as caught:
        read_table(star)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("second", "group", "field"),
    [
        ({"rlnImagePixelSize": "2.6"}, ["1", "2"], "rlnImagePixelSize"),
        ({"rlnImageSize": "16"}, ["1", "2"], "rlnImageSize"),
        ({}, ["1", "5"], "rlnOpticsGroup"),
        ({}, None, "rlnOpticsGroup"),
    ],
)
def test_optics_groups_that_do_not_fit(
    tmp_path: Path,
    make_star: MakeStar,
    second: dict[str, str],
    group: list[str] | None,
    field: str,
) -> None:
    optics = [OPTICS, {**OPTICS, "rlnOpticsGroup": "2", **second}]
    star = make_star(tmp_path / "a.star", names(2), optics, rlnOpticsGroup=group)
    with pytest.raises(ParticleFileError) as caught:
        read_table(star)
    assert caught.value.field == field
    assert caught.value.remedy


def test_origins_in_angstrom_need_a_pixel_size(tmp_path: Path, make_star: MakeStar) -> None:
    optics = {k: v for k, v in OPTICS.items() if k != "rlnImagePixelSize"}
    with pytest.raises(ParticleFileError, match="no pixel size"):
        read_table(make_star(tmp_path / "a.star", names(2), [optics]))


@pytest.mark.parametrize("name", ["a.mrcs", "0@a.mrcs", "x@a.mrcs", "1@", "-1@a.mrcs"])
def test_bad_image_names(tmp_path: Path, make_star: MakeStar, name: str) -> None:
    star = make_star(tmp_path / "a.star", ["1@a.mrcs", name])
    with pytest.raises(ParticleFileError, match="row 2") as caught:
        read_table(star)
    assert caught.value.field == "rlnImageName"


def test_tables_without_particles(tmp_path: Path) -> None:
    star = tmp_path / "a.star"
    star.write_text("data_micrographs\nloop_\n_rlnMicrographName #1\na.mrc\n")
    with pytest.raises(ParticleFileError, match="data_micrographs") as caught:
        read_table(star)
    assert caught.value.field == "rlnImageName"
    star.write_text("data_particles\nloop_\n_rlnImageName #1\n\n")
    with pytest.raises(ParticleFileError, match="no rows"):
        read_table(star)


def test_stack_places(tmp_path: Path, make_stack: MakeStack, make_star: MakeStar) -> None:
    star = make_star(tmp_path / "p/q/a.star", names(2))
    with pytest.raises(ParticleFileError) as caught:
        read(star, tmp_path / "data")
    for place in ("p/q", "p", ".", "data"):
        assert str(tmp_path / place / "Extract/job1/a.mrcs") in str(caught.value)
    assert str(tmp_path / "data/a.mrcs") in str(caught.value)

    found = []
    # Each place goes before those tried so far.
    for place in ("data/a.mrcs", "data/Extract/job1/a.mrcs", "Extract/job1/a.mrcs"):
        make_stack(tmp_path / place)
        found.append(read(star, tmp_path / "data").images.files[0].path)
    make_stack(tmp_path / "p/q/Extract/job1/a.mrcs")
    found.append(read(star, tmp_path / "data").images.files[0].path)
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "data/a.mrcs",
        "data/Extract/job1/a.mrcs",
        "Extract/job1/a.mrcs",
        "p/q/Extract/job1/a.mrcs",
    ]


def test_absolute_stack_that_moved(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "data/x/a.mrcs")
    star = make_star(tmp_path / "a.star", names(2, "/nowhere/x/a.mrcs"))
    with pytest.raises(ParticleFileError, match="/nowhere/x/a.mrcs"):
        read(star)
    make_stack(tmp_path / "data/a.mrcs")
    assert len(read(star, tmp_path / "data")) == 2


def test_stack_that_does_not_fit(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "a.mrcs", 3)
    make_stack(tmp_path / "b.mrcs", 3, box=10)
    with pytest.raises(ParticleFileError, match=r"Row 4 asks for image 4, but .*a.mrcs has 3"):
        read(make_star(tmp_path / "s.star", names(5, "a.mrcs")))
    with pytest.raises(ParticleFileError, match="two sizes") as caught:
        read(make_star(tmp_path / "s.star", ["1@a.mrcs", "1@b.mrcs"]))
    assert caught.value.remedy
    with pytest.raises(ParticleFileError, match="says images of 8 pixels") as caught:
        read(make_star(tmp_path / "s.star", names(3, "b.mrcs")))
    assert caught.value.field == "rlnImageSize"


@pytest.mark.skipif(sys.gettrace() is not None, reason="tracing takes longer than the reading")
def test_hundred_thousand_rows(tmp_path: Path, make_star: MakeStar) -> None:
    star = make_star(tmp_path / "a.star", names(100_000))
    # Processor time, so that other work on the machine counts for little; about half a second.
    start = time.process_time()
    assert len(read_table(star).image_index) == 100_000
    assert time.process_time() - start < 2


def test_against_cryodrgn(shared_data: Path) -> None:
    formats = shared_data / "formats"
    star = read_table(formats / "FinalRefinement-OriginalParticles-PfCRT.star", 0.1)
    # Trusted: they are the project's own samples.
    rotations, translations = pickle.loads((formats / "pose.star.pkl").read_bytes())
    table = pickle.loads((formats / "ctf1.pkl").read_bytes())
    assert star.poses is not None
    np.testing.assert_allclose(star.poses.rotations, rotations, atol=1e-5)
    np.testing.assert_allclose(-star.poses.shifts / 300, translations, atol=1e-5)
    assert star.ctf is not None
    assert star.pixel_size == pytest.approx(1.035)
    ours = [star.ctf.defocus_u, star.ctf.defocus_v, star.ctf.defocus_angle, star.ctf.voltage]
    ours += [star.ctf.spherical_aberration, star.ctf.amplitude_contrast, star.ctf.phase_shift]
    np.testing.assert_allclose(np.stack(ours, axis=1), table[:, 2:], rtol=1e-5)


def test_real_files(shared_data: Path) -> None:
    formats = shared_data / "formats"
    relion = read(formats / "relion31.star")
    assert (len(relion), relion.box, relion.pixel_size) == (5, 256, 2.806)
    assert relion.has_poses
    assert relion.ctf is not None
    assert relion.ctf.spherical_aberration[0] == 0.01
    empiar = read(formats / "empiar_10076_7.star")
    assert (len(empiar), empiar.box, empiar.has_poses) == (7, 320, False)
    assert empiar.pixel_size == pytest.approx(1.31, rel=1e-4)
    assert len(read_table(formats / "toy.star").image_index) == 1000


def test_star_and_pose_pickle_agree(shared_data: Path) -> None:
    particles = read(shared_data / "cryodrgn-run" / "particles.star")
    rotations, translations = pickle.loads((shared_data / "cryodrgn-run" / "pose.pkl").read_bytes())
    np.testing.assert_allclose(particles.rotations, rotations, atol=1e-5)
    assert particles.shifts is not None
    np.testing.assert_allclose(-particles.shifts / 32, translations, atol=1e-5)
