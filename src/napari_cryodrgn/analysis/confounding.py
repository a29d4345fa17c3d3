"""Whether the latent goes with how a particle was imaged: heterogeneity that is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from ..errors import CryodrgnError
from .latent import pca
from .latent_array import checked
from .particle_values import ParticleValues
from .run import Run

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Codes = NDArray[np.int32]
Labels = tuple[str, ...]

_MOST = 50_000
_FEWEST = 60
_AXES = 8
# Share of all variance that makes an axis: less of it is no heterogeneity, whatever it goes with.
_LEAST = 0.01
_BINS = 20
_FOLDS = 5
_PERMUTATIONS = 199
# Particles that are shuffled: what is strong enough to warn of shows in them by far.
_SHUFFLED = 6_000
#: A warning needs at least this strength, and at most this probability by chance.
STRONG, BY_CHANCE = 0.05, 0.01
_ANGLE = "in-plane angle"
_GROUPS = ("micrograph", "optics group")
# Particles in a group on average, that groups can be compared; as many as are taken of a group
# where not all groups can be looked at.
_PER_GROUP, _OF_GROUP = 3, 20


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
    optics group, each of the particles that it is known of, against those of the first eight
    principal components that hold 1 % of the variance. Of a number the strength is R² of the means
    in 20 bins of equal counts, of the direction that of spherical harmonics up to degree 2, both
    cross-validated in five folds (Stone, 1974). Of groups it is epsilon squared, which is 0 on
    average where there is nothing (Kelley, 1935). Up to 50,000 particles are looked at. The
    probability is from 199 permutations of up to 6,000 of them, of the best of all components.
    Where there are too many groups for that, some of them are looked at, with up to 20 particles
    each.

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
    if not np.ptp(mu, axis=0).any():
        return []
    scores = pca(mu)[:, :_AXES]
    share = np.square(scores.std(0, dtype=np.float64)) / mu.var(0, dtype=np.float64).sum()
    used = np.flatnonzero(share >= min(_LEAST, share.max()))
    random = np.random.default_rng(seed)
    results = []
    for quantity in _quantities(run, values):
        rows = quantity.some(quantity.known, _MOST, random)
        test = quantity.test(rows)
        strength = test.strength(_centred(scores, rows, used))
        # Of the same particles, so that there is a probability for every strength.
        fewer = quantity.some(rows, _SHUFFLED, random)
        p = _by_chance(quantity.test(fewer), _centred(scores, fewer, used), random)
        best = int(strength.argmax())
        axis = int(used[best])
        y = scores[rows, axis]
        x = test.shown if test.shown is not None else test.foretold(y - y.mean(dtype=np.float64))
        results.append(
            Confounder(
                quantity.name,
                float(strength[best]),
                p,
                axis,
                x.astype(np.float32),
                y,
                quantity.unit,
                quantity.groups,
            )  # fmt: skip
        )
    # Strengths that are the same to a tenth of a per cent differ by chance.
    return sorted(results, key=lambda c: (-round(max(c.strength, 0.0), 3), c.p))


def _centred(scores: NDArray[np.float32], rows: Rows, used: Rows) -> Floats:
    y = scores[np.ix_(rows, used)].astype(np.float64)
    centred: Floats = y - y.mean(0)
    return centred


def _by_chance(test: _Test, y: Floats, random: np.random.Generator) -> float:
    """Probability that shuffled particles are foretold as well as y (n, k)."""
    found = test.strength(y).max()
    reached = 1
    for _ in range(_PERMUTATIONS):
        reached += bool(test.strength(y[random.permutation(len(y))]).max() >= found)
    return reached / (_PERMUTATIONS + 1)


@dataclass(frozen=True, eq=False)
class _Quantity:
    """What may foretell the latent: ``test`` looks at some of the rows ``known``.

    ``some`` samples rows, in a random order, as folds are consecutive.
    """

    name: str
    known: Rows
    test: Callable[[Rows], _Test]
    unit: str = ""
    groups: Labels | None = None
    codes: Codes | None = None

    def some(self, rows: Rows, most: int, random: np.random.Generator) -> Rows:
        """Up to ``most`` of the rows; of groups whose particles would be too few, some groups."""
        rows = random.permutation(rows)
        if len(rows) <= most or self.codes is None:
            return rows[:most]
        codes = self.codes[rows]
        if most >= _OF_GROUP * len(np.unique(codes)):
            return rows[:most]
        # The rows of a group after another, the groups in a random order.
        order = np.argsort(random.permutation(codes.max() + 1)[codes], kind="stable")
        first = np.flatnonzero(np.diff(codes[order], prepend=-1))
        place = np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))
        return random.permutation(rows[order[place < _OF_GROUP][:most]])


class _Test(Protocol):
    """What is foretold from a quantity, and how it is shown."""

    shown: Floats | None

    def strength(self, y: Floats) -> Floats:
        """Share (k,) of the variance of each column of y (n, k), whose means are 0."""

    def foretold(self, y: Floats) -> Floats:
        """A column y (n,) as it is foretold."""


class _Regression:
    """Least squares on features (n, p) in consecutive folds; foretold is shown if not ``shown``."""

    def __init__(self, features: Floats, shown: Floats | None) -> None:
        self.shown = shown
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

    def __init__(self, codes: Codes) -> None:
        self.shown: Floats | None = codes.astype(np.float64)
        _, self._codes, self._counts = np.unique(codes, return_inverse=True, return_counts=True)

    def strength(self, y: Floats) -> Floats:
        """Epsilon squared of each column."""
        n, total = len(y), np.square(y).sum(0)
        sums = np.stack([np.bincount(self._codes, column) for column in y.T])
        between = (np.square(sums) / self._counts).sum(1)
        share: Floats = 1 - (total - between) / (n - len(self._counts)) / (total / (n - 1))
        return share

    def foretold(self, y: Floats) -> Floats:
        """The mean of the group."""
        sums = np.bincount(self._codes, y)
        means: Floats = (sums / self._counts)[self._codes]
        return means


def _quantities(run: Run, values: ParticleValues) -> Iterator[_Quantity]:
    for name in ("defocus", "CTF astigmatism", "shift (distance)", _ANGLE):
        with suppress(CryodrgnError, KeyError):
            found = values.get(name.partition(" (")[0])
            yield from _of_number(name, found.data.astype(np.float32), found.unit)
    size = run.pixel_size
    if run.shifts is not None:
        for column, name in enumerate(("shift in x", "shift in y")):
            yield from _of_number(
                name, run.shifts[:, column] * (size or 1), "px" if size is None else "Å"
            )
    if run.rotations is not None:
        # The beam as the particle sees it.
        axis = run.rotations[:, 2]
        known = np.flatnonzero(np.isfinite(axis).all(1))
        if len(known) >= _FEWEST:
            yield _Quantity(
                "viewing direction",
                known,
                lambda rows: _Regression(_harmonics(axis[rows].astype(np.float64)), None),
            )
    for name in _GROUPS:
        with suppress(CryodrgnError, KeyError):
            found = values.get(name)
            codes = found.data.astype(np.int32)
            used = len(np.unique(codes))
            # With a particle each there is nothing to compare.
            if used > 1 and len(codes) >= _PER_GROUP * used:
                yield _Quantity(
                    name,
                    np.arange(len(codes)),
                    lambda rows, codes=codes: _Groups(codes[rows]),  # type: ignore[misc]
                    groups=found.labels or (),
                    codes=codes,
                )


def _of_number(name: str, x: NDArray[np.float32], unit: str) -> Iterator[_Quantity]:
    """Means in bins of equal counts; nothing if it is the same everywhere or unknown."""
    known = np.flatnonzero(np.isfinite(x))
    if len(known) < _FEWEST or np.ptp(x[known]) <= 1e-6 * np.abs(x[known]).max():
        return

    def test(rows: Rows) -> _Test:
        some = x[rows].astype(np.float64)
        edges = np.unique(np.quantile(some, np.linspace(0, 1, _BINS + 1)[1:-1]))
        bins = np.searchsorted(edges, some, side="right")
        return _Regression(np.eye(len(edges) + 1)[bins], some)

    yield _Quantity(name, known, test, unit)


def _harmonics(axis: Floats) -> Floats:
    """Spherical harmonics up to degree 2 of directions (n, 3), not normalised: (n, 9)."""
    x, y, z = axis.T
    columns = (np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1)
    return np.stack(columns, axis=1)
