from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles import read, write_volume

from .conftest import MakeStack


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
        ("a.cs", ["not supported yet", "STAR"]),
        ("a.txt", [".star", ".mrcs"]),
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
