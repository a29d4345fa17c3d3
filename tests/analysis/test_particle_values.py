"""Values of particles from the run, its STAR or .cs file, and from what is missing or broken."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from napari_cryodrgn.analysis import Run
from napari_cryodrgn.analysis.particle_values import ParticleValues
from napari_cryodrgn.errors import CryodrgnError, RunFolderError
from napari_cryodrgn.imaging import CTFParameters, Simulation, hinge, simulate
from napari_cryodrgn.particles import (
    euler_from_rotations,
    read_cs_table,
    read_table,
    write_ctf,
    write_simulation,
)

from .conftest import MakeRun, with_micrographs

N = 40
OWN = ["density", "sigma z0", "sigma z1", "view: rot", "view: tilt", "in-plane angle", "shift"]


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(hinge(), N, 32, 9.0, seed=1)


@pytest.fixture
def star(simulation: Simulation, tmp_path: Path) -> Path:
    path = write_simulation(tmp_path / "set", simulation)
    path.with_suffix(".mrcs").unlink()  # never needed
    with_micrographs(path, [f"Movies/grid{9 + i // 25}.mrc" for i in range(N)])
    return path


def test_what_the_run_knows(star: Path, make_run: MakeRun) -> None:
    run = make_run(N, star)
    values = ParticleValues(run)
    assert values.names()[: len(OWN)] == OWN
    np.testing.assert_allclose(
        values.get("sigma z1").data, np.exp(run.latents.logvar[:, 1] / 2), rtol=1e-6
    )
    rot, tilt, psi = euler_from_rotations(run.rotations).T
    np.testing.assert_allclose(values.get("view: tilt").data, tilt, rtol=1e-5)
    np.testing.assert_allclose(values.get("view: rot").data, rot, rtol=1e-4)
    np.testing.assert_allclose(values.get("in-plane angle").data, psi, rtol=1e-4)
    shift = values.get("shift")
    np.testing.assert_allclose(shift.data, np.linalg.norm(run.shifts, axis=1) * 9, rtol=1e-5)
    assert (shift.unit, shift.labels) == ("Å", None)
    density = values.get("density").data
    middle = np.linalg.norm(run.latents.mu - run.latents.mu.mean(0), axis=1)
    assert np.corrcoef(density, middle)[0, 1] < -0.5
    assert all(values.get(name).data.dtype == np.float32 for name in OWN)
    assert values.get("density") is values.get("density")
    run.pixel_size = None
    assert ParticleValues(run).get("shift").unit == "px"


def test_what_the_star_file_says(star: Path, make_run: MakeRun, simulation: Simulation) -> None:
    values = ParticleValues(make_run(N, star))
    ctf = simulation.ctf
    defocus = values.get("defocus")
    np.testing.assert_allclose(defocus.data, (ctf.defocus_u + ctf.defocus_v) / 2e4, rtol=1e-4)
    assert defocus.unit == "µm"
    np.testing.assert_allclose(
        values.get("CTF astigmatism").data, np.abs(ctf.defocus_u - ctf.defocus_v), atol=0.01
    )
    np.testing.assert_allclose(values.get("rlnDefocusU").data, ctf.defocus_u, rtol=1e-6)
    halves = values.get("half set")
    assert halves.labels == ("half 1", "half 2")
    assert halves.data.dtype == np.int32
    np.testing.assert_array_equal(halves.data + 1, read_table(star).half_sets)
    micrographs = values.get("micrograph")
    assert micrographs.labels == ("grid9.mrc", "grid10.mrc")
    np.testing.assert_array_equal(micrographs.data, np.arange(N) // 25)
    assert values.problem is None
    assert "rlnImageName" not in values.names()
    with pytest.raises(CryodrgnError, match=r"nothing called 'charge'.*defocus"):
        values.get("charge")


def test_only_some_of_the_file_s_particles(star: Path, make_run: MakeRun) -> None:
    chosen = np.array([7, 3, 30])
    whole, some = (
        ParticleValues(run)
        for run in (make_run(N, star), make_run(3, star, indices=chosen, name="some"))
    )
    for name in ("defocus", "rlnMicrographName", "half set"):
        labels = [whole.get(name).labels, some.get(name).labels]
        data = [whole.get(name).data[chosen], some.get(name).data]
        if labels[0] is not None and labels[1] is not None:
            data = [[names[i] for i in d] for names, d in zip(labels, data, strict=True)]
        np.testing.assert_array_equal(*data)


@pytest.mark.parametrize("change", ["gone", "shorter", "damaged", "unknown"])
def test_a_file_that_is_not_there_any_more(star: Path, make_run: MakeRun, change: str) -> None:
    text = star.read_text()
    if change == "gone":
        star.unlink()
    elif change == "shorter":
        star.write_text("\n".join(text.splitlines()[:-3]))
    elif change == "damaged":
        star.write_text(text[:200])
    values = ParticleValues(make_run(N, None if change == "unknown" else star))
    assert values.names() == OWN
    assert values.problem is not None
    words = {"gone": "no such file", "shorter": "changed since", "damaged": "", "unknown": "which"}
    assert words[change] in values.problem
    assert values.get("shift").data.shape == (N,)


def test_the_table_that_the_run_left_stands_in(star: Path, make_run: MakeRun) -> None:
    run = make_run(N, star)
    shutil.move(star, run.folder / "particles.star")
    assert "defocus" not in ParticleValues(run).names()  # it may be of anything
    (run.folder / "events.jsonl").touch()
    values = ParticleValues(run)
    assert (values.problem, values.get("defocus").data.shape) == (None, (N,))


def test_rows_that_are_damaged(star: Path, make_run: MakeRun) -> None:
    lines = star.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("000003@"))
    header = [line.split()[0] for line in lines if line.startswith("_rln")]
    place = header.index("_rlnDefocusU") - header.index("_rlnImageName")
    parts = lines[row].split()
    lines[row] = " ".join([*parts[:place], "None", *parts[place + 1 :]])
    star.write_text("\n".join(lines) + "\n")
    values = ParticleValues(make_run(N, star)).get("defocus").data
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(values)), [2])
    lines[row] += " one more"
    star.write_text("\n".join(lines) + "\n")
    values = ParticleValues(make_run(N, star))
    assert values.problem is None or "values for" in values.problem
    with pytest.raises(CryodrgnError):
        values.get("defocus")


def test_a_run_without_latents_or_poses(star: Path, make_run: MakeRun) -> None:
    run = make_run(N, star, latents=None, rotations=None, shifts=None, zdim=0)
    assert not set(ParticleValues(run).names()) & set(OWN)
    run = make_run(N, star)
    run.latents.logvar[:] = 0  # abinit gives none
    assert "sigma z0" not in ParticleValues(run).names()


def test_loss(make_run: MakeRun) -> None:
    run = make_run(N, Path("stack.mrcs"))
    assert "loss" not in ParticleValues(run).names()
    loss = np.linspace(-3, 1, N, dtype=np.float32)
    np.save(run.folder / "loss.npy", loss)
    found = ParticleValues(run).get("loss")
    np.testing.assert_array_equal(found.data, loss)
    assert "nats" in found.unit
    for wrong in (loss[:5], np.array([{}] * N, object)):
        np.save(run.folder / "loss.npy", wrong, allow_pickle=True)
        with pytest.raises(RunFolderError, match=r"loss\.npy"):
            ParticleValues(run).get("loss")


def test_bare_stacks_with_a_ctf_file(make_run: MakeRun, simulation: Simulation) -> None:
    run = make_run(N, Path("stack.mrcs"))
    values = ParticleValues(run)
    assert (values.names(), values.problem) == (OWN, None)
    path = run.folder / "ctf.pkl"
    write_ctf(path, simulation.ctf, 32, 9.0)
    run.ctf_path = path
    u, v = simulation.ctf.defocus_u, simulation.ctf.defocus_v
    np.testing.assert_allclose(ParticleValues(run).get("defocus").data, (u + v) / 2e4, rtol=1e-5)
    chosen = np.array([5, 1])
    some = make_run(2, Path("stack.mrcs"), indices=chosen, ctf_path=path, name="some")
    np.testing.assert_allclose(
        ParticleValues(some).get("CTF astigmatism").data, np.abs(u - v)[chosen], atol=0.01
    )
    write_ctf(path, CTFParameters(*np.full((7, 3), 0.1)), 32, 9.0)
    values = ParticleValues(run)
    assert values.names() == OWN
    assert "ctf.pkl is of 3 particles" in str(values.problem)


def test_threads_agree(star: Path, make_run: MakeRun) -> None:
    values = ParticleValues(make_run(N, star))
    names = ["defocus", "density", "half set", "view: rot", "rlnDefocusV"] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(values.get, names))
    assert all(found[i] is values.get(name) for i, name in enumerate(names))


def test_relion_s_columns(shared_data: Path, make_run: MakeRun) -> None:
    path = shared_data / "formats" / "relion31.star"
    values = ParticleValues(make_run(5, path))
    group = values.get("optics group")
    assert group.labels == ("opticsGroup1",)
    np.testing.assert_array_equal(group.data, 0)
    micrograph = values.get("micrograph")
    assert micrograph.labels is not None
    assert all("/" not in label for label in micrograph.labels)
    np.testing.assert_allclose(values.get("rlnCoordinateX").data[:2], 3277)
    assert values.get("rlnClassNumber").labels == ("1",)
    assert not {"rlnImageName", "rlnImageOriginalName"} & set(values.names())


def test_cryosparc_s_fields(shared_data: Path, make_run: MakeRun) -> None:
    path = shared_data / "formats" / "cryosparc_P12_J24_001_particles.cs"
    table = read_cs_table(path)
    chosen = np.arange(0, len(table), 3)[::-1].copy()
    values = ParticleValues(make_run(len(chosen), path, indices=chosen))
    assert values.problem is None
    assert table.ctf is not None
    defocus = (table.ctf.defocus_u + table.ctf.defocus_v) / 2e4
    np.testing.assert_allclose(values.get("defocus").data, defocus[chosen], rtol=1e-5)
    names = values.names()
    assert not {"uid", "blob/shape"} & set(names)
    shifts = np.asarray(table.table.values("alignments3D/shift"))[chosen]
    np.testing.assert_array_equal(values.get("alignments3D/shift[1]").data, shifts[:, 1])
    path_values = values.get("blob/path")
    assert path_values.labels is not None
    assert len(path_values.labels) == len(set(table.stacks[i] for i in table.stack_index[chosen]))
    for name in names:
        found = values.get(name)
        assert found.data.shape == (len(chosen),), name
        if found.labels is not None:
            assert 0 <= found.data.min() <= found.data.max() < len(found.labels), name


def test_a_run_of_cryodrgn(shared_data: Path) -> None:
    run = Run.open(shared_data / "cryodrgn-run")
    values = ParticleValues(run)
    assert set(OWN) <= set(values.names())
    table = read_table(run.folder / "particles.star")
    assert table.poses is not None
    tilt = euler_from_rotations(table.poses.rotations)[:, 1]
    np.testing.assert_allclose(values.get("view: tilt").data, tilt, atol=0.01)
    assert np.isfinite(values.get("density").data).all()
