"""Paths through a latent space and the volumes along them, without Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal, SignalInstance

from ..errors import RunFolderError
from .background import Background, Deliver
from .decode_bar import Stop, decode_each
from .drawn_path import along_drawing
from .latent_space import LatentSpace
from .movie import write_series
from .trajectory import Trajectory, decode_path

if TYPE_CHECKING:
    from ..analysis import Run

Array = NDArray[np.float32]
#: Where a path comes from.
Source = Literal["axis", "drawn", "particles", "shortest"]
#: Most volumes of a trajectory, and the memory for them in bytes.
MOST_STEPS = 200
_BYTES = 2**29
_BOXES = (32, 48, 64, 96, 128, 192, 256, 384, 512)
_DEFAULT_BOX = 64


class Explorer(Protocol):
    """What is used of the explorer's model."""

    run_changed: SignalInstance
    picked: SignalInstance

    @property
    def run(self) -> Run | None:
        """The open run."""

    @property
    def space(self) -> LatentSpace | None:
        """The axes of its latent space, if it has one."""

    def set_path(self, z: Array | None) -> None:
        """Show a path (m, zdim) on the map."""


class TrajectoryModel:
    """A path through the latent space of the open run, and the volumes decoded along it.

    The path follows what it is made from at once, and is shown on the map while `active`;
    decoding and saving are jobs that somebody runs, see `decode` and `series`.

    Parameters
    ----------
    explorer
        The open run and its map.
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    """

    changed = Signal()
    stepped = Signal(object)
    failed = Signal(object)

    def __init__(self, explorer: Explorer, deliver: Deliver) -> None:
        self.explorer = explorer
        self._background = Background(deliver)
        self._folder: Path | None = None
        self.source: Source = "axis"
        self.axis = ""
        self.steps = 20
        self.anchors: list[int] = []
        #: Whether a picked particle becomes the next anchor.
        self.collecting = False
        self.active = False
        self.path: Array | None = None
        self.trajectory: Trajectory | None = None
        self.step = 0
        self._drawn: tuple[tuple[str, ...], NDArray[np.floating]] | None = None
        explorer.run_changed.connect(self._on_run)
        explorer.picked.connect(self._on_pick)
        self._on_run()

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        self._background.close()

    # What the path is made from

    @property
    def axes(self) -> list[str]:
        """Axes that a path can follow."""
        space = self.explorer.space
        if space is None:
            return []
        linear = [name for name in space.names if space.is_linear([name])]
        return [name for name in linear if name.startswith("PC")] or linear

    @property
    def caption(self) -> str:
        """The path in a few words."""
        if self.source == "axis":
            return f"Walk along {self.axis}"
        if self.source == "drawn":
            return "Drawn path"
        ends = f"{self.anchors[0]} to {self.anchors[-1]}" if self.anchors else "particles"
        return f"Path from {ends}" if self.source == "particles" else f"Shortest path, {ends}"

    @property
    def missing(self) -> str:
        """What is still needed for a path, as a sentence; empty if nothing."""
        if self.source == "drawn" and self._drawn is None:
            return "Draw a path on the map with its path tool."
        if self.source in ("particles", "shortest") and len(self.anchors) < 2:
            return "Pick at least two particles on the map."
        return ""

    @property
    def busy(self) -> bool:
        """Whether the path is being looked for."""
        return self._background.waits_for("path")

    def set_source(self, source: Source) -> None:
        """Choose where the path comes from."""
        self.source = source
        self.find_path()

    def set_axis(self, axis: str) -> None:
        """Choose the axis that is followed, one of `axes`."""
        self.axis = axis
        self.find_path()

    def set_steps(self, steps: int) -> None:
        """Choose the number of volumes, from 2 to `MOST_STEPS`."""
        self.steps = min(max(steps, 2), MOST_STEPS)
        self.find_path()

    def add_anchor(self, particle: int) -> None:
        """Let the path go on to a particle."""
        if self.anchors[-1:] != [particle]:
            self.anchors.append(particle)
            self.find_path()

    def set_anchors(self, particles: Sequence[int]) -> None:
        """Let the path go through these particles."""
        self.anchors = list(particles)
        self.find_path()

    def draw(self, axes: Sequence[str], points: NDArray[np.floating]) -> None:
        """Follow a line (m, 1 or 2) drawn on the axes of the map."""
        self._drawn = (tuple(axes), points)
        self.set_source("drawn")

    def show_path(self, on: bool) -> None:
        """Show the path on the map, or take it away."""
        self.active = on
        self.explorer.set_path(self.path if on else None)
        if not on:
            self.collecting = False

    def find_path(self) -> None:
        """Find the path anew, in the background."""
        space = self.explorer.space
        self._background.forget("path")
        if space is None or self.missing:
            self._set_path(None)
            return
        waypoints: Callable[[], Array]
        if self.source == "axis":
            waypoints = partial(space.walk, self.axis, self.steps)
        elif self.source == "drawn" and self._drawn is not None:
            waypoints = partial(along_drawing, space, *self._drawn)
        else:
            graph = self.source == "shortest"
            waypoints = partial(_through, space.mu, list(self.anchors), graph)
        steps = self.steps
        self._background.ask(
            "path", lambda: _equal_arc(waypoints(), steps), self._set_path, self._failed
        )
        self.changed.emit()

    # The volumes

    def boxes(self) -> list[int]:
        """Boxes that volumes can be decoded with: what memory allows, the full one the last."""
        run = self.explorer.run
        if run is None:
            return []
        boxes = [b for b in _BOXES if b < run.box] + [run.box]
        return [b for b in boxes if 4 * b**3 * self.steps <= _BYTES] or boxes[:1]

    def default_box(self) -> int:
        """A box that is quickly decoded."""
        boxes = self.boxes()
        return max((b for b in boxes if b <= _DEFAULT_BOX), default=boxes[0] if boxes else 0)

    def decode(self, box: int) -> Callable[[Stop], Iterator[float | Trajectory]]:
        """A job that decodes the path with a box of `boxes`, see `DecodeBar`.

        Its results are fractions done and at last the `Trajectory`, for `show`.

        Raises
        ------
        RunFolderError
            If there is no run that can decode, or no path.
        """
        run, path = self.explorer.run, self.path
        if run is None or path is None or not run.can_decode:
            folder = run.folder if run is not None else Path()
            raise RunFolderError(folder, "there is no path, or no decoder is saved yet.")
        return partial(decode_path, run, path, box, self.caption)

    def show(self, trajectory: Trajectory) -> None:
        """Take over a trajectory that was decoded."""
        self.trajectory, self.step = trajectory, 0
        self.changed.emit()
        self.stepped.emit(trajectory.path[0])

    def go(self, step: int) -> None:
        """Mark a step of the trajectory on the map."""
        if self.trajectory is not None and step != self.step:
            self.step = min(max(step, 0), len(self.trajectory.path) - 1)
            self.stepped.emit(self.trajectory.path[self.step])

    def series(self, path: Path) -> Callable[[Stop], Iterator[float | list[Path]]]:
        """A job that saves the trajectory with the full box, see `DecodeBar` and `write_series`.

        Raises
        ------
        RunFolderError
            If there is no trajectory.
        """
        run, walk = self.explorer.run, self.trajectory
        if run is None or walk is None:
            raise RunFolderError(Path(), "there is no trajectory to save.")

        def job(stop: Stop) -> Iterator[float | list[Path]]:
            full = walk.data.shape[-1] == run.box
            volumes = iter(walk.data) if full else decode_each(run, walk.path, run.box, stop)
            return write_series(path, volumes, len(walk.path), run.pixel_size, walk.contour)

        return job

    # What happens

    def _on_run(self) -> None:
        run = self.explorer.run
        folder = run.folder if run is not None else None
        if folder != self._folder:
            self._folder = folder
            self.anchors, self._drawn, self.trajectory, self.step = [], None, None, 0
            self.collecting = False
            self.stepped.emit(None)
        if self.axis not in self.axes:
            self.axis = self.axes[0] if self.axes else ""
        self.find_path()

    def _on_pick(self, pick: Any) -> None:
        if self.collecting:
            self.add_anchor(pick.particle)

    def _set_path(self, path: Array | None) -> None:
        self.path = path
        if self.active:
            self.explorer.set_path(path)
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        self._set_path(None)
        self.failed.emit(error)


def _through(mu: Array, anchors: Sequence[int], graph: bool) -> Any:
    from ..analysis.trajectory import through

    return through(mu, anchors, graph)


def _equal_arc(points: Array, n: int) -> Any:
    from ..analysis.trajectory import equal_arc

    return equal_arc(points, n)
