from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles import CsTable, read, read_cs_table

from .conftest import MakeCs, MakeStack, cs_fields


@pytest.fixture
def project(tmp_path: Path, make_stack: MakeStack) -> Path:
    make_stack(tmp_path / "J1/extract/a.mrc", 6)
    return tmp_path


def test_what_the_fields_mean(project: Path, make_cs: MakeCs, make_stack: MakeStack) -> None:
    images = make_stack(project / "J1/extract/a.mrc", 6)
    particles = read(make_cs(project / "J2/J2_particles.cs"))
    given = {name: np.array(values, kind) for name, (kind, values) in cs_fields(6).items()}
    assert (len(particles), particles.box, particles.pixel_size) == (6, 8, 2.5)
    np.testing.assert_array_equal(particles.images.read(slice(None)), images[::-1])
    # The matrix is the transposed exponential; a shift of 5 Å pixels is twice as many of 2.5 Å.
    expected = Rotation.from_rotvec(given["alignments3D/pose"]).inv().as_matrix()
    np.testing.assert_allclose(particles.rotations, expected, atol=1e-6)
    assert particles.shifts is not None
    np.testing.assert_allclose(particles.shifts, -2 * given["alignments3D/shift"], rtol=1e-6)
    ctf = particles.ctf
    assert ctf is not None
    assert ctf.defocus_v.tolist() == [14500 + i for i in range(6)]
    np.testing.assert_allclose(ctf.defocus_angle, np.rad2deg(given["ctf/df_angle_rad"]), rtol=1e-6)
    assert particles.half_sets is not None
    assert particles.half_sets.tolist() == [1, 2] * 3
    assert particles.optics_groups is not None
    assert particles.optics_groups.tolist() == [0, 1] * 3
    assert particles.dark is True
    facts = particles.describe()
    assert facts["Format"] == "cryoSPARC"
    assert facts["Optics groups"] == facts["Half sets"] == "2 (3, 3)"
    assert "dark" in facts["Contrast"]
    some = particles.select([4, 1])
    assert some.half_sets is not None
    assert some.half_sets.tolist() == [1, 2]


def test_passthrough_is_joined_on_uid(project: Path, make_cs: MakeCs, tmp_path: Path) -> None:
    whole = read(make_cs(project / "whole.cs"))
    fields = cs_fields(6)
    order = np.array([3, 1, 5, 0, 4, 2])
    shuffled = {k: (kind, np.array(values)[order]) for k, (kind, values) in fields.items()}
    make_cs(project / "J2/P1_J2_passthrough_particles.cs", 6, ["ctf", "alignments3D"], shuffled)
    # Of another job, and so not its.
    make_cs(project / "J2/P1_J22_passthrough_particles.cs", 6, ["ctf"], {"ctf/accel_kv": None})
    main = make_cs(project / "J2/P1_J2_particles.cs", 6, ["blob"])
    for particles in (
        read(main),
        read(main, passthrough=[project / "J2/P1_J2_passthrough_particles.cs"]),
    ):
        np.testing.assert_array_equal(particles.rotations, whole.rotations)
        np.testing.assert_array_equal(particles.shifts, whole.shifts)
        assert particles.ctf is not None
        assert whole.ctf is not None
        np.testing.assert_array_equal(particles.ctf.defocus_u, whole.ctf.defocus_u)
        assert isinstance(particles.table, CsTable)
        assert [p.path.name for p in particles.table.passthrough] == [
            "P1_J2_passthrough_particles.cs"
        ]
        assert "P1_J2_passthrough_particles.cs" in particles.describe()["Format"]


def test_csg_names_the_files(project: Path, make_cs: MakeCs) -> None:
    make_cs(project / "J2/one.cs", 6, ["blob"])
    make_cs(project / "J2/two.cs", 6, ["ctf", "alignments3D"])
    results = {
        kind: {"metafile": f">{name}.cs", "num_items": 6, "type": f"particle.{kind}"}
        for kind, name in (("alignments3D", "two"), ("blob", "one"), ("ctf", "two"))
    }
    (project / "J2/g.csg").write_text(yaml.safe_dump({"results": results}))
    for name in ("g.csg", "one.cs"):
        particles = read(project / "J2" / name)
        assert particles.has_poses
        assert particles.ctf is not None
        assert particles.source.name == "one.cs"


@pytest.mark.parametrize("text", ["", "[", "a: 1", "results: 3", "results: {}", "!!python/none 1"])
def test_csg_of_no_use(project: Path, make_cs: MakeCs, text: str) -> None:
    make_cs(project / "one.cs", 6, ["blob"])
    (project / "g.csg").write_text(text)
    with pytest.raises(ParticleFileError, match=r"g\.csg"):
        read(project / "g.csg")
    assert not read(project / "one.cs").has_poses


def test_passthrough_that_lacks_particles(project: Path, make_cs: MakeCs) -> None:
    uids = cs_fields(6)["uid"]
    main = make_cs(project / "J2_particles.cs", 6, ["blob"])
    other = make_cs(
        project / "J2_passthrough_particles.cs",
        6,
        ["ctf"],
        {"uid": ("<u8", np.array(uids[1]) + np.array([0, 9, 0, 0, 9, 0], np.uint64))},
    )
    with pytest.raises(ParticleFileError, match="lacks 2 of the 6") as caught:
        read(main, passthrough=[other])
    assert caught.value.field == "uid"
    # Found by itself, it is just not used.
    assert read(main).ctf is None


def test_without_stacks_the_table_can_still_be_read(tmp_path: Path, make_cs: MakeCs) -> None:
    path = make_cs(tmp_path / "J2/particles.cs")
    listed = read_cs_table(path)
    assert (len(listed), listed.box, listed.stacks) == (6, 8, ("J1/extract/a.mrc",))
    assert listed.describe()["Poses"] == "given"
    with pytest.raises(ParticleFileError, match="data folder") as caught:
        read(path)
    assert caught.value.field == "blob/path"
    assert str(tmp_path / "J2/J1/extract/a.mrc") in caught.value.problem
    assert str(tmp_path / "J1/extract/a.mrc") in caught.value.problem


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("blob/path", None),
        ("blob/path", ("<f4", np.zeros(6))),
        ("blob/path", ("S4", [b""] * 6)),
        ("blob/idx", None),
        ("blob/idx", ("<f4", np.zeros(6))),
        ("blob/idx", ("<i8", [0, -1, 0, 0, 0, 0])),
        ("blob/idx", ("<u8", [0, 2**64 - 1, 0, 0, 0, 0])),
        ("blob/idx", ("<u4", np.full(6, 9))),
        ("blob/shape", ("<u4", [[8, 8]] * 5 + [[10, 10]])),
        ("blob/shape", ("<u4", [[8, 10]] * 6)),
        ("blob/psize_A", ("<f4", [2.5] * 5 + [2.6])),
        ("blob/psize_A", ("<f4", [2.5] * 5 + [0])),
        ("blob/sign", ("<f4", [1, -1, 1, 1, 1, 1])),
        ("ctf/df1_A", ("<f4", [1, np.nan, 1, 1, 1, 1])),
        ("ctf/df2_A", None),
        ("ctf/accel_kv", ("<f4", np.zeros(6))),
        ("ctf/amp_contrast", ("<f4", np.full(6, 7))),
        ("alignments3D/shift", None),
        ("alignments3D/pose", ("<f4", np.zeros((6, 4)))),
        ("alignments3D/pose", ("<f4", np.full((6, 3), np.inf))),
        ("alignments3D/psize_A", ("<f4", np.zeros(6))),
    ],
)
def test_bad_fields_are_named(
    project: Path, make_cs: MakeCs, field: str, value: tuple[str, object] | None
) -> None:
    path = make_cs(project / "a.cs", changes={field: value})
    with pytest.raises(ParticleFileError) as caught:
        read(path)
    assert caught.value.field is not None
    assert caught.value.field.partition("/")[0] == field.partition("/")[0]
    assert caught.value.remedy


def test_amplitude_contrast_can_be_given(project: Path, make_cs: MakeCs) -> None:
    path = make_cs(project / "a.cs", changes={"ctf/amp_contrast": None})
    with pytest.raises(ParticleFileError, match="missing"):
        read(path)
    ctf = read(path, amplitude_contrast=0.07).ctf
    assert ctf is not None
    assert set(ctf.amplitude_contrast) == {0.07}


def header(text: str, version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x93NUMPY",
        b"\x94CSDAT\x01\x00",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}") + bytes(8),
        header("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,)}") + bytes(8),
        header("{'descr': [('a', '<M8[s]')], 'fortran_order': False, 'shape': (1,)}") + bytes(8),
        header("{'descr': [('a', '<f4')], 'fortran_order': True, 'shape': (1,)}") + bytes(4),
        header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 1)}") + bytes(4),
        header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (-1,)}") + bytes(4),
        header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}") + bytes(4),
        header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (0,)}"),
        header("{'descr': [('a', '<f4'), ('a', '<f4')], 'fortran_order': False, 'shape': (0,)}"),
        header("{'descr': [('a', 'S0')], 'fortran_order': False, 'shape': (1000000000,)}"),
        header("{'descr': [('a', '<f4', (1 << 40,))], 'fortran_order': False, 'shape': (1,)}"),
        header("[" * 60000),
        header("__import__('os').system('touch SENTINEL')"),
        header("{}"),
    ],
)
def test_no_cs_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.cs").write_bytes(raw)
    with pytest.raises(ParticleFileError, match=r"a\.cs"):
        read(tmp_path / "a.cs")
    assert not (tmp_path / "SENTINEL").exists()


def test_headers_of_old_numpy(project: Path, make_cs: MakeCs) -> None:
    path = make_cs(project / "a.cs")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"'shape': (6,), ", b"'shape': (6L,),", 1))
    assert len(read(path)) == 6


def test_against_cryodrgn(shared_data: Path) -> None:
    formats = shared_data / "formats"
    listed = read_cs_table(formats / "cryosparc_P12_J24_001_particles.cs")
    # Trusted: they are the project's own samples.
    rotations, translations = pickle.loads((formats / "pose.cs.pkl").read_bytes())
    table = pickle.loads((formats / "ctf2.pkl").read_bytes())
    assert listed.poses is not None
    np.testing.assert_allclose(listed.poses.rotations, rotations, atol=1e-5)
    np.testing.assert_allclose(-listed.poses.shifts / 180, translations, atol=1e-5)
    assert listed.ctf is not None
    np.testing.assert_allclose(
        np.stack(list(vars(listed.ctf).values()), axis=1), table[:, 2:], rtol=1e-5
    )
    assert (listed.box, listed.dark) == (180, True)
    assert listed.pixel_size == pytest.approx(2.95)
