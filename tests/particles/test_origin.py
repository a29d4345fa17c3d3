"""The small file beside a preprocessed set that leads back to its original."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles.origin import Origin, origin_path, read_origin, write_origin


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with an original and, in a folder of its own, a preprocessed set's origin."""
    folder = tmp_path / "project"
    (folder / "small").mkdir(parents=True)
    (folder / "run_data.star").write_text("data_")
    origin = Origin(folder / "run_data.star", np.array([4, 0, 2]), 256, 1.25)
    write_origin(folder / "small" / "particles.star", origin)
    return folder


def test_what_was_written_comes_back(project: Path) -> None:
    origin = read_origin(project / "small" / "particles.star")
    assert origin is not None
    assert origin.path.samefile(project / "run_data.star")
    assert origin.rows.tolist() == [4, 0, 2]
    assert (origin.box, origin.pixel_size) == (256, 1.25)
    assert len(origin) == 3


def test_an_unknown_pixel_size_stays_unknown(tmp_path: Path) -> None:
    write_origin(tmp_path / "a.star", Origin(tmp_path / "b.mrcs", np.arange(2), 64, None))
    origin = read_origin(tmp_path / "a.star")
    assert origin is not None
    assert origin.pixel_size is None


def test_a_selection_follows(project: Path) -> None:
    origin = read_origin(project / "small" / "particles.star")
    assert origin is not None
    assert origin.select([2, 0]).rows.tolist() == [2, 4]
    assert origin.select([True, False, False]).path == origin.path


def test_other_files_have_none(project: Path) -> None:
    assert read_origin(project / "run_data.star") is None
    assert read_origin(project / "no" / "such.star") is None


def test_the_original_is_found_after_both_were_moved(project: Path) -> None:
    moved = project.with_name("moved")
    project.rename(moved)
    origin = read_origin(moved / "small" / "particles.star")
    assert origin is not None
    assert origin.path.samefile(moved / "run_data.star")


def test_the_original_is_found_after_the_set_alone_was_moved(project: Path, tmp_path: Path) -> None:
    (tmp_path / "else" / "where").mkdir(parents=True)
    shutil.move(project / "small", tmp_path / "else" / "where" / "small")
    origin = read_origin(tmp_path / "else" / "where" / "small" / "particles.star")
    assert origin is not None
    assert origin.path.samefile(project / "run_data.star")


def test_the_origin_of_a_lost_original_still_names_it(project: Path) -> None:
    (project / "run_data.star").unlink()
    origin = read_origin(project / "small" / "particles.star")
    assert origin is not None
    assert origin.path == (project / "run_data.star").resolve()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("file", 3),
        ("file", "a\0b"),
        ("absolute", None),
        ("rows", "0, 1"),
        ("rows", [0, -1]),
        ("rows", [0, 1.5]),
        ("rows", [True]),
        ("rows", [10**30]),
        ("box", 0),
        ("box", "64"),
        ("pixel_size", 0),
        ("pixel_size", 10**400),
        ("pixel_size", float("nan")),
    ],
)
def test_a_damaged_file_is_named_with_the_field(project: Path, field: str, value: object) -> None:
    path = origin_path(project / "small" / "particles.star")
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, field: value}))
    with pytest.raises(ParticleFileError, match=r"particles\.origin\.json") as caught:
        read_origin(project / "small" / "particles.star")
    assert caught.value.field == ("file" if field == "absolute" else field)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff\xfe", "[" * 100_000, '{"rows": [0]}'])
def test_what_is_no_origin_is_refused(project: Path, text: str) -> None:
    origin_path(project / "small" / "particles.star").write_bytes(text.encode("latin-1"))
    with pytest.raises(ParticleFileError, match="Delete it"):
        read_origin(project / "small" / "particles.star")
