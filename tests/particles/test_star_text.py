from __future__ import annotations

from pathlib import Path

import pytest

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles.star_text import format_star, read_star_text

TEXT = """# version 50001

data_general

_rlnName   "two words"
_rlnNumber 3

# version 50001

data_particles

loop_
_rlnImageName #1
_rlnEmpty #2
_rlnValue #3
data_1/a.mrcs "" 2.586789e+05
'b c.mrcs' nan o'brien#2
"""


def test_blocks_and_values(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    path.write_text(TEXT)
    general, particles = read_star_text(path)
    assert general.values(["rlnName", "rlnNumber"]) == {
        "rlnName": ("two words",),
        "rlnNumber": ("3",),
    }
    assert not general.is_loop
    assert particles.values(["rlnValue", "rlnImageName", "rlnEmpty"]) == {
        "rlnValue": ("2.586789e+05", "o'brien#2"),
        "rlnImageName": ("data_1/a.mrcs", "b c.mrcs"),
        "rlnEmpty": ("", "nan"),
    }
    again = tmp_path / "b.star"
    again.write_bytes(format_star([general, particles]))
    for one, other in zip(read_star_text(again), [general, particles], strict=True):
        assert (one.name, one.columns, one.comments, one.is_loop) == (
            other.name,
            other.columns,
            other.comments,
            other.is_loop,
        )
        assert list(one.rows) == list(other.rows)


def test_bytes_that_are_no_utf8_survive(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    path.write_bytes(b"\xef\xbb\xbfdata_\r\nloop_\r\n_a\r\n_b\r\nM\xfcller.mrc 1\r\n")
    (block,) = read_star_text(path)
    assert block.values(["b"]) == {"b": ("1",)}
    assert b"M\xfcller.mrc 1\n" in format_star([block])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no data_ block"]),
        ("hello\n", ["Line 1", "outside any block"]),
        ("data_\nloop_\n1 2\n", ["names no columns"]),
        ("data_\nloop_\n_a\n_a\n1 2\n", ["_a", "twice"]),
        ("data_\n_a\n", ["_a has no value"]),
        ("data_\nloop_\n_a\n1\nloop_\n_b\n1\n", ["Line 5", "outside any block"]),
        ("data_\0\n", ["binary"]),
    ],
)
def test_not_a_star_file(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "a.star"
    path.write_text(text)
    with pytest.raises(ParticleFileError) as caught:
        read_star_text(path)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("row", ["1", "1 2 3"])
def test_ragged_row(tmp_path: Path, row: str) -> None:
    path = tmp_path / "a.star"
    path.write_text(f"data_\nloop_\n_a\n_b\n1 2\n{row}\n")
    (block,) = read_star_text(path)
    with pytest.raises(ParticleFileError, match="Row 2 .* values for 2 columns"):
        block.values(["a"])


def test_missing_column(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    path.write_text("data_\nloop_\n_a\n1\n")
    with pytest.raises(ParticleFileError) as caught:
        read_star_text(path)[0].values(["b"])
    assert caught.value.field == "b"
