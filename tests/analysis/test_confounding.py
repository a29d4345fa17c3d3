from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_cryodrgn.analysis.confounding import Confounder, confounders
from napari_cryodrgn.analysis.particle_values import Values
from napari_cryodrgn.errors import CryodrgnError


class Known:
    """Values of particles by name."""

    def __init__(self, **values: Values) -> None:
        self._values = {name.replace("_", " "): v for name, v in values.items()}

    def get(self, name: str) -> Values:
        if name not in self._values:
            raise CryodrgnError(f"{name} is not known.")
        return self._values[name]


def setting(n: int, seed: int, zdim: int = 2):
    """A run whose latent is noise, and what is known of its particles."""
    random = np.random.default_rng(seed)
    run = SimpleNamespace(
        zdim=zdim,
        pixel_size=2.0,
        latents=SimpleNamespace(mu=random.normal(size=(n, zdim)).astype(np.float32)),
        rotations=Rotation.random(n, rng=random).as_matrix().astype(np.float32),
        shifts=random.normal(size=(n, 2)).astype(np.float32),
    )
    defocus = Values("defocus", random.uniform(1, 3, n).astype(np.float32), unit="µm")
    codes = random.integers(0, n // 20, n).astype(np.int32)
    labels = tuple(f"{i}.mrc" for i in range(n // 20))
    return run, {"defocus": defocus, "micrograph": Values("micrograph", codes, labels)}, random


def by_name(run, known) -> dict[str, Confounder]:
    return {c.name: c for c in confounders(run, Known(**known))}


def test_noise_goes_with_nothing():
    warned = 0
    for seed in range(4):
        run, known, _ = setting(1500, seed)
        found = by_name(run, known)
        assert set(found) == {
            "defocus",
            "micrograph",
            "shift in x",
            "shift in y",
            "viewing direction",
        }
        assert max(abs(c.strength) for c in found.values()) < 0.03
        warned += sum(c.warns for c in found.values())
    assert warned == 0


def test_a_share_of_the_variance_is_found_as_that_share():
    run, known, _ = setting(4000, 1)
    defocus = known["defocus"].data
    # A hump, which no straight line sees: 30 % of the variance of the first axis.
    hump = (defocus - 2) ** 2
    hump = (hump - hump.mean()) / hump.std()
    run.latents.mu[:, 0] = 3 * (np.sqrt(0.3) * hump + np.sqrt(0.7) * run.latents.mu[:, 0])
    found = by_name(run, known)
    assert found["defocus"].strength == pytest.approx(0.3, abs=0.03)
    assert found["defocus"].axis == 0
    assert found["defocus"].p == 1 / 200
    assert [c for c in found if found[c].warns] == ["defocus"]
    np.testing.assert_array_equal(np.sort(found["defocus"].x), np.sort(defocus))


def test_directions_and_their_opposites_are_seen():
    run, known, _ = setting(3000, 2)
    x, y, _ = run.rotations[:, 2].T
    # Even under reversal of the view, 40 % of the variance of the second axis.
    wave = x * y / (x * y).std()
    run.latents.mu[:, 1] = 0.5 * (np.sqrt(0.4) * wave + np.sqrt(0.6) * run.latents.mu[:, 1])
    found = by_name(run, known)
    assert found["viewing direction"].strength == pytest.approx(0.4, abs=0.04)
    assert found["viewing direction"].axis == 1
    # Shown against what the direction foretells.
    shown = found["viewing direction"]
    assert np.corrcoef(shown.x, shown.y)[0, 1] ** 2 == pytest.approx(0.4, abs=0.05)


def test_micrographs_of_few_particles():
    run, known, random = setting(2000, 3)
    codes = known["micrograph"].data
    level = random.normal(size=codes.max() + 1)
    run.latents.mu[:, 0] = 2 * (np.sqrt(0.2) * level[codes] + np.sqrt(0.8) * run.latents.mu[:, 0])
    found = by_name(run, known)
    assert found["micrograph"].strength == pytest.approx(0.2, abs=0.06)
    assert found["micrograph"].warns
    assert len(found["micrograph"].groups) == 100
    # A particle each says nothing of micrographs.
    codes[:] = np.arange(2000)
    known["micrograph"] = Values("micrograph", codes, tuple(map(str, range(2000))))
    assert "micrograph" not in by_name(run, known)


def test_a_million_particles_in_seconds():
    run, known, _ = setting(1_000_000, 4, zdim=8)
    start = time.perf_counter()
    found = by_name(run, known)
    assert time.perf_counter() - start < 20
    assert len(found["defocus"].x) == 50_000


def test_what_cannot_be_asked():
    run, known, _ = setting(40, 5)
    with pytest.raises(CryodrgnError, match="40 particles are too few"):
        by_name(run, known)
    run.latents = None
    with pytest.raises(CryodrgnError, match="no latent space"):
        by_name(run, known)
    run, known, _ = setting(100, 5)
    run.latents.mu[:] = 1
    assert confounders(run, Known(**known)) == []
