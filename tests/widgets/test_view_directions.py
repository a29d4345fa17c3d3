from __future__ import annotations

import healpix
import numpy as np
import pytest

from napari_cryodrgn.particles import rotations_from_euler
from napari_cryodrgn.widgets.view_directions import (
    angle_between,
    circle_on_map,
    count_image,
    direction_map,
    from_map,
    nearest_direction,
    on_map,
    view_axes,
)


def even(n: int, seed: int = 0) -> np.ndarray:
    axes = np.random.default_rng(seed).normal(size=(n, 3))
    return (axes / np.linalg.norm(axes, axis=1, keepdims=True)).astype(np.float32)


def test_longitude_is_rot_and_latitude_is_90_minus_tilt():
    tilts = [0, 90, 90, 90, 180]
    rots = [0, 0, 90, -90, 0]
    rotations = rotations_from_euler([(r, t, 33) for r, t in zip(rots, tilts, strict=True)])

    places = on_map(view_axes(rotations))

    np.testing.assert_allclose(places, [(0, 1), (0, 0), (1, 0), (-1, 0), (0, -1)], atol=1e-3)


def test_there_and_back():
    axes = even(1000)

    back = [from_map(x, y) for x, y in on_map(axes).astype(float) * 0.9999]

    np.testing.assert_allclose(back, axes, atol=0.05)
    assert np.median(np.abs(np.array(back) - axes)) < 1e-3
    assert from_map(1.9, 0.9) is None
    assert from_map(2.1, 0.0) is None


def test_an_even_distribution_looks_even():
    drawn = direction_map(even(400_000))

    inside = drawn.density[np.isfinite(drawn.density)]
    assert inside.mean() == pytest.approx(1, abs=0.02)
    assert np.percentile(inside, 2) > 0.8
    assert np.percentile(inside, 98) < 1.2
    assert len(drawn.points) == 500


def test_a_preferred_direction_stands_out():
    axes = even(2000)
    axes[:1000] = (0, 1, 0)

    drawn = direction_map(axes)

    y, x = np.unravel_index(np.nanargmax(drawn.density), drawn.density.shape)
    assert (x + 0.5) * 4 / 128 - 2 == pytest.approx(1, abs=0.05)
    assert (y + 0.5) * 2 / 64 - 1 == pytest.approx(0, abs=0.05)
    assert drawn.peak > 10


def test_nothing_selected_is_an_empty_map():
    drawn = direction_map(np.zeros((0, 3), np.float32))

    assert drawn.n == 0
    assert drawn.peak == 0


def test_nearest_direction():
    axes = even(500)

    assert nearest_direction(axes, axes[77] + 0.001) == 77


def test_counts_lie_on_the_map_where_the_directions_do():
    n_side = 4
    counts = np.arange(12 * n_side**2)
    image = count_image(counts)
    x, y, z = healpix.pix2vec(n_side, counts)

    places = on_map(np.stack([x, y, z], 1))

    column = ((places[:, 0] + 2) / 4 * image.shape[1]).astype(int)
    row = ((places[:, 1] + 1) / 2 * image.shape[0]).astype(int)
    # On the longitude of 180 degrees a pixel has two places.
    inner = np.abs(np.arctan2(y, x)) < 3.1
    np.testing.assert_array_equal(image[row, column][inner], counts[inner])
    assert np.isnan(image[0, 0])


def test_a_circle_keeps_its_angle():
    axis = np.float32([-0.9, 0.1, 0.3]) / np.linalg.norm([-0.9, 0.1, 0.3])

    line = circle_on_map(axis, 20).astype(float)

    on = [from_map(x * 0.9999, y * 0.9999) for x, y in line if np.isfinite(x)]
    np.testing.assert_allclose([angle_between(axis, one) for one in on], 20, atol=0.3)
    # About the longitude of 180 degrees it leaves the map and comes back.
    assert np.isnan(line).any()
    assert not np.isnan(circle_on_map(-axis, 20)).any()
