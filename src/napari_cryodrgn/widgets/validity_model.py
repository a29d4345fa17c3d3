"""Whether what a run shows is real, without Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from psygnal import Signal

from ..errors import CryodrgnError
from .background import Background, Deliver
from .decode_bar import Stop
from .inspector_model import InspectorModel, Mask
from .surfaces import Mesh, mesh

if TYPE_CHECKING:
    from ..analysis import Run
    from ..analysis.confounding import Confounder
    from ..analysis.half_sets import HalfCurve
    from ..analysis.spread import Spread
    from ..analysis.validity import Verdict

T = TypeVar("T")
Job = Callable[[], Iterator[T]]
#: Volumes decoded for a standard deviation, and the largest box they are decoded in.
DRAWS, SPREAD_BOX = 50, 64


@dataclass(frozen=True, eq=False)
class SpreadSurface:
    """A mean volume's surface with the standard deviation at its vertices.

    ``size`` is the edge of its voxels, in Å and the same as ``pixel_size`` unless that is unknown.
    """

    name: str
    surface: Mesh
    spread: Spread
    pixel_size: float | None
    size: float


class ValidityModel:
    """Asks of the inspected run whether its latent, resolution and motion are to be believed.

    Confounders are found by themselves while it is `active`; what takes longer are generators, to
    be run in a thread.

    Parameters
    ----------
    inspector
        Whose run, particle and selection are followed.
    deliver
        Brings answers of other threads to this one, see `Background`.
    """

    #: What was found of another run is dropped.
    changed = Signal()
    failed = Signal(object)

    def __init__(self, inspector: InspectorModel, deliver: Deliver) -> None:
        self.inspector = inspector
        self.confounders: list[Confounder] | None = None
        #: Why there are no confounders.
        self.trouble = ""
        self._background = Background(deliver)
        self._active = False
        self._asked: Run | None = None
        inspector.run_changed.connect(self._on_run)
        inspector.mask_changed.connect(self.changed)
        inspector.particle_changed.connect(self.changed)

    @property
    def active(self) -> bool:
        """Whether anyone looks at it."""
        return self._active

    @active.setter
    def active(self, active: bool) -> None:
        self._active = active
        self._ask()

    @property
    def run(self) -> Run | None:
        """The inspected run."""
        return self.inspector.run

    def close(self) -> None:
        """Stop what runs in the background."""
        self._background.close()

    # Jobs for a thread, of the run, particle and selection there are now

    def heterogeneity(self) -> Job[float | Verdict]:
        """Whether the particles differ at all; see `analysis.validity.heterogeneity`."""
        run, shared = self._known(), self.inspector.images

        def job() -> Iterator[float | Verdict]:
            from ..analysis.validity import heterogeneity

            yield from heterogeneity(shared.of(run), run.folder)

        return job

    def half_maps(self, what: str) -> Job[float | HalfCurve]:
        """FSC of halves of "all" particles, of the "selection", or of each of the "clusters".

        Raises
        ------
        CryodrgnError
            If nothing is selected, or no clusters are kept with the run.
        """
        run, shared, mask = self._known(), self.inspector.images, self.inspector.mask
        if what == "selection" and mask is None:
            raise CryodrgnError("No particles are selected.")

        def job() -> Iterator[float | HalfCurve]:
            from ..analysis.half_sets import half_map_curves

            if what == "clusters":
                groups = _clusters(run)
            else:
                groups = {"Selection": mask} if what == "selection" else {"All particles": None}
            yield from half_map_curves(shared.of(run), groups, run.folder)

        return job

    def write_halves(self, folder: Path) -> Job[tuple[Path, Path]]:
        """Write the run's particles as two half sets."""
        run, shared = self._known(), self.inspector.images

        def job() -> Iterator[tuple[Path, Path]]:
            from ..analysis.half_sets import split_halves

            yield split_halves(run, shared.of(run).particles.half_sets, folder)

        return job

    def compare(self, folder: Path) -> Job[HalfCurve]:
        """FSC between this run's consensus and that of the run in ``folder``."""
        run = self._known()

        def job() -> Iterator[HalfCurve]:
            from ..analysis import Run
            from ..analysis.half_sets import compare_runs

            yield compare_runs(run, Run.open(folder))

        return job

    def spread(self, what: str) -> Callable[[Stop], Iterator[float | SpreadSurface]]:
        """Standard deviation of each voxel over the "particle"'s posterior.

        Or over the "selection", or over "all" particles.

        Raises
        ------
        CryodrgnError
            If nothing is selected.
        """
        run, particle, mask = self._known(), self.inspector.particle, self.inspector.mask
        if what == "selection" and mask is None:
            raise CryodrgnError("No particles are selected.")

        def job(stop: Stop) -> Iterator[float | SpreadSurface]:
            from ..analysis.spread import Spread, particle_latents, posterior_draws, voxel_spread

            if what == "particle":
                latents = posterior_draws(run, particle, DRAWS)
                name = f"Uncertainty of particle {particle}"
            else:
                some = mask if what == "selection" else None
                latents = particle_latents(run, some, DRAWS)
                name = f"Variability of {'all particles' if some is None else 'the selection'}"
            for outcome in voxel_spread(run, latents, min(run.box, SPREAD_BOX), stop):
                if isinstance(outcome, Spread):
                    yield _coloured(run, name, outcome)
                else:
                    yield outcome

        return job

    # What happens around it

    def _known(self) -> Run:
        run = self.run
        if run is None:
            raise CryodrgnError("Open a run first.")
        return run

    def _on_run(self) -> None:
        self.confounders, self.trouble = None, ""
        self.changed.emit()
        self._ask()

    def _ask(self) -> None:
        run = self.run
        if run is None or not self._active or self._asked is run:
            return
        self._asked = run

        def find() -> list[Confounder]:
            from ..analysis import ParticleValues
            from ..analysis.confounding import confounders

            return confounders(run, ParticleValues(run))

        self._background.ask("confounders", find, self._found, self._not_found)

    def _found(self, confounders: list[Confounder]) -> None:
        self.confounders = confounders
        self.changed.emit()

    def _not_found(self, error: Exception) -> None:
        self.trouble = str(error)
        if not isinstance(error, CryodrgnError):
            self.failed.emit(error)
        self.changed.emit()


def _clusters(run: Run) -> dict[str, Mask | None]:
    from ..analysis.clusters import kept_clusters

    found = None if run.latents is None else kept_clusters(run, run.latents.mu)
    if found is None:
        raise CryodrgnError(
            "No clusters are kept with this run. Find some in the Latent explorer first."
        )
    return {name: found.labels == i for i, name in enumerate(found.names)}


def _coloured(run: Run, name: str, spread: Spread) -> SpreadSurface:
    from scipy.ndimage import map_coordinates

    vertices, faces, _ = mesh(spread.mean, run.contour())
    values = map_coordinates(spread.deviation, vertices.T, order=1, mode="nearest")
    size = (run.pixel_size or 1.0) * run.box / len(spread.mean)
    surface = (vertices, faces, values.astype(np.float32))
    return SpreadSurface(name, surface, spread, None if run.pixel_size is None else size, size)
