from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_cryodrgn.analysis.spread import (
    Spread,
    particle_latents,
    posterior_draws,
    voxel_spread,
)
from napari_cryodrgn.errors import CryodrgnError

BOX = 6


def linear_run(n: int = 100, zdim: int = 2):
    """Decodes mean + z . components, whose spread is known."""
    random = np.random.default_rng(0)
    mean = random.normal(size=(BOX,) * 3)
    parts = random.normal(size=(zdim, *(BOX,) * 3))
    asked = []

    def decode(z, box, *, stop=None):
        asked.append(z)
        if stop is not None and stop():
            raise CryodrgnError("No longer wanted.")
        return (mean + np.tensordot(z, parts, 1)).astype(np.float32)

    mu = random.normal(size=(n, zdim)).astype(np.float32)
    latents = SimpleNamespace(mu=mu, logvar=np.full_like(mu, -2))
    run = SimpleNamespace(zdim=zdim, latents=latents, decode=decode, box=BOX)
    return run, mean, parts, asked


def test_running_variance_is_the_variance():
    run, mean, parts, _ = linear_run()
    latents = run.latents.mu[:17]
    *done, found = voxel_spread(run, latents, BOX, lambda: False)
    assert isinstance(found, Spread)
    assert done[-1] == 1
    volumes = mean + np.tensordot(latents, parts, 1)
    np.testing.assert_allclose(found.mean, volumes.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.deviation, volumes.std(0, ddof=1), atol=1e-5)
    assert found.variance == pytest.approx(volumes.var(0, ddof=1).mean(), rel=1e-4)
    assert found.n == 17


def test_draws_are_of_the_posterior_and_the_same_again():
    run, _, parts, _ = linear_run()
    drawn = posterior_draws(run, 3, 4000)
    np.testing.assert_allclose(drawn.mean(0), run.latents.mu[3], atol=0.03)
    np.testing.assert_allclose(drawn.std(0), np.exp(-1), rtol=0.05)
    np.testing.assert_array_equal(posterior_draws(run, 3, 10), posterior_draws(run, 3, 10))
    *_, found = voxel_spread(run, drawn[:600], BOX, lambda: False)
    expected = np.exp(-1) * np.linalg.norm(parts, axis=0)
    assert np.median(found.deviation / expected) == pytest.approx(1, abs=0.05)


def test_of_all_or_of_a_selection():
    run, *_ = linear_run()
    mask = np.arange(100) < 4
    np.testing.assert_array_equal(particle_latents(run, mask, 50), run.latents.mu[:4])
    assert len(particle_latents(run, None, 50)) == 50
    with pytest.raises(CryodrgnError, match="at least one of each"):
        particle_latents(run, np.zeros(100, bool), 50)


def test_it_can_be_stopped_and_says_what_is_missing():
    run, _, _, asked = linear_run()
    answers = iter([False, False, True, True])
    outcomes = list(voxel_spread(run, run.latents.mu[:9], BOX, lambda: next(answers)))
    assert outcomes == [1 / 9, 2 / 9]
    assert len(asked) == 3
    with pytest.raises(CryodrgnError, match="at least two particles"):
        next(voxel_spread(run, run.latents.mu[:1], BOX, lambda: False))
    run.latents.logvar[:] = 0
    with pytest.raises(CryodrgnError, match="no widths"):
        posterior_draws(run, 0, 5)
    run.latents = None
    with pytest.raises(CryodrgnError, match="no latent space"):
        posterior_draws(run, 0, 5)
    with pytest.raises(CryodrgnError, match="no latent space"):
        particle_latents(run, None, 5)
