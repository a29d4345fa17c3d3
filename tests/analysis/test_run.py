"""Opening run folders, whole and broken."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from napari_cryodrgn.analysis import Run, contour_level, pca
from napari_cryodrgn.errors import RunFolderError
from napari_cryodrgn.imaging import hinge, simulate
from napari_cryodrgn.particles import read, write_simulation
from napari_cryodrgn.training import Settings, reconstruct


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    simulation = simulate(hinge(), 60, 24, 10.0, snr=1.0, max_shift=1.0)
    particles = read(write_simulation(out / "set", simulation))
    settings = Settings(output=out / "run", poses="given", zdim=2, epochs=1)
    for _ in reconstruct(settings, particles):
        pass
    return out / "run"


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def test_a_finished_run_has_everything(finished: Path) -> None:
    run = Run.open(finished)
    assert run.finished
    assert (run.zdim, run.box, run.n_particles) == (2, 24, 60)
    assert run.pixel_size == pytest.approx(10)
    assert run.latents is not None
    assert run.latents.mu.shape == run.latents.logvar.shape == (60, 2)
    assert run.rotations is not None
    truth = np.load(finished.parent / "set" / "truth.npz")
    np.testing.assert_allclose(run.rotations, truth["rots"], atol=1e-4)
    assert run.shifts is not None
    np.testing.assert_allclose(run.shifts, truth["trans"], atol=1e-3)
    assert run.particles_path == (finished.parent / "set" / "particles.star").resolve()


def test_volumes_are_in_the_units_of_the_images(finished: Path) -> None:
    run = Run.open(finished)
    truth = np.load(finished.parent / "set" / "truth.npz")["vols"].mean(0)
    assert run.latents is not None
    for volume in (run.decode(run.latents.mu.mean(0)), run.consensus().data):
        assert volume.shape == (24, 24, 24)
        inside = truth > truth.mean() + truth.std()
        centred = volume - volume.mean()
        ratio = centred[inside].mean() / (truth - truth.mean())[inside].mean()
        assert 0.5 < ratio < 1.5
        assert np.corrcoef(volume.ravel(), truth.ravel())[0, 1] > 0.7


def test_smaller_boxes_hold_the_same_densities(finished: Path) -> None:
    run = Run.open(finished)
    assert run.latents is not None
    z = run.latents.mu[0]
    low, small = run.decode(z, limit=5.9), run.decode(z, 12)
    # But for what a consensus under a network has beyond the limit.
    np.testing.assert_allclose(small.mean(), low.mean(), rtol=0.02)
    assert np.linalg.norm(small - low[::2, ::2, ::2]) < 0.1 * np.linalg.norm(small)
    with pytest.raises(ValueError, match="from 2 to 24"):
        run.decode(z, 13)


def test_the_contour_is_that_of_the_consensus(finished: Path) -> None:
    run = Run.open(finished)
    volume = run.consensus().data
    assert run.contour() == pytest.approx(contour_level(volume))
    assert volume.mean() < run.contour() < volume.max()


def test_a_run_in_progress(folder: Path) -> None:
    lines = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join(lines[:-1]) + '\n{"event": "Epo')
    for name in ("weights.pkl", "z.pkl", "reconstruct.mrc"):
        (folder / name).unlink()
    run = Run.open(folder)
    assert not run.finished
    assert run.epoch > 0
    assert run.latents is None
    assert not run.can_decode
    with pytest.raises(RunFolderError, match=r"weights\.pkl is not there yet"):
        run.decode([0, 0])
    with pytest.raises(RunFolderError, match=r"reconstruct\.mrc is not there yet"):
        run.contour()


def test_changes_are_noticed(folder: Path) -> None:
    run = Run.open(folder)
    assert not run.changed()
    (folder / "z.pkl").unlink()
    assert run.changed()


def test_what_is_no_run_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no such folder"):
        Run.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFolderError, match=r"config\.yaml is missing"):
        Run.open(tmp_path / "empty")
    config = folder / "config.yaml"
    config.write_text("a: [1")
    with pytest.raises(RunFolderError, match="cannot be read"):
        Run.open(folder)
    config.write_text("- 1")
    with pytest.raises(RunFolderError, match="no table"):
        Run.open(folder)
    config.write_text(yaml.safe_dump({"model_args": {"zdim": 1}}))
    with pytest.raises(RunFolderError, match="settings"):
        Run.open(folder)


def test_damaged_files_are_named(folder: Path) -> None:
    (folder / "weights.pkl").write_bytes(b"nonsense")
    with pytest.raises(RunFolderError, match=r"weights\.pkl"):
        Run.open(folder).decode([0, 0])
    (folder / "z.pkl").write_bytes(b"nonsense")
    with pytest.raises(RunFolderError, match=r"z\.pkl"):
        Run.open(folder)


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("ran"),))


def test_weights_with_code_never_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"scale": _Code()}, folder / "weights.pkl")
    with pytest.raises(RunFolderError, match=r"weights\.pkl cannot be used"):
        Run.open(folder).decode([0, 0])
    (folder / "pose.pkl").write_bytes(pickle.dumps(_Code()))
    with pytest.raises(RunFolderError, match=r"pose\.pkl"):
        Run.open(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("z", [[1.0], [0.0, float("nan")], [1, 2, 3]])
def test_latents_of_another_shape_are_refused(finished: Path, z: list[float]) -> None:
    with pytest.raises(RunFolderError, match="expected 2 finite numbers"):
        Run.open(finished).decode(z)


def test_principal_axes() -> None:
    random = np.random.default_rng(0)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    mu = (random.normal(size=(500, 3)) * [5, 2, 0.5] @ turn.T + 7).astype(np.float32)
    axes = pca(mu)
    np.testing.assert_allclose(axes.mean(0), 0, atol=1e-4)
    covariance = np.cov(axes.T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)
    assert (np.diff(np.diag(covariance)) < 0).all()
    between = np.linalg.norm(mu[:50, None] - mu[None, :50], axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(axes[:50, None] - axes[None, :50], axis=-1), between, atol=1e-3
    )
