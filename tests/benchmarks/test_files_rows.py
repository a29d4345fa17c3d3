"""The files that the benchmarks of reading make."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.files_made import noise_stack, sparse_stack, write_table
from napari_cryodrgn.particles import read


def test_a_sparse_stack_is_as_long_as_it_says_and_takes_no_room(tmp_path: Path) -> None:
    sparse_stack(tmp_path / "large.mrcs", 10_000, 128)
    particles = read(tmp_path / "large.mrcs")
    assert (len(particles), particles.box) == (10_000, 128)
    assert particles.images[0].max() == 1
    assert particles.images[9_999].max() == 0
    assert (tmp_path / "large.mrcs").stat().st_blocks * 512 < 1 << 20


def test_a_table_names_stacks_that_are_there(tmp_path: Path) -> None:
    write_table(tmp_path / "run_data.star", 25, per_stack=10, seed=1)
    particles = read(tmp_path / "run_data.star")
    assert (len(particles), len(particles.images.files)) == (25, 3)
    assert particles.has_poses
    assert particles.ctf is not None


def test_noise_is_the_seeds(tmp_path: Path) -> None:
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        noise_stack(tmp_path / f"{name}.mrcs", 256, 16, seed)
    a, b, c = (read(tmp_path / f"{name}.mrcs").images[:] for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
