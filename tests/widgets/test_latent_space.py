from __future__ import annotations

import numpy as np
import pytest

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
