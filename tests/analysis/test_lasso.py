"""Points inside outlines, compared with scikit-image's answer."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.measure import points_in_poly

from napari_cryodrgn.analysis.lasso import inside_polygon

RANDOM = np.random.default_rng(2)
POINTS = RANDOM.normal(size=(20_000, 2)).astype(np.float32)


def star(m: int, radius: float = 1.5) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, m, endpoint=False)
    reach = radius * (1 + 0.4 * np.sin(7 * angle))
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], 1)


@pytest.mark.parametrize(
    "polygon",
    [
        star(60),
        star(60)[::-1],
        star(3000),
        RANDOM.normal(size=(12, 2)),  # crosses itself
        [[-1, -1], [-1, 1], [1, 1], [1, -1]],
        [[-9, -9], [9, -9], [9, 9], [-9, 9]],
        np.stack([np.linspace(-3, 3, 61), np.where(np.arange(61) % 2, 2.5, -2.5)], 1),
    ],
)
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-6, 0.0), (3e4, -7e6)])
def test_as_scikit_image_says(polygon: NDArray[np.float64], scale: float, offset: float) -> None:
    points = POINTS.astype(np.float64)
    expected = points_in_poly(points, polygon)
    assert expected.any()
    found = inside_polygon(points * scale + offset, np.asarray(polygon) * scale + offset)
    # Rounding decides about points that lie on the outline.
    assert (found != expected).sum() <= 2


def test_the_middle_of_a_pentagram_is_outside() -> None:
    angle = np.arange(5) * 4 * np.pi / 5 + np.pi / 2
    pentagram = np.stack([np.cos(angle), np.sin(angle)], 1)
    tips = 0.9 * pentagram
    np.testing.assert_array_equal(inside_polygon(np.zeros((1, 2)), pentagram), [False])
    assert inside_polygon(tips, pentagram).all()


def test_neighbouring_outlines_share_no_point_and_lose_none() -> None:
    corners = [(-9.0, -9.0), (-9.0, 9.0)]
    border = [(x, y) for x, y in zip(np.sin(np.arange(40)), np.linspace(9, -9, 40), strict=True)]
    left = inside_polygon(POINTS, [*corners, *border])
    right = inside_polygon(POINTS, [(9.0, -9.0), (9.0, 9.0), *border])
    assert (left ^ right).all()
    assert 0.2 < left.mean() < 0.8


def test_nothing_is_enclosed_by_less_than_a_triangle() -> None:
    for polygon in (np.zeros((0, 2)), [[0, 0]], [[-1, -1], [1, 1]], [[-1, 0], [0, 0], [1, 0]]):
        assert not inside_polygon(POINTS, polygon).any()
    assert inside_polygon(POINTS[:0], star(5)).shape == (0,)


def test_points_that_are_nowhere_are_outside() -> None:
    points = POINTS[:4].copy()
    points[0], points[1, 1], points[2, 0] = np.nan, np.inf, -np.inf
    found = inside_polygon(points, [[-9, -9], [9, -9], [9, 9], [-9, 9]])
    np.testing.assert_array_equal(found, [False, False, False, True])


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"points: expected \(n, 2\), got \(5, 3\)"):
        inside_polygon(np.zeros((5, 3)), star(5))
    with pytest.raises(ValueError, match="polygon: expected"):
        inside_polygon(POINTS, [0, 1, 2])
    with pytest.raises(ValueError, match="polygon: expected"):
        inside_polygon(POINTS, [[0, 0], [np.nan, 1], [1, 1]])
