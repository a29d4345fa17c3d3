from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.particles import ParticleSet, StackWriter, read

from .conftest import MakeStack, MakeStar


@pytest.fixture
def particles(tmp_path: Path, make_stack: MakeStack, make_star: MakeStar) -> ParticleSet:
    make_stack(tmp_path / "a.mrcs", 6)
    return read(
        make_star(
            tmp_path / "a.star",
            [f"{i + 1}@a.mrcs" for i in range(6)],
            rlnDefocusU=[str(10_000 + i) for i in range(6)],
        )
    )


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([4, 0, 2], [4, 0, 2]),
        (slice(1, None, 2), [1, 3, 5]),
        (np.array([True, False] * 3), [0, 2, 4]),
        (np.array([5, 5]), [5, 5]),
        ([-1], [5]),
        (3, [3]),
        ([], []),
    ],
)
def test_select_takes_everything_along(
    particles: ParticleSet, indices: object, expected: list[int]
) -> None:
    chosen = particles.select(indices)  # type: ignore[arg-type]
    assert len(chosen) == len(expected)
    np.testing.assert_array_equal(chosen.rows, expected)
    np.testing.assert_array_equal(
        chosen.images.read(slice(None)), particles.images.read(slice(None))[np.array(expected, int)]
    )
    assert chosen.ctf is not None
    np.testing.assert_array_equal(chosen.ctf.defocus_u, 10_000 + np.array(expected))
    assert chosen.rotations is not None
    assert len(chosen.rotations) == len(expected)
    assert chosen.table is particles.table
    assert set(chosen.describe()) == set(particles.describe())


def test_select_out_of_range(particles: ParticleSet) -> None:
    with pytest.raises(IndexError):
        particles.select([6])


def test_with_poses(particles: ParticleSet) -> None:
    rotations = np.tile(np.eye(3), (6, 1, 1))
    other = particles.with_poses(rotations)
    np.testing.assert_array_equal(other.shifts, np.zeros((6, 2)))
    assert other.rotations is not None
    assert other.rotations.dtype == np.float32
    assert not np.array_equal(particles.rotations, rotations)
    with pytest.raises(CryodrgnError, match="6 particles"):
        particles.with_poses(rotations[:5])
    with pytest.raises(CryodrgnError, match="finite"):
        particles.with_poses(rotations * np.nan)


def test_describe(particles: ParticleSet) -> None:
    facts = particles.describe()
    assert facts["Particles"] == "6"
    assert facts["Box"] == "8 px (20.0 Å)"
    assert facts["Poses"] == "given"
    assert "300 kV" in facts["CTF"]
    assert "3.1" in facts["Format"]


def test_images_index_like_an_array(particles: ParticleSet) -> None:
    images, whole = particles.images, particles.images.read(slice(None))
    assert images.shape == whole.shape == (6, 8, 8)
    assert (images.ndim, images.size, images.dtype) == (whole.ndim, whole.size, whole.dtype)
    for key in (2, -1, slice(1, 4), (3, slice(2, 5)), (slice(None), 0, 1), (Ellipsis, 2), [5, 1]):
        np.testing.assert_array_equal(images[key], whole[key])
    np.testing.assert_array_equal(np.asarray(images), whole)
    with pytest.raises(IndexError):
        images[6]


def test_array_is_a_map_where_it_can_be(
    particles: ParticleSet, tmp_path: Path, make_stack: MakeStack
) -> None:
    assert isinstance(particles.images.array, np.memmap)
    part = particles.select(slice(2, 5)).images.array
    assert isinstance(part, np.memmap)
    np.testing.assert_array_equal(part, particles.images.read([2, 3, 4]))
    scattered = particles.select([4, 1]).images
    assert scattered.array is scattered


def test_threads_share_a_stack(particles: ParticleSet) -> None:
    whole = particles.images.read(slice(None))
    with ThreadPoolExecutor(4) as pool:
        for i, image in enumerate(pool.map(lambda i: particles.images.read([i % 6])[0], range(60))):
            np.testing.assert_array_equal(image, whole[i % 6])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_finite(tmp_path: Path, value: float) -> None:
    images = np.zeros((5, 8, 8), np.float32)
    images[3, 2, 1] = value
    with np.errstate(invalid="ignore"), StackWriter(tmp_path / "a.mrcs", 8) as writer:
        writer.write(images)
    particles = read(tmp_path / "a.mrcs")
    assert particles.images.read([0, 1, 2, 4]).shape == (4, 8, 8)
    with pytest.raises(ParticleFileError, match=r"a\.mrcs: Image 4 has pixels"):
        particles.images.read([4, 3])


def test_stack_that_vanishes(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "a.mrcs")
    particles = read(tmp_path / "a.mrcs")
    (tmp_path / "a.mrcs").unlink()
    with pytest.raises(ParticleFileError, match="no longer"):
        particles.images.read([0])
