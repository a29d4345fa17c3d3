from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles import (
    read_ctf,
    read_indices,
    read_latents,
    read_pickles,
    read_poses,
    write_latents,
    write_poses,
)


class Program:
    """What a stranger's pickle may hold."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def poses(n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    rotations = np.linalg.qr(random.normal(size=(n, 3, 3)))[0].astype(np.float32)
    return rotations, random.uniform(-3, 3, (n, 2)).astype(np.float32)


def test_poses_as_cryodrgn_reads_them(tmp_path: Path) -> None:
    rotations, shifts = poses()
    path = tmp_path / "pose.pkl"
    write_poses(path, rotations, shifts, 64)
    with path.open("rb") as file:
        theirs = pickle.load(file)
    assert isinstance(theirs, tuple)
    np.testing.assert_array_equal(theirs[0], rotations)
    np.testing.assert_allclose(theirs[1], -shifts / 64, rtol=1e-6)
    assert [part.dtype for part in theirs] == [np.float32, np.float32]
    back = read_poses(path, 64)
    np.testing.assert_array_equal(back.rotations, rotations)
    np.testing.assert_allclose(back.shifts, shifts, rtol=1e-6)
    assert os.listdir(tmp_path) == ["pose.pkl"]


def test_translations_in_pixels_and_none(tmp_path: Path) -> None:
    rotations, shifts = poses()
    path = tmp_path / "pose.pkl"
    path.write_bytes(pickle.dumps((rotations.astype(np.float64), -shifts.astype(np.float64))))
    np.testing.assert_allclose(read_poses(path, 64).shifts, shifts)
    path.write_bytes(pickle.dumps(rotations))
    np.testing.assert_array_equal(read_poses(path, 64).shifts, np.zeros((4, 2)))


def test_latents_are_two_pickles(tmp_path: Path) -> None:
    mu = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    path = tmp_path / "z.pkl"
    write_latents(path, mu, mu - 1)
    with path.open("rb") as file:
        np.testing.assert_array_equal(pickle.load(file), mu)
        np.testing.assert_array_equal(pickle.load(file), mu - 1)
    for one, other in zip(read_latents(path), (mu, mu - 1), strict=True):
        np.testing.assert_array_equal(one, other)
    path.write_bytes(pickle.dumps(mu))
    assert read_latents(path)[1] is None


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    mu = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(3, 2))
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(mu, protocol))
    np.testing.assert_array_equal(read_latents(tmp_path / "z.pkl")[0], mu)


@pytest.mark.parametrize("reader", [read_pickles, read_latents, read_ctf, read_indices])
def test_programs_are_refused_by_name_and_not_run(tmp_path: Path, reader: object) -> None:
    path, proof = tmp_path / "bad.pkl", tmp_path / "proof"
    array = pickle.dumps(np.zeros((3, 2), np.float32))
    for raw in (pickle.dumps(Program(proof)), pickle.dumps((np.zeros(3), Program(proof)))):
        path.write_bytes(raw)
        with pytest.raises(ParticleFileError, match=r"mkdir.* refused"):
            reader(path)  # type: ignore[operator]
    path.write_bytes(array + pickle.dumps(Program(proof)))
    with pytest.raises(ParticleFileError, match=r"mkdir.* refused"):
        read_latents(path)
    with pytest.raises(ParticleFileError, match="mkdir"):
        read_poses(path, 64)
    assert not proof.exists()


@pytest.mark.parametrize(
    "payload",
    [b"cbuiltins\neval\n(S'1'\ntR.", b"cnumpy\nndarray.tofile\n.", b"cnumpy\nload\n."],
)
def test_known_tricks(tmp_path: Path, payload: bytes) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(payload)
    with pytest.raises(ParticleFileError, match="refused"):
        read_pickles(path)


@pytest.mark.parametrize("raw", [b"", b"hello", b"\x80\x04", b"PK\x03\x04", pickle.dumps("x")[:-1]])
def test_damaged_files(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(raw)
    with pytest.raises(ParticleFileError, match=r"bad\.pkl"):
        read_pickles(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ParticleFileError, match="no such file"):
        read_poses(tmp_path / "none.pkl", 64)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ((np.zeros((4, 3, 3)), np.zeros((5, 2))), "translations"),
        ((np.zeros((4, 3, 2)), np.zeros((4, 2))), "rotations"),
        ((np.full((4, 3, 3), np.nan), np.zeros((4, 2))), "Row 1 is not finite"),
        ((np.full((4, 3, 3), 1e300), np.zeros((4, 2))), "not finite"),
        ((1, 2, 3), "tuple"),
        ({"rot": 1}, "EMPTY_DICT, which plain data do not have"),
        ([[1, 2], [3]], "rotations"),
        ("text", "rotations"),
    ],
)
def test_what_are_no_poses(tmp_path: Path, content: object, words: str) -> None:
    path = tmp_path / "pose.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ParticleFileError, match=words):
        read_poses(path, 64)


def test_what_are_no_latents(tmp_path: Path) -> None:
    path = tmp_path / "z.pkl"
    for first, second in (((3, 2), (4, 2)), ((3,), (3,))):
        path.write_bytes(pickle.dumps(np.zeros(first)) + pickle.dumps(np.zeros(second)))
        with pytest.raises(ParticleFileError, match="shape"):
            read_latents(path)
    with pytest.raises(ParticleFileError, match="logvar"):
        write_latents(tmp_path / "new.pkl", np.zeros((3, 2)), np.zeros((2, 2)))
    assert not (tmp_path / "new.pkl").exists()


def test_real_files(shared_data: Path) -> None:
    formats, run = shared_data / "formats", shared_data / "cryodrgn-run"
    for name, box, n in (
        ("pose.star.pkl", 300, 5),
        ("pose.cs.pkl", 180, 2019),
        ("hand_rot_trans.pkl", 64, 100),
    ):
        found = read_poses(formats / name, box)
        assert found.rotations.shape == (n, 3, 3)
        determinants = np.linalg.det(found.rotations)
        np.testing.assert_allclose(determinants, 1, atol=1e-5)
        assert np.abs(found.shifts).max() < box / 2
    with (run / "pose.pkl").open("rb") as file:
        rotations, translations = pickle.load(file)
    found = read_poses(run / "pose.pkl", 32)
    np.testing.assert_array_equal(found.rotations, rotations.astype(np.float32))
    np.testing.assert_allclose(found.shifts, -translations * 32, rtol=1e-5)

    mu, logvar = read_latents(run / "z.pkl")
    assert logvar is not None
    assert mu.shape == logvar.shape == (400, 2)
    mu, logvar = read_latents(formats / "zvals_het-8_4k.pkl")
    assert mu.shape == (4549, 8)
    assert logvar is None

    ctf, box, pixel_size = read_ctf(formats / "ctf1.pkl")
    assert (box, len(ctf)) == (300, 5)
    assert pixel_size == pytest.approx(1.035)
    assert ctf.voltage.tolist() == [300] * 5
    assert len(read_ctf(formats / "ctf2.pkl")[0]) == 2019
    assert len(read_ctf(formats / "test_ctf.100.pkl")[0]) == 100
    assert len(read_ctf(run / "ctf.pkl")[0]) == 400
    assert read_indices(formats / "ind100.pkl").shape == (100,)
    with pytest.raises(ParticleFileError, match="PyTorch"):
        read_pickles(formats / "het_weights.pkl")
