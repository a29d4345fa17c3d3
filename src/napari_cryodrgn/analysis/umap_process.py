"""UMAP in a process of its own: a script, so that it loads nothing else of this package.

UMAP holds Python's lock for seconds and cannot be interrupted. In a thread it would freeze the
window; as a process it can be ended at any moment.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

_NICE = 10
_NEIGHBOURS = 5
_CHUNK = 20_000
# Neighbours may be this much farther than the nearest: three times faster, the mean hardly moves.
_TOLERANCE = 0.5
# Shares of the time: the graph of neighbours, then the epochs, then what is not in the sample.
_GRAPH, _EPOCHS = 0.2, 0.7

Report = Callable[[float], None]


class _Epochs:
    """A text stream that UMAP's progress bar writes to."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def write(self, text: str) -> int:
        """Report the fraction in a bar such as "57/200"."""
        if found := re.search(r"(\d+)/(\d+)", text):
            self._report(int(found[1]) / max(int(found[2]), 1))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def place(
    known: NDArray[np.float32], coordinates: NDArray[np.float32], others: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Coordinates (chunk, 2) of ``others`` (m, zdim), a chunk at a time.

    Each is the mean of its nearest neighbours among ``known`` (n, zdim) at ``coordinates`` (n, 2),
    weighted by the inverse square of their distances.
    """
    tree = cKDTree(known)
    neighbours = list(range(1, min(_NEIGHBOURS, len(known)) + 1))
    tiny = 1e-12
    for start in range(0, len(others), _CHUNK):
        chunk = others[start : start + _CHUNK]
        found, index = tree.query(chunk, neighbours, eps=_TOLERANCE, workers=-1)
        distance = np.asarray(found)
        weight = ((distance.min(1, keepdims=True) + tiny) / (distance + tiny)) ** 2
        weight /= weight.sum(1, keepdims=True)
        yield np.einsum("nk,nkc->nc", weight, coordinates[index]).astype(np.float32)


def embed(
    mu: NDArray[np.float32], rows: NDArray[np.intp], seed: int, report: Report
) -> NDArray[np.float32]:
    """Coordinates (n, 2) of latents (n, zdim); UMAP sees those in ``rows``."""
    from umap import UMAP

    share = 1.0 if len(rows) == len(mu) else _EPOCHS

    def report_epochs(fraction: float) -> None:
        report(_GRAPH + (share - _GRAPH) * fraction)

    bar: dict[str, Any] = {
        "disable": False,
        "file": _Epochs(report_epochs),
        "bar_format": "{n_fmt}/{total_fmt}",
    }
    sample = mu[rows]
    # One job: with several the same seed gives other coordinates.
    coordinates = np.asarray(
        UMAP(random_state=seed, n_jobs=1, tqdm_kwds=bar).fit_transform(sample), np.float32
    )
    answer = np.empty((len(mu), 2), np.float32)
    answer[rows] = coordinates
    others = np.ones(len(mu), bool)
    others[rows] = False
    left = np.flatnonzero(others)
    done = 0
    for chunk in place(sample, coordinates, mu[left]):
        answer[left[done : done + len(chunk)]] = chunk
        done += len(chunk)
        report(share + (1.0 - share) * done / len(left))
    return answer


def main(folder: Path, seed: int) -> None:
    """Embed ``mu.npy`` by its ``rows.npy`` to ``umap.npy``; fractions go to ``progress``."""
    if hasattr(os, "nice"):
        os.nice(_NICE)
    with (folder / "progress").open("a", encoding="ascii") as progress:

        def report(fraction: float) -> None:
            progress.write(f"{fraction:.4f}\n")
            progress.flush()

        mu, rows = np.load(folder / "mu.npy"), np.load(folder / "rows.npy")
        np.save(folder / "umap.npy", embed(mu, rows, seed, report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
