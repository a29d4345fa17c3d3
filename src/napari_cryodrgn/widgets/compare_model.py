"""What the Compare runs dock knows, without Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from .background import Background, Deliver
from .compare_work import (
    FULL_BOX,
    QUICK_BOX,
    ClusterVolumes,
    Comparison,
    Pair,
    cluster_volumes,
    compare,
    decode_pair,
)
from .decode_bar import Stop

if TYPE_CHECKING:
    from ..analysis import Run, VolumeFit

Array = NDArray[np.float32]
Compare = Callable[["Run", "Run", "int | None"], Comparison]


class CompareModel:
    """Two runs, what they have in common, and what is picked in both.

    Parameters
    ----------
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    open_run
        Opens a run folder; `analysis.Run.open` if absent.
    compare
        Compares two runs, with a number of clusters or those kept with them.
    """

    #: The runs, or what they have in common.
    changed = Signal()
    #: The picked particle or clusters.
    picked = Signal()
    #: A `Pair` of volumes.
    decoded = Signal(object)
    failed = Signal(object)

    def __init__(
        self,
        deliver: Deliver,
        open_run: Callable[[Path], Run] | None = None,
        compare: Compare = compare,
    ) -> None:
        self._open_run = open_run or _open_run
        self._compare = compare
        self._background = Background(deliver)
        self._decoding = Background(deliver)
        self._number = 0
        self.runs: list[Run | None] = [None, None]
        self.comparison: Comparison | None = None
        #: Index of the picked particle among those in common.
        self.particle: int | None = None
        #: Latents picked in both runs.
        self.latents: tuple[Array, Array] | None = None
        self.volumes: ClusterVolumes | None = None
        #: Whether volumes of the second run are moved onto the frame of the first.
        self.turn = False

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        self._number += 1
        self._background.close()
        self._decoding.close()

    @property
    def busy(self) -> str:
        """What is going on, as a line for the dock; empty if nothing."""
        if any(self._background.waits_for(f"open {side}") for side in (0, 1)):
            return "Opening …"
        if self._background.waits_for("compare"):
            return "Comparing …"
        return "Decoding …" if self._decoding.waits_for("decode") else ""

    # The runs

    def open(self, side: int, folder: Path) -> None:
        """Open a run folder as the first (0) or second (1) run, in the background."""

        def done(run: Run) -> None:
            self.runs[side] = run
            self._forget()
            self.compare()

        self._background.ask(f"open {side}", partial(self._open_run, folder), done, self._failed)
        self.changed.emit()

    def compare(self, k: int | None = None) -> None:
        """Compare both runs, with ``k`` clusters or those kept with them, in the background."""
        a, b = self.runs
        if a is not None and b is not None:
            self._background.ask(
                "compare", partial(self._compare, a, b, k), self._done, self._failed
            )
        self.changed.emit()

    def _done(self, comparison: Comparison) -> None:
        self._forget()
        self.comparison = comparison
        # Poses that were found anew lie in a frame of their own.
        self.turn = any(side.run.settings.get("poses") != "given" for side in comparison.sides)
        self.changed.emit()

    def _forget(self) -> None:
        self._decoding.forget("decode")
        self._number += 1
        self.comparison = self.volumes = self.particle = self.latents = None

    # Picking

    def pick_at(
        self, side: int, axes: Sequence[str], point: Sequence[float], unit: Sequence[float]
    ) -> None:
        """Pick the particle drawn nearest to a point of one map, and decode it in both runs.

        ``axes`` are those of the map; ``unit`` is the size of a screen pixel on them.
        """
        if self.comparison is not None:
            space = self.comparison.sides[side].space
            self.pick_particle(space.nearest(axes, point, unit))

    def pick_particle(self, particle: int) -> None:
        """Pick a particle, by its index among those in common."""
        if self.comparison is not None:
            a, b = (side.space.mu[particle] for side in self.comparison.sides)
            self._pick(particle, (a, b))

    def pick_clusters(self, a: int, b: int) -> None:
        """Pick the centres of a cluster of each run."""
        if self.comparison is not None:
            first, second = self.comparison.sides
            self._pick(None, (first.clusters.centres[a], second.clusters.centres[b]))

    def _pick(self, particle: int | None, latents: tuple[Array, Array]) -> None:
        self.particle, self.latents = particle, latents
        self._decode(QUICK_BOX)
        self.picked.emit()

    def _decode(self, box: int) -> None:
        comparison, latents = self.comparison, self.latents
        if comparison is None or latents is None:
            return
        if not all(side.run.can_decode for side in comparison.sides):
            return
        self._number += 1
        number = self._number
        fit = self._fit

        def job() -> Pair:
            return decode_pair(comparison, latents, box, fit, lambda: self._number != number)

        def done(pair: Pair) -> None:
            boxes = [side.run.box for side in comparison.sides]
            # Volumes that are correlated are as large as the smaller of both.
            largest = max(boxes) if pair.correlation is None else min(boxes)
            if box < min(FULL_BOX, largest):
                self._decode(FULL_BOX)
            self.decoded.emit(pair)

        self._decoding.ask("decode", job, done, self._failed)

    @property
    def lacks_fit(self) -> bool:
        """Whether it is not yet known how the second run's volumes are to be moved."""
        return self.turn and self._fit is None

    @property
    def _fit(self) -> VolumeFit | None:
        return self.volumes.fit if self.turn and self.volumes is not None else None

    # Volumes of clusters

    def cluster_volumes(self, stop: Stop) -> Iterator[float | ClusterVolumes]:
        """Decode the centres of all clusters and correlate them; a job of a `DecodeBar`."""
        if self.comparison is not None:
            yield from cluster_volumes(self.comparison, self.turn, stop)

    def set_volumes(self, volumes: ClusterVolumes) -> None:
        """Take over what `cluster_volumes` has found."""
        self.volumes = volumes
        self.changed.emit()
        self._decode(FULL_BOX)

    def set_turn(self, turn: bool) -> None:
        """Move volumes of the second run onto the frame of the first, or leave them."""
        if turn != self.turn:
            self.turn, self.volumes = turn, None
            self._decode(FULL_BOX)
            self.changed.emit()

    def _failed(self, error: Exception) -> None:
        self.changed.emit()
        self.failed.emit(error)


def _open_run(folder: Path) -> Run:
    from ..analysis import Run

    return Run.open(folder)
