"""Rigid fit of one volume to another, hand included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ..imaging import FourierGrid
from ..poses import angular_distance, expmap, so3_grid

_CHUNK = 128
_N_SIDE = 4
_CANDIDATES = 8
# Candidates nearer than this (degrees) refine to the same fit.
_APART = 20.0
_MIRROR = (1.0, 1.0, -1.0)


@dataclass(frozen=True)
class VolumeFit:
    """How a volume must be moved to lie on another.

    The moving volume is mirrored (z -> -z) if ``flipped``, then turned and displaced:
    ``volume``(x) = moving(G^T (x - t)) with G = ``rotation`` (3, 3) and t = ``shift`` (3,), as
    (x, y, z) in voxels from the centre D // 2. ``correlation`` is that of ``volume`` with the fixed
    one up to the limit of the fit. For volumes reconstructed at two sets of poses, ``rotation``
    and ``flipped`` are the frame of ``poses.align_poses(moving's, fixed's)``.
    """

    rotation: Float[Tensor, "3 3"]
    flipped: bool
    shift: Float[Tensor, "3"]
    volume: Float[Tensor, "z y x"]
    correlation: float


def align_volumes(
    moving: Float[Tensor, "z y x"],
    fixed: Float[Tensor, "z y x"],
    *,
    coarse_limit: float = 7.0,
    limit: float | None = None,
) -> VolumeFit:
    """Rotation, displacement and hand by which ``moving`` correlates best with ``fixed``.

    Every rotation of a grid of about 15 degrees is tried at both hands and all displacements; the
    best ones are refined by gradients, first to ``coarse_limit``, the winner to ``limit``.

    Parameters
    ----------
    moving, fixed
        Cubes of the same even size and voxel size.
    coarse_limit, limit
        In cycles per box; ``limit`` is half of Nyquist if absent.

    Raises
    ------
    ValueError
        If the shapes differ or are no even cubes.
    """
    if moving.shape != fixed.shape or len(set(fixed.shape)) != 1 or len(fixed) % 2:
        raise ValueError(
            "expected two even cubes of one size, "
            f"got {tuple(moving.shape)} and {tuple(fixed.shape)}"
        )
    box = len(fixed)
    limit = min(limit or max(box / 4, coarse_limit), box // 2 - 1)
    coarse_limit = min(coarse_limit, limit)
    grid = FourierGrid(box, box // 2 - 1)
    transform = grid.transform(moving - moving.mean())[None]
    reference = grid.transform(fixed - fixed.mean())[None]
    starts = _coarse(grid, transform, reference, coarse_limit)
    fits = [_refine(grid, transform, reference, *s, coarse_limit) for s in starts]
    fits.sort(key=lambda f: -f[0])
    # Two: at low resolution the hands may be alike.
    finer = [_refine(grid, transform, reference, *f[1:], limit) for f in fits[:2]]
    correlation, rotation, flipped, shift = max(finer, key=lambda f: f[0])
    volume = _moved(grid, transform, rotation, flipped, shift)
    return VolumeFit(rotation, flipped, shift, volume, correlation)


def _half_ball(limit: float) -> Float[Tensor, "points 3"]:
    """Integer frequencies (x, y, z) of half the ball, DC left out: the rest is conjugate."""
    r = torch.arange(-int(limit), int(limit) + 1)
    z, y, x = torch.meshgrid(r, r, r, indexing="ij")
    half = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    inside = half & (x * x + y * y + z * z <= limit * limit)
    return torch.stack([x[inside], y[inside], z[inside]], 1).float()


def _coarse(
    grid: FourierGrid,
    transform: Complex[Tensor, "1 n n n"],
    reference: Complex[Tensor, "1 n n n"],
    limit: float,
) -> list[tuple[Tensor, bool, Tensor]]:
    """The best rotations of the grid at both hands, each with its displacement, far apart.

    The correlation at all displacements is one inverse Fourier transform.
    """
    k = _half_ball(limit)
    target = grid.sample(reference, k).conj()
    edge = 2 * int(limit) + 2
    where = k.long() % edge
    rotations = so3_grid(_N_SIDE)
    mirror = torch.tensor(_MIRROR)
    scores, places = [], []
    for sign in (torch.ones(3), mirror):
        for part in rotations.split(_CHUNK):
            product = grid.sample(transform, (k @ part) * sign)
            norm = product.abs().square().sum(1).sqrt()
            cube = torch.zeros(len(part), edge, edge, edge // 2 + 1, dtype=product.dtype)
            cube[:, where[:, 2], where[:, 1], where[:, 0]] = product.conj() * target.conj()
            # Both mates in the plane x = 0, as a transform of real numbers has them.
            plane = where[:, 0] == 0
            mates = (-where[plane]) % edge
            cube[:, mates[:, 2], mates[:, 1], 0] = (product * target)[:, plane]
            best = torch.fft.irfftn(cube, s=(edge,) * 3, dim=(1, 2, 3)).flatten(1).max(1)
            scores.append(best.values / norm.clamp_min(1e-20))
            places.append(best.indices)
    score, place = torch.cat(scores), torch.cat(places)
    n = len(rotations)
    found: list[tuple[Tensor, bool, Tensor]] = []
    for i in score.argsort(descending=True).tolist():
        rotation, flipped = rotations[i % n], i >= n
        if all(flipped != f or float(angular_distance(rotation, r)) > _APART for r, f, _ in found):
            flat = int(place[i])
            at = torch.tensor([flat % edge, flat // edge % edge, flat // edge**2]).float()
            shift = (at - edge * (at > edge / 2)) * (grid.box / edge)
            found.append((rotation, flipped, shift))
        if len(found) == _CANDIDATES:
            break
    return found


def _refine(
    grid: FourierGrid,
    transform: Complex[Tensor, "1 n n n"],
    reference: Complex[Tensor, "1 n n n"],
    rotation: Float[Tensor, "3 3"],
    flipped: bool,
    shift: Float[Tensor, "3"],
    limit: float,
) -> tuple[float, Tensor, bool, Tensor]:
    """Climb to the nearest maximum of the correlation up to ``limit``."""
    k = _half_ball(limit)
    target = grid.sample(reference, k)
    size = target.abs().square().sum().sqrt()
    sign = torch.tensor(_MIRROR) if flipped else torch.ones(3)
    # A step of 1 is a turn of a pixel at the limit, and a voxel.
    reach = 1 / limit

    def placed(x: Tensor) -> tuple[Tensor, Tensor]:
        return expmap(x[:3] * reach) @ rotation, shift + x[3:]

    def correlation(x: Tensor) -> Tensor:
        turned, moved = placed(x)
        values = grid.sample(transform, (k @ turned) * sign)
        angle = (k @ moved) * (-2 * torch.pi / grid.box)
        values = values * torch.polar(torch.ones_like(angle), angle)
        cross = (values * target.conj()).real.sum()
        return cross / (values.abs().square().sum().sqrt() * size).clamp_min(1e-20)

    def cost(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        with torch.enable_grad():
            at = torch.from_numpy(x).float().requires_grad_()
            value = -correlation(at)
            (slope,) = torch.autograd.grad(value, at)
        return float(value.detach()), slope.double().numpy()

    # The gradient of |w| at w = 0 is not defined.
    found = minimize(cost, np.full(6, 1e-3), jac=True, method="L-BFGS-B", options={"maxiter": 40})
    turned, moved = placed(torch.from_numpy(found.x).float())
    return -float(found.fun), turned, flipped, moved


def _moved(
    grid: FourierGrid,
    transform: Complex[Tensor, "1 n n n"],
    rotation: Float[Tensor, "3 3"],
    flipped: bool,
    shift: Float[Tensor, "3"],
) -> Float[Tensor, "z y x"]:
    """The moving volume, without its mean, in its new place."""
    d = grid.box
    sign = torch.tensor(_MIRROR) if flipped else torch.ones(3)
    line, half = torch.fft.fftfreq(d, 1 / d), torch.fft.rfftfreq(d, 1 / d)
    z, y, x = torch.meshgrid(line, line, half, indexing="ij")
    k = torch.stack([x, y, z], -1)
    inside = k.norm(dim=-1) <= grid.limit
    values = torch.zeros(k.shape[:-1], dtype=transform.dtype)
    k = k[inside]
    angle = (k @ shift) * (-2 * torch.pi / d)
    phases = torch.polar(torch.ones_like(angle), angle)
    values[inside] = grid.sample(transform, (k @ rotation) * sign) * phases
    moved: Tensor = torch.fft.fftshift(torch.fft.irfftn(values, s=(d,) * 3))
    return moved
