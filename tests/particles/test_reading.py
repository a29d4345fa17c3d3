from __future__ import annotations

import pickle
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.imaging import CTFParameters
from napari_cryodrgn.particles import (
    StackWriter,
    read,
    read_listed,
    write_ctf,
    write_indices,
    write_poses,
    write_volume,
)

from .conftest import MakeCs, MakeStack, MakeStar


@pytest.mark.parametrize("name", ["a.mrcs", "a.mrc", "A.MRCS"])
def test_bare_stack(tmp_path: Path, make_stack: MakeStack, name: str) -> None:
    images = make_stack(tmp_path / name, pixel_size=1.5)
    particles = read(str(tmp_path / name))
    np.testing.assert_array_equal(particles.images.read(slice(None)), images)
    assert particles.pixel_size == pytest.approx(1.5)
    assert particles.table is None
    assert particles.ctf is None
    assert not particles.has_poses
    assert particles.rows.tolist() == list(range(6))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.cs", ["not a .cs file"]),
        ("a.txt", ["stack x is not there", "data folder"]),
        ("noname", [".star", ".mrcs"]),
        ("vol.mrc", ["volume", "rename"]),
        ("a.star", ["outside any block"]),
        ("absent.star", ["no such file"]),
        ("folder.star", ["folder"]),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, words: list[str]) -> None:
    for other in ("a.cs", "a.txt", "noname", "a.star"):
        (tmp_path / other).write_text("x")
    (tmp_path / "folder.star").mkdir()
    write_volume(tmp_path / "vol.mrc", np.zeros((8, 8, 8)), 1.5)
    with pytest.raises(ParticleFileError) as caught:
        read(tmp_path / name)
    assert all(word in str(caught.value) for word in [name, *words])
    assert caught.value.remedy


def poses_of(n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    return Rotation.random(n, rng=random).as_matrix(), random.uniform(-3, 3, (n, 2))


def test_cryodrgn_files_beside_a_stack(tmp_path: Path, make_stack: MakeStack) -> None:
    images = make_stack(tmp_path / "a.mrcs", 6)
    rotations, shifts = poses_of(6)
    ctf = CTFParameters.create(np.arange(6) + 15000.0, 14000)
    write_poses(tmp_path / "pose.pkl", rotations, shifts, 8)
    # As of the images before they were made smaller.
    write_ctf(tmp_path / "ctf.pkl", ctf, 16, 1.25)
    write_indices(tmp_path / "ind.pkl", np.array([5, 0, 2]))
    files = {"poses": tmp_path / "pose.pkl", "ctf": tmp_path / "ctf.pkl"}
    whole = read(tmp_path / "a.mrcs", **files)
    assert whole.pixel_size == pytest.approx(2.5)
    np.testing.assert_allclose(whole.rotations, rotations, atol=1e-6)
    np.testing.assert_allclose(whole.shifts, shifts, atol=1e-6)
    some = read(tmp_path / "a.mrcs", **files, indices=tmp_path / "ind.pkl")
    np.testing.assert_array_equal(some.images.read(slice(None)), images[[5, 0, 2]])
    np.testing.assert_allclose(some.rotations, rotations[[5, 0, 2]], atol=1e-6)
    assert some.ctf is not None
    assert some.ctf.defocus_u.tolist() == [15005, 15000, 15002]
    assert some.rows.tolist() == [5, 0, 2]
    # Files of the selection itself.
    write_poses(tmp_path / "pose.pkl", rotations[:3], shifts[:3], 8)
    some = read(tmp_path / "a.mrcs", poses=tmp_path / "pose.pkl", indices=tmp_path / "ind.pkl")
    np.testing.assert_allclose(some.rotations, rotations[:3], atol=1e-6)


def test_poses_in_pixels(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "a.mrcs", 2)
    rotations, shifts = poses_of(2)
    shifts[0, 0] = 2.5
    write_poses(tmp_path / "pose.pkl", rotations, shifts, 1)
    found = read(tmp_path / "a.mrcs", poses=tmp_path / "pose.pkl").shifts
    np.testing.assert_allclose(found, shifts, atol=1e-6)


def test_cryodrgn_files_go_before_the_table(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar
) -> None:
    make_stack(tmp_path / "a.mrcs", 2)
    star = make_star(tmp_path / "a.star", ["1@a.mrcs", "2@a.mrcs"])
    rotations, shifts = poses_of(2)
    write_poses(tmp_path / "pose.pkl", rotations, shifts, 8)
    write_ctf(tmp_path / "ctf.pkl", CTFParameters.create([1, 2], 3), 16, 1.25)
    particles = read(star, poses=tmp_path / "pose.pkl", ctf=tmp_path / "ctf.pkl")
    np.testing.assert_allclose(particles.rotations, rotations, atol=1e-6)
    assert particles.ctf is not None
    assert particles.ctf.defocus_u.tolist() == [1, 2]
    write_ctf(tmp_path / "ctf.pkl", CTFParameters.create([1, 2], 3), 8, 2.6)
    with pytest.raises(ParticleFileError, match=r"pixels 2.6 Å, but .* says 2.5"):
        read(star, ctf=tmp_path / "ctf.pkl")


def test_ctf_file_of_several_pixel_sizes(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "a.mrcs", 3)
    rows = np.tile(np.float32([8, 2.5, 15000, 14000, 10, 300, 2.7, 0.1, 0]), (3, 1))
    path = tmp_path / "ctf.pkl"

    def given(column: int, value: float) -> Path:
        table = rows.copy()
        table[1, column] = value
        path.write_bytes(pickle.dumps(table))
        return path

    # Of a second microscope: its CTF is stated for the pixels of the others.
    particles = read(tmp_path / "a.mrcs", ctf=given(1, 2.502))
    assert particles.pixel_size == pytest.approx(2.5)
    assert particles.ctf is not None
    expected = [15000, 15000 * (2.5 / 2.502) ** 2, 15000]
    np.testing.assert_allclose(particles.ctf.defocus_u, expected, rtol=1e-6)
    with pytest.raises(ParticleFileError, match="are mixed") as caught:
        read(tmp_path / "a.mrcs", ctf=given(1, 3.0))
    assert caught.value.field == "ctf"
    with pytest.raises(ParticleFileError, match="boxes go from 8 to 16"):
        read(tmp_path / "a.mrcs", ctf=given(0, 16))


def test_a_pixel_size_is_used_where_no_file_says(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "unknown.mrcs", 2)
    make_stack(tmp_path / "known.mrcs", 2, pixel_size=2.5)
    assert read(tmp_path / "unknown.mrcs", pixel_size=1.5).pixel_size == 1.5
    assert read(tmp_path / "known.mrcs", pixel_size=1.5).pixel_size == 2.5


def test_cryodrgn_files_that_do_not_fit(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "a.mrcs", 6)
    write_poses(tmp_path / "pose.pkl", *poses_of(5), 8)
    write_ctf(tmp_path / "ctf.pkl", CTFParameters.create(np.ones(7), 1), 8, 1)
    write_indices(tmp_path / "ind.pkl", np.array([0, 6]))
    write_indices(tmp_path / "none.pkl", np.array([], int))
    for name, file, words in (
        ("poses", "pose.pkl", "It has 5 rows, but .* has 6 particles"),
        ("ctf", "ctf.pkl", "It has 7 rows"),
        ("indices", "ind.pkl", "particle 6, but .* from 0 to 5"),
        ("indices", "none.pkl", "no particles"),
    ):
        with pytest.raises(ParticleFileError, match=words) as caught:
            read(tmp_path / "a.mrcs", **{name: tmp_path / file})
        assert caught.value.field == name
        assert caught.value.path.name == file


def test_real_poses_and_indices(shared_data: Path) -> None:
    formats = shared_data / "formats"
    files = {"poses": formats / "hand_rot_trans.pkl", "ctf": formats / "test_ctf.100.pkl"}
    particles = read(formats / "hand.mrcs", **files, indices=formats / "ind100.pkl")
    assert particles.has_poses
    assert particles.ctf is not None
    assert len(particles.ctf) == len(particles)


def test_tables_without_their_stacks(tmp_path: Path, make_star: MakeStar, make_cs: MakeCs) -> None:
    star = make_star(tmp_path / "a.star", ["1@gone.mrcs"], rlnRandomSubset="2")
    listed = read_listed(star)
    assert listed is not None
    assert listed.describe()["Half sets"] == "1"
    assert listed.describe()["Format"] == "RELION STAR, version 3.1"
    assert "not opened" in listed.describe()["Stacks"]
    assert read_listed(make_cs(tmp_path / "a.cs")) is not None
    assert read_listed(tmp_path / "a.mrcs") is None


def sparse_stack(path: Path, n: int, box: int) -> None:
    with StackWriter(path, box, 1.0) as writer:
        writer.write(np.ones((1, box, box), np.float32))
    with path.open("r+b") as file:
        file.seek(8)
        file.write(np.array(n, "<i4").tobytes())
        file.truncate(1024 + n * box * box * 4)
    if path.stat().st_blocks * 512 > 1 << 20:
        path.unlink()
        pytest.skip("this file system has no sparse files")


@pytest.mark.skipif(sys.platform == "win32", reason="no sparse files")
def test_hundred_gigabytes(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    box = 256
    n = 100 * 10**9 // (4 * box**2)
    try:
        sparse_stack(tmp_path / "huge.mrcs", n, box)
    except OSError as error:
        pytest.skip(f"no room for such a file: {error}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    particles = read(tmp_path / "huge.mrcs")
    first = particles.images.read([0])
    seconds = time.perf_counter() - start
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(particles) == n
    assert (first == 1).all()
    assert particles.images.read([n - 1]).sum() == 0
    assert seconds < 1
    assert added * (1 if sys.platform == "darwin" else 1024) < 200 * 2**20


def test_passthrough_files_are_cryosparcs(tmp_path: Path) -> None:
    with pytest.raises(ParticleFileError, match="belong to particles of cryoSPARC"):
        read(tmp_path / "particles.star", passthrough=[tmp_path / "more.cs"])
