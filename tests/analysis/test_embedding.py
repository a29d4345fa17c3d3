"""UMAP in its process: progress, cancelling, failures, particles beyond the sample, the cache."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_cryodrgn.analysis.embedding import load_umap, save_umap, umap_embedding
from napari_cryodrgn.analysis.umap_process import place
from napari_cryodrgn.errors import CryodrgnError, RunFolderError

# A stand-in that squares the first two latents, and shows a bar as UMAP does.
FAKE = """
import os, time
from tqdm.auto import tqdm

class UMAP:
    def __init__(self, random_state, n_jobs, tqdm_kwds):
        assert n_jobs == 1
        self.seed, self.kwds = random_state, tqdm_kwds

    def fit_transform(self, sample):
        open(os.environ["FAKE_LOG"], "w").write(f"{os.getpid()} {len(sample)} {self.seed}")
        {body}
        for _ in tqdm(range(20), **self.kwds):
            time.sleep(0.03)
        return sample[:, :2].astype("float64") ** 2
"""
MU = np.random.default_rng(6).normal(size=(400, 3)).astype(np.float32)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Install the stand-in, with a line of code before its epochs; gives the file it logs to."""

    def install(body: str = "pass") -> Path:
        package = tmp_path / "site" / "umap"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(FAKE.replace("{body}", body))
        monkeypatch.syspath_prepend(package.parent)
        monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=os.pathsep)
        monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
        # Where the working files go, so that they can be looked for.
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
        (tmp_path / "work").mkdir()
        return tmp_path / "log"

    return install


def run(mu: NDArray[np.float32], **settings: int) -> tuple[list[float], NDArray[np.float32]]:
    *fractions, coordinates = umap_embedding(mu, **settings)
    assert all(isinstance(fraction, float) for fraction in fractions)
    assert isinstance(coordinates, np.ndarray)
    return fractions, coordinates


def test_fractions_then_coordinates(fake: Callable[..., Path], tmp_path: Path) -> None:
    log = fake()
    fractions, coordinates = run(MU, seed=5)
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0]
    assert 0.2 < fractions[-1] <= 1.0
    assert len(set(fractions)) > 3
    assert coordinates.dtype == np.float32
    np.testing.assert_allclose(coordinates, MU[:, :2] ** 2, rtol=1e-5)
    process, size, seed = log.read_text().split()
    assert (size, seed) == ("400", "5")
    assert int(process) != os.getpid()
    assert not list((tmp_path / "work").iterdir())


def test_a_sample_is_embedded_and_all_have_a_place(fake: Callable[..., Path]) -> None:
    log = fake()
    # In one plane, so that many neighbours lie near.
    mu = np.random.default_rng(7).uniform(1, 2, size=(3000, 2)).astype(np.float32)
    _, coordinates = run(mu, sample=1000)
    assert log.read_text().split()[1] == "1000"
    error = np.abs(coordinates - mu**2).max(1)
    assert (error < 1e-6).sum() >= 1000
    assert np.percentile(error, 95) < 0.1
    assert error.max() < 0.5


posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


@posix
def test_closing_ends_the_process(fake: Callable[..., Path], tmp_path: Path) -> None:
    log = fake("time.sleep(60)")
    stream = umap_embedding(MU)
    deadline = time.monotonic() + 30
    while not (log.is_file() and log.read_text()) and time.monotonic() < deadline:
        assert next(stream) == 0.0
    process = int(log.read_text().split()[0])
    os.kill(process, 0)  # it is there
    started = time.monotonic()
    stream.close()
    assert time.monotonic() - started < 10  # of the 60
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert not list((tmp_path / "work").iterdir())


def test_a_failure_is_told(fake: Callable[..., Path]) -> None:
    fake("raise ValueError('no spectrum')")
    with pytest.raises(CryodrgnError, match="UMAP failed: ValueError: no spectrum"):
        run(MU)


@posix
def test_a_process_that_is_killed_is_told(fake: Callable[..., Path]) -> None:
    fake("os.kill(os.getpid(), 9)")
    with pytest.raises(CryodrgnError, match=r"signal 9\), perhaps for want of memory"):
        run(MU)


def test_coordinates_that_are_none(fake: Callable[..., Path]) -> None:
    fake("sample = sample * float('nan')")
    with pytest.raises(CryodrgnError, match="no place for some of the 400"):
        run(MU)


def test_without_umap_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_cryodrgn.analysis.embedding.find_spec", lambda name: None)
    with pytest.raises(CryodrgnError, match=r'pip install "napari-cryodrgn\[umap\]"'):
        next(umap_embedding(MU))


@pytest.mark.parametrize(
    ("mu", "words"),
    [
        (MU[:15], "at least 16 particles, got 15"),
        (np.full((20, 2), np.nan, np.float32), "not finite"),
        (np.zeros((0, 3), np.float32), "at least one of each"),
    ],
)
def test_latents_that_cannot_be_embedded(mu: NDArray[np.float32], words: str) -> None:
    with pytest.raises(CryodrgnError, match=words):
        next(umap_embedding(mu))


def test_places_are_weighted_by_nearness() -> None:
    known = np.array([[0.0], [1.0], [50.0]], np.float32)
    coordinates = np.array([[0, 0], [1, 10], [7, 7]], np.float32)
    (found,) = place(known, coordinates, np.array([[0.5], [0.25], [1.0]], np.float32))
    np.testing.assert_allclose(found[0], [0.5, 5.0], atol=0.01)
    np.testing.assert_allclose(found[1], [0.1, 1.0], atol=0.01)
    np.testing.assert_allclose(found[2], coordinates[1], atol=1e-6)


def test_coordinates_are_kept_with_the_run(tmp_path: Path) -> None:
    assert load_umap(tmp_path, MU) is None
    coordinates = MU[:, :2] * 3
    save_umap(tmp_path, MU, coordinates)
    found = load_umap(tmp_path, MU)
    assert found is not None
    np.testing.assert_array_equal(found, coordinates)
    assert load_umap(tmp_path, MU + 1) is None
    save_umap(tmp_path, MU, coordinates[:-1])
    with pytest.raises(RunFolderError, match=r"umap\.npz is damaged"):
        load_umap(tmp_path, MU)


@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed")
def test_umap_itself_keeps_groups_apart() -> None:
    random = np.random.default_rng(8)
    groups = np.repeat([0, 1], 300)
    mu = (random.normal(size=(600, 4)) + 20 * groups[:, None]).astype(np.float32)
    fractions, coordinates = run(mu, sample=400)
    assert fractions == sorted(fractions)
    first, second = coordinates[groups == 0], coordinates[groups == 1]
    apart = np.linalg.norm(first.mean(0) - second.mean(0))
    assert apart > 2 * max(first.std(), second.std())
