"""Pickles that would run something, or take memory or time that their bytes do not warrant."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles import read_indices, read_latents, read_pickles, read_poses


def program(proof: Path) -> list[bytes]:
    """Pickles that make the file ``proof`` if they are run."""
    word = str(proof).encode()
    touch = b"touch " + word
    write = b"open('" + word + b"', 'w').close()"
    text = [b"X" + len(t).to_bytes(4, "little") + t for t in (touch, write)]
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
    held = b"(K\x01(K\x01tcnumpy\ndtype\n(X\x02\x00\x00\x00O8\x89\x88tR\x89]"
    return [
        b"cos\nsystem\n(" + text[0] + b"tR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93" + text[1] + b"\x85R.",
        b"\x80\x02cbuiltins\nexec\n" + text[1] + b"\x85\x81.",
        b"(" + text[0] + b"ios\nsystem\n.",
        b"(cos\nsystem\n" + text[0] + b"o.",
        # An array of objects, one of them a call.
        array + held + b"cos\nsystem\n" + text[0] + b"\x85Rat" + b"b.",
        # The same call as the state of an array, and of a class.
        array + b"cos\nsystem\n" + text[0] + b"\x85Rb.",
        b"cnumpy\nndarray\n}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb" + text[0] + b"b.",
        # Torch's way to storages, which asks the reader to call.
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + text[0] + b"tQ.",
        b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\n" + text[0] + b"\x85Rs.",
    ]


@pytest.mark.parametrize("which", range(10))
def test_code_is_refused_and_never_runs(tmp_path: Path, which: int) -> None:
    path, proof = tmp_path / "bad.pkl", tmp_path / "proof"
    path.write_bytes(program(proof)[which])
    for reader in (read_pickles, read_indices, read_latents, lambda p: read_poses(p, 64)):
        with pytest.raises(ParticleFileError, match=r"bad\.pkl"):
            reader(path)
    assert not proof.exists()


@pytest.mark.parametrize("which", [0, 1, 3])
def test_these_programs_do_run_elsewhere(tmp_path: Path, which: int) -> None:
    proof = tmp_path / "proof"
    (tmp_path / "bad.pkl").write_bytes(program(proof)[which])
    load = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    subprocess.run([sys.executable, "-c", load, tmp_path / "bad.pkl"], check=True)
    assert proof.exists()


GREEDY = {
    "bytes that are not there": b"\x80\x04\x8e\xff\xff\xff\x7f\0\0\0\0N.",
    "text that is not there": b"\x80\x04\x8d\xff\xff\xff\x7f\0\0\0\0N.",
    "bytearray that is not there": b"\x80\x05\x96\xff\xff\xff\x7f\0\0\0\0N.",
    "long that is not there": b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    "frame that is not there": b"\x80\x04\x95" + b"\xff" * 7 + b"\x7fN",
    "a far place in the memo": b"\x80\x02Nr\xff\xff\xff\x3f0",
    "a shape without bytes": b"cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.",
    "doubled lists": b"]\x94" + b"".join(
        b"](h" + bytes([i]) + b"h" + bytes([i]) + b"e\x94" for i in range(40)
    ) + b".",
    "doubled tuples": b"K\x00\x94" + b"".join(
        b"h" + bytes([i]) * 1 + b"h" + bytes([i]) + b"\x86\x94" for i in range(60)
    ) + b".",
    "a list of one large array": b"](" + pickle.dumps(np.zeros(9999), 4)[:-1] + b"\x94"
    + b"j\x04\0\0\0" * 1500 + b"e.",
    "a million empty lists": b"(" + b"]" * 1_000_000 + b"l.",
    "nothing, a million times": b"N" * 1_000_000 + b".",
    "a million pickles": b"].".ljust(2) * 500_000,
    "deep tuples": b"N" + b"\x85" * 1_000_000 + b".",
    "digits without end": b"I" + b"9" * 1_000_000 + b"\n.",
    "numbers of one hash": b"\x80\x04\x8f(" + b"".join(
        b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") for i in range(20_000)
    ) + b"\x90.",
}  # fmt: skip


@pytest.mark.parametrize("raw", GREEDY.values(), ids=GREEDY)
@pytest.mark.parametrize("reader", [read_indices, read_latents, lambda p: read_poses(p, 64)])
def test_greed_is_refused_at_once(tmp_path: Path, raw: bytes, reader: object) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(raw)
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(ParticleFileError, match=r"bad\.pkl"):
            reader(path)  # type: ignore[operator]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 2
    assert peak < 4 * len(raw) + 2**20


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("O8", pickle.dumps(np.array([None, 1], object))),
        ("<U3|U3", pickle.dumps(np.array(["abc"]))),
        ("V8", pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "f4")]))),
    ],
)
def test_arrays_of_other_things_than_numbers(tmp_path: Path, name: str, raw: bytes) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(raw)
    with pytest.raises(ParticleFileError, match="not of numbers"):
        read_pickles(path)


def test_a_type_that_lies_about_its_size(tmp_path: Path) -> None:
    raw = pickle.dumps(np.arange(4, dtype="<i8"), 4)
    path = tmp_path / "bad.pkl"
    # The last three of a type's state: its size, its alignment, its flags.
    state = b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    assert raw.count(state) == 1
    path.write_bytes(raw.replace(state, b"J\x00\x00\x01\x00J\xff\xff\xff\xffK\x3ft"))
    with pytest.raises(ParticleFileError, match="content that is no array's"):
        read_pickles(path)


@pytest.mark.parametrize("kind", ["<i8", ">i4", "<u2", "|i1", "<f4", ">f8", "<f2"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (0, 5)])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_numbers_come_back(
    tmp_path: Path, kind: str, shape: tuple[int, ...], protocol: int
) -> None:
    value = np.asfortranarray(np.arange(np.prod(shape), dtype=kind).reshape(shape))
    path = tmp_path / "good.pkl"
    path.write_bytes(pickle.dumps((value, [value, None], 7, -1.5), protocol))
    ((first, (second, nothing), whole, number),) = read_pickles(path)
    assert first.dtype == second.dtype == value.dtype
    np.testing.assert_array_equal(first, value)
    np.testing.assert_array_equal(second, value)
    assert (nothing, whole, number) == (None, 7, -1.5)


def test_a_long_list_of_positions(tmp_path: Path) -> None:
    path = tmp_path / "ind.pkl"
    path.write_bytes(pickle.dumps(list(range(100_000))))
    np.testing.assert_array_equal(read_indices(path), np.arange(100_000))
