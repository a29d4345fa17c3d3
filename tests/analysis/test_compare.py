"""Two runs compared where the truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from napari_cryodrgn.analysis.alignment import VolumeFit
from napari_cryodrgn.analysis.compare import (
    common_frame,
    correspondence,
    latent_correlation,
    match,
    match_volumes,
    moved,
    volume_correlation,
)
from napari_cryodrgn.errors import CryodrgnError
from napari_cryodrgn.imaging import hinge, simulate
from napari_cryodrgn.particles import (
    ParticleSet,
    PreprocessSettings,
    preprocess,
    read,
    write_simulation,
    write_subset,
)

from .conftest import MakeRun, with_micrographs

N = 30


@pytest.fixture
def star(tmp_path: Path) -> Path:
    return write_simulation(tmp_path / "set", simulate(hinge(), N, 32, 9.0, seed=2))


def small(particles: ParticleSet, folder: Path, box: int) -> Path:
    (found,) = [
        step
        for step in preprocess(particles, folder, PreprocessSettings(box=box))
        if not isinstance(step, float)
    ]
    return found.source


def test_rows_of_one_file(make_run: MakeRun) -> None:
    rows_a, rows_b = np.array([9, 4, 7, 1]), np.array([7, 8, 9])
    a = make_run(4, Path("x.mrcs"), indices=rows_a)
    b = make_run(3, Path("x.mrcs"), indices=rows_b)
    in_a, in_b = match(a, b)
    np.testing.assert_array_equal(in_a, [0, 2])
    np.testing.assert_array_equal(rows_a[in_a], rows_b[in_b])
    whole = make_run(10, Path("x.mrcs"))
    np.testing.assert_array_equal(match(a, whole)[1], rows_a)
    with pytest.raises(CryodrgnError, match="no particles in common"):
        match(a, make_run(2, Path("x.mrcs"), indices=np.array([2, 3])))


def test_files_preprocessed_from_one(star: Path, tmp_path: Path, make_run: MakeRun) -> None:
    particles = read(star)
    chosen = np.array([20, 3, 11])
    a = make_run(N, small(particles, tmp_path / "a", 16))
    b = make_run(3, small(particles.select(chosen), tmp_path / "b", 20))
    np.testing.assert_array_equal(match(a, b), [np.sort(chosen), np.argsort(chosen)])
    np.testing.assert_array_equal(match(b, make_run(N, star)), [[0, 1, 2], chosen])


def test_images_of_the_same_names(star: Path, tmp_path: Path, make_run: MakeRun) -> None:
    chosen = np.array([20, 3, 11])
    other = tmp_path / "elsewhere" / "some.star"
    other.parent.mkdir()
    write_subset(other, read(star).select(chosen))
    in_a, in_b = match(make_run(3, other), make_run(N, star))
    np.testing.assert_array_equal(in_a, [0, 1, 2])
    np.testing.assert_array_equal(in_b, chosen)
    # Sorted anew: as many, but not in order.
    write_subset(other, read(star).select(np.arange(N)[::-1]))
    np.testing.assert_array_equal(
        match(make_run(N, other), make_run(N, star)), [np.arange(N), np.arange(N)[::-1]]
    )


def test_uid_of_cryosparc(shared_data: Path, tmp_path: Path, make_run: MakeRun) -> None:
    path = shared_data / "formats" / "cryosparc_P12_J24_001_particles.cs"
    data = np.load(path)
    order = np.random.default_rng(0).permutation(len(data))[:500]
    with (tmp_path / "other.cs").open("wb") as file:
        np.save(file, data[order])
    in_a, in_b = match(make_run(500, tmp_path / "other.cs"), make_run(len(data), path))
    np.testing.assert_array_equal(in_a, np.arange(500))
    np.testing.assert_array_equal(in_b, order)


def test_in_order_where_nothing_names_them(star: Path, make_run: MakeRun) -> None:
    a, b = make_run(N, Path("a.mrcs")), make_run(N, Path("b.mrcs"))
    np.testing.assert_array_equal(match(a, b), [np.arange(N)] * 2)
    np.testing.assert_array_equal(match(make_run(N, None), make_run(N, star)), [np.arange(N)] * 2)
    with pytest.raises(CryodrgnError, match="no particles in common"):
        match(a, make_run(N + 1, Path("b.mrcs")))


def test_as_many_of_other_micrographs_are_not_the_same(
    star: Path, tmp_path: Path, make_run: MakeRun
) -> None:
    with_micrographs(star, [f"mic{i // 4}.mrc" for i in range(N)])
    text = star.read_text()
    renamed = tmp_path / "renamed.star"
    renamed.write_text(text.replace("@particles", "@others"))
    np.testing.assert_array_equal(
        match(make_run(N, star), make_run(N, renamed)), [np.arange(N)] * 2
    )
    renamed.write_text(text.replace("@particles", "@others").replace(" mic", " grid"))
    with pytest.raises(CryodrgnError, match="no particles in common"):
        match(make_run(N, star), make_run(N, renamed))


def test_clusters_under_other_names() -> None:
    random = np.random.default_rng(0)
    a = random.integers(0, 4, 2000)
    names = np.array([2, 0, 3, 1])
    found = correspondence(a, names[a])
    assert found.agreement == pytest.approx(1)
    np.testing.assert_array_equal(found.order, names)
    assert np.trace(found.table[:, found.order]) == len(a)
    assert abs(correspondence(a, random.integers(0, 4, 2000)).agreement) < 0.02
    # Cluster 3 is split: its larger part is its partner, the other comes last.
    split = np.where((names[a] == 3) & (random.random(2000) < 0.3), 4, names[a])
    table, order, agreement = correspondence(a, split)
    assert table.shape == (4, 5)
    np.testing.assert_array_equal(order, [2, 0, 3, 1, 4])
    assert 0.5 < agreement < 1
    assert sorted(correspondence(split, a).order) == [0, 1, 2, 3]


@pytest.mark.parametrize(("a", "b"), [([0, 1], [0]), ([], []), ([-1, 0], [0, 1]), ([[0]], [[0]])])
def test_labels_that_do_not_fit(a: list[int], b: list[int]) -> None:
    with pytest.raises(ValueError, match="expected labels"):
        correspondence(np.array(a, int), np.array(b, int))


def test_latents_up_to_a_linear_change() -> None:
    random = np.random.default_rng(1)
    a = random.normal(size=(3000, 3))
    change = random.normal(size=(3, 5))
    np.testing.assert_allclose(latent_correlation(a, a @ change + 7), 1, atol=1e-9)
    noise = random.normal(size=(3000, 2))
    assert latent_correlation(a, noise).max() < 0.1
    # One common direction, with noise of its own variance: correlation 1/sqrt 2.
    one = np.stack([a[:, 0] + noise[:, 0], noise[:, 1]], 1)
    np.testing.assert_allclose(latent_correlation(a, one), [0.707, 0], atol=0.05)
    flat = np.stack([a[:, 1], np.zeros(3000)], 1).astype(np.float32)
    np.testing.assert_allclose(latent_correlation(flat, a), [1, 0], atol=1e-6)
    np.testing.assert_array_equal(latent_correlation(np.ones((5, 2)), np.ones((5, 1))), [0])
    with pytest.raises(ValueError, match="same particles"):
        latent_correlation(a, a[:-1])


def volumes(k: int, box: int = 24) -> np.ndarray:
    """Different lumps in the middle of a box."""
    noise = np.random.default_rng(5).normal(size=(k, box, box, box))
    shape = np.exp(-((np.arange(box) - box // 2) ** 2) / (2 * (box / 7) ** 2))
    lumps = np.stack([gaussian_filter(v, 2) for v in noise]) * 10
    window = shape[:, None, None] * shape[:, None] * shape
    return (lumps * window).astype(np.float32)


def test_correlation_of_volumes() -> None:
    a, b = volumes(2)
    assert volume_correlation(a, 3 * a + 2) == pytest.approx(1)
    assert volume_correlation(a, -a) == pytest.approx(-1)
    assert volume_correlation(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert volume_correlation(a, np.zeros_like(a)) == 0
    with pytest.raises(ValueError, match="one size"):
        volume_correlation(a, a[1:])


def test_volumes_find_their_partners() -> None:
    a = volumes(4)
    order = np.array([2, 0, 3])
    b = a[order] * 2 + 1
    # What lies outside the sphere does not count.
    line = np.arange(24) - 12
    outside = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2) >= 9
    b[:, outside] = np.random.default_rng(8).normal(size=(3, int(outside.sum()))) * 99
    table = match_volumes(a, b, radius=9)
    assert table.shape == (4, 3)
    np.testing.assert_array_equal(table.argmax(0), order)
    np.testing.assert_allclose(table.max(0), 1, atol=1e-5)
    assert match_volumes(a, b).max() < 0.5
    with pytest.raises(ValueError, match="one size"):
        match_volumes(a, b[:, 1:])


@pytest.mark.parametrize("flipped", [False, True])
def test_another_frame_is_undone(flipped: bool) -> None:
    a = volumes(3) + 2 * volumes(4)[3]
    turn = torch.from_numpy(Rotation.from_rotvec([0.5, -0.8, 1.1]).as_matrix()).float()
    motion = VolumeFit(turn, flipped, torch.tensor([1.0, -0.5, 0.7]), torch.zeros(0), 0.0)
    b = np.stack([moved(volume, motion) for volume in a])[[1, 2, 0]]
    assert match_volumes(a, b).max() < 0.8
    back, fit = common_frame(b, a)
    # A mirror and its own undoing are one.
    assert fit.flipped == flipped
    table = match_volumes(a, back)
    np.testing.assert_array_equal(table.argmax(0), [1, 2, 0])
    assert table.max(0).min() > 0.95
    np.testing.assert_allclose(volume_correlation(back.mean(0), fit.volume.numpy()), 1, atol=0.03)
