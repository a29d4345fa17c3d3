"""Preprocessing that is interrupted, goes on, finds its result there, or must start anew."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.particles import ImageStack, ParticleSet, StackWriter, read
from napari_cryodrgn.particles.preprocessing import PreprocessSettings, preprocess

resource = pytest.importorskip("resource")

MakeStack = Callable[..., NDArray[np.float32]]

N, BOX = 40, 32
SETTINGS = PreprocessSettings(16)
NAMES = ("particles.mrcs", "particles.star", "particles.origin.json")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_cryodrgn.particles.preprocessing._CHUNK_PIXELS", 4 * BOX**2)


@pytest.fixture
def source(tmp_path: Path, make_stack: MakeStack) -> ParticleSet:
    make_stack(tmp_path / "raw.mrcs", n=N, box=BOX, pixel_size=2.0)
    return read(tmp_path / "raw.mrcs")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images read, in order."""
    seen: list[int] = []
    plain = ImageStack.read

    def read_and_note(self: ImageStack, indices: ArrayLike | slice) -> NDArray[np.float32]:
        seen.extend(np.arange(len(self))[indices].tolist())
        return plain(self, indices)

    monkeypatch.setattr(ImageStack, "read", read_and_note)
    return seen


def finish(particles: ParticleSet, folder: Path, settings: PreprocessSettings = SETTINGS) -> bytes:
    """The bytes of all files that come of it."""
    *_, result = preprocess(particles, folder, settings)
    assert isinstance(result, ParticleSet)
    return b"".join((folder / name).read_bytes() for name in NAMES[:2])


def interrupt(particles: ParticleSet, folder: Path, after: float = 0.3) -> None:
    steps = preprocess(particles, folder, SETTINGS)
    assert isinstance(steps, Iterator)
    for done in steps:
        if isinstance(done, float) and done >= after:
            break
    steps.close()  # type: ignore[attr-defined]


def test_what_was_cancelled_goes_on_with_the_same_bytes(
    source: ParticleSet, tmp_path: Path, reads: list[int]
) -> None:
    whole = finish(source, tmp_path / "whole")
    interrupt(source, tmp_path / "out")
    assert not any((tmp_path / "out" / name).exists() for name in NAMES)
    reads.clear()
    assert finish(source, tmp_path / "out") == whole
    assert reads == list(range(12, N))
    assert len(os.listdir(tmp_path / "out")) == 4


def test_what_a_killed_process_left_half_written_is_written_again(
    source: ParticleSet, tmp_path: Path
) -> None:
    whole = finish(source, tmp_path / "whole")
    interrupt(source, tmp_path / "out")
    (partial,) = (tmp_path / "out").glob(".*.part")
    with partial.open("ab") as file:
        file.write(b"\xff" * 5000)
    (tmp_path / "out" / ".particles.star.01234567.tmp").write_text("data_")
    assert finish(source, tmp_path / "out") == whole
    assert len(os.listdir(tmp_path / "out")) == 4


@pytest.mark.parametrize("damage", ["short", "no state", "bad state", "other state", "no data"])
def test_a_damaged_partial_file_is_begun_again(
    source: ParticleSet, tmp_path: Path, damage: str
) -> None:
    whole = finish(source, tmp_path / "whole")
    interrupt(source, tmp_path / "out")
    (partial,) = (tmp_path / "out").glob(".*.part")
    (state,) = (tmp_path / "out").glob(".*.part.json")
    match damage:
        case "short":
            os.truncate(partial, 3000)
        case "no state":
            state.unlink()
        case "bad state":
            state.write_text("[")
        case "other state":
            state.write_text('{"done": "4", "statistics": 3}')
        case _:
            partial.unlink()
    assert finish(source, tmp_path / "out") == whole


def test_a_finished_set_is_there_at_once(
    source: ParticleSet, tmp_path: Path, reads: list[int]
) -> None:
    finish(source, tmp_path / "out")
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in NAMES}
    reads.clear()
    fraction, result = preprocess(source, tmp_path / "out", SETTINGS)
    assert fraction == 1
    assert isinstance(result, ParticleSet)
    assert (len(result), result.box, reads) == (N, 16, [])
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in NAMES} == before


@pytest.mark.parametrize("what", ["time", "images", "settings", "selection", "poses", "result"])
def test_anything_that_changed_starts_anew(
    source: ParticleSet, tmp_path: Path, reads: list[int], what: str
) -> None:
    finish(source, tmp_path / "out")
    particles, settings = source, SETTINGS
    match what:
        case "time":
            os.utime(source.source, ns=(1, 1))
        case "images":
            with StackWriter(source.source, BOX, 2.0) as writer:
                writer.write(np.random.default_rng(9).normal(size=(N, BOX, BOX)))
            particles = read(source.source)
        case "settings":
            settings = PreprocessSettings(16, invert=True)
        case "selection":
            particles = source.select(np.arange(N)[::-1])
        case "poses":
            particles = source.with_poses(np.tile(np.eye(3), (N, 1, 1)))
        case _:
            (tmp_path / "out" / "particles.mrcs").write_bytes(b"")
    reads.clear()
    again = finish(particles, tmp_path / "out", settings)
    assert len(reads) == N
    assert again == finish(particles, tmp_path / "fresh", settings)


def test_a_partial_file_of_another_source_is_removed(source: ParticleSet, tmp_path: Path) -> None:
    interrupt(source, tmp_path / "out")
    os.utime(source.source, ns=(1, 1))
    interrupt(source, tmp_path / "out")
    assert len(list((tmp_path / "out").glob(".*.part"))) == 1
    assert finish(source, tmp_path / "out") == finish(source, tmp_path / "whole")


def test_an_earlier_result_stays_until_the_new_one_is_whole(
    source: ParticleSet, tmp_path: Path
) -> None:
    earlier = finish(source, tmp_path / "out")
    interrupt(source.select(slice(None, None, -1)), tmp_path / "out", after=0.8)
    assert b"".join((tmp_path / "out" / name).read_bytes() for name in NAMES[:2]) == earlier
    assert finish(source, tmp_path / "out") == earlier


def test_a_source_that_changes_meanwhile_is_an_error(source: ParticleSet, tmp_path: Path) -> None:
    steps = preprocess(source, tmp_path / "out", SETTINGS)
    next(steps)
    next(steps)
    os.utime(source.source, ns=(1, 1))
    with pytest.raises(CryodrgnError, match=r"raw\.mrcs: .*changed while"):
        list(steps)
    assert not any((tmp_path / "out" / name).exists() for name in NAMES)


def test_a_full_disk_is_an_error_and_then_it_goes_on(
    source: ParticleSet, tmp_path: Path, reads: list[int]
) -> None:
    whole = finish(source, tmp_path / "whole")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    reads.clear()
    # No file may grow beyond some twenty images: what the system then says is what it says of a
    # full disk, under another number.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 * 16 * 16 * 4, before[1]))
    try:
        with pytest.raises(ParticleFileError, match=r"particles\.mrcs: It cannot be.*16 of 40"):
            list(preprocess(source, tmp_path / "out", SETTINGS))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not any((tmp_path / "out" / name).exists() for name in NAMES)
    reads.clear()
    assert finish(source, tmp_path / "out") == whole
    assert reads == list(range(16, N))


def test_no_room_for_the_table_is_an_error_before_the_images(
    source: ParticleSet, tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_cryodrgn.particles.preprocessing.write_rescaled", full)
    with pytest.raises(ParticleFileError, match=r"particles\.star: .*No space left"):
        list(preprocess(source, tmp_path / "out", SETTINGS))
    assert reads == []
    assert not any((tmp_path / "out" / name).exists() for name in NAMES)


def test_few_images_are_in_memory_at_a_time(source: ParticleSet, tmp_path: Path) -> None:
    most = 0
    plain = ImageStack.read

    def read_and_count(self: ImageStack, indices: ArrayLike | slice) -> NDArray[np.float32]:
        nonlocal most
        most = max(most, len(np.arange(len(self))[indices]))
        return plain(self, indices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageStack, "read", read_and_count)
        finish(source, tmp_path / "out")
    assert most == 4
