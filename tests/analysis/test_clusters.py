"""Clusters: found again where they were put, numbered along the data, kept with the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_cryodrgn.analysis import Products, Run
from napari_cryodrgn.analysis.clusters import (
    Method,
    find_clusters,
    from_products,
    load_clusters,
    save_clusters,
)
from napari_cryodrgn.errors import CryodrgnError, ParticleFileError, RunFolderError

METHODS: list[Method] = ["k-means", "gaussian mixture"]


def blobs(k: int = 5, size: int = 60, zdim: int = 3) -> tuple[NDArray[np.float32], NDArray]:
    """Groups of particles along a bent line, in mixed order, and the group of each."""
    random = np.random.default_rng(1)
    along = np.arange(k)
    centres = np.zeros((k, zdim))
    centres[:, 0], centres[:, 1] = 4 * along, 0.3 * along**2
    groups = random.permutation(np.repeat(along, size))
    return (centres[groups] + 0.3 * random.normal(size=(k * size, zdim))).astype(np.float32), groups


@pytest.mark.parametrize("method", METHODS)
def test_groups_are_found_and_numbered_along_the_line(method: Method) -> None:
    mu, groups = blobs()
    clusters = find_clusters(mu, 5, method)
    assert clusters.labels.dtype == np.int32
    assert clusters.centres.dtype == np.float32
    np.testing.assert_array_equal(clusters.labels, groups)
    np.testing.assert_array_equal(clusters.counts, 60)
    means = np.stack([mu[groups == i].mean(0) for i in range(5)])
    np.testing.assert_allclose(clusters.centres, means, atol=1e-3)
    distances = np.linalg.norm(mu[None] - clusters.centres[:, None], axis=2)
    np.testing.assert_array_equal(clusters.particles, distances.argmin(1))
    assert clusters.names == ("Cluster 1", "Cluster 2", "Cluster 3", "Cluster 4", "Cluster 5")


@pytest.mark.parametrize("method", METHODS)
def test_the_unit_of_the_latents_does_not_matter(method: Method) -> None:
    mu, groups = blobs()
    for scale, offset in [(1e-4, 0.0), (1e4, 0.0), (1.0, 500.0)]:
        clusters = find_clusters(mu * np.float32(scale) + np.float32(offset), 5, method)
        np.testing.assert_array_equal(clusters.labels, groups)


def test_a_mixture_tells_a_tight_group_from_a_wide_one() -> None:
    random = np.random.default_rng(2)
    groups = np.repeat([0, 1], 500)
    spread = np.where(groups, 0.2, 3.0)
    mu = random.normal(size=(1000, 2)) * spread[:, None]
    mu[:, 0] += 4 * groups
    mu = mu.astype(np.float32)
    assert (find_clusters(mu, 2, "gaussian mixture").labels == groups).mean() > 0.98
    assert (find_clusters(mu, 2).labels == groups).mean() < 0.92


@pytest.mark.parametrize("method", METHODS)
def test_neighbours_have_neighbouring_numbers(method: Method) -> None:
    along = np.random.default_rng(3).uniform(0, 1.5 * np.pi, 4000)
    mu = np.stack([np.cos(along), np.sin(along)], axis=1).astype(np.float32)
    clusters = find_clusters(mu, 12, method)
    # Along three quarters of a circle, the means of the angle only rise, or only fall.
    angles = np.array([along[clusters.labels == i].mean() for i in range(12)])
    steps = np.diff(angles)
    assert (steps > 0).all() or (steps < 0).all()


def test_the_same_seed_gives_the_same_clusters() -> None:
    mu = np.random.default_rng(4).normal(size=(500, 4)).astype(np.float32)
    first, again, other = (find_clusters(mu, 7, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).any()


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_is_fitted_and_all_are_assigned(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    mu, groups = blobs(size=400)
    monkeypatch.setattr("napari_cryodrgn.analysis.clusters._SAMPLE", dict.fromkeys(METHODS, 300))
    monkeypatch.setattr("napari_cryodrgn.analysis.clusters._CHUNK", 700)
    np.testing.assert_array_equal(find_clusters(mu, 5, method).labels, groups)


@pytest.mark.parametrize("method", METHODS)
def test_few_or_equal_particles(method: Method) -> None:
    one = find_clusters(np.ones((1, 3), np.float32), 1, method)
    assert one.labels.tolist() == [0]
    assert one.particles.tolist() == [0]
    np.testing.assert_array_equal(one.centres, 1.0)
    equal = find_clusters(np.full((9, 2), 0.5, np.float32), 4, method)
    assert equal.counts.sum() == 9
    assert (equal.counts > 0).all()
    np.testing.assert_allclose(equal.centres, 0.5)
    each = find_clusters(np.arange(6, dtype=np.float32)[:, None], 6, method)
    assert each.labels.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("k", [0, -1, 13])
def test_a_number_of_clusters_that_cannot_be(k: int) -> None:
    with pytest.raises(CryodrgnError, match=f"from 1 to 12 .*got {k}"):
        find_clusters(np.zeros((12, 2), np.float32), k)


@pytest.mark.parametrize(
    ("mu", "words"),
    [
        (np.full((4, 2), np.nan, np.float32), "not finite"),
        (np.zeros((0, 2), np.float32), r"got \(0, 2\)"),
        (np.zeros((4, 0), np.float32), r"got \(4, 0\)"),
        (np.zeros(4, np.float32), r"got \(4,\)"),
    ],
)
def test_latents_that_are_none(mu: NDArray[np.float32], words: str) -> None:
    with pytest.raises(CryodrgnError, match=words):
        find_clusters(mu, 1)


def test_a_cluster_is_renamed() -> None:
    clusters = find_clusters(blobs()[0], 5)
    renamed = clusters.renamed(1, "  open ")
    assert renamed.names[:3] == ("Cluster 1", "open", "Cluster 3")
    assert clusters.names[1] == "Cluster 2"
    assert renamed.renamed(1, " ").names[1] == "Cluster 2"


def test_clusters_are_kept_with_the_run(tmp_path: Path) -> None:
    mu, _ = blobs()
    assert load_clusters(tmp_path, mu) is None
    saved = find_clusters(mu, 5).renamed(4, "geöffnet, 70 %")
    save_clusters(tmp_path, saved, mu)
    found = load_clusters(tmp_path, mu)
    assert found is not None
    for name in ("labels", "centres", "particles"):
        before, after = getattr(saved, name), getattr(found, name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    assert found.names == saved.names
    assert [path.name for path in (tmp_path / "explorer").iterdir()] == ["clusters.npz"]


def test_clusters_of_other_latents_are_not_taken(tmp_path: Path) -> None:
    mu, _ = blobs()
    save_clusters(tmp_path, find_clusters(mu, 5), mu)
    moved = mu.copy()
    moved[17, 1] += 1e-4
    assert load_clusters(tmp_path, moved) is None
    assert load_clusters(tmp_path, mu[:-1]) is None
    assert load_clusters(tmp_path, mu.reshape(-1, 1)) is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    mu, _ = blobs()
    save_clusters(tmp_path, find_clusters(mu, 5), mu)
    path = tmp_path / "explorer" / "clusters.npz"
    whole = path.read_bytes()
    zeros = bytearray(whole)
    zeros[200:2000] = bytes(1800)
    for content in (b"", b"\0" * 50, whole[: len(whole) // 2], bytes(zeros)):
        path.write_bytes(content)
        with pytest.raises(RunFolderError, match=r"clusters\.npz is damaged"):
            load_clusters(tmp_path, mu)


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": np.full(300, 5, np.int32)},
        {"labels": np.full(300, -1, np.int32)},
        {"labels": np.zeros(299, np.int32)},
        {"centres": np.zeros((5, 2), np.float32)},
        {"centres": np.full((5, 3), np.inf, np.float32)},
        {"particles": np.full(5, 300)},
        {"names": ("one",)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_content_that_does_not_fit_is_damage(tmp_path: Path, wrong: dict) -> None:
    mu, _ = blobs()
    save_clusters(tmp_path, replace(find_clusters(mu, 5), **wrong), mu)
    with pytest.raises(RunFolderError, match="damaged"):
        load_clusters(tmp_path, mu)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    mu, _ = blobs()
    (tmp_path / "explorer").write_text("a file in the way")
    with pytest.raises(ParticleFileError, match="cannot be written"):
        save_clusters(tmp_path, find_clusters(mu, 2), mu)


def test_clusters_of_an_analysis_keep_their_numbers(tmp_path: Path) -> None:
    mu, groups = blobs()
    assert from_products(Products(tmp_path), mu) is None
    given = mu[[7, 0, 3, 1, 9]]
    members = np.array([7, 0, 3, 1, 9])
    clusters = from_products(Products(tmp_path, None, groups, given, members), mu)
    assert clusters is not None
    np.testing.assert_array_equal(clusters.labels, groups)
    np.testing.assert_array_equal(clusters.centres, given)
    np.testing.assert_array_equal(clusters.particles, members)
    # Without centres they are the means, also of a cluster with no particle.
    clusters = from_products(Products(tmp_path, labels=np.where(groups == 2, 1, groups)), mu)
    assert clusters is not None
    assert clusters.counts.tolist() == [60, 120, 0, 60, 60]
    np.testing.assert_allclose(clusters.centres[3], mu[groups == 3].mean(0), rtol=1e-5)
    assert np.isfinite(clusters.centres).all()


@pytest.mark.parametrize("fault", ["labels", "centres", "zdim"])
def test_clusters_of_another_run_are_refused(tmp_path: Path, fault: str) -> None:
    mu, groups = blobs()
    labels = groups[:-1] if fault == "labels" else groups
    centres = mu[:4] if fault == "centres" else mu[:5]
    products = Products(tmp_path, None, labels, centres[:, :2] if fault == "zdim" else centres)
    with pytest.raises(RunFolderError, match="300 particles, zdim 3"):
        from_products(products, mu)


def test_clusters_of_a_run_of_cryodrgn(shared_data: Path) -> None:
    run = Run.open(shared_data / "cryodrgn-run")
    products = run.products()
    assert products is not None
    assert run.latents is not None
    clusters = from_products(products, run.latents.mu)
    assert clusters is not None
    assert len(clusters.names) == 20
    # cryoDRGN takes the particles nearest to the means for its centres.
    np.testing.assert_allclose(run.latents.mu[clusters.particles], clusters.centres, atol=1e-5)
