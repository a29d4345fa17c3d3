from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_cryodrgn.analysis import Baseline, back_project
from napari_cryodrgn.errors import TrainingError
from napari_cryodrgn.imaging import Atoms, crossing, fsc, hinge, simulate
from napari_cryodrgn.particles import ParticleSet, read, write_simulation
from napari_cryodrgn.training import half_maps

BOX, PIXEL_SIZE = 32, 9.0


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> tuple[ParticleSet, torch.Tensor]:
    """400 pictures of a still molecule, and its density."""
    molecule = Atoms(hinge().positions(torch.tensor([0.5])).numpy(), sigma=4.5)
    simulation = simulate(molecule, 400, BOX, PIXEL_SIZE, snr=0.1, seed=2)
    star = write_simulation(tmp_path_factory.mktemp("still"), simulation)
    return read(star), torch.from_numpy(simulation.volumes[0])


def run(particles: ParticleSet, scratch: Path, **options: object) -> Baseline:
    *fractions, result = back_project(particles, scratch, **options)  # type: ignore[arg-type]
    assert fractions == sorted(fractions)  # type: ignore[type-var]
    assert fractions[-1] == pytest.approx(1)
    assert isinstance(result, Baseline)
    return result


def test_volume_is_the_molecule(still: tuple[ParticleSet, torch.Tensor], tmp_path: Path) -> None:
    particles, truth = still
    result = run(particles, tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()
    assert result.pixel_size == PIXEL_SIZE
    correlation = torch.corrcoef(torch.stack([result.volume.flatten(), truth.flatten()]))[0, 1]
    assert float(correlation) > 0.93
    # In units of the density: the filter takes a little.
    scale = float((result.volume * truth).sum() / truth.square().sum())
    assert scale == pytest.approx(0.95, abs=0.1)
    # A Wiener filter makes the error smaller than any plain sum does.
    error = (result.volume - truth).square().sum()
    assert float(error) < float((result.halves.mean(0) - truth).square().sum())


def test_halves_tell_the_resolution(
    still: tuple[ParticleSet, torch.Tensor], tmp_path: Path
) -> None:
    particles, truth = still
    result = run(particles, tmp_path)
    torch.testing.assert_close(result.fsc, fsc(result.halves[0], result.halves[1]))
    # 0.143 between halves stands for 0.5 with the truth (Rosenthal and Henderson, 2003).
    against = fsc(result.halves.mean(0), truth)
    expected = BOX * PIXEL_SIZE / crossing(against, 0.5)
    assert result.resolution() == pytest.approx(expected, rel=0.1)
    assert result.resolution() < result.resolution(0.5)
    few = run(particles.select(slice(0, 100)), tmp_path)
    assert few.resolution() > 1.1 * result.resolution()


def test_wrong_poses_have_no_resolution(
    still: tuple[ParticleSet, torch.Tensor], tmp_path: Path
) -> None:
    particles, _ = still
    assert particles.rotations is not None
    assert particles.shifts is not None
    order = np.random.default_rng(0).permutation(len(particles))
    wrong = run(particles.with_poses(particles.rotations[order], particles.shifts), tmp_path)
    assert wrong.resolution() > 1.5 * run(particles, tmp_path).resolution()


def test_cropped_inverted_and_in_pieces(
    still: tuple[ParticleSet, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    particles, _ = still
    plain = run(particles, tmp_path, box=24)
    assert plain.volume.shape == (24, 24, 24)
    assert plain.pixel_size == 12.0
    monkeypatch.setattr(half_maps, "_STEP", 37)
    again = run(particles, tmp_path, box=24, invert_contrast=True)
    scale = float(plain.volume.abs().max())
    torch.testing.assert_close(again.volume / scale, -plain.volume / scale, atol=1e-3, rtol=0)


def test_faults_are_named(still: tuple[ParticleSet, torch.Tensor], tmp_path: Path) -> None:
    particles, _ = still
    with pytest.raises(TrainingError, match="holds no poses"):
        next(back_project(replace(particles, rotations=None, shifts=None), tmp_path))
    with pytest.raises(TrainingError, match="two half maps need two particles"):
        next(back_project(particles.select([0]), tmp_path))
