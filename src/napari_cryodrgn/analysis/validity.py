"""Whether the particles of a run differ at all in more than noise and their view."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import CryodrgnError
from ..training.dataset import Dataset, load
from ..training.linear import LinearFit, fit_linear, infer_linear
from ..training.settings import Settings
from .baseline import given_halves
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
_READING, _FITTING = 0.2, 0.75
#: Standard errors by which images must vary more along motion than by chance.
CLEAR = 4.0
# The same components turned about the diagonal of the box, which keeps voxel D // 2 in its place.
_TURNED = ((0, 2, 3, 1), (0, 3, 1, 2))


@dataclass(frozen=True)
class Verdict:
    """How much more images vary along motion seen in other images than along none.

    ``excess`` is a share of the noise's variance, with its standard ``error``, over ``n``
    particles; ``details`` (Å) is the finest detail looked at.
    """

    excess: float
    error: float
    n: int
    details: float

    @property
    def found(self) -> bool:
        """Whether there is heterogeneity: an excess of more than four standard errors."""
        return self.excess > CLEAR * self.error


def heterogeneity(images: RunImages, scratch: Path) -> Iterator[float | Verdict]:
    """Whether motion seen in one half of the particles is there in the other half.

    To each half, at the run's poses, the mean volume and its first two principal components are
    fitted (Tipping and Bishop, 1999); what contrast and wrong poses look like is taken out of
    them. Noise alone varies along them by chance: then the images of the other half do not vary
    along them more than along the same components turned. The run's latent has no part in this,
    so that it cannot vouch for itself. Yields the fraction done, at last the verdict.

    Parameters
    ----------
    images
        Of the run; up to 10,000 of them are used, in a box of 24 pixels.
    scratch
        Folder for images that do not fit into memory.

    Raises
    ------
    CryodrgnError
        If there are no poses, fewer than 40 particles, or images cannot be read.
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
    rotations = torch.from_numpy(some.rotations)
    shifts = torch.from_numpy(some.shifts) * (data.box / some.box)
    halves = given_halves(some.half_sets)
    if halves is None:
        halves = torch.arange(len(some)) % 2
    a, b = ((halves == half).nonzero()[:, 0] for half in (0, 1))
    excess = torch.zeros(len(some))
    for number, (own, other) in enumerate(((a, b), (b, a))):
        fits = fit_linear(
            data, rotations, shifts, _COMPONENTS, _LIMIT,
            iterations=_ITERATIONS, seed=0, index=other, ridge=_RIDGE,
        )  # fmt: skip
        fit: LinearFit | None = None
        for done, latest in fits:
            fit = latest
            yield _READING + _FITTING * (number + done / _ITERATIONS) / 2
        assert fit is not None
        poses = rotations, shifts
        along = variance_along(data, *poses, fit.volumes, own)
        turned = [torch.cat([fit.volumes[:1], fit.volumes[1:].permute(p)]) for p in _TURNED]
        chance = [variance_along(data, *poses, volumes, own) for volumes in turned]
        excess[own] = along - torch.stack(chance).mean(0)
    limit = min(_LIMIT, data.lattice.limit)
    yield Verdict(
        float(excess.mean()),
        float(excess.std()) / len(excess) ** 0.5,
        len(excess),
        data.box * data.pixel_size / limit,
    )


def without_rigid_motion(volumes: Float[Tensor, "q z y x"]) -> Float[Tensor, "q z y x"]:
    """A mean volume and components, these made orthogonal to the mean and its rigid motions.

    To first order, errors of poses and of contrast are amounts of seven volumes: the mean, its
    three derivatives, and its three derivatives by rotation about the centre D // 2.
    """
    mean = volumes[0]
    k = torch.fft.fftfreq(len(mean), 1 / math.tau)
    # Differences between voxels would err by half at the finest details looked at.
    waves = torch.stack(torch.meshgrid(k, k, k, indexing="ij")).to(mean)
    slopes = torch.fft.ifftn(1j * waves * torch.fft.fftn(mean), dim=(1, 2, 3)).real
    line = torch.arange(len(mean)) - len(mean) // 2
    place = torch.stack(torch.meshgrid(line, line, line, indexing="ij")).to(mean)
    turns = torch.linalg.cross(place, slopes, dim=0)
    rigid = torch.cat([mean[None], slopes, turns]).flatten(1).T
    basis, _ = torch.linalg.qr(rigid.double())
    components = volumes[1:].flatten(1).double().T
    components = components - basis @ (basis.T @ components)
    return torch.cat([mean[None], components.T.float().reshape(volumes[1:].shape)])


def variance_along(
    data: Dataset,
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    volumes: Float[Tensor, "q z y x"],
    index: Int[Tensor, " m"],
) -> Float[Tensor, " m"]:
    """Squared length of what the mean leaves of images along components, over that of noise.

    Rigid motion is taken out of the components first. 1 on average where there is only noise.
    """
    volumes = without_rigid_motion(volumes)
    size = volumes.flatten(1).norm(dim=1)
    scale = size[:1] / size[1:].clamp_min(1e-20)
    volumes[1:] *= scale[:, None, None, None]
    limit = min(_LIMIT, data.lattice.limit)
    mean, covariance, _ = infer_linear(data, rotations, shifts, volumes, limit, index)
    # Back from the posterior, of covariance (2 G + 1)^-1, to what it was made of.
    precision = torch.linalg.inv(covariance)
    pull = (precision @ mean[..., None])[..., 0]
    noise = precision - torch.eye(precision.shape[1])
    length: Tensor = (pull * torch.linalg.solve(noise, pull)).sum(1) / pull.shape[1]
    return length
