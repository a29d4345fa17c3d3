"""What a row of the table is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .sets import Truth, make
from .train import Outcome, train

Entry = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Where a row works, and how large its sets are; ``tiny`` only shows that it runs."""

    folder: Path
    tiny: bool = False

    def make(self, name: str, seed: int) -> tuple[Path, Truth]:
        """The set ``name`` of ``seed``."""
        size = {"n": 200, "box": 32} if self.tiny else {}
        return make(name, seed, self.folder / "set", **size)

    def train(self, star: Path, **settings: Any) -> Outcome:
        """Our run on a set."""
        hurry = {"starts": 1, "epochs": 1} if self.tiny else {}
        return train(star, self.folder / "run", **settings, **hurry)


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Parameters
    ----------
    work
        What is done, in words.
    goal, want
        At least this; rather this.
    seeds
        One entry is measured for each.
    measure
        Measures an entry.
    reached
        What all entries together say, in words.
    """

    work: str
    goal: str
    want: str
    seeds: tuple[int, ...]
    measure: Callable[[Bench, int], Entry]
    reached: Callable[[list[Entry]], str]

    def with_seeds(self, seeds: tuple[int, ...]) -> Row:
        """The same row for other seeds."""
        return replace(self, seeds=seeds)


def share(entries: list[Entry], good: Callable[[Entry], bool]) -> str:
    """How many entries are good: "4 of 5"."""
    return f"{sum(good(e) for e in entries)} of {len(entries)}"


def span(entries: list[Entry], key: str, form: str = "{:.2f}") -> str:
    """Least and largest value of ``key``: "2.10 to 2.40"."""
    values = [e[key] for e in entries if e.get(key) is not None]
    if not values:
        return "not measured"
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"
