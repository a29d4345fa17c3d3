"""Fits at known poses: the linear latent, and the decoder on sums over images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from napari_cryodrgn.model import geometric
from napari_cryodrgn.training.abinitio import SoftEMSettings, soft_em
from napari_cryodrgn.training.decoder_fit import collect, fit_decoder, latent_nodes, new_decoder
from napari_cryodrgn.training.half_maps import reconstruct_volume
from napari_cryodrgn.training.linear import LinearFit, fit_linear


@pytest.fixture
def known(toy: Any, make_data: Any) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Data, true rotations and shifts, true conformation."""
    particles, t = toy
    r, s = torch.from_numpy(particles.rotations), torch.from_numpy(particles.shifts)
    return make_data(particles), r, s, t


def fit(known: Any, seed: int, index: torch.Tensor | None = None, q: int = 1) -> LinearFit:
    data, r, s, _ = known
    *_, (done, last) = fit_linear(data, r, s, q, 8.0, iterations=15, seed=seed, index=index)
    assert done == 15
    return last


def test_linear_latent_follows_the_motion(known: Any) -> None:
    found = fit(known, 0)
    assert found.volumes.shape == (2, 32, 32, 32)
    assert found.mean.shape == (400, 1)
    assert found.covariance.shape == (400, 1, 1)
    assert abs(spearmanr(found.mean[:, 0], known[3]).statistic) > 0.8
    # The prior is the standard normal.
    second = found.covariance[:, 0, 0] + found.mean[:, 0] ** 2
    assert float(second.mean()) == pytest.approx(1, abs=1e-3)
    assert float(found.mean.mean()) == pytest.approx(0, abs=1e-3)
    assert found.information > 0.5


def test_linear_components_are_orthogonal_to_the_mean(known: Any) -> None:
    found = fit(known, 0, q=2)
    assert found.mean.shape == (400, 2)
    base, *components = found.volumes.flatten(1)
    for component in components:
        cosine = torch.nn.functional.cosine_similarity(base, component, dim=0)
        assert abs(float(cosine)) < 1e-3


def test_latent_nodes() -> None:
    z = torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    labels = latent_nodes(z, 4, seed=0)
    assert labels.bincount().tolist() == [25] * 4
    assert float(z[labels == 0].max()) < float(z[labels == 3].min())
    # A node needs twenty images.
    assert int(latent_nodes(z, 12, seed=0).max()) == 4
    assert not latent_nodes(torch.zeros(50, 0), 12, seed=0).any()
    clusters = latent_nodes(torch.cat([z, -z], 1), 3, seed=0)
    assert int(clusters.max()) == 2


def test_decoder_learns_the_motion(known: Any, toy: Any) -> None:
    data, r, s, t = known
    z = ((t - 0.5) / t.std())[:, None]
    consensus = reconstruct_volume(data, r, s, 12.0).volume
    statistics = collect(data, r, s, z, 12.0, 6, seed=0)
    k, n = len(statistics.k), 6
    assert statistics.numerator.shape == statistics.weight.shape == (n, k)
    assert bool((statistics.weight >= 0).all())
    assert statistics.z.shape == (n, 1)
    assert bool((statistics.z[:, 0].diff() > 0).all())
    decoder = new_decoder(geometric(32), statistics, consensus, 48, 2, seed=0)
    losses = [loss for _, loss in fit_decoder(decoder, statistics, steps=400, seed=0)]
    assert losses[-1] < 0.8 * losses[0]
    # At either end the decoded volume is nearer to the truth than the consensus is.
    truth = np.load(toy[0].source.parent / "truth.npz")["vols"]
    for row, vol in ((0, truth[1]), (-1, truth[9])):
        at = decoder.decode(statistics.z[row]).flatten()
        known_here = np.corrcoef(consensus.flatten(), vol.ravel())[0, 1]
        assert np.corrcoef(at, vol.ravel())[0, 1] > known_here + 0.01


def test_decoder_without_latent(known: Any) -> None:
    data, r, s, t = known
    consensus = reconstruct_volume(data, r, s, 12.0).volume
    statistics = collect(data, r, s, torch.zeros(len(t), 0), 12.0, 6, seed=0)
    assert statistics.z.shape == (1, 0)
    decoder = new_decoder(geometric(32), statistics, consensus, 16, 1, seed=0)
    *_, (done, loss) = fit_decoder(decoder, statistics, steps=60, seed=0)
    assert done == 60
    assert np.isfinite(loss)
    decoded = decoder.decode(torch.zeros(0)).flatten()
    assert np.corrcoef(decoded, consensus.flatten())[0, 1] > 0.9


def test_soft_em_explains_the_images_better_and_better(known: Any) -> None:
    data = known[0]
    quick = SoftEMSettings(steps=12, batch=40, n_side=2)
    steps = list(soft_em(data, 0, 2.5, 1.25, quick))
    assert [done for done, _, _ in steps] == list(range(13))
    volumes = torch.stack([v for _, _, v in steps])
    assert bool(volumes.isfinite().all())
    assert volumes.shape[1:] == (32, 32, 32)
    residuals = [r for _, r, _ in steps[1:]]
    assert np.mean(residuals[-3:]) < 0.95 * residuals[0]
    again = list(soft_em(data, 0, 2.5, 1.25, quick))
    torch.testing.assert_close(again[-1][2], volumes[-1], rtol=1e-2, atol=1e-2)
