"""Evidence against simulations, of which everything is known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_cryodrgn.analysis import RunImages
from napari_cryodrgn.analysis.evidence import (
    Examiner,
    MeanFrc,
    Rings,
    half_map_resolution,
    noise_level,
    some_rows,
)
from napari_cryodrgn.errors import CryodrgnError, ParticleFileError, RunFolderError
from napari_cryodrgn.imaging import FourierGrid, Lattice, Map, hinge, simulate, slice_points
from napari_cryodrgn.particles import Volume, read, write_simulation

BOX, SIZE, N = 32, 8.0, 400


@pytest.fixture(scope="module")
def simulation() -> Any:
    """Of one volume that does not move, so that all of the signal is known."""
    still = Map(hinge().volume(0.5, BOX, SIZE).numpy(), SIZE)
    return simulate(still, N, BOX, SIZE, snr=0.4, seed=5)


@pytest.fixture(scope="module")
def truth(simulation: Any) -> Tensor:
    return torch.from_numpy(simulation.volumes[0])


@pytest.fixture(scope="module")
def star(simulation: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_simulation(tmp_path_factory.mktemp("set"), simulation)


def run_of(star: Path, volume: Tensor, **changes: Any) -> Any:
    """A run of one volume, at the true poses."""
    particles = read(star)
    grid = FourierGrid(BOX, BOX // 2 - 1)
    transform = grid.transform(volume)[None]

    def slice_(z: Any, rotation: Tensor, lattice: Lattice) -> Tensor:
        return grid.sample(transform, slice_points(rotation, lattice.k))

    known = {
        "folder": Path("/runs/one"),
        "zdim": 1,
        "box": BOX,
        "pixel_size": SIZE,
        "n_particles": N,
        "particles_path": star,
        "indices": None,
        "ctf_path": None,
        "settings": {},
        "rotations": particles.rotations,
        "shifts": particles.shifts,
        "can_decode": True,
        "latents": SimpleNamespace(
            mu=np.zeros((N, 1), np.float32), logvar=np.full((N, 1), -2.0, np.float32)
        ),
        "slice": slice_,
        "consensus": lambda: Volume(volume.numpy(), SIZE),
    }
    return SimpleNamespace(**known | changes)


def mean(examiner: Examiner, rows: Any) -> MeanFrc:
    *shares, found = examiner.mean_frc(rows, lambda: False)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert isinstance(found, MeanFrc)
    return found


def test_the_mean_frc_is_where_the_snr_says(star: Path, truth: Tensor, simulation: Any) -> None:
    examiner = Examiner(RunImages(run_of(star, truth)))
    found = mean(examiner, np.arange(N))
    lattice = examiner.images.lattice
    # Signal power of each ring from the projections, and white noise of a known variance.
    clean = examiner.project(np.arange(N)).abs().square()
    signal = torch.stack([lattice.shell_mean(power) for power in clean])
    noise = simulation.noise**2 * BOX**2
    snr = signal / noise
    expected = (snr / (1 + snr)).sqrt().mean(0)
    # All rings: from nearly all signal to nearly none.
    assert float(expected[1:].max()) > 0.85
    assert float(expected[1:].min()) < 0.25
    assert float((found.frc - expected)[1:].abs().max()) < 0.03
    assert float((found.expected - expected)[1:].abs().max()) < 0.02
    assert found.n == N


def test_a_wrong_pose_and_a_wrong_volume_show(star: Path, truth: Tensor) -> None:
    rows = np.arange(100)
    right = mean(Examiner(RunImages(run_of(star, truth))), rows)
    turned = read(star).rotations[::-1].copy()
    pose = mean(Examiner(RunImages(run_of(star, truth, rotations=turned))), rows)
    other = mean(Examiner(RunImages(run_of(star, truth.flip(0)))), rows)
    middle = slice(3, 8)
    for wrong in (pose, other):
        assert float(wrong.frc[middle].mean()) < 0.6 * float(right.frc[middle].mean())
        # The expectation does not know of it: it stays behind what was promised.
        assert float((wrong.expected - wrong.frc)[middle].mean()) > 0.1


def test_the_evidence_of_a_particle(star: Path, truth: Tensor, simulation: Any) -> None:
    run = run_of(star, truth)
    found = Examiner(RunImages(run)).of(7)
    assert found.particle == 7
    np.testing.assert_allclose(found.rotation, run.rotations[7])
    np.testing.assert_allclose(found.shift, run.shifts[7])
    np.testing.assert_allclose(found.sigma, [np.exp(-1)], rtol=1e-6)
    assert found.ctf is not None
    assert found.ctf.defocus_u == pytest.approx(simulation.ctf.defocus_u[7], rel=1e-4)
    assert found.scale == pytest.approx(1, abs=0.15)
    image, projection, residual = found.pictures()
    raw = read(star).images.read([7])[0]
    # But for the mean and the frequencies at Nyquist and beyond, it is the image of the file.
    assert np.corrcoef(image.ravel(), raw.ravel())[0, 1] > 0.85
    np.testing.assert_allclose(image - projection, residual, atol=1e-4)
    expected = np.corrcoef(image.ravel(), projection.ravel())[0, 1]
    assert found.correlation() == pytest.approx(expected, abs=1e-4)
    assert abs(np.corrcoef(projection.ravel(), residual.ravel())[0, 1]) < 1e-4
    assert residual.std() == pytest.approx(simulation.noise * np.sqrt(np.pi / 4), rel=0.1)


def test_a_low_pass_brings_out_the_particle(star: Path, truth: Tensor) -> None:
    found = Examiner(RunImages(run_of(star, truth))).of(3)
    low, full = found.pictures(60.0), found.pictures()
    assert found.correlation(60.0) > found.correlation() + 0.15
    lattice = found.lattice
    k, extent = 4.0, BOX * SIZE
    x = np.arange(BOX) - BOX // 2
    wave = np.exp(-2j * np.pi * k * x / BOX)
    ratio = abs((low[0] @ wave).sum() / (full[0] @ wave).sum())
    assert ratio == pytest.approx(np.exp(-0.5 * (k * 60 / extent) ** 2), rel=1e-3)
    assert low.shape == (3, lattice.box, lattice.box)


def test_noise_stays_below_its_level() -> None:
    lattice = Lattice.create(48)
    random = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(4000, len(lattice), dtype=torch.complex64, generator=random)

    frc = Rings.of(noise(), noise(), lattice).frc()
    level = noise_level(lattice)
    np.testing.assert_allclose((frc < level).float().mean(0)[3:], 0.95, atol=0.015)
    # Of means of images it is as much smaller as their errors are.
    means = frc.reshape(-1, 16, frc.shape[1]).mean(1)
    assert float((means < level / 4).float()[:, 3:].mean()) == pytest.approx(0.95, abs=0.01)


def test_the_resolution_of_the_half_maps(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(folder=tmp_path, box=32, pixel_size=8.0)
    assert half_map_resolution(run) is None
    path = tmp_path / "fsc.csv"
    # Falls through 0.143 at shell 4.5 of 256 Å.
    rows = enumerate((0.9, 0.8, 0.6, 0.243, 0.043, 0.0), 1)
    lines = [f"{shell},{256 / shell:.3f},{value}" for shell, value in rows]
    path.write_text("\n".join(["shell,resolution_angstrom,fsc", *lines, ""]))
    assert half_map_resolution(run) == pytest.approx(256 / 4.5)
    run.pixel_size = None
    assert half_map_resolution(run) is None
    run.pixel_size = 8.0
    path.write_text("shell,resolution_angstrom,fsc\n1,256.0\n")
    with pytest.raises(RunFolderError, match=r"fsc\.csv cannot be read"):
        half_map_resolution(run)
    path.write_text("shell,resolution_angstrom,fsc\n")
    with pytest.raises(RunFolderError, match="no curve"):
        half_map_resolution(run)


def test_before_there_are_latents_the_consensus_speaks(star: Path, truth: Tensor) -> None:
    early = run_of(star, truth, latents=None, can_decode=False)
    late = run_of(star, truth)
    found, expected = (Examiner(RunImages(run)).of(2) for run in (early, late))
    assert found.z is None
    assert found.sigma is None
    torch.testing.assert_close(found.projection, expected.projection)


def test_what_is_missing_is_said(star: Path, truth: Tensor) -> None:
    with pytest.raises(RunFolderError, match="no poses are saved yet"):
        Examiner(RunImages(run_of(star, truth, rotations=None))).of(0)
    run = run_of(star, truth)
    images = RunImages(run)
    hidden = star.with_name("particles.mrcs").rename(star.with_name("elsewhere.mrcs"))
    try:
        with pytest.raises(ParticleFileError):
            Examiner(images).of(0)
    finally:
        hidden.rename(star.with_name("particles.mrcs"))


def test_a_mean_can_be_stopped(star: Path, truth: Tensor) -> None:
    asked = iter([False, False, True])
    examiner = Examiner(RunImages(run_of(star, truth)))
    found = list(examiner.mean_frc(np.arange(100), lambda: next(asked)))
    assert found == [0.04, 0.08]
    with pytest.raises(CryodrgnError, match="No particles are selected"):
        list(examiner.mean_frc([], lambda: False))


def test_rows_are_spread_over_the_selection() -> None:
    assert some_rows(5, None, 10).tolist() == [0, 1, 2, 3, 4]
    mask = np.arange(1000) >= 900
    rows = some_rows(1000, mask, 10)
    assert len(rows) == 10
    assert (rows[0], rows[-1]) == (900, 999)
    assert len(some_rows(4, np.zeros(4, bool), 10)) == 0
