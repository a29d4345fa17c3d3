from __future__ import annotations

import numpy as np
import pytest

from napari_cryodrgn.widgets import latent_space
from napari_cryodrgn.widgets.latent_space import LatentSpace


@pytest.fixture
def mu() -> np.ndarray:
    random = np.random.default_rng(0)
    return (random.normal(size=(500, 4)) @ random.normal(size=(4, 4)) + 3).astype(np.float32)


@pytest.mark.parametrize("axes", [("z0", "z3"), ("PC1", "PC3"), ("z1", "PC2")])
def test_the_z_of_a_point_is_drawn_at_that_point(mu, pca, axes):
    space = LatentSpace(mu, pca)

    z = space.z_at(axes, (1.5, -0.7), mu[17])

    np.testing.assert_allclose(space.project(axes, z), (1.5, -0.7), atol=1e-4)


@pytest.mark.parametrize(
    ("axes", "others"), [(("z0", "z3"), ["z1", "z2"]), (("PC1", "PC3"), ["PC2", "PC4"])]
)
def test_what_is_not_drawn_comes_from_the_particle(mu, pca, axes, others):
    space = LatentSpace(mu, pca)

    z = space.z_at(axes, (1.5, -0.7), mu[17])

    np.testing.assert_allclose(
        space.project(others, z), space.coordinates(others)[17], rtol=1e-3, atol=1e-3
    )


def test_a_particle_is_drawn_where_its_z_is(mu, pca):
    space = LatentSpace(mu, pca)

    for axes in (("z0", "z1"), ("PC1", "PC4")):
        here = space.project(axes, mu[42])
        np.testing.assert_allclose(here, space.coordinates(axes)[42], atol=1e-3)


def test_the_place_of_a_particle_is_among_the_coordinates(mu, pca):
    space = LatentSpace(mu, pca)

    np.testing.assert_array_equal(
        space.place(("PC2", "z0"), 42), space.coordinates(("PC2", "z0"))[42]
    )


def test_the_same_axis_twice_is_no_failure(mu, pca):
    z = LatentSpace(mu, pca).z_at(("z0", "z0"), (1.0, 1.0), mu[0])

    np.testing.assert_allclose(z, [1.0, *mu[0, 1:]], atol=1e-4)


def test_nearest_is_by_what_the_eye_sees(pca):
    mu = np.array([[0, 0], [1, 10]], np.float32)
    space = LatentSpace(mu, pca)

    # A pixel is 100 times as high as it is wide: 10 up is nearer than 1 to the side.
    assert space.nearest(("z0", "z1"), (0.9, 0.0), (0.1, 10.0)) == 1
    assert space.nearest(("z0", "z1"), (0.9, 0.0), (1.0, 1.0)) == 0


@pytest.mark.parametrize(("zdim", "axes"), [(1, ("z0",)), (2, ("z0", "z1")), (3, ("PC1", "PC2"))])
def test_default_axes(pca, zdim, axes):
    mu = np.random.default_rng(0).normal(size=(50, zdim)).astype(np.float32)

    assert LatentSpace(mu, pca).default_axes == axes


def test_a_walk_goes_from_the_5th_to_the_95th_percentile_through_the_mean(mu, pca):
    space = LatentSpace(mu, pca)

    walk = space.walk("PC1", 5)

    along = [float(space.project(["PC1"], z)[0]) for z in walk]
    np.testing.assert_allclose(
        [along[0], along[-1]], np.percentile(space.coordinates(["PC1"]), (5, 95)), atol=1e-3
    )
    across = [float(space.project(["PC2"], z)[0]) for z in walk]
    np.testing.assert_allclose(across, 0, atol=1e-3)


def test_one_particle_and_a_latent_that_has_collapsed(pca):
    one = LatentSpace(np.ones((1, 3), np.float32), pca)
    flat = LatentSpace(np.ones((20, 3), np.float32), pca)

    assert one.default_axes == ("z0", "z1")
    np.testing.assert_allclose(flat.z_at(("PC1", "PC2"), (0, 0), flat.mu[3]), 1, atol=1e-5)


def test_the_tree_finds_what_a_look_at_all_particles_finds(mu, pca):
    random = np.random.default_rng(3)
    slow, quick = LatentSpace(mu, pca), LatentSpace(mu, pca)
    axes = ("PC1", "PC3")
    quick.index(axes)

    for _ in range(50):
        point, unit = random.normal(scale=3, size=2), np.exp(random.normal(scale=3, size=2))
        assert quick.nearest(axes, point, unit) == slow.nearest(axes, point, unit)


def test_a_thousand_equal_particles_are_no_trouble(pca, monkeypatch):
    monkeypatch.setattr(latent_space, "_CANDIDATES", 100)
    mu = np.zeros((1000, 2), np.float32)
    mu[500:] = 1
    space = LatentSpace(mu, pca)
    space.index(("z0", "z1"))

    assert space.nearest(("z0", "z1"), (0.9, 0.9), (0.1, 0.1)) >= 500


@pytest.fixture
def with_umap(mu, pca) -> LatentSpace:
    """A space with two axes that know the particles only: the first two dimensions, bent."""
    space = LatentSpace(mu, pca)
    space.add_axes({"UMAP1": np.arctan(mu[:, 0]), "UMAP2": mu[:, 1] ** 3})
    return space


@pytest.mark.parametrize("indexed", [False, True])
def test_on_further_axes_a_point_means_the_particles_around_it(with_umap, indexed):
    axes = ("UMAP1", "UMAP2")
    if indexed:
        with_umap.index(axes)
    here = with_umap.coordinates(axes)[17]

    on_it = with_umap.z_at(axes, here, with_umap.mu[3])
    apart = with_umap.z_at(axes, here + [0.01, 0.5], with_umap.mu[3])

    np.testing.assert_allclose(on_it, with_umap.mu[17], atol=1e-3)
    assert not np.allclose(apart, with_umap.mu[17], atol=1e-3)
    low, high = with_umap.mu.min(0), with_umap.mu.max(0)
    assert np.all((apart > low) & (apart < high))


def test_on_further_axes_a_particle_is_drawn_where_it_is(with_umap):
    here = with_umap.project(("UMAP1", "z1"), with_umap.mu[17])

    np.testing.assert_allclose(here, with_umap.coordinates(("UMAP1", "z1"))[17], atol=1e-3)


def test_further_axes_are_named_and_can_be_replaced(with_umap, mu):
    assert with_umap.names[-2:] == ["UMAP1", "UMAP2"]
    assert not with_umap.is_linear(("z0", "UMAP1"))
    with_umap.index(("UMAP1", "UMAP2"))

    with_umap.add_axes({"UMAP1": -with_umap.coordinates(["UMAP1"])[:, 0]})

    for indexed in (True, False):
        point = with_umap.coordinates(("UMAP1", "UMAP2"))[11]
        assert with_umap.nearest(("UMAP1", "UMAP2"), point, (1, 1)) == 11, indexed
    with pytest.raises(ValueError, match="z0 is a linear axis"):
        with_umap.add_axes({"z0": mu[:, 0]})
    with pytest.raises(ValueError, match=r"shape \(500,\), not \(3,\)"):
        with_umap.add_axes({"UMAP1": mu[:3, 0]})


@pytest.mark.parametrize("zdim", [1, 2, 8])
def test_what_lies_off_the_data_is_told_from_what_lies_among_them(pca, zdim):
    random = np.random.default_rng(5)
    mu = random.normal(size=(4000, zdim)).astype(np.float32)
    space = LatentSpace(mu, pca)

    among = np.array([space.off_data(z) for z in random.normal(size=(400, zdim))])
    ring = random.normal(size=(50, zdim))
    outside = [space.off_data(8 * r / np.linalg.norm(r)) for r in ring]

    # By what it is, one in twenty lies beyond 1.
    assert 0.01 < np.mean(among > 1) < 0.12
    assert np.mean(among > 2) < 0.02
    assert min(outside) > 2


def test_the_hole_of_a_ring_is_off_the_data(pca):
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 5000)
    mu = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)

    space = LatentSpace(mu, pca)

    assert space.off_data(np.zeros(2)) > 10
    assert space.off_data(np.array([1.0, 0.0])) < 2


def test_nothing_is_off_the_data_of_one_particle(pca):
    one = LatentSpace(np.ones((1, 3), np.float32), pca)

    assert one.off_data(np.zeros(3)) == 0
    assert one.distance_scale == 0


def test_one_axis_lies_flat_in_the_plane(mu, pca):
    plane = LatentSpace(mu, pca).plane(("PC2",))

    assert plane.shape == (500, 2)
    np.testing.assert_array_equal(plane[:, 1], 0)
