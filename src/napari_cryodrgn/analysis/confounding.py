"""Whether the latent goes with how a particle was imaged: heterogeneity that is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32, Int
from numpy.typing import NDArray

from ..errors import CryodrgnError
from .latent import pca
from .latent_array import checked, sampled
from .particle_values import ParticleValues
from .run import Run

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Labels = tuple[str, ...]

_MOST = 50_000
_FEWEST = 60
_AXES = 8
_BINS = 20
_FOLDS = 5
_PERMUTATIONS = 199
# Particles that are shuffled: what is strong enough to warn of shows in them by far.
_SHUFFLED = 6_000
#: A warning needs at least this strength, and at most this probability by chance.
STRONG, BY_CHANCE = 0.05, 0.01
_ANGLE = "in-plane angle"
_GROUPS = ("micrograph", "optics group")
_PER_GROUP = 3


@dataclass(frozen=True, eq=False)
class Confounder:
    """How much of the latent a quantity foretells that has nothing to do with the molecule.

    ``strength`` is the share of the variance of principal component ``axis`` (from 0, the one
    foretold best) and ``p`` the probability of as much by chance. ``x`` (m,), in ``unit``, and
    ``y`` (m,), that component, are the particles looked at; ``groups`` names what ``x`` counts.
    """

    name: str
    strength: float
    p: float
    axis: int
    x: Float32[NDArray[np.float32], " m"]
    y: Float32[NDArray[np.float32], " m"]
    unit: str = ""
    groups: tuple[str, ...] | None = None

    @property
    def warns(self) -> bool:
        """Whether it is too strong to be left unmentioned."""
        return self.strength > STRONG and self.p < BY_CHANCE


def confounders(run: Run, values: ParticleValues, seed: int = 0) -> list[Confounder]:
    """What foretells the latent though it says nothing of the molecule, the strongest first.

    Looked at are defocus, astigmatism, shift, viewing direction, in-plane angle, micrograph and
    optics group, as far as they are known, against up to eight principal components of up to
    50,000 particles. Of a number the strength is R² of the means in 20 bins of equal counts, of
    the direction that of spherical harmonics up to degree 2, both cross-validated in five folds
    (Stone, 1974). Of groups it is epsilon squared, which is 0 on average where there is nothing
    (Kelley, 1935). The probability is from 199 permutations of up to 6,000 of the particles, of the
    best of all components.

    Raises
    ------
    CryodrgnError
        If the run has no latents, too few particles, or some latents are not finite.
    """
    if run.latents is None or not run.zdim:
        raise CryodrgnError("The run has no latent space, so nothing can go with it.")
    mu = checked(run.latents.mu)
    if len(mu) < _FEWEST:
        raise CryodrgnError(f"{len(mu)} particles are too few to say what goes with the latent.")
    rows = sampled(len(mu), _MOST, seed)
    scores = pca(mu[rows])
    # Folds are parts of the rows in a random order.
    random = np.random.default_rng(seed)
    order = random.permutation(len(rows))
    rows, scores = rows[order], scores[order]
    spread = scores.std(0)
    used = np.flatnonzero(spread > 1e-4 * max(float(spread.max()), 1e-20))[:_AXES]
    if not len(used):
        return []
    y = (scores[:, used] - scores[:, used].mean(0)) / spread[used]
    tests = list(_tests(run, values, rows))
    found = [test.strength(y) for test in tests]
    chances = _chances(list(_tests(run, values, rows[:_SHUFFLED])), y[:_SHUFFLED], random)
    results = []
    for test, strength in zip(tests, found, strict=True):
        axis = int(strength.argmax())
        x = test.shown if test.shown is not None else test.foretold(y[:, axis])
        pc = scores[:, used[axis]]
        results.append(
            Confounder(
                test.name,
                float(strength[axis]),
                chances.get(test.name, 1.0),
                int(used[axis]),
                x.astype(np.float32),
                pc,
                test.unit,
                test.groups,
            )  # fmt: skip
        )
    return sorted(results, key=lambda c: -c.strength)


def _chances(tests: list[_Test], y: Floats, random: np.random.Generator) -> dict[str, float]:
    """Probability, for each test, that shuffled particles are foretold as well as y (n, k)."""
    found = [test.strength(y).max() for test in tests]
    reached = np.ones(len(tests))
    for _ in range(_PERMUTATIONS):
        shuffled = y[random.permutation(len(y))]
        reached += [
            test.strength(shuffled).max() >= f for test, f in zip(tests, found, strict=True)
        ]
    names = (test.name for test in tests)
    return dict(zip(names, reached / (_PERMUTATIONS + 1), strict=True))


class _Test(Protocol):
    """What is foretold from a quantity, and how it is shown."""

    name: str
    shown: Floats | None
    unit: str
    groups: Labels | None

    def strength(self, y: Floats) -> Floats:
        """Share (k,) of the variance of each column of y (n, k), whose means are 0."""

    def foretold(self, y: Floats) -> Floats:
        """A column y (n,) as it is foretold."""


class _Regression:
    """Least squares on features (n, p) in consecutive folds; foretold is shown if not ``shown``."""

    groups: Labels | None = None

    def __init__(self, name: str, features: Floats, shown: Floats | None, unit: str) -> None:
        self.name, self.shown, self.unit = name, shown, unit
        n, p = features.shape
        self._parts = np.array_split(features, _FOLDS)
        self._cuts = np.cumsum([len(part) for part in self._parts])[:-1]
        self._grams = np.stack([part.T @ part for part in self._parts])
        # A trace of a ridge: a bin that no other fold fills foretells the mean.
        others = self._grams.sum(0) - self._grams + 1e-6 * n * np.eye(p)
        self._inverses = np.linalg.inv(others)

    def strength(self, y: Floats) -> Floats:
        """R² of each column, in the particles left out."""
        pulls, fits = self._fits(y)
        explained = 2 * (fits * pulls).sum((0, 1)) - (fits * (self._grams @ fits)).sum((0, 1))
        share: Floats = explained / np.square(y).sum(0)
        return share

    def foretold(self, y: Floats) -> Floats:
        """What the other folds foretell of y."""
        _, fits = self._fits(y[:, None])
        return np.concatenate(
            [part @ fit[:, 0] for part, fit in zip(self._parts, fits, strict=True)]
        )

    def _fits(self, y: Floats) -> tuple[Floats, Floats]:
        parts = np.split(y, self._cuts)
        pulls = np.stack([f.T @ part for f, part in zip(self._parts, parts, strict=True)])
        return pulls, self._inverses @ (pulls.sum(0) - pulls)


class _Groups:
    """One-way analysis of variance of groups, given by their numbers (n,)."""

    unit = ""

    def __init__(self, name: str, codes: Int[NDArray[np.int32], " n"], labels: Labels) -> None:
        self.name = name
        self.groups: Labels | None = labels
        self.shown: Floats | None = codes.astype(np.float64)
        self._counts = np.maximum(np.bincount(codes, minlength=len(labels)), 1)
        self._codes, self._used = codes, len(np.unique(codes))

    def strength(self, y: Floats) -> Floats:
        """Epsilon squared of each column."""
        n, total = len(y), np.square(y).sum(0)
        sums = np.stack([np.bincount(self._codes, column, len(self._counts)) for column in y.T])
        between = (np.square(sums) / self._counts).sum(1)
        share: Floats = 1 - (total - between) / (n - self._used) / (total / (n - 1))
        return share

    def foretold(self, y: Floats) -> Floats:
        """The mean of the group."""
        sums = np.bincount(self._codes, y, len(self._counts))
        means: Floats = (sums / self._counts)[self._codes]
        return means


def _tests(run: Run, values: ParticleValues, rows: Rows) -> Iterator[_Test]:
    for name in ("defocus", "CTF astigmatism", "shift", _ANGLE):
        with suppress(CryodrgnError, KeyError):
            found = values.get(name)
            yield from _of_number(name, found.data[rows].astype(np.float64), found.unit)
    size = run.pixel_size
    if run.shifts is not None:
        for column, name in enumerate(("shift in x", "shift in y")):
            shift = run.shifts[rows, column].astype(np.float64) * (size or 1)
            yield from _of_number(name, shift, "px" if size is None else "Å")
    if run.rotations is not None:
        # The beam as the particle sees it.
        axis = run.rotations[rows, 2].astype(np.float64)
        yield _Regression("viewing direction", _harmonics(axis), None, "")
    for name in _GROUPS:
        with suppress(CryodrgnError, KeyError):
            found = values.get(name)
            labels = found.labels or ()
            codes = found.data[rows].astype(np.int32)
            used = len(np.unique(codes))
            # With a particle each there is nothing to compare.
            if used > 1 and len(rows) >= _PER_GROUP * used:
                yield _Groups(name, codes, labels)


def _of_number(name: str, x: Floats, unit: str) -> Iterator[_Test]:
    """Means in bins of equal counts; nothing if it is the same everywhere or unknown."""
    if not np.isfinite(x).all() or np.ptp(x) <= 1e-6 * np.abs(x).max(initial=0):
        return
    edges = np.unique(np.quantile(x, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, x, side="right")
    yield _Regression(name, np.eye(len(edges) + 1)[bins], x, unit)


def _harmonics(axis: Floats) -> Floats:
    """Spherical harmonics up to degree 2 of directions (n, 3), not normalised: (n, 9)."""
    x, y, z = axis.T
    columns = (np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1)
    return np.stack(columns, axis=1)
