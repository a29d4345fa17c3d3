from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles import read, write_star

from .conftest import MakeStack


def test_list_of_stacks(tmp_path: Path, make_stack: MakeStack) -> None:
    b = make_stack(tmp_path / "data/b.mrcs", 3, pixel_size=1.5, seed=1)
    a = make_stack(tmp_path / "lists/a b.mrcs", 4, pixel_size=1.5, seed=2)
    c = make_stack(tmp_path / "elsewhere/c.mrcs", 2, pixel_size=1.5, seed=3)
    path = tmp_path / "lists/all.txt"
    path.write_bytes(b"\xef\xbb\xbf# all of it\r\n\r\n  data/b.mrcs\r\na b.mrcs\n/gone/c.mrcs")
    particles = read(path, tmp_path / "elsewhere")
    np.testing.assert_array_equal(particles.images.read(slice(None)), np.concatenate([b, a, c]))
    assert particles.pixel_size == pytest.approx(1.5)
    assert particles.rows.tolist() == list(range(9))
    assert particles.describe()["Format"] == "list of stacks"
    write_star(tmp_path / "out.star", particles.select([8, 3]))
    again = read(tmp_path / "out.star").images.read(slice(None))
    np.testing.assert_array_equal(again, np.stack([c[1], a[0]]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["lists no stacks"]),
        ("# nothing\n\n", ["lists no stacks"]),
        ("a.mrcs\nmissing.mrcs\n", ["missing.mrcs is not there", "data folder"]),
        ("a.mrcs\nb.mrcs\n", ["two sizes"]),
        ("a.mrcs\n./a.mrcs\n", ["Line 2", "listed before"]),
        ("a.mrcs\n\0\n", ["Line 2", "not a path"]),
        ("a.mrcs\n" + "x" * 40000, ["Line 2", "not a path"]),
        ("x" * 5000, ["data folder"]),
        ("all.txt", ["not an MRC file"]),
    ],
)
def test_lists_of_no_use(
    tmp_path: Path, make_stack: MakeStack, text: str, words: list[str]
) -> None:
    make_stack(tmp_path / "a.mrcs")
    make_stack(tmp_path / "b.mrcs", box=10)
    (tmp_path / "all.txt").write_text(text)
    with pytest.raises(ParticleFileError) as caught:
        read(tmp_path / "all.txt")
    assert all(word in str(caught.value) for word in words)
    assert caught.value.remedy


def test_stacks_that_disagree_on_the_pixel_size(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "a.mrcs", pixel_size=1.5)
    make_stack(tmp_path / "b.mrcs", pixel_size=2.5)
    (tmp_path / "all.txt").write_text("a.mrcs\nb.mrcs\n")
    assert read(tmp_path / "all.txt").pixel_size is None


def test_places_tried_are_shown_but_not_all(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*"abcdefghijkl")
    deep.mkdir(parents=True)
    (deep / "all.txt").write_text("Extract/job1/x.mrcs\n")
    with pytest.raises(ParticleFileError) as caught:
        read(deep / "all.txt", tmp_path / "data")
    lines = caught.value.problem.split("\n  ")
    assert len(lines) == 10
    assert lines[1] == str(deep / "Extract/job1/x.mrcs")
    assert "places between" in lines[5]
    assert [line.strip() for line in lines[-3:]] == [
        str(tmp_path / "data" / name) for name in ("Extract/job1/x.mrcs", "job1/x.mrcs", "x.mrcs")
    ]
