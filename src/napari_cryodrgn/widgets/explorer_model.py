"""What the Latent explorer knows, without Qt: the object that all its views share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from ..errors import CryodrgnError, RunFolderError
from .background import Background, Deliver
from .decode_model import DecodeModel
from .latent_space import LatentSpace

if TYPE_CHECKING:
    from ..analysis import Clusters, ParticleValues, Run, Selections, Values

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
CLUSTER = "cluster"
DENSITY = "density"
UMAP_AXES = ("UMAP1", "UMAP2")
# What two looks at the same run have in common.
_SAME = ("folder", "n_particles", "zdim", "particles_path")


@dataclass(frozen=True)
class Pick:
    """A chosen point: its z (zdim,), the particle nearest to it, and how far that one is in z.

    ``off`` says how far from the data it lies: over 1 where hardly any particle has so few
    around it, see `LatentSpace.off_data`.
    """

    z: Array
    particle: int
    distance: float
    off: float


@dataclass(frozen=True)
class _Opened:
    run: Run
    space: LatentSpace | None
    values: ParticleValues
    selections: Selections | None
    fault: Exception | None = None


class ExplorerModel:
    """An open run, how it is drawn, and what was chosen in it.

    Every view shows this object and changes it; none knows of another.

    Parameters
    ----------
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    open_run
        Opens a run folder; `analysis.Run.open` if absent.
    pca
        Coordinates (N, k) of latents (N, zdim) on their principal axes; `analysis.pca` if absent.
    """

    run_changed = Signal()
    axes_changed = Signal()
    values_changed = Signal()
    clusters_changed = Signal()
    selection_changed = Signal()
    path_changed = Signal()
    picked = Signal(object)
    busy_changed = Signal()
    failed = Signal(object)

    def __init__(
        self,
        deliver: Deliver,
        open_run: Callable[[Path], Run] | None = None,
        pca: Callable[[Array], Array] | None = None,
    ) -> None:
        self.open_run = open_run or _open_run
        self.pca = pca or _pca
        self._background = Background(deliver)
        self.decode = DecodeModel(deliver)
        self.decode.busy_changed.connect(self.busy_changed.emit)
        self.decode.failed.connect(self._failed)
        self.run: Run | None = None
        self.space: LatentSpace | None = None
        self.values: ParticleValues | None = None
        self.selections: Selections | None = None
        self.clusters: Clusters | None = None
        self.axes: tuple[str, ...] = ()
        self.colour = DENSITY
        self.shown: Values | None = None
        self.limits: tuple[float, float] | None = None
        self.current_mask: Mask | None = None
        #: Whether that was chosen in another dock.
        self.selected_elsewhere = False
        self.path: Array | None = None
        self.pick: Pick | None = None
        self.snap = False

    def close(self) -> None:
        """Drop what is being computed; the model cannot be used afterwards."""
        self._background.close()
        self.decode.close()

    # Opening

    def open(self, folder: Path) -> None:
        """Open a run folder in the background; a failure leaves the open run as it is."""
        self._background.ask("open", partial(self._load, folder), self._opened, self._failed)
        self.busy_changed.emit()

    def follow(self) -> None:
        """Open the run again if its files have changed since, unless it is finished."""
        run = self.run
        if run is None or run.finished or self._background.waits_for("open"):
            return

        def reload() -> _Opened | None:
            return self._load(run.folder) if run.changed() else None

        # A folder in progress may be caught between two files: the next look will do.
        self._background.ask("open", reload, self._reopened, lambda _: self.busy_changed.emit())

    def _load(self, folder: Path) -> _Opened:
        from ..analysis import ParticleValues, Selections

        run = self.open_run(folder)
        values = ParticleValues(run)
        latents = run.latents
        if run.zdim == 0 or latents is None or not len(latents.mu):
            return _Opened(run, None, values, None)
        mu = np.asarray(latents.mu)
        if not np.isfinite(mu).all():
            raise RunFolderError(
                folder, "some latents are not finite.", remedy="The training diverged; train again."
            )
        space = LatentSpace(mu, self.pca)
        # Opens the particles' file: here, and not where the window would wait for it.
        values.names()
        fault = None
        try:
            umap = _kept_umap(run, mu)
        except CryodrgnError as error:
            # The run itself is good.
            umap, fault = None, error
        if umap is not None:
            space.add_axes(dict(zip(UMAP_AXES, umap.T, strict=True)))
        selections = Selections.load(folder, len(mu), rows=run.indices)
        return _Opened(run, space, values, selections, fault)

    def _reopened(self, opened: _Opened | None) -> None:
        if opened is None:
            self.busy_changed.emit()
        else:
            self._opened(opened)

    def _opened(self, opened: _Opened) -> None:
        before = self.run
        # Another training may have taken the folder since.
        same = before is not None and all(
            getattr(before, name) == getattr(opened.run, name) for name in _SAME
        )
        # What was asked of the run before is no answer for this one.
        for key in ("inside", "values", "index"):
            self._background.forget(key)
        self.run, self.space, self.values = opened.run, opened.space, opened.values
        if not (same and self.selections is not None and opened.selections is not None):
            self.selections = opened.selections
        self.decode.set_run(opened.run)
        self.path = None
        deselected = not same and self.current_mask is not None
        if not same:
            self.current_mask, self.colour, self.limits = None, DENSITY, None
            self.clusters = None
        if not same or self.space is None:
            self.pick = None
        elif self.pick is not None:
            self.pick = self._pick(self.pick.z, self.pick.particle, self.space)
        names = self.space.names if self.space is not None else []
        if not same or not self.axes or not set(self.axes) <= set(names):
            self.axes = self.space.default_axes if self.space is not None else ()
        self.shown = None
        self._index()
        self.run_changed.emit()
        if deselected:
            self.selection_changed.emit()
        self.busy_changed.emit()
        if self.space is not None:
            self.set_colour(self.colour)
        if opened.fault is not None and not same:
            self._failed(opened.fault)

    # Drawing

    def set_axes(self, axes: Sequence[str]) -> None:
        """Choose the axes of the drawing."""
        if tuple(axes) != self.axes:
            self.axes = tuple(axes)
            self._index()
            self.axes_changed.emit()

    def _index(self) -> None:
        """Make the search for the nearest particle quick on the chosen axes, in the background."""
        if self.space is not None:
            job = partial(self.space.index, self.axes)
            self._background.ask("index", job, lambda _: None, self._failed)

    def coordinates(self) -> Array | None:
        """Coordinates (N, 1 or 2) of the particles on the chosen axes."""
        return None if self.space is None else self.space.coordinates(self.axes)

    def add_umap(self, coordinates: Array) -> None:
        """Take an embedding (N, 2) as further axes, and show it."""
        if self.space is not None:
            self.space.add_axes(dict(zip(UMAP_AXES, coordinates.T, strict=True)))
            self.axes = UMAP_AXES
            self._index()
            self.run_changed.emit()
            self.values_changed.emit()

    def colours(self) -> list[str]:
        """Names that `set_colour` takes."""
        if self.values is None:
            return []
        names = self.values.names()
        return [*names[:1], CLUSTER, *names[1:]] if self.clusters is not None else names

    def set_colour(self, name: str) -> None:
        """Colour the particles by a value, fetched in the background."""
        values, clusters = self.values, self.clusters
        if values is None:
            return
        if name == CLUSTER and clusters is None:
            name = DENSITY
        changed, self.colour = name != self.colour, name
        if changed:
            self.limits = None

        def job() -> Values | None:
            from ..analysis import Values

            if name == DENSITY:
                return None
            if name == CLUSTER and clusters is not None:
                return Values(CLUSTER, clusters.labels, clusters.names)
            return values.get(name)

        self._background.ask("values", job, self._show_values, self._failed)
        self.busy_changed.emit()

    def show_values(self, values: Values | None) -> None:
        """Colour the particles by given values."""
        self._background.forget("values")
        if values is not None and values.name != self.colour:
            self.colour, self.limits = values.name, None
        self._show_values(values)

    def _show_values(self, shown: Values | None) -> None:
        self.shown = shown
        self.values_changed.emit()
        self.busy_changed.emit()

    def set_limits(self, limits: tuple[float, float] | None) -> None:
        """Draw particles whose value lies outside faintly."""
        self.limits = limits
        self.values_changed.emit()

    def within_limits(self) -> Mask | None:
        """Particles (N,) whose value lies within the limits; None without limits."""
        if self.limits is None or self.shown is None or self.shown.labels is not None:
            return None
        low, high = self.limits
        inside: Mask = (self.shown.data >= low) & (self.shown.data <= high)
        return inside

    # Choosing

    def set_current(self, mask: Mask | None, *, elsewhere: bool = False) -> None:
        """Choose particles (N,), or none; ``elsewhere`` if they were chosen in another dock."""
        self.current_mask, self.selected_elsewhere = mask, elsewhere
        self.selection_changed.emit()

    def select_inside(self, polygon: Array) -> None:
        """Choose the particles drawn inside a polygon (m, 2), in the background."""
        space, axes = self.space, self.axes
        if space is None:
            return

        def job() -> Mask:
            from ..analysis import inside_polygon

            return inside_polygon(space.plane(axes), polygon)

        self._background.ask("inside", job, self.set_current, self._failed)

    def set_clusters(self, clusters: Clusters | None) -> None:
        """Take clusters that were found."""
        self.clusters = clusters
        self.clusters_changed.emit()
        if self.colour == CLUSTER:
            self.set_colour(CLUSTER)

    def set_path(self, z: Array | None) -> None:
        """Show a path (m, zdim) on the map."""
        self.path = z
        self.path_changed.emit()

    # Picking

    def pick_at(
        self, point: Sequence[float], unit: Sequence[float], *, moving: bool = False
    ) -> None:
        """Pick a point of the drawing and decode its z.

        Parameters
        ----------
        point
            On the chosen axes.
        unit
            Size of a screen pixel on these axes: nearness is what the eye sees.
        moving
            Whether the mouse is still on its way, so that a small volume is enough.
        """
        if self.space is None:
            return
        particle = self.space.nearest(self.axes, point, unit)
        base = self.space.mu[particle]
        z = base if self.snap else self.space.z_at(self.axes, point, base)
        self.pick_z(z, particle, moving=moving)

    def pick_particle(self, particle: int) -> None:
        """Pick a particle: every view turns to it."""
        if self.space is not None:
            self.pick_z(self.space.mu[particle], particle)

    def pick_z(self, z: Array, particle: int | None = None, *, moving: bool = False) -> None:
        """Pick a z (zdim,) and decode it; the particle nearest in z goes with it if none is."""
        space = self.space
        if space is None:
            return
        if particle is None:
            particle = int(np.argmin(np.square(space.mu - z).sum(1)))
        self.pick = self._pick(np.asarray(z, np.float32), particle, space)
        # Decoded first: what comes at once is then drawn together with the mark on the map.
        if self.run is not None and self.run.can_decode:
            (self.decode.look if moving else self.decode.settle)(self.pick.z)
        self.picked.emit(self.pick)

    def _pick(self, z: Array, particle: int, space: LatentSpace) -> Pick:
        distance = float(np.linalg.norm(z - space.mu[particle]))
        return Pick(z, particle, distance, space.off_data(z))

    # Waiting

    @property
    def busy(self) -> str:
        """What is being computed, as a word for the dock; empty if nothing."""
        if self._background.waits_for("open"):
            return "Opening …"
        return "Decoding …" if self.decode.busy else ""

    def _failed(self, error: Exception) -> None:
        self.busy_changed.emit()
        self.failed.emit(error)


def _kept_umap(run: Run, mu: Array) -> Array | None:
    """The embedding that was computed here, or else by ``cryodrgn analyze``."""
    from ..analysis import load_umap

    umap = load_umap(run.folder, mu)
    if umap is None and (products := run.products()) is not None:
        umap = products.umap
    return umap


def _open_run(folder: Path) -> Run:
    from ..analysis import Run

    return Run.open(folder)


def _pca(mu: Array) -> Any:
    from ..analysis import pca

    return pca(mu)
