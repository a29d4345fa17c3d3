"""Uniform grids on SO(3) and on the plane of shifts."""

from __future__ import annotations

import math

import healpix
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def so3_grid(n_side: int) -> Float[Tensor, "n 3 3"]:
    """HEALPix directions times in-plane angles: 72 n_side³ rotations, object to image.

    Neighbours are about 60 / n_side degrees apart.
    """
    theta, phi = healpix.pix2ang(n_side, np.arange(12 * n_side**2))
    n_psi = 6 * n_side
    psi = (np.arange(n_psi) + 0.5) * 2 * np.pi / n_psi
    a = torch.from_numpy(np.asarray(phi)).repeat_interleave(n_psi)
    b = torch.from_numpy(np.asarray(theta)).repeat_interleave(n_psi)
    g = torch.from_numpy(np.tile(psi, len(theta)))
    return zyz_matrix(a, b, g).float()


def so3_half_grid(n_side: int) -> Float[Tensor, "n 3 3"]:
    """Half of ``so3_grid``; the other half is the same turned by 180 degrees in the plane.

    The slices of such a pair are complex conjugates of each other.
    """
    n_psi = 6 * n_side
    return so3_grid(n_side).reshape(-1, n_psi, 3, 3)[:, : n_psi // 2].reshape(-1, 3, 3)


def half_turn(rotations: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations turned by 180 degrees in the plane of the image."""
    return rotations * rotations.new_tensor([[-1.0], [-1.0], [1.0]])


def so3_spacing(n: int) -> float:
    """Edge in radians of the cell of each of ``n`` rotations: SO(3) has volume 8 pi²."""
    return float((8 * math.pi**2 / n) ** (1 / 3))


def zyz_matrix(
    rot: Float[Tensor, "*batch"], tilt: Float[Tensor, "*batch"], psi: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """RELION's rotation matrix, object to image, of its Euler angles in radians."""
    ca, sa, cb, sb, cg, sg = rot.cos(), rot.sin(), tilt.cos(), tilt.sin(), psi.cos(), psi.sin()
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def shift_grid(extent: float, step: float) -> tuple[Float[Tensor, "n 2"], float]:
    """Square grid of shifts in [-extent, extent]² and its actual spacing, about ``step``."""
    n = max(1, round(2 * extent / step)) + 1 if extent > 0 else 1
    x = torch.linspace(-extent, extent, n)
    y, x = torch.meshgrid(x, x, indexing="ij")
    spacing = 2 * extent / (n - 1) if n > 1 else 0.0
    return torch.stack([x, y], -1).reshape(-1, 2), spacing
