from __future__ import annotations

import numpy as np
import pytest

from napari_cryodrgn.analysis.orientations import (
    count_side,
    count_views,
    efficiency,
    fourier_sampling,
    half_sphere,
    orientation_bias,
    psf_widths,
    sampling_compensation,
)

N = 20_000


def even(n: int = N, seed: int = 0) -> np.ndarray:
    axes = np.random.default_rng(seed).normal(size=(n, 3))
    return (axes / np.linalg.norm(axes, axis=1, keepdims=True)).astype(np.float32)


def side(n: int = N) -> np.ndarray:
    """Views perpendicular to z, all around it."""
    angle = np.random.default_rng(1).uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1).astype(np.float32)


def top(n: int = N) -> np.ndarray:
    return np.tile(np.float32([[0, 0, 1]]), (n, 1))


def any_rotation() -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))[0].astype(np.float32)


def test_even_views():
    bias = orientation_bias(even())

    assert bias.n == N
    assert bias.efficiency == pytest.approx(1, abs=0.02)
    assert bias.scf == pytest.approx(1, abs=0.02)
    assert bias.unseen == 0
    assert bias.empty == pytest.approx(bias.empty_if_even, abs=0.01)
    assert bias.stretch < 1.02


@pytest.mark.parametrize("turned", [False, True])
def test_side_views(turned):
    """The sampling is 2 / (pi sin theta) there, so the SCF is 8 / pi²."""
    rotation = any_rotation() if turned else np.eye(3, dtype=np.float32)

    bias = orientation_bias(side() @ rotation)

    assert bias.scf == pytest.approx(8 / np.pi**2, abs=0.02)
    assert bias.unseen < 0.01
    assert bias.empty > 0.9
    # The axis itself is in all the planes: across it the function is wider.
    assert abs(bias.blurred @ rotation[2]) < 0.2
    assert 0.6 < bias.efficiency < 0.8


def test_views_from_one_side():
    bias = orientation_bias(top() @ any_rotation())

    assert bias.efficiency == 0
    assert bias.scf < 0.001
    assert bias.unseen > 0.98
    assert abs(bias.blurred @ any_rotation()[2]) > 0.99
    assert bias.stretch > 5


def test_a_cone_of_views_leaves_a_cone_unseen():
    """Views within 30 degrees of z: none measures what is within 60 of it."""
    axes = even(200_000)
    axes = axes[axes[:, 2] > np.cos(np.deg2rad(30))]

    bias = orientation_bias(axes)

    assert bias.unseen == pytest.approx(1 - np.cos(np.deg2rad(60)), abs=0.03)
    assert bias.scf < 0.05


def test_the_more_preferred_the_worse():
    measured = []
    for share in (0.0, 0.3, 0.6, 0.9):
        axes = even()
        axes[: int(share * N)] = (1, 0, 0)
        measured.append(orientation_bias(axes))

    for name in ("efficiency", "scf"):
        values = [getattr(bias, name) for bias in measured]
        assert values == sorted(values, reverse=True)
    assert abs(measured[-1].blurred[0]) > 0.97


def test_the_sampling_compensation_of_two_halves():
    """Half of the directions sampled 1.5 times, half 0.5 times: 1 / mean(2/3, 2)."""
    assert sampling_compensation(np.float32([1.5, 0.5])) == pytest.approx(0.75)
    # With a half unseen: 1/SCF* = 1 + 1 / 0.02, of values relative to the mean of both.
    assert sampling_compensation(np.float32([2, 0])) == pytest.approx(1 / (0.5 + 50))
    assert sampling_compensation(np.float32([0, 0])) == 0


def test_a_slice_is_sampled_where_it_lies():
    directions = np.float32([[1, 0, 0], [0, 0, 1], [0.0, 0.6, 0.8]])

    sampling = fourier_sampling(top(10), directions, 10)

    np.testing.assert_allclose(sampling, [20, 0, 0])


def test_widths_of_the_point_spread_function_by_another_way():
    """A sum of plane waves over Fourier space, on the axes, for side views."""
    directions = half_sphere(16)
    sine = np.sqrt(1 - directions[:, 2] ** 2)
    sampling = (2 / np.pi / np.maximum(sine, 0.02)).astype(np.float32)

    across, along = psf_widths(sampling, directions, np.float32([[1, 0, 0], [0, 0, 1]]))

    k = np.linspace(0.005, 4, 400)
    radial = k * np.exp(-(k**2))

    def psf(direction: int, r: float) -> float:
        waves = np.cos(2 * r * np.abs(directions[:, direction, None]) * k)
        return float((sampling[:, None] * radial * waves).sum())

    for direction, width in ((0, across), (2, along)):
        assert psf(direction, width) / psf(direction, 0) == pytest.approx(0.5, abs=0.02)
    assert across > 1.2 * along


def test_efficiency_is_about_the_spread_of_widths():
    assert efficiency(np.float32([2, 2, 2])) == 1
    assert efficiency(np.float32([1, 3])) == 0
    assert efficiency(np.float32([1.8, 2.2])) == pytest.approx(0.8)


def test_half_a_sphere():
    directions = half_sphere(4)

    assert len(directions) == 96
    assert (directions @ directions.T).min() > -0.999
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)


def test_counts():
    axes = even(5000)

    counts = count_views(axes, count_side(5000))

    assert counts.sum() == 5000
    assert len(counts) == 12 * 8**2
    assert [count_side(n) for n in (1, 300, 1000, 10**6)] == [2, 2, 4, 16]


def test_few_views():
    assert orientation_bias(np.zeros((0, 3), np.float32)) is None
    alone = orientation_bias(top(1))
    assert alone.n == 1
    assert alone.efficiency == 0


@pytest.mark.parametrize("n", [10, 30, 100, 300, 2000])
def test_few_even_views_are_told_from_preferred_ones(n):
    """The sampling compensation factor of ten even views is 0.04."""
    biases = [orientation_bias(even(n, seed)) for seed in range(12)]

    for name in ("scf", "efficiency"):
        values = np.array([getattr(bias, name) for bias in biases])
        expected = getattr(biases[0], f"{name}_if_even")
        assert expected == getattr(biases[1], f"{name}_if_even")
        # A mean of 12 against one of 8, and three standard errors.
        assert abs(values.mean() - expected) < 3 * values.std() * np.sqrt(1 / 12 + 1 / 8) + 0.005
    assert (biases[0].scf_if_even < 0.4) == (n < 100)
    preferred = orientation_bias(side(n))
    assert preferred.scf < 0.9 * preferred.scf_if_even
