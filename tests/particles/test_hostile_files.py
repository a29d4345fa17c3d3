"""Files that fuzzing found a reader to trip over, at their smallest."""

from __future__ import annotations

import pickle
import time
import tracemalloc
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz_files import neighbours, valid
from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles import read, read_poses

from .conftest import MakeStack, MakeStar


@pytest.mark.parametrize("value", ["1e300", "-1e39"])
def test_an_origin_beyond_single_precision(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar, value: str
) -> None:
    make_stack(tmp_path / "a.mrcs")
    star = make_star(tmp_path / "a.star", ["1@a.mrcs"], rlnOriginYAngst=value)
    with pytest.raises(ParticleFileError, match="row 1") as caught:
        read(star)
    assert caught.value.field == "rlnOriginYAngst"


def test_what_a_message_quotes_can_be_printed(tmp_path: Path, make_star: MakeStar) -> None:
    star = make_star(tmp_path / "a.star", ["1@b.mrcs"])
    star.write_bytes(star.read_bytes().replace(b"1@b", b"1@\xff"))
    with pytest.raises(ParticleFileError, match=r"\\udcff.mrcs is not there") as caught:
        read(star)
    str(caught.value).encode()


def test_a_name_without_end_is_cut_in_messages(tmp_path: Path, make_star: MakeStar) -> None:
    star = make_star(tmp_path / "a.star", [f"1@{'folder/' * 3000}a.mrcs"])
    with pytest.raises(ParticleFileError, match="The stack folder/folder") as caught:
        read(star)
    assert len(str(caught.value)) < 5000
    assert str(caught.value).endswith(caught.value.remedy)


@pytest.mark.parametrize("number", ["9" * 19, "9" * 40, "9" * 5000])
def test_a_number_of_an_image_that_no_stack_can_have(
    tmp_path: Path, make_stack: MakeStack, make_star: MakeStar, number: str
) -> None:
    make_stack(tmp_path / "a.mrcs")
    star = make_star(tmp_path / "a.star", ["1@a.mrcs", f"{number}@a.mrcs"])
    with pytest.raises(ParticleFileError, match="in row 2") as caught:
        read(star)
    assert caught.value.field == "rlnImageName"


def test_signalling_nans_are_refused_without_a_warning(tmp_path: Path) -> None:
    neighbours(tmp_path)
    table = np.load(BytesIO(valid("cs")[0]))
    table["ctf/df1_A"].view(np.uint32)[1] = 0x7F800001
    with (tmp_path / "a.cs").open("wb") as file:
        np.save(file, table)
    with pytest.raises(ParticleFileError, match="row 2") as caught:
        read(tmp_path / "a.cs")
    assert caught.value.field == "ctf/df1_A"
    rotations = np.zeros((3, 3, 3))
    rotations.view(np.uint64)[1, 0, 0] = 0x7FF0000000000001
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(rotations))
    with pytest.raises(ParticleFileError, match="Row 2 is not finite"):
        read_poses(tmp_path / "a.pkl", 8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n" * 200_000, "too short"),
        ("".join(f"_a{i}\n" for i in range(11_000)), "too many columns"),
        ("_rlnImageName\n" + "1 " * 1_000_000, "1000000 values for 1 columns"),
        ("_rlnImageName\n" + '" ' * 1_000_000, "values for 1 columns"),
    ],
)
def test_texts_whose_parts_would_take_more_memory_than_they(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "a.star"
    path.write_text(f"data_\nloop_\n{text}")
    tracemalloc.start()
    try:
        with pytest.raises(ParticleFileError, match=words):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * path.stat().st_size + 2**21


def test_a_list_of_stacks_is_read_in_pieces(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "a.mrcs")
    (tmp_path / "a.txt").write_text("a.mrcs\n")
    tracemalloc.start()
    try:
        assert len(read(tmp_path / "a.txt")) == 6
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def laughs(level: str) -> str:
    """A .csg whose aliases stand for some billion names; ``level`` is made of the one before."""
    lines = ["a0: &a0 {x: y}"]
    lines += [f"a{i}: &a{i} {level % ', '.join([f'*a{i - 1}'] * 9)}" for i in range(1, 12)]
    return "\n".join([*lines, "results:", "  blob:", "    metafile: *a11", ""])


@pytest.mark.parametrize(
    "text",
    [
        laughs("[%s]"),
        laughs("{<<: [%s]}"),
        "results: {blob: {metafile: '\\0'}}",
        'results: {blob: {metafile: "a\\0b.cs"}}',
        "results: {blob: {metafile: [a]}}",
        "results: 1",
        "results: {blob: !!python/object/apply:os.getcwd []}",
        "created: 0001-01-01 00:00:00 +23:59\nresults: {}",
        "[" * 60_000,
        "x" * 100_000,
    ],
)
def test_group_files_that_grow_or_name_no_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csg"
    path.write_text(text)
    start = time.perf_counter()
    with pytest.raises(ParticleFileError, match=r"a\.csg|cannot be opened|no such file"):
        read(path)
    assert time.perf_counter() - start < 5
