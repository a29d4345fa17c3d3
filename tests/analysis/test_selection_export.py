"""Selected particles go back to the files they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_cryodrgn.analysis import Run
from napari_cryodrgn.analysis.selections import export
from napari_cryodrgn.errors import CryodrgnError, ParticleFileError, RunFolderError
from napari_cryodrgn.imaging import hinge, simulate
from napari_cryodrgn.particles import (
    PreprocessSettings,
    preprocess,
    read,
    read_cs_table,
    read_indices,
    read_origin,
    read_table,
    write_ctf,
    write_simulation,
)

from .conftest import MakeRun

N = 30
RANDOM = np.random.default_rng(6)
MASK = RANDOM.random(N) < 0.4
ROWS = np.flatnonzero(MASK)


@pytest.fixture
def star(tmp_path: Path) -> Path:
    return write_simulation(tmp_path / "set", simulate(hinge(), N, 32, 9.0, seed=2))


def check_star(path: Path, source: Path, rows: np.ndarray, run: Any, scale: float = 1.0) -> None:
    """All columns but poses as in the source, the poses those of the run."""
    found, before = read_table(path), read_table(source)
    assert len(found) == len(rows)
    for name in before.table.columns:
        if not name.startswith(("rlnAngle", "rlnOrigin", "rlnImageName")):
            assert found.table.column(name) == before.table.column(name, rows), name
    images = [name.split("/")[-1] for name in found.table.column("rlnImageName")]
    expected = before.table.column("rlnImageName", rows)
    assert [i.split("@")[0] for i in found.table.column("rlnImageName")] == [
        i.split("@")[0] for i in expected
    ]
    assert all(
        i.endswith(e.split("@")[1].split("/")[-1]) for i, e in zip(images, expected, strict=True)
    )
    assert found.poses is not None
    np.testing.assert_allclose(found.poses.rotations, run.rotations[MASK], atol=1e-5)
    np.testing.assert_allclose(found.poses.shifts, run.shifts[MASK] * scale, atol=1e-4)


@pytest.mark.parametrize("stacks", [True, False])
def test_star(star: Path, tmp_path: Path, make_run: MakeRun, stacks: bool) -> None:
    if not stacks:
        star.with_suffix(".mrcs").unlink()
    run = make_run(N, star)
    out = tmp_path / "out.star"
    export(run, MASK, out)
    check_star(out, star, ROWS, run)
    if stacks:
        images, before = read(out).images, read(star).images
        np.testing.assert_array_equal(images[0], before[int(ROWS[0])])


def test_rows_of_a_run_of_some_particles(star: Path, tmp_path: Path, make_run: MakeRun) -> None:
    chosen = RANDOM.permutation(N)
    run = make_run(N, star, indices=chosen)
    export(run, MASK, tmp_path / "out.star")
    check_star(tmp_path / "out.star", star, chosen[MASK], run)
    export(run, MASK, tmp_path / "out.pkl")
    np.testing.assert_array_equal(read_indices(tmp_path / "out.pkl"), chosen[MASK])


def test_indices_need_no_file(tmp_path: Path, make_run: MakeRun) -> None:
    export(make_run(N, Path("gone.mrcs")), MASK, tmp_path / "out.pkl")
    np.testing.assert_array_equal(read_indices(tmp_path / "out.pkl"), ROWS)
    for suffix in (".star", ".pkl"):
        with pytest.raises(RunFolderError, match="nothing tells"):
            export(make_run(N, None), MASK, tmp_path / f"out{suffix}")
    with pytest.raises(ParticleFileError, match="no such file"):
        export(make_run(N, Path("gone.star")), MASK, tmp_path / "out.star")
    with pytest.raises(ParticleFileError, match="no such file"):
        export(make_run(N, Path("gone.mrcs")), MASK, tmp_path / "out.star")


def test_a_run_without_poses_leaves_the_file_s(
    star: Path, tmp_path: Path, make_run: MakeRun
) -> None:
    run = make_run(N, star, rotations=None, shifts=None)
    export(run, MASK, tmp_path / "out.star")
    found, before = read_table(tmp_path / "out.star"), read_table(star)
    for name in ("rlnAngleRot", "rlnOriginXAngst"):
        assert found.table.column(name) == before.table.column(name, ROWS)


def test_preprocessed_particles(star: Path, tmp_path: Path, make_run: MakeRun) -> None:
    (small,) = [
        step
        for step in preprocess(read(star), tmp_path / "small", PreprocessSettings(box=16))
        if not isinstance(step, float)
    ]
    run = make_run(N, small.source, box=16, pixel_size=18.0)
    small.source.with_suffix(".mrcs").unlink()
    star.with_suffix(".mrcs").unlink()
    export(run, MASK, tmp_path / "original.star", original=True)
    check_star(tmp_path / "original.star", star, ROWS, run, scale=2.0)
    assert read_origin(tmp_path / "original.star") is None
    export(run, MASK, tmp_path / "small.star")
    check_star(tmp_path / "small.star", small.source, ROWS, run)
    origin = read_origin(tmp_path / "small.star")
    assert origin is not None
    np.testing.assert_array_equal(origin.rows, ROWS)
    export(run, MASK, tmp_path / "original.pkl", original=True)
    np.testing.assert_array_equal(read_indices(tmp_path / "original.pkl"), ROWS)
    # The run's box is smaller again.
    smaller = make_run(N, small.source, box=8, pixel_size=36.0, name="smaller")
    export(smaller, MASK, tmp_path / "original.star", original=True)
    check_star(tmp_path / "original.star", star, ROWS, smaller, scale=4.0)
    for path in (star, small.source):
        with pytest.raises(CryodrgnError, match="come from it"):
            export(run, MASK, path, original=True)


def test_particles_that_are_their_own_original(
    star: Path, tmp_path: Path, make_run: MakeRun
) -> None:
    with pytest.raises(CryodrgnError, match="what these particles were before"):
        export(make_run(N, star), MASK, tmp_path / "out.star", original=True)


def test_bare_stacks_with_a_ctf_file(star: Path, tmp_path: Path, make_run: MakeRun) -> None:
    stack = star.with_suffix(".mrcs")
    run = make_run(N, stack)
    known = read(star)
    assert known.ctf is not None
    run.ctf_path = tmp_path / "ctf.pkl"
    write_ctf(run.ctf_path, known.ctf, 32, 9.0)
    export(run, MASK, tmp_path / "out.star")
    found = read(tmp_path / "out.star")
    np.testing.assert_array_equal(found.images[:], known.images[ROWS])
    assert found.pixel_size == pytest.approx(9.0)
    assert found.ctf is not None
    np.testing.assert_allclose(found.ctf.defocus_u, known.ctf.defocus_u[ROWS], rtol=1e-5)
    assert found.shifts is not None
    np.testing.assert_allclose(found.shifts, run.shifts[MASK], atol=1e-4)
    with pytest.raises(ParticleFileError, match="changed since"):
        export(make_run(N - 1, stack, name="other"), MASK[:-1], tmp_path / "out.star")


def test_what_is_no_selection(star: Path, tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(N, star)
    with pytest.raises(CryodrgnError, match="no particles are selected"):
        export(run, np.zeros(N, bool), tmp_path / "out.star")
    for mask in (MASK[:-1], MASK.astype(int)):
        with pytest.raises(CryodrgnError, match="mask of as many"):
            export(run, mask, tmp_path / "out.star")
    with pytest.raises(ParticleFileError, match="not written to files of this kind"):
        export(run, MASK, tmp_path / "out.txt")
    with pytest.raises(CryodrgnError, match="come from it"):
        export(run, MASK, star)
    with pytest.raises(ParticleFileError, match="cannot be written"):
        export(run, MASK, tmp_path / "nowhere" / "out.star")
    assert not (tmp_path / "out.star").exists()


def test_cryosparc_s_table_without_stacks(
    shared_data: Path, tmp_path: Path, make_run: MakeRun
) -> None:
    path = shared_data / "formats" / "cryosparc_P12_J24_001_particles.cs"
    before = read_cs_table(path)
    n = len(before)
    assert before.poses is not None
    mask = RANDOM.random(n) < 0.2
    run = make_run(n, path, box=90, pixel_size=5.9)
    export(run, mask, tmp_path / "out.cs")
    found = read_cs_table(tmp_path / "out.cs")
    np.testing.assert_array_equal(found.table.values("uid"), before.table.values("uid")[mask])
    assert found.poses is not None
    np.testing.assert_allclose(found.poses.rotations, run.rotations[mask], atol=1e-5)
    np.testing.assert_allclose(found.poses.shifts, run.shifts[mask] * 2, atol=1e-4)
    with pytest.raises(ParticleFileError, match="stack"):
        export(run, mask, tmp_path / "out.star")


def test_a_star_file_of_an_older_version_without_stacks_or_box(
    shared_data: Path, tmp_path: Path, make_run: MakeRun
) -> None:
    path = shared_data / "formats" / "FinalRefinement-OriginalParticles-PfCRT.star"
    run = make_run(5, path, box=100, pixel_size=1.035 * 3)
    mask = np.array([True, False, True, False, True])
    export(run, mask, tmp_path / "out.star")
    found = read_table(tmp_path / "out.star", 0.1)
    assert found.poses is not None
    np.testing.assert_allclose(found.poses.shifts, run.shifts[mask] * 3, atol=1e-4)
    before = read_table(path, 0.1)
    assert found.table.column("rlnImageName") == before.table.column("rlnImageName", [0, 2, 4])


def test_a_run_of_cryodrgn(shared_data: Path, tmp_path: Path) -> None:
    run = Run.open(shared_data / "cryodrgn-run")
    assert run.latents is not None
    assert run.rotations is not None
    mask = run.latents.mu[:, 0] > 0
    export(run, mask, tmp_path / "out.star")
    found = read(tmp_path / "out.star")
    assert len(found) == mask.sum()
    assert found.rotations is not None
    np.testing.assert_allclose(found.rotations, run.rotations[mask], atol=1e-5)
    assert found.pixel_size == pytest.approx(11)
