"""How much of the axes of a map is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Range: TypeAlias = tuple[float, float]
# Of the particles that the first look shows; the others are outliers.
_CORE = (0.05, 99.95)
# A few outliers do not matter until everything else is small beside them.
_SMALL = 1.5
_PADDING = 0.05
_SAMPLED = 50_000


def ranges(columns: Sequence[NDArray[np.float32]]) -> tuple[list[Range], list[Range]]:
    """What to show of axes with coordinates (N,): all but far outliers, and all; a little more."""
    home, everything = [], []
    for values in columns:
        low, high = float(values.min()), float(values.max())
        some = values[:: max(len(values) // _SAMPLED, 1)]
        core_low, core_high = map(float, np.percentile(some, _CORE))
        if high - low < _SMALL * (core_high - core_low):
            core_low, core_high = low, high
        home.append(_padded(core_low, core_high))
        everything.append(_padded(low, high))
    return home, everything


def limits(everything: list[Range]) -> dict[str, float]:
    """How far a view may go, by pyqtgraph's names, if everything lies in two ranges.

    Nobody gets lost: the particles are never far away, and differ in what single precision tells.
    """
    found = {}
    for axis, (low, high) in zip("xy", everything, strict=True):
        size = high - low
        found[f"{axis}Min"], found[f"{axis}Max"] = low - 2 * size, high + 2 * size
        found[f"min{axis.upper()}Range"] = 1e-5 * size
    return found


def _padded(low: float, high: float) -> Range:
    pad = _PADDING * (high - low) or 0.5
    return low - pad, high + pad
