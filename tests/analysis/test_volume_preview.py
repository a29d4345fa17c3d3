from __future__ import annotations

import numpy as np
import pytest

from napari_cryodrgn.analysis.volume_preview import fit_preview, preview_nodes


def volumes(z):
    """Smooth in z (n, 2), (n, 6, 6, 6)."""
    grid = np.linspace(-1, 1, 6, dtype=np.float32)
    x, y = grid[:, None, None], grid[:, None]
    centre = 0.3 * np.asarray(z, np.float32)
    return [np.exp(-((x - a) ** 2) - (y - b) ** 2 - grid**2) for a, b in centre]


def latents(n=500):
    return np.random.default_rng(1).normal(size=(n, 2)).astype(np.float32)


def test_nodes_are_different_particles_spread_over_the_data():
    mu = np.repeat(latents(30), 4, axis=0)
    nodes = preview_nodes(mu, 20)
    assert len(np.unique(mu[nodes], axis=0)) == 20
    assert len(preview_nodes(mu, 100)) == 30
    # A first part of them leaves no particle far from all: k-means++ favours what is far.
    mu = latents(20_000)
    chosen = mu[preview_nodes(mu)[:16]]

    def farthest(points):
        return np.linalg.norm(mu[:, None] - points, axis=-1).min(1).max()

    assert farthest(chosen) < farthest(mu[:16])


def test_preview_is_near_the_volume_and_knows_how_near():
    mu = latents()
    nodes = preview_nodes(mu, 64)
    preview = fit_preview(mu, nodes, volumes(mu[nodes]))
    others = np.setdiff1d(np.arange(len(mu)), nodes)[:40]
    true = volumes(mu[others])
    spread = np.mean(volumes(mu), axis=0)
    errors = [
        np.linalg.norm(preview.at(mu[i]) - v) / np.linalg.norm(v - spread)
        for i, v in zip(others, true, strict=True)
    ]
    assert np.median(errors) < 0.03
    # Measured with half as many nodes: rather too large than too small.
    assert np.median(errors) < preview.error < 0.2


def test_more_volumes_make_it_better():
    mu = latents()
    nodes = preview_nodes(mu, 64)
    few, many = (fit_preview(mu, nodes, volumes(mu[nodes[:n]])) for n in (12, 64))
    assert many.error < 0.5 * few.error


def test_there_is_none_where_it_would_mislead():
    mu = latents()
    nodes = preview_nodes(mu, 64)
    assert fit_preview(mu, nodes, volumes(mu[nodes[:7]])) is None
    assert fit_preview(mu, nodes, volumes(mu[nodes])).at(np.array([9.0, 9.0])) is None
    noise = list(np.random.default_rng(0).normal(size=(64, 6, 6, 6)).astype(np.float32))
    preview = fit_preview(mu, nodes, noise)
    assert preview.error > 0.9
    assert preview.at(mu[3]) is None


@pytest.mark.parametrize("flat", ["line", "same"])
def test_latents_on_a_line_and_volumes_that_do_not_differ(flat):
    mu = latents()
    mu[:, 1] = 2 * mu[:, 0]
    nodes = preview_nodes(mu, 32)
    made = volumes(mu[nodes]) if flat == "line" else volumes(np.zeros((len(nodes), 2)))
    preview = fit_preview(mu, nodes, made)
    expected = volumes(mu[:1])[0] if flat == "line" else made[0]
    np.testing.assert_allclose(preview.at(mu[0]), expected, atol=0.05)
