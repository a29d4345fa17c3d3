"""Whether the particles of a run differ at all in more than noise, contrast and view."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import CryodrgnError
from ..imaging import shift_phases
from ..poses import SliceSampler
from ..training.dataset import Dataset, load
from ..training.linear import LinearFit, fit_linear
from ..training.settings import Settings
from .baseline import given_halves
from .crossed_poses import CrossedPoses, crossed_poses
from .half_sets import posed_particles
from .latent_array import sampled
from .run_images import RunImages

# More particles sharpen the answer where it is clear already.
_MOST = 10_000
_FEWEST = 40
_BOX = 24
# Cycles per box: motion of whole domains shows here, where the images tell most.
_LIMIT = 8.0
_COMPONENTS = 2
_ITERATIONS = 10
# As small as can be: a mean volume that is damped leaves a part of itself in every image, which
# would count as motion.
_RIDGE = 0.005
# The slope of the mean along the beam has no slice: the slices of the seven are not independent.
_DEPENDENT = 1e-5
# Shares of the time; that of fitting is one of measuring.
_READING, _MEASURING, _POSING, _FITTING = 0.15, 0.25, 0.34, 0.7
_CHUNK = 256
#: Standard errors by which images must vary more along motion than by chance.
CLEAR = 4.0
# The eight turns by 120 degrees about the diagonals of the box: an exchange of axes, then a half
# turn, which flips two axes.
_TURNS = tuple(
    (axes, flips) for axes in ((1, 2, 0), (2, 0, 1)) for flips in ((), (-3, -2), (-3, -1), (-2, -1))
)


@dataclass(frozen=True)
class Excess:
    """How much more images vary along motion seen in other images than along none.

    ``value`` is a share of the noise's variance, with its standard ``error``, over ``n``
    particles. ``left_out`` particles have poses that are no better than chance and are not among
    the ``n``.
    """

    value: float
    error: float
    n: int
    left_out: int = 0

    @property
    def errors(self) -> float:
        """The excess in standard errors."""
        return self.value / self.error

    @property
    def clear(self) -> bool:
        """Whether it is more than four standard errors."""
        return self.errors > CLEAR


@dataclass(frozen=True)
class Verdict:
    """Whether there is heterogeneity.

    The excess is measured at the run's own poses, ``as_posed``, and at poses ``refined`` from them;
    ``details`` (Å) is the finest detail looked at.
    """

    as_posed: Excess
    refined: Excess
    details: float

    @property
    def kind(self) -> Literal["found", "unclear", "none"]:
        """Found if it is clear at refined poses; unclear if it is so at the run's own alone.

        Then errors of poses may be what is seen, or a motion that poses can follow.
        """
        if self.refined.clear:
            return "found"
        return "unclear" if self.as_posed.clear else "none"


def heterogeneity(images: RunImages, scratch: Path) -> Iterator[float | Verdict]:
    """Whether motion seen in one half of the particles is there in the other half.

    To each half a mean volume and its first two principal components are fitted (Tipping and
    Bishop, 1999). In each image of the other half, what a wrong contrast, shift or orientation
    looks like to first order is projected out of the residual and of the components' slices; the
    squared length of the residual along the components is then 1 on average if it is noise. It is
    compared with the length along the same components turned in eight ways, where there is no
    motion but the same residual. The error is that of the mean over the images together with the
    scatter between the eight, which does not shrink with the number of images.

    This is done at the run's poses, and once more at poses of each half that were refined against
    the mean of the other half, without images that match it no better at their pose than at the
    best of 30 random ones. What is left then is differences between images that no small change of
    pose and contrast explains, and that other images show too. Many poses that are wrong by more
    than their refinement can mend, but better than chance, or a second kind of particle, are such
    differences as well. The run's latent has no part in this, so that it cannot vouch for itself.
    Yields the fraction done, at last the verdict.

    Parameters
    ----------
    images
        Of the run; up to 10,000 of them are used, in a box of 24 pixels.
    scratch
        Folder for images that do not fit into memory.

    Raises
    ------
    CryodrgnError
        If there are no poses, fewer than 40 particles or 20 in a half whose poses are better than
        chance, or images cannot be read.
    """
    posed, dark = posed_particles(images)
    if len(posed) < _FEWEST:
        raise CryodrgnError(f"Motion cannot be told from noise with {len(posed)} particles.")
    rows = sampled(len(posed), _MOST, 0)
    some = posed.select(rows)
    settings = Settings(
        output=scratch,
        poses="given",
        box=min(_BOX, images.run.box, posed.box),
        invert_contrast=dark,
    )
    data: Dataset | None = None
    for outcome in load(some, settings, torch.device("cpu")):
        if isinstance(outcome, Dataset):
            data = outcome
        else:
            yield _READING * outcome
    assert data is not None
    assert some.rotations is not None
    assert some.shifts is not None
    halves = given_halves(some.half_sets)
    if halves is None:
        halves = torch.arange(len(some)) % 2
    limit = min(_LIMIT, data.lattice.limit)
    rotations = torch.from_numpy(some.rotations)
    shifts = torch.from_numpy(some.shifts) * (data.box / some.box)
    everyone = torch.ones(len(some), dtype=torch.bool)
    as_posed: Excess | None = None
    for step in _excess(data, CrossedPoses(rotations, shifts, everyone), halves, limit):
        if isinstance(step, Excess):
            as_posed = step
        else:
            yield _READING + _MEASURING * step
    poses: CrossedPoses | None = None
    for polished in crossed_poses(data, rotations, shifts, halves, limit):
        if isinstance(polished, CrossedPoses):
            poses = polished
        else:
            yield _READING + _MEASURING + _POSING * polished
    assert poses is not None
    refined: Excess | None = None
    for step in _excess(data, poses, halves, limit):
        if isinstance(step, Excess):
            refined = step
        else:
            yield _READING + _MEASURING + _POSING + _MEASURING * step
    assert as_posed is not None
    assert refined is not None
    yield Verdict(as_posed, refined, data.box * data.pixel_size / limit)


def _excess(
    data: Dataset, poses: CrossedPoses, halves: Int[Tensor, " n"], limit: float
) -> Iterator[float | Excess]:
    """Images of each half against the motion of the other; yields the fraction done, too."""
    a, b = (((halves == half) & poses.holds).nonzero()[:, 0] for half in (0, 1))
    n = len(a) + len(b)
    if 2 * min(len(a), len(b)) < _FEWEST:
        raise CryodrgnError(
            f"Only {n:,} of {len(data):,} images match the mean volume at their poses better than "
            "at random ones: it cannot be told whether they differ."
        )
    lengths = torch.empty(len(data), 1 + len(_TURNS))
    done = 0.0
    for own, other in ((a, b), (b, a)):
        fit: LinearFit | None = None
        for _, latest in fit_linear(
            data, poses.rotations, poses.shifts, _COMPONENTS, limit,
            iterations=_ITERATIONS, seed=0, index=other, ridge=_RIDGE,
        ):  # fmt: skip
            fit = latest
            done += _FITTING / (2 * _ITERATIONS)
            yield done
        assert fit is not None
        for part, measured in lengths_along(data, poses, fit.volumes, own, limit):
            lengths[part] = measured
            done += (1 - _FITTING) * len(part) / n
            yield done
    held = lengths[poses.holds].double()
    controls = held.shape[1] - 1
    excess = held[:, 0] - held[:, 1:].mean(1)
    # By as much as controls lie from each other may the motion lie off without being one. Part of
    # that is the noise of the images over again, which keeps the error on the safe side.
    scatter = held[:, 1:].mean(0).var() * (1 + 1 / controls)
    error = float((excess.var() / n + scatter).sqrt())
    yield Excess(float(excess.mean()), error, n, len(data) - n)


def rigid_motion(mean: Float[Tensor, "z y x"]) -> Float[Tensor, "7 z y x"]:
    """The mean, its three slopes, and its three derivatives by rotation about the centre D // 2.

    To first order, errors of contrast and of poses are amounts of these seven volumes.
    """
    k = torch.fft.fftfreq(len(mean), 1 / math.tau)
    # Differences between voxels would err by half at the finest details looked at.
    waves = torch.stack(torch.meshgrid(k, k, k, indexing="ij")).to(mean)
    slopes = torch.fft.ifftn(1j * waves * torch.fft.fftn(mean), dim=(1, 2, 3)).real
    line = torch.arange(len(mean)) - len(mean) // 2
    place = torch.stack(torch.meshgrid(line, line, line, indexing="ij")).to(mean)
    return torch.cat([mean[None], slopes, torch.linalg.cross(place, slopes, dim=0)])


def lengths_along(
    data: Dataset,
    poses: CrossedPoses,
    volumes: Float[Tensor, "q z y x"],
    index: Int[Tensor, " m"],
    limit: float,
) -> Iterator[tuple[Int[Tensor, " b"], Float[Tensor, "b sets"]]]:
    """Squared length of images' residuals along components, over that of noise.

    ``volumes`` are the mean and the components, and the sets these components and their eight
    turned copies. Rigid motion of the mean and contrast are projected out in every image. Yields
    particles, and their lengths, batch by batch.
    """
    rigid = rigid_motion(volumes[0])
    # Taken out in space, too: what is turned shall be motion.
    basis, _ = torch.linalg.qr(rigid.flatten(1).T.double())
    flat = volumes[1:].flatten(1).double()
    motion = (flat - flat @ basis @ basis.T).float().reshape(volumes[1:].shape)
    sets = torch.cat([motion, *(_turned(motion, *turn) for turn in _TURNS)])
    stack = torch.cat([volumes[:1], _normal(rigid), _normal(sets)])
    sampler = SliceSampler(data.lattice, stack, limit)
    q = len(motion)
    for part, pixels, ctf in data.batches(_CHUNK, limit, index):
        k = data.lattice.k[: pixels.shape[1]]
        slices = sampler.of_all(poses.rotations[part], len(k)) * ctf
        residual = pixels * shift_phases(k, data.box, poses.shifts[part]) - slices[0]
        rows = torch.cat([slices[1:], residual[None]]).transpose(0, 1)
        parts = torch.view_as_real(rows).flatten(2).double()
        free = _without(parts[:, :7], parts[:, 7:])
        modes, rest = free[:, :-1].unflatten(1, (-1, q)), free[:, None, -1, :, None]
        pull, power = modes @ rest, modes @ modes.transpose(2, 3)
        # E|n|² = 1 of a complex pixel: a half of each of its parts.
        length = 2 / q * (pull * torch.linalg.solve(power, pull)).sum((2, 3))
        yield part, length.float()


def _without(
    known: Float[Tensor, "batch 7 values"], rows: Float[Tensor, "batch m values"]
) -> Float[Tensor, "batch m values"]:
    """Rows without what they have along ``known``."""
    size = known.norm(dim=2, keepdim=True).amax(1, keepdim=True)
    known = known / size
    eye = torch.eye(known.shape[1], dtype=known.dtype)
    system = known @ known.transpose(1, 2) + _DEPENDENT * eye
    amounts: Tensor = torch.linalg.solve(system, known @ rows.transpose(1, 2))
    return rows - amounts.transpose(1, 2) @ known


def _turned(
    volumes: Float[Tensor, "q z y x"], axes: tuple[int, ...], flips: tuple[int, ...]
) -> Float[Tensor, "q z y x"]:
    """Volumes with their axes exchanged and flipped about voxel D // 2."""
    turned: Tensor = volumes.permute(0, *(1 + axis for axis in axes))
    return turned.flip(flips).roll((1,) * len(flips), flips) if flips else turned


def _normal(volumes: Float[Tensor, "q z y x"]) -> Float[Tensor, "q z y x"]:
    size: Tensor = volumes.flatten(1).norm(dim=1).clamp_min(1e-20)
    return volumes / size[:, None, None, None]
