from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_cryodrgn.widgets import density_image
from napari_cryodrgn.widgets.density_image import Cloud, Look, Region, palette, point_codes, render
from napari_cryodrgn.widgets.map_colors import (
    CATEGORIES,
    category_color,
    coloring,
    density_table,
    is_dark,
)
from napari_cryodrgn.widgets.map_histogram import count

DARK = "#262930"
GREY, ORANGE = (150, 150, 150), (255, 160, 80)


def look() -> Look:
    return Look(density_table(DARK), GREY, ORANGE)


def values(data, labels=None, unit="", name="value"):
    return SimpleNamespace(name=name, data=np.asarray(data), labels=labels, unit=unit)


def two_heaps(n=4000, **more) -> Cloud:
    """Half of the particles around (-2, 0), half around (2, 0)."""
    random = np.random.default_rng(0)
    x = random.normal(scale=0.3, size=n) + np.where(np.arange(n) < n // 2, -2, 2)
    y = random.normal(scale=0.3, size=n)
    return Cloud(x.astype(np.float32), y.astype(np.float32), look(), **more)


WHOLE = Region(-4, -2, 4, 2, 80, 40)


def left_and_right(image):
    """Colours at the two heaps."""
    return image[20, 20], image[20, 60]


def test_an_image_is_there_where_the_particles_are():
    picture = render(two_heaps(), WHOLE, limit=100)

    left, right = left_and_right(picture.image)
    assert left[3] == right[3] == 255
    assert picture.image[20, 40, 3] == 0
    # The points on top are few, and not in the middle of a heap.
    assert 0 < len(picture.rows) <= 100
    cloud = two_heaps()
    middle = np.hypot(np.abs(cloud.x[picture.rows]) - 2, cloud.y[picture.rows])
    assert middle.min() > 0.3


def test_counts_are_those_of_a_histogram(monkeypatch):
    monkeypatch.setattr(density_image, "_PART", 333)
    cloud = two_heaps()
    expected = np.histogram2d(cloud.y, cloud.x, bins=(40, 80), range=((-2, 2), (-4, 4)))[0]

    rows, bins = density_image._inside(cloud, WHOLE)

    counts = density_image._count(bins, 80 * 40).reshape(40, 80)
    # A particle on an edge may fall to either side.
    assert np.abs(counts - expected).sum() <= 4
    assert counts.sum() == len(rows) == 4000


def test_few_particles_in_view_are_points_and_no_image():
    cloud = two_heaps()

    picture = render(cloud, Region(2.5, -2, 4, 2, 80, 40), limit=1000)

    assert picture.image is None
    np.testing.assert_array_equal(picture.rows, np.flatnonzero(cloud.x >= 2.5))


def test_the_same_points_are_chosen_when_the_map_has_moved():
    cloud = two_heaps()

    here = render(cloud, WHOLE, limit=100).rows
    moved = render(cloud, Region(-4.1, -2, 3.9, 2, 80, 40), limit=100).rows

    assert len(np.intersect1d(here, moved)) > 60


@pytest.mark.parametrize("unit", ["", "Å"])
def test_colours_are_those_of_the_mean_value(unit):
    n = 4000
    data = np.where(np.arange(n) < n // 2, 10.0, 20.0).astype(np.float32)
    how = coloring(values(data, unit=unit), None, DARK)

    left, right = left_and_right(render(two_heaps(coloring=how), WHOLE, 100).image)

    np.testing.assert_allclose(left[:3], how.table[0], atol=3)
    np.testing.assert_allclose(right[:3], how.table[-1], atol=3)


def test_359_degrees_and_1_degree_have_the_mean_0():
    random = np.random.default_rng(2)
    data = random.choice([1.0, 359.0], 4000).astype(np.float32)
    how = coloring(values(data, unit="°"), None, DARK)
    assert how.kind == "angles"

    left, _ = left_and_right(render(two_heaps(coloring=how), WHOLE, 100).image)

    np.testing.assert_allclose(left[:3], how.table[0], atol=12)


def test_a_category_shows_where_it_has_the_majority():
    codes = np.where(np.arange(4000) < 2000, 0, 1)
    codes[::5] = 2
    how = coloring(values(codes.astype(np.int32), labels=("a", "b", "c")), None, DARK)

    left, right = left_and_right(render(two_heaps(coloring=how), WHOLE, 100).image)

    np.testing.assert_allclose(left[:3], how.table[0], atol=3)
    np.testing.assert_allclose(right[:3], how.table[1], atol=3)


def test_categories_beyond_the_colours_begin_again():
    labels = tuple(map(str, range(50)))
    how = coloring(values(np.arange(50, dtype=np.int32), labels=labels), None, DARK)

    codes, known = how.codes(slice(None))

    assert codes[23] == 3
    assert known.all()
    assert category_color(23) == CATEGORIES[3]


def test_what_is_masked_is_grey():
    faint = np.arange(4000) < 2000

    left, right = left_and_right(render(two_heaps(faint=faint), WHOLE, 100).image)

    np.testing.assert_array_equal(left[:3], GREY)
    assert left[3] < right[3] == 255


def test_a_particle_without_a_value_is_grey():
    data = np.linspace(0, 1, 4000, dtype=np.float32)
    data[:2000] = np.nan
    cloud = two_heaps(coloring=coloring(values(data), None, DARK))

    left, _ = left_and_right(render(cloud, WHOLE, 100).image)
    codes = point_codes(cloud, np.array([5, 3000]))

    np.testing.assert_array_equal(left[:3], GREY)
    np.testing.assert_array_equal(palette(cloud)[codes[0]], GREY)
    assert codes[1] < len(palette(cloud)) - 1


def test_what_is_selected_stands_out():
    chosen = np.arange(4000) >= 2000

    plain = render(two_heaps(), WHOLE, 100).image
    left, right = left_and_right(render(two_heaps(chosen=chosen), WHOLE, 100).image)

    np.testing.assert_array_equal(left, left_and_right(plain)[0])
    assert right[0] > right[1] > right[2]


def test_a_view_beside_the_data_is_empty():
    picture = render(two_heaps(), Region(10, 10, 12, 12, 40, 40), limit=10)

    assert picture.image is None
    assert len(picture.rows) == 0


@pytest.mark.parametrize(
    "data", [np.full(30, 4.0, np.float32), np.full(30, np.nan, np.float32), np.zeros(0, np.float32)]
)
def test_values_that_do_not_differ_have_a_range_all_the_same(data):
    how = coloring(values(data), None, DARK)

    assert how.high > how.low
    codes, _ = how.codes(slice(None))
    assert len(codes) == len(data)


def test_numbers_are_clipped_by_percentiles_or_as_asked():
    data = np.concatenate([np.linspace(0, 1, 999), [1e9]]).astype(np.float32)

    assert coloring(values(data), None, DARK).high < 1.1
    how = coloring(values(data), (0.25, 0.75), DARK)
    codes, _ = how.codes(slice(None))

    assert (codes[:200] == 0).all()
    assert (codes[800:] == len(how.table) - 1).all()


@pytest.mark.parametrize(("name", "dark"), [("#262930", True), ("#efebe9", False)])
def test_many_particles_stand_out_from_the_background(name, dark):
    assert is_dark(name) is dark
    few, many = density_table(name)[[0, -1]].astype(float).mean(axis=1)
    assert (many > few) is np.True_ if dark else many < few


def test_a_histogram_counts_every_particle_and_knows_the_faint_and_the_selected():
    cloud = two_heaps(faint=np.arange(4000) < 2000, chosen=np.arange(4000) >= 3000)

    counts = count(cloud, (-3.0, 3.0))

    assert len(counts.edges) == len(counts.everything) + 1
    assert (counts.everything.sum(), counts.shown.sum(), counts.chosen.sum()) == (4000, 2000, 1000)
    expected = np.histogram(cloud.x, counts.edges)[0]
    assert np.abs(counts.everything - expected).sum() <= 8
    assert counts.shown[counts.edges[:-1] < 0].sum() == 0


def test_an_outlier_does_not_make_a_million_bins():
    x = np.array([0, 0.1, 0.2, 1e7], np.float32)

    counts = count(Cloud(x, x, look()), (0.0, 0.2))

    assert counts.everything.sum() == 3
    assert len(counts.everything) < 2000
    assert count(Cloud(x[:1], x[:1], look()), (-0.5, 0.5)).everything.sum() == 1


def test_bars_have_the_mean_colour_of_their_particles():
    data = np.where(np.arange(4000) < 2000, 0.0, 1.0).astype(np.float32)
    how = coloring(values(data), None, DARK)

    counts = count(two_heaps(coloring=how), (-3.0, 3.0))

    at = np.searchsorted(counts.edges, [-2.0, 2.0]) - 1
    np.testing.assert_allclose(counts.colors[at], how.table[[0, -1]], atol=1)
