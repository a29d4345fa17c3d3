"""How much volumes differ, and where, without Qt."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CryodrgnError
from .decode_bar import Array, Stop
from .inspector_model import Mask
from .surfaces import Mesh, mesh

if TYPE_CHECKING:
    from ..analysis import Run
    from ..analysis.spread import Spread

#: Volumes decoded for a standard deviation, and the largest box they are decoded in.
DRAWS, SPREAD_BOX = 50, 64
# Share of the vertices of the surface of all particles that differ less than the end of the scale.
_TOP = 0.99


@dataclass(frozen=True, eq=False)
class SpreadSurface:
    """A mean volume's surface with the standard deviation at its vertices.

    ``of`` is what was asked for: "particle", with its number, "selection", with its ``mask``, or
    "all". ``part`` is the variance of its voxels over that between all particles, and ``top`` the
    end of the scale of its colours, which is the same for all of a run. ``size`` is the edge of its
    voxels, in Å and the same as ``pixel_size`` unless that is unknown.
    """

    of: str
    particle: int
    mask: Mask | None
    part: float
    top: float
    surface: Mesh
    spread: Spread
    pixel_size: float | None
    size: float

    @property
    def name(self) -> str:
        """Of its layer."""
        if self.of == "particle":
            return f"Uncertainty of particle {self.particle}"
        return f"Variability of {'all particles' if self.of == 'all' else 'the selection'}"


@dataclass(frozen=True, eq=False)
class _All:
    """How much volumes differ between all particles of a run."""

    run: Run
    spread: Spread
    surface: Mesh
    top: float


class Spreads:
    """Finds out how much volumes differ; keeps the answer for all particles of the last run."""

    def __init__(self) -> None:
        self._all: _All | None = None

    def job(
        self, run: Run, of: str, particle: int, mask: Mask | None
    ) -> Callable[[Stop], Iterator[float | SpreadSurface]]:
        """A job that gives the spread of a "particle", of the "selection", or of "all" particles.

        That of all particles is found in any case: it tells what is large.

        Raises
        ------
        CryodrgnError
            If nothing is selected.
        """
        if of == "selection" and mask is None:
            raise CryodrgnError("No particles are selected.")

        def job(stop: Stop) -> Iterator[float | SpreadSurface]:
            # First of all, as it may fail.
            latents = _latents(run, of, particle, mask)
            known, share = self._all, 0.0
            if known is None or known.run is not run:
                share = 1.0 if of == "all" else 0.5
                known = yield from self._find_all(run, share, stop)
            if known is None:
                return
            spread, surface = known.spread, known.surface
            if of != "all":
                found = yield from _spread(run, latents, (share, 1.0), stop)
                if found is None:
                    return
                spread, surface = found, _coloured(run, found)
            part = spread.variance / max(known.spread.variance, 1e-30)
            size = (run.pixel_size or 1.0) * run.box / len(spread.mean)
            true_size = None if run.pixel_size is None else size
            yield SpreadSurface(
                of, particle, mask, part, known.top, surface, spread, true_size, size
            )

        return job

    def _find_all(self, run: Run, share: float, stop: Stop) -> Generator[float, None, _All | None]:
        latents = _latents(run, "all", 0, None)
        spread = yield from _spread(run, latents, (0.0, share), stop)
        if spread is None:
            return None
        surface = _coloured(run, spread)
        top = float(np.quantile(surface[2], _TOP)) if len(surface[2]) else 1.0
        self._all = _All(run, spread, surface, max(top, 1e-12))
        return self._all


def _latents(run: Run, of: str, particle: int, mask: Mask | None) -> Array:
    from ..analysis.spread import particle_latents, posterior_draws

    if of == "particle":
        return posterior_draws(run, particle, DRAWS)
    return particle_latents(run, mask if of == "selection" else None, DRAWS)


def _spread(
    run: Run, latents: Array, part: tuple[float, float], stop: Stop
) -> Generator[float, None, Spread | None]:
    """The spread of volumes, None if stopped; yields how far a part of the whole is done."""
    from ..analysis.spread import Spread, voxel_spread

    start, end = part
    for outcome in voxel_spread(run, latents, min(run.box, SPREAD_BOX), stop):
        if isinstance(outcome, Spread):
            return outcome
        yield start + (end - start) * outcome
    return None


def _coloured(run: Run, spread: Spread) -> Mesh:
    """The surface of the mean with the deviation at its vertices."""
    from scipy.ndimage import map_coordinates

    vertices, faces, _ = mesh(spread.mean, run.contour())
    values = map_coordinates(spread.deviation, vertices.T, order=1, mode="nearest")
    return vertices, faces, values.astype(np.float32)
