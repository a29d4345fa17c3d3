"""Whether what a run shows is real, without Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from psygnal import Signal

from ..errors import CryodrgnError
from .background import Background, Deliver
from .decode_bar import Stop
from .inspector_model import InspectorModel, Mask
from .validity_spread import Spreads, SpreadSurface

if TYPE_CHECKING:
    from ..analysis import Run
    from ..analysis.clusters import Clusters
    from ..analysis.confounding import Confounder
    from ..analysis.half_sets import HalfCurve
    from ..analysis.validity import Verdict

T = TypeVar("T")
Job = Callable[[], Iterator[T]]
#: Name of the half maps of all particles.
ALL = "All particles"


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
        #: Whether clusters are kept with the run, as far as is known.
        self.has_clusters = False
        self._spreads = Spreads()
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
        self._look_for_clusters()

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
                groups = {ALL: None} | _clusters(run)
            else:
                groups = {"Selection": mask} if what == "selection" else {ALL: None}
            yield from half_map_curves(shared.of(run), groups, run.folder)

        return job

    def write_halves(self, folder: Path) -> Job[tuple[Path, Path]]:
        """Write the run's particles as two half sets."""
        run, shared = self._known(), self.inspector.images

        def job() -> Iterator[tuple[Path, Path]]:
            from ..analysis.half_sets import split_halves

            yield split_halves(run, shared.of(run).particles.half_sets, folder)

        return job

    def compare(self, folder: Path) -> Job[HalfCurve | CryodrgnError]:
        """FSC between this run's consensus and that of the run in ``folder``, or why not.

        That the user chose a folder that cannot be compared is no failure of the job.
        """
        run = self._known()

        def job() -> Iterator[HalfCurve | CryodrgnError]:
            from ..analysis import Run
            from ..analysis.half_sets import compare_runs

            try:
                yield compare_runs(run, Run.open(folder))
            except CryodrgnError as error:
                yield error

        return job

    def spread(self, of: str) -> Callable[[Stop], Iterator[float | SpreadSurface]]:
        """Standard deviation of each voxel over the "particle"'s posterior.

        Or over the "selection", or over "all" particles.

        Raises
        ------
        CryodrgnError
            If nothing is selected.
        """
        inspector = self.inspector
        return self._spreads.job(self._known(), of, inspector.particle, inspector.mask)

    def is_current(self, found: SpreadSurface) -> bool:
        """Whether it is of the particle or the selection that there is now."""
        if found.of == "particle":
            return found.particle == self.inspector.particle
        return found.of == "all" or found.mask is self.inspector.mask

    # What happens around it

    def _known(self) -> Run:
        run = self.run
        if run is None:
            raise CryodrgnError("Open a run first.")
        return run

    def _on_run(self) -> None:
        for key in ("confounders", "clusters"):
            self._background.forget(key)
        self.confounders, self.trouble = None, ""
        self._asked, self.has_clusters = None, False
        self._spreads = Spreads()
        self.changed.emit()
        self._ask()
        self._look_for_clusters()

    def _look_for_clusters(self) -> None:
        """Again each time that somebody looks: the Latent explorer may have found some since."""
        run = self.run
        if run is None or not self._active:
            return

        def found(there: bool) -> None:
            if there != self.has_clusters:
                self.has_clusters = there
                self.changed.emit()

        # Damaged ones are there: who asks for their half maps is told.
        self._background.ask(
            "clusters", lambda: _kept(run) is not None, found, lambda _: found(True)
        )

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


def _kept(run: Run) -> Clusters | None:
    from ..analysis.clusters import kept_clusters

    return None if run.latents is None else kept_clusters(run, run.latents.mu)


def _clusters(run: Run) -> dict[str, Mask | None]:
    found = _kept(run)
    if found is None:
        raise CryodrgnError(
            "No clusters are kept with this run. Find some in the Latent explorer first."
        )
    return {name: found.labels == i for i, name in enumerate(found.names)}
