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
    with_levels(run, codes, 0.2, random)
    found = by_name(run, known)
    assert found["micrograph"].strength == pytest.approx(0.2, abs=0.06)
    assert found["micrograph"].warns
    assert len(found["micrograph"].groups) == 100
    # A particle each says nothing of micrographs.
    codes[:] = np.arange(2000)
    known["micrograph"] = Values("micrograph", codes, tuple(map(str, range(2000))))
    assert "micrograph" not in by_name(run, known)


def with_levels(run, codes, share: float, random) -> None:
    """Let the first axis hold a share that micrographs tell."""
    level = random.normal(size=codes.max() + 1)[codes]
    run.latents.mu[:, 0] = 2 * (np.sqrt(share) * level + np.sqrt(1 - share) * run.latents.mu[:, 0])


@pytest.mark.parametrize(("n", "micrographs"), [(100_000, 5_000), (400_000, 40_000)])
def test_many_micrographs(n, micrographs):
    run, known, random = setting(n, 6)
    codes = random.permutation(np.repeat(np.arange(micrographs), n // micrographs)).astype(np.int32)
    labels = tuple(map(str, range(micrographs)))
    known = {"micrograph": Values("micrograph", codes, labels)}
    nothing = by_name(run, known)["micrograph"]
    assert abs(nothing.strength) < 0.02
    assert not nothing.warns
    with_levels(run, codes, 0.3, random)
    found = by_name(run, known)["micrograph"]
    assert found.strength == pytest.approx(0.3, abs=0.03)
    assert found.p == 1 / 200
    assert found.warns
    # What is shown are micrographs with their own numbers.
    assert len(found.x) <= 50_000
    assert found.x.max() > 0.9 * micrographs
    places = np.unique(found.x, return_counts=True)[1]
    assert places.max() == min(20, n // micrographs)


def test_few_large_groups_are_sampled_as_they_are():
    run, _, random = setting(80_000, 7)
    codes = (random.random(80_000) < 0.1).astype(np.int32)
    run.latents.mu[:, 0] += 2 * codes
    found = by_name(run, {"optics_group": Values("optics group", codes, ("a", "b"))})
    group = found["optics group"]
    assert len(group.x) == 50_000
    assert group.x.mean() == pytest.approx(0.1, abs=0.01)
    # 4 times 0.1 times 0.9, besides the 1 of noise.
    assert group.strength == pytest.approx(0.36 / 1.36, abs=0.02)
    assert group.warns


def test_an_axis_of_no_variance_is_none():
    run, known, _ = setting(3000, 1, zdim=4)
    run.latents.mu[:, 3] = 1e-3 * (known["defocus"].data - 2)
    found = by_name(run, known)
    assert found["defocus"].strength < 0.03
    assert not any(c.warns for c in found.values())
    # With 3 % of the variance it is one.
    run.latents.mu[:, 3] = 0.5 * (known["defocus"].data - 2)
    assert by_name(run, known)["defocus"].axis == 3


def test_what_is_known_of_some_is_looked_at_in_them():
    run, known, _ = setting(3000, 1)
    defocus = known["defocus"].data
    run.latents.mu[:, 0] = 3 * (defocus - 2)
    expected = 3 * (defocus - 2)
    defocus[::2] = np.nan
    found = by_name(run, known)["defocus"]
    assert found.strength > 0.97
    assert found.warns
    np.testing.assert_array_equal(np.sort(found.x), np.sort(defocus[1::2]))
    assert abs(np.corrcoef(found.x, found.y)[0, 1]) > 0.99
    assert np.ptp(expected[1::2]) == pytest.approx(np.ptp(found.y), rel=0.05)
    defocus[59:] = np.nan
    assert "defocus" not in by_name(run, known)


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
