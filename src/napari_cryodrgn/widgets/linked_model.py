"""What the selected particles look like: volume, images, directions; without Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal, SignalInstance

from ..errors import CryodrgnError
from .background import Background, Deliver
from .decode_bar import Stop, decode_each
from .linked_images import ImageReader, Images, has_others
from .selection_model import Mask
from .view_directions import DirectionMap, direction_map, nearest_direction, view_axes

if TYPE_CHECKING:
    from ..analysis import Run
    from ..particles import ParticleSet
    from .explorer_model import Pick

Array = NDArray[np.float32]
#: Particles whose volumes are averaged.
AVERAGED = 10


class Explorer(Protocol):
    """What is used of the explorer's model."""

    run_changed: SignalInstance
    selection_changed: SignalInstance
    picked: SignalInstance

    @property
    def run(self) -> Run | None:
        """The open run."""

    @property
    def current_mask(self) -> Mask | None:
        """The current selection (n,)."""

    @property
    def selected_elsewhere(self) -> bool:
        """Whether it was made in another dock."""

    @property
    def pick(self) -> Pick | None:
        """The point that was picked last."""

    def pick_particle(self, particle: int) -> None:
        """Show a particle and its volume everywhere."""

    def pick_z(self, z: Array) -> None:
        """Show the volume at a latent (zdim,) everywhere."""


@dataclass(frozen=True, eq=False)
class MeanVolume:
    """Mean of ``n`` volumes (z, y, x) of a run, with voxels of ``pixel_size`` Å."""

    folder: Path
    data: Array
    pixel_size: float | None
    contour: float
    n: int


class LinkedModel:
    """Images and viewing directions of the selected particles, of all if none are selected.

    Without a selection the images are of the particles nearest to the picked point. Nothing is
    read or computed while `active` is off.

    Parameters
    ----------
    explorer
        Whose selection and pick are followed.
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    read
        Opens a particle file; `particles.read` if absent.
    """

    #: The number of particles looked at.
    changed = Signal()
    #: `DirectionMap`, or None if the run has no poses.
    directions_drawn = Signal(object)
    #: `Images`, or an error that says why there are none.
    images_loaded = Signal(object)
    #: The picked particle, or None.
    marked = Signal(object)
    failed = Signal(object)

    def __init__(
        self,
        explorer: Explorer,
        deliver: Deliver,
        read: Callable[[Path], ParticleSet] | None = None,
    ) -> None:
        self.explorer = explorer
        self._reader = ImageReader(read)
        self._background = Background(deliver)
        self._files = Background(deliver)
        self._active = False
        self._stale = True
        self._seed = 0
        self.images: Images | None = None
        #: Resolution in Å that is left of images; 0 for a usual one, None for all.
        self.low_pass: float | None = 0
        #: Whether a new selection moves the pick to its mean.
        self.follow = True
        explorer.run_changed.connect(self._on_run)
        explorer.selection_changed.connect(self._on_selection)
        explorer.picked.connect(self._on_pick)

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        self._background.close()
        self._files.close()

    @property
    def active(self) -> bool:
        """Whether anybody looks."""
        return self._active

    @active.setter
    def active(self, active: bool) -> None:
        self._active = active
        if active and self._stale:
            self.refresh()

    @property
    def count(self) -> int | None:
        """Particles in the current selection, None without one."""
        mask = self.explorer.current_mask
        return None if mask is None else int(np.count_nonzero(mask))

    # Images

    @property
    def has_others(self) -> bool:
        """Whether there are other particles to show images of."""
        run, mask = self.explorer.run, self.explorer.current_mask
        return run is not None and has_others(run, mask, self.explorer.pick)

    def show_others(self) -> None:
        """Show images of other particles."""
        self._seed += 1
        self._load_images()

    def set_low_pass(self, low_pass: float | None) -> None:
        """Filter images to another resolution."""
        self.low_pass = low_pass
        self._load_images()

    def pick_image(self, cell: int) -> None:
        """Pick the particle of an image."""
        if self.images is not None:
            self.explorer.pick_particle(self.images.rows[cell])

    def _load_images(self) -> None:
        run = self.explorer.run
        if run is None:
            return
        mask, pick = self.explorer.current_mask, self.explorer.pick
        job = partial(self._reader.images, run, mask, pick, self._seed, self.low_pass)
        self._files.ask("images", job, self._loaded, self._not_loaded)

    def _loaded(self, images: Images) -> None:
        self.images = images
        self.images_loaded.emit(images)
        self._mark()

    def _not_loaded(self, error: Exception) -> None:
        self.images = None
        self.images_loaded.emit(error)

    # Directions

    def pick_direction(self, direction: Array) -> None:
        """Pick the particle of the selection that is seen most nearly along a direction (3,)."""
        run, mask = self.explorer.run, self.explorer.current_mask
        if run is None or run.rotations is None:
            return
        axes = view_axes(run.rotations)
        if mask is None or not mask.any():
            self.explorer.pick_particle(nearest_direction(axes, direction))
        else:
            nearest = nearest_direction(axes[mask], direction)
            self.explorer.pick_particle(int(np.flatnonzero(mask)[nearest]))

    def axis_of(self, particle: int) -> Array | None:
        """The direction (3,) that a particle is seen along, None if the run has no poses."""
        run = self.explorer.run
        return None if run is None or run.rotations is None else view_axes(run.rotations)[particle]

    def _draw_directions(self) -> None:
        run, mask = self.explorer.run, self.explorer.current_mask
        if run is None or run.rotations is None:
            self.directions_drawn.emit(None)
            return
        axes = view_axes(run.rotations)

        def job() -> DirectionMap:
            return direction_map(axes if mask is None else axes[mask])

        self._background.ask("directions", job, self._drawn, self.failed.emit)

    def _drawn(self, drawn: DirectionMap) -> None:
        self.directions_drawn.emit(drawn)
        self._mark()

    # Volumes

    def mean_volume(self, stop: Stop) -> Iterator[float | MeanVolume]:
        """Decode some particles all over the selection and average; a job of a `DecodeBar`.

        Yields
        ------
        float
            Fraction done.
        MeanVolume
            At last.

        Raises
        ------
        CryodrgnError
            If nothing is selected, or the run cannot decode.
        """
        run, mask = self.explorer.run, self.explorer.current_mask
        if run is None or run.latents is None or mask is None or not mask.any():
            raise CryodrgnError("No particles are selected. Draw a selection on the map first.")
        z = spread_out(np.asarray(run.latents.mu)[mask], AVERAGED)
        total = np.zeros((run.box,) * 3, np.float32)
        done = 0
        for volume in decode_each(run, z, run.box, stop):
            total += volume
            done += 1
            yield done / len(z)
        if done == len(z):
            total /= np.float32(done)
            yield MeanVolume(run.folder, total, run.pixel_size, run.contour(), done)

    def _go_to_mean(self) -> None:
        run, mask = self.explorer.run, self.explorer.current_mask
        if run is None or run.latents is None or mask is None or not mask.any():
            return
        mu = np.asarray(run.latents.mu)
        self._background.ask(
            "mean",
            lambda: mu[mask].mean(0, dtype=np.float64).astype(np.float32),
            self.explorer.pick_z,
            self.failed.emit,
        )

    # Following

    def refresh(self) -> None:
        """Look again at what is selected."""
        self._stale = not self._active
        if self._active:
            self._load_images()
            self._draw_directions()
        self.changed.emit()

    def _on_run(self) -> None:
        self.images = None
        self.low_pass = 0
        self._files.forget("images")
        for key in ("directions", "mean"):
            self._background.forget(key)
        self.refresh()

    def _on_selection(self) -> None:
        # Another dock that selects particles has one of its own in view.
        if self._active and self.follow and not self.explorer.selected_elsewhere:
            self._go_to_mean()
        self.refresh()

    def _on_pick(self) -> None:
        pick, images = self.explorer.pick, self.images
        alone = self.explorer.current_mask is None
        shown = pick is not None and images is not None and pick.particle in images.rows
        if self._active and alone and not shown:
            self._load_images()
        self._mark()

    def _mark(self) -> None:
        pick = self.explorer.pick
        self.marked.emit(None if pick is None else pick.particle)


def spread_out(z: Array, count: int) -> Array:
    """Up to ``count`` of latents (n, zdim), evenly along the axis they spread most on."""
    if len(z) <= count:
        return z
    centred = z.astype(np.float64) - z.mean(0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(centred @ axes[:, -1], kind="stable")
    return z[order[((np.arange(count) + 0.5) * len(z) / count).astype(int)]]
