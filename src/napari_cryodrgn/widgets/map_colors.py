"""Which colour a particle has on the map: tables of colours, and values translated to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Table = NDArray[np.uint8]
Kind = Literal["numbers", "angles", "categories"]

#: Steps of a table of numbers.
STEPS = 256
#: Colours of categories; a category beyond them begins again.
CATEGORIES = (
    "#4e9de0", "#f28e2b", "#59b35c", "#e15759", "#a77bca", "#d6b93f", "#45b8ac", "#f183b5",
    "#a0745a", "#8f9aa5", "#2f6db3", "#b9621a", "#2f7d4f", "#a8323f", "#6d4aa0", "#8f7a1d",
    "#207a80", "#b84b86", "#7fc4f5", "#b7d66b",
)  # fmt: skip
_SAMPLE = 100_000
_CLIP = (1.0, 99.0)

# Stops of the tables, evenly apart. Density begins near the background: few particles are faint.
_DENSITY_DARK = ("#2a4a86", "#2f74b8", "#3fb0c9", "#a5dfb5", "#fdf6c8")
_DENSITY_LIGHT = ("#b9d3ea", "#77aedb", "#3079bd", "#1d4a8c", "#12204d")
# Viridis; the pale end is left out where the background is pale.
_VIRIDIS = ("#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")
# Round: it ends where it begins, with lightness up and down.
_ROUND_DARK = ("#e2d9e2", "#7ba3c8", "#5e5bb8", "#6a2a80", "#a53a5d", "#cc8163", "#e2d9e2")
_ROUND_LIGHT = ("#8f8791", "#5b94c5", "#5651b5", "#3b1a52", "#a02c52", "#c87a55", "#8f8791")


class Values(Protocol):
    """A value for each particle: numbers, or codes of ``labels`` if there are labels."""

    @property
    def name(self) -> str:
        """What the values are."""

    @property
    def data(self) -> NDArray[np.float32] | NDArray[np.int32]:
        """Numbers or codes (N,); a number that is not finite or a negative code is none."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the categories."""

    @property
    def unit(self) -> str:
        """Unit of the numbers; may be empty."""


def category_color(index: int) -> str:
    """Colour of a category as '#rrggbb', the same on the map, in its legend and in lists."""
    return CATEGORIES[index % len(CATEGORIES)]


def is_dark(background: str) -> bool:
    """Whether a background '#rrggbb' is a dark one."""
    return float(_rgb((background,)).mean()) < 128


def density_table(background: str) -> Table:
    """Colours (STEPS, 3) from few particles to many on a background '#rrggbb'."""
    return _table(_DENSITY_DARK if is_dark(background) else _DENSITY_LIGHT)


@dataclass(frozen=True)
class Coloring:
    """Values of N particles and their colours.

    Parameters
    ----------
    data
        Numbers or codes (N,).
    kind
        Angles are numbers in degrees that begin again at `high`.
    low, high
        Values with the first and the last colour; without meaning for categories.
    table
        Colours (k, 3); ``STEPS`` of them for numbers.
    """

    data: NDArray[np.float32] | NDArray[np.int32]
    kind: Kind
    low: float
    high: float
    table: Table

    def positions(self, rows: NDArray[np.intp] | slice) -> tuple[Array, NDArray[np.bool_]]:
        """Places in the table between 0 and 1 of some particles, and which have a value at all."""
        data = self.data[rows].astype(np.float32)
        known = np.isfinite(data)
        place = (data - self.low) / (self.high - self.low)
        place = place % 1 if self.kind == "angles" else np.clip(place, 0, 1)
        return np.where(known, place, 0).astype(np.float32), known

    def codes(self, rows: NDArray[np.intp] | slice) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Row of the table for some particles, and which have a value at all."""
        if self.kind == "categories":
            codes = self.data[rows].astype(np.int32)
            return np.maximum(codes, 0) % len(self.table), codes >= 0
        place, known = self.positions(rows)
        return np.minimum(place * STEPS, STEPS - 1).astype(np.int32), known


def coloring(values: Values, clip: tuple[float, float] | None, background: str) -> Coloring:
    """How to colour particles by values.

    Parameters
    ----------
    values
        Of N particles.
    clip
        Numbers outside get the colours of the ends; the 1st and 99th percentile if absent.
    background
        '#rrggbb' of the map.
    """
    if values.labels is not None:
        used = max(min(len(values.labels), len(CATEGORIES)), 1)
        return Coloring(values.data, "categories", 0, 1, _rgb(CATEGORIES[:used]))
    low, high = clip or _percentiles(values.data)
    dark = is_dark(background)
    if clip is None and values.unit in ("°", "deg", "degrees") and high - low > 200:
        # Directions in a plane: 359 degrees is next to 0.
        start = -180.0 if low < -1 else 0.0
        table = _table(_ROUND_DARK if dark else _ROUND_LIGHT)
        return Coloring(values.data, "angles", start, start + 360, table)
    if not high > low:
        low, high = low - 0.5, low + 0.5
    return Coloring(values.data, "numbers", low, high, _table(_VIRIDIS if dark else _VIRIDIS[:-1]))


def sampled(data: NDArray[np.generic]) -> NDArray[np.float64]:
    """At most 100,000 of the finite values, evenly from all."""
    some = data[:: max(len(data) // _SAMPLE, 1)].astype(np.float64)
    return some[np.isfinite(some)]


def _percentiles(data: NDArray[np.generic]) -> tuple[float, float]:
    some = sampled(data)
    if not len(some):
        return 0.0, 1.0
    low, high = np.percentile(some, _CLIP)
    return float(low), float(high)


def _rgb(names: tuple[str, ...]) -> Table:
    return np.array([[int(n[i : i + 2], 16) for i in (1, 3, 5)] for n in names], np.uint8)


def _table(stops: tuple[str, ...]) -> Table:
    at = np.linspace(0, len(stops) - 1, STEPS)
    channels = [np.interp(at, range(len(stops)), c) for c in _rgb(stops).T]
    return np.stack(channels, axis=1).round().astype(np.uint8)
