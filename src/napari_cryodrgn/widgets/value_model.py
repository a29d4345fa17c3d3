"""Selections of particles by a value of theirs, without Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from .background import Background, Deliver
from .selection_model import Mask, SelectionModel

if TYPE_CHECKING:
    from ..analysis.particle_values import ParticleValues, Values

_BINS = 80
# Percentiles that a histogram reaches from and to: a few wild values would leave nothing else.
_ENDS = (0.2, 99.8)
_NAMED = 3


@dataclass(frozen=True, eq=False)
class Histogram:
    """Values of all particles, and how often each is found.

    Of numbers ``edges`` bound the bins that ``counts`` are of; of categories there is a count for
    each of ``values.labels`` and no edges.
    """

    values: Values
    counts: NDArray[np.intp]
    edges: NDArray[np.float64] | None


class ValueModel:
    """What particles can be chosen by, and how often each value is found.

    Parameters
    ----------
    selections
        Where what is chosen becomes the current selection.
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    """

    #: The names there are.
    changed = Signal()
    #: The histogram, or that there is none.
    counted = Signal()
    failed = Signal(object)

    def __init__(self, selections: SelectionModel, deliver: Deliver) -> None:
        self._selections = selections
        self._background = Background(deliver)
        self._values: ParticleValues | None = None
        self.names: list[str] = []
        #: Why values are missing that should be there.
        self.problem = ""
        self.histogram: Histogram | None = None
        selections.explorer.run_changed.connect(self._on_run)
        self._on_run()

    def close(self) -> None:
        """Drop what is being read; the model cannot be used afterwards."""
        self._background.close()

    def look_at(self, name: str | None) -> None:
        """Count the values of that name, or none, in the background."""
        values = self._selections.explorer.values
        self.histogram = None
        if values is None or name is None:
            self._background.forget("histogram")
        else:
            self._background.ask(
                "histogram", lambda: _histogram(values.get(name)), self._count, self._fail
            )
        self.counted.emit()

    @property
    def counting(self) -> bool:
        """Whether values are being counted."""
        return self._background.waits_for("histogram")

    def within(self, low: float, high: float) -> Mask:
        """Particles whose number is between two, both included."""
        assert self.histogram is not None
        data = self.histogram.values.data
        mask: Mask = (data >= low) & (data <= high)
        return mask

    def select_within(self, low: float, high: float) -> None:
        """Make these particles the current selection."""
        if self.histogram is not None:
            values = self.histogram.values
            ends = [f"{low:.4g} ≤" if low > -np.inf else "", values.name]
            ends += [f"≤ {high:.4g}" if high < np.inf else "", ""]
            self._selections.set(self.within(low, high), suggestion=" ".join(filter(None, ends)))

    def select_labels(self, codes: Sequence[int]) -> None:
        """Make the particles of these categories the current selection; of none, none."""
        if not codes:
            self._selections.clear()
        elif self.histogram is not None and self.histogram.values.labels is not None:
            values, labels = self.histogram.values, self.histogram.values.labels
            some = ", ".join(labels[code] for code in codes[:_NAMED])
            rest = " …" if len(codes) > _NAMED else ""
            mask = np.isin(values.data, codes)
            self._selections.set(mask, suggestion=f"{values.name} {some}{rest}")

    def _on_run(self) -> None:
        values, before = self._selections.explorer.values, self._values
        if values is before:
            return
        self._values, self.histogram = values, None
        self._background.forget("histogram")
        self._background.forget("names")
        if values is None:
            self._name(([], None))
        else:
            # The names there were stay until then: most are those of the same run, read again.
            self._background.ask("names", lambda: _names(values), self._name, self._nameless)
        self.counted.emit()

    def _name(self, found: tuple[list[str], str | None]) -> None:
        self.names, self.problem = found[0], found[1] or ""
        self.changed.emit()

    def _nameless(self, error: Exception) -> None:
        self._name(([], None))
        self._fail(error)

    def _count(self, histogram: Histogram) -> None:
        self.histogram = histogram
        self.counted.emit()

    def _fail(self, error: Exception) -> None:
        self.failed.emit(error)
        self.counted.emit()


def _names(values: ParticleValues) -> tuple[list[str], str | None]:
    return values.names(), values.problem


def _histogram(values: Values) -> Histogram:
    if values.labels is not None:
        codes = values.data[values.data >= 0].astype(np.intp)
        return Histogram(values, np.bincount(codes, minlength=len(values.labels)), None)
    numbers = values.data[np.isfinite(values.data)]
    if not len(numbers):
        return Histogram(values, np.zeros(1, np.intp), np.array([0.0, 1.0]))
    low, high = np.percentile(numbers, _ENDS).tolist()
    if not high > low:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(numbers, _BINS, (low, high))
    return Histogram(values, counts, edges)
