"""What the images say about the pose of one particle: the search repeated, and a posterior."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Float32
from numpy.typing import ArrayLike
from torch import Tensor

from ..imaging import pixels_to_images, shift_phases
from ..poses import (
    PosePosterior,
    PoseSearch,
    PosteriorSampler,
    SearchSettings,
    SliceSampler,
    TracedLevel,
    angular_distance,
)
from ..poses.search import Stop, go_on
from .run_files import Array
from .run_images import RunImages

# Frequency limits of the search in cycles per box, as in training.
_FIRST, _LAST = 10.0, 18.0
_LEVELS = 4
#: Candidates kept at every level, many more than training keeps.
KEPT = 64
# The bound is measured on as few particles as its risk allows.
_RISK = 0.05
_OTHERS = 19
# Largest shift searched and first step of shifts, as shares of the box, as in training.
_SHIFT, _STEP = 0.08, 1 / 25.6
_NOISE_SAMPLE = 200
# Images that are read at a time.
_CHUNK = 20
# The noise is never taken below this share of the images' power, as in training.
_SHARPEST = 0.05


@dataclass(frozen=True)
class PoseDifference:
    """How far a pose is from another one, in degrees and pixels.

    ``out_of_plane`` is the angle between the viewing directions, ``in_plane`` that of the turn
    within the image that is left.
    """

    angle: float
    out_of_plane: float
    in_plane: float
    shift: float


def pose_difference(
    rotation: Float[Tensor, "3 3"],
    shift: Float[Tensor, " 2"],
    other: Float[Tensor, "3 3"],
    other_shift: Float[Tensor, " 2"],
) -> PoseDifference:
    """Compare two poses; rotations map object to image, shifts are in pixels."""
    turn = (rotation @ other.T).double()
    tilt = math.degrees(math.acos(float(turn[2, 2].clamp(-1, 1))))
    # The twist about z of the swing-twist decomposition.
    twist = math.degrees(math.atan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1]))
    angle = float(angular_distance(rotation, other))
    return PoseDifference(angle, tilt, abs(twist), float((shift - other_shift).norm()))


@dataclass(frozen=True, eq=False)
class PoseEvidence:
    """The search for one particle's pose, and the posterior over its poses.

    ``levels`` of the search from coarse to fine, up to ``limit`` cycles per box. Shifts are in
    pixels of the run's box. ``rotation`` (3, 3) and ``shift`` (2,) are the run's own pose, with the
    log-likelihood ratio ``score``; None if it has none.
    """

    row: int
    limit: float
    levels: tuple[TracedLevel, ...]
    posterior: PosePosterior
    rotation: Float[Tensor, "3 3"] | None
    shift: Float[Tensor, " 2"] | None
    score: float | None
    state_shares: tuple[float, ...]
    images: RunImages
    sampler: SliceSampler

    @property
    def difference(self) -> PoseDifference | None:
        """From the most likely pose to the run's own."""
        if self.rotation is None or self.shift is None:
            return None
        best = self.posterior.peaks[0]
        return pose_difference(best.rotation, best.shift, self.rotation, self.shift)

    @property
    def own_tail(self) -> float | None:
        """Share of the posterior in poses less likely than the run's own.

        Below 0.01 that pose lies outside the smallest region that holds 99 % (highest posterior
        density; Box and Tiao, 1973).
        """
        if self.score is None:
            return None
        less = self.posterior.scores < self.score
        return float(self.posterior.weights[less].sum())

    def image(self) -> Float32[Array, "y x"]:
        """The particle's image up to the limit, in the run's box."""
        lattice = self.images.lattice
        count = lattice.count(self.limit)
        pixels = self.images.pixels([self.row])[:, :count]
        return np.asarray(pixels_to_images(pixels, lattice)[0], np.float32)

    def projection(
        self, rotation: Float[Tensor, "3 3"], shift: Float[Tensor, " 2"], state: int
    ) -> Float32[Array, "y x"]:
        """What the image would show at a pose, without noise, up to the limit."""
        lattice = self.images.lattice
        count = lattice.count(self.limit)
        slices = self.sampler.of_states(rotation[None, None], torch.tensor([state]), count)[:, 0]
        ctf = self.images.ctf([self.row])[:, :count]
        moved = slices * ctf * shift_phases(lattice.k[:count], lattice.box, -shift)
        return np.asarray(pixels_to_images(moved, lattice)[0], np.float32)


class PoseFinder:
    """Searches poses of a run's particles as its training would, but keeps more candidates.

    The noise is what the run's consensus volume leaves of the images at the run's poses, their
    whole power where it has none. The bound of the search is measured on other particles against
    that volume. To be used in one thread at a time.

    Parameters
    ----------
    images
        Of the run's particles.
    stop
        Asked now and then whether it is no longer wanted.

    Raises
    ------
    CryodrgnError
        If images cannot be read, there is no volume yet, or ``stop`` said so.
    """

    def __init__(self, images: RunImages, stop: Stop | None = None) -> None:
        self.images = images
        run, lattice = images.run, images.lattice
        self._limit = min(_LAST, lattice.limit)
        volume = torch.tensor(run.consensus().data)
        rows = np.linspace(0, run.n_particles - 1, min(run.n_particles, _NOISE_SAMPLE))
        power = noise_power(images, volume, rows.round().astype(np.intp), stop)
        self._weight = power.clamp_min(1e-12 * float(power.max())).rsqrt()[lattice.shell]
        self._reference = PoseSearch(lattice, volume[None], self._settings)
        others = rows[:: max(1, len(rows) // _OTHERS)].round().astype(np.intp)[:_OTHERS]
        pixels, ctf, _ = self._whitened(others)
        self._reference(pixels, ctf, stop=stop)

    def __call__(
        self, row: int, volumes: Float32[Array, "k z y x"], stop: Stop | None = None
    ) -> PoseEvidence:
        """Search one particle against volumes, in the units and the box of the run's.

        Shifts are searched within 8 % of the box around the run's own. ``stop`` is asked now and
        then whether the answer is no longer wanted.

        Raises
        ------
        ParticleFileError
            If its image cannot be read.
        CryodrgnError
            If ``stop`` said so.
        """
        run, lattice = self.images.run, self.images.lattice
        pixels, ctf, centre = self._whitened([row])
        go_on(stop)
        search = PoseSearch(lattice, torch.tensor(volumes), self._settings)
        search.use_bound_of(self._reference)
        trace = search.trace(pixels, ctf, stop)
        reach = self._settings.max_shift + self._settings.shift_step / 2
        draw = PosteriorSampler(search.sampler, self._limit, reach)
        posterior = draw(pixels, ctf, trace.cells)
        rotation = shift = score = None
        if run.rotations is not None and run.shifts is not None:
            rotation, shift = (
                torch.from_numpy(run.rotations[row]),
                torch.from_numpy(run.shifts[row]),
            )
            states = torch.arange(len(volumes))
            own, still = rotation.expand(len(volumes), 3, 3), torch.zeros(len(volumes), 2)
            score = float(draw.scores(pixels, ctf, own, still, states).max())
        return PoseEvidence(
            row,
            self._limit,
            tuple(level.moved(centre) for level in trace.levels),
            posterior.moved(centre),
            rotation,
            shift,
            score,
            tuple(posterior.state_shares(len(volumes)).tolist()),
            self.images,
            search.sampler,
        )

    @property
    def _settings(self) -> SearchSettings:
        box = self.images.lattice.box
        return SearchSettings(
            first_limit=min(_FIRST, self._limit),
            last_limit=self._limit,
            levels=_LEVELS,
            keep=(KEPT,),
            max_shift=_SHIFT * box,
            shift_step=_STEP * box,
            risk=_RISK,
        )

    def _whitened(
        self, rows: ArrayLike
    ) -> tuple[Complex[Tensor, "n pixels"], Float[Tensor, "n pixels"], Float[Tensor, " 2"]]:
        """Images moved back by the run's shifts, their CTF, and the shift of the first."""
        run, lattice = self.images.run, self.images.lattice
        pixels, ctf = self.images.pixels(rows) * self._weight, self.images.ctf(rows) * self._weight
        shifts = torch.zeros(len(pixels), 2)
        if run.shifts is not None:
            shifts = torch.from_numpy(run.shifts[np.asarray(rows)])
        return pixels * shift_phases(lattice.k, lattice.box, shifts), ctf, shifts[0]


def noise_power(
    images: RunImages,
    volume: Float[Tensor, "z y x"],
    rows: ArrayLike,
    stop: Stop | None = None,
) -> Float[Tensor, " shells"]:
    """Power per Fourier pixel and shell of what a volume leaves of images, in their own units.

    Of the images themselves if the run has no poses; never less than a twentieth of it.

    Raises
    ------
    ParticleFileError
        If images cannot be read.
    CryodrgnError
        If ``stop`` said that the answer is no longer wanted.
    """
    lattice, rows = images.lattice, np.asarray(rows)
    posed = images.run.rotations is not None
    sampler = SliceSampler(lattice, volume[None], lattice.limit) if posed else None
    sums = torch.zeros(2, len(lattice))
    for start in range(0, len(rows), _CHUNK):
        go_on(stop)
        some = rows[start : start + _CHUNK]
        pixels = residual = images.pixels(some)
        if sampler is not None:
            rotations, shifts = images.poses(some)
            slices = sampler.of_all(rotations, len(lattice))[0] * images.ctf(some)
            residual = pixels - slices * shift_phases(lattice.k, lattice.box, -shifts)
        sums += torch.stack([part.abs().square().sum(0) for part in (pixels, residual)])
    total, left = (lattice.shell_mean(part / len(rows)) for part in sums)
    return torch.minimum(torch.maximum(left, _SHARPEST * total), total)
