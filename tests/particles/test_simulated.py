from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.imaging import CTFParameters, hinge, simulate
from napari_cryodrgn.particles import read, write_simulation

FILES = ["particles.mrcs", "particles.star", "truth.npz"]


@dataclass(frozen=True)
class Made:
    """A simulation of nothing in particular."""

    images: NDArray[np.float32]
    ctf: CTFParameters
    rotations: NDArray[np.float32]
    shifts: NDArray[np.float32]
    t: NDArray[np.float32]
    volumes: NDArray[np.float32]
    volume_t: NDArray[np.float32]
    box: int = 8
    pixel_size: float = 2.75
    fails_after: int | None = None

    @property
    def n(self) -> int:
        return len(self.t)

    def chunks(self, size: int = 3) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(self.images), size):
            if start == self.fails_after:
                raise ZeroDivisionError
            yield self.images[start : start + size]


@pytest.fixture
def made() -> Made:
    random = np.random.default_rng(0)
    ctf = CTFParameters.create(
        random.uniform(1e4, 2e4, 7), random.uniform(1e4, 2e4, 7), 20, [300] * 6 + [200]
    )
    return Made(
        random.normal(size=(7, 8, 8)).astype(np.float32),
        ctf,
        Rotation.random(7, rng=random).as_matrix().astype(np.float32),
        random.uniform(-2, 2, (7, 2)).astype(np.float32),
        random.random(7).astype(np.float32),
        random.normal(size=(3, 8, 8, 8)).astype(np.float32),
        np.linspace(0, 1, 3, dtype=np.float32),
    )


def test_written_set_reads_back(tmp_path: Path, made: Made) -> None:
    steps: list[tuple[int, int]] = []
    star = write_simulation(tmp_path / "new/folder", made, lambda i, n: steps.append((i, n)))
    assert star == tmp_path / "new/folder/particles.star"
    assert sorted(os.listdir(star.parent)) == FILES
    assert steps == [(3, 7), (6, 7), (7, 7)]
    particles = read(star)
    assert particles.pixel_size == 2.75
    np.testing.assert_array_equal(particles.images.read(slice(None)), made.images)
    np.testing.assert_allclose(particles.rotations, made.rotations, atol=1e-6)
    np.testing.assert_allclose(particles.shifts, made.shifts, atol=1e-5)
    assert particles.ctf is not None
    np.testing.assert_allclose(particles.ctf.defocus_v, made.ctf.defocus_v, atol=1e-5)
    assert particles.ctf.voltage.tolist() == [300] * 6 + [200]
    assert particles.table is not None
    assert particles.table.column("rlnImageName", [0]) == ["000001@particles.mrcs"]
    assert particles.table.column("rlnRandomSubset") == ["1", "2", "1", "2", "1", "2", "1"]
    with np.load(star.parent / "truth.npz") as truth:
        assert set(truth) == {"rots", "trans", "t", "vols", "vol_t", "apix"}
        np.testing.assert_array_equal(truth["trans"], made.shifts)
        np.testing.assert_array_equal(truth["vols"], made.volumes)
        assert truth["apix"] == 2.75


def test_real_simulation(tmp_path: Path) -> None:
    simulation = simulate(hinge(), 5, 16, 9.0)
    particles = read(write_simulation(tmp_path, simulation))
    np.testing.assert_array_equal(
        particles.images.read(slice(None)), np.concatenate(list(simulation.chunks()))
    )
    np.testing.assert_allclose(particles.rotations, simulation.rotations, atol=1e-6)
    np.testing.assert_allclose(particles.shifts, simulation.shifts, atol=1e-5)


def test_a_failure_leaves_what_was_there(tmp_path: Path, made: Made) -> None:
    for failing, error in (
        (replace(made, fails_after=3), ZeroDivisionError),
        (replace(made, images=made.images[:5]), CryodrgnError),
        (replace(made, box=10), ParticleFileError),
    ):
        with pytest.raises(error):
            write_simulation(tmp_path / "empty", failing)
        assert os.listdir(tmp_path / "empty") == []
    star = write_simulation(tmp_path, made)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    with pytest.raises(ZeroDivisionError):
        write_simulation(tmp_path, replace(made, fails_after=6))
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before
    write_simulation(tmp_path, replace(made, images=made.images + 1))
    np.testing.assert_array_equal(read(star).images.read([0])[0], made.images[0] + 1)


def test_folder_that_cannot_be_made(tmp_path: Path, made: Made) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ParticleFileError, match="cannot be made"):
        write_simulation(tmp_path / "file", made)
