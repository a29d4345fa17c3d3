"""Density of particles, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cryodrgn.analysis.density import log_density


@pytest.mark.parametrize(("zdim", "most"), [(1, 0.1), (2, 0.12), (4, 0.3)])
def test_a_gaussian(zdim: int, most: float) -> None:
    n, width = 20_000, 3.0
    x = np.random.default_rng(zdim).normal(size=(n, zdim))
    found = log_density((x * width + 50).astype(np.float32))
    square = (x**2).sum(1)
    true = (np.log(n) - 0.5 * square - zdim * np.log(width * np.sqrt(2 * np.pi))) / np.log(10)
    core = square < zdim + 2
    assert np.abs(found - true)[core].mean() < most
    # All but the outermost hundredth, where the sample ends.
    most_of_it = square < np.quantile(square, 0.99)
    assert np.corrcoef(found[most_of_it], true[most_of_it])[0, 1] > 0.9


def test_a_narrow_state_beside_a_wide_one() -> None:
    random = np.random.default_rng(0)
    wide, narrow = random.normal(size=(2, 10_000, 2)) * [[[1.0]], [[0.1]]]
    found = log_density(np.concatenate([wide, narrow + 8]).astype(np.float32))
    ratio = np.median(found[10_000:]) - np.median(found[:10_000])
    assert ratio == pytest.approx(2, abs=0.1)  # a hundred times as dense


@pytest.mark.parametrize("zdim", [1, 2, 4])
def test_a_state_of_one_particle_in_twenty(zdim: int) -> None:
    random = np.random.default_rng(0)
    small = random.normal(size=(1000, zdim)) * 0.1 + 6
    mu = np.concatenate([random.normal(size=(19_000, zdim)), small]).astype(np.float32)
    found = log_density(mu)
    ratio = np.median(found[19_000:]) - np.median(found[:19_000])
    assert ratio == pytest.approx(np.log10(0.05 / 0.95) + zdim, abs=0.35)


def test_units() -> None:
    mu = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    np.testing.assert_allclose(log_density(mu * 10), log_density(mu) - 3, atol=1e-3)


def test_sets_without_spread() -> None:
    for mu in (np.ones((1, 2)), np.ones((50, 2)), np.zeros((3, 1))):
        assert np.isfinite(log_density(mu.astype(np.float32))).all()
    assert log_density(np.zeros((0, 2), np.float32)).shape == (0,)
    assert np.isnan(log_density(np.zeros((4, 0), np.float32))).all()


def test_particles_that_are_nowhere() -> None:
    mu = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    mu[3, 1], mu[7] = np.nan, np.inf
    found = log_density(mu)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), [3, 7])
