"""RELION's Euler angles (ZYZ) and rotation matrices.

The axes are turned by rot about z, tilt about the new y and psi about the new z. With a = rot,
b = tilt, g = psi, R is

    [ cg cb ca - sg sa    cg cb sa + sg ca   -cg sb ]
    [-sg cb ca - cg sa   -sg cb sa + cg ca    sg sb ]
    [ sb ca               sb sa               cb    ]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rotations_from_euler(angles: ArrayLike) -> NDArray[np.float64]:
    """Rotation matrices (N, 3, 3), object to image, of (rot, tilt, psi) in degrees (N, 3)."""
    a, b, g = np.deg2rad(np.asarray(angles, np.float64)).T
    ca, sa, cb, sb, cg, sg = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(g), np.sin(g)
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    matrices: NDArray[np.float64] = np.moveaxis(np.array(rows), -1, 0)
    return matrices


def euler_from_rotations(rotations: ArrayLike) -> NDArray[np.float64]:
    """(rot, tilt, psi) in degrees (N, 3) of rotation matrices (N, 3, 3); tilt in [0, 180].

    Where rot and psi turn about one axis (tilt 0 or 180), rot is 0.
    """
    r = np.asarray(rotations, np.float64)
    degenerate = np.hypot(r[:, 2, 0], r[:, 2, 1]) < 1e-6
    rot = np.where(degenerate, 0.0, np.arctan2(r[:, 2, 1], r[:, 2, 0]))
    ca, sa = np.cos(rot), np.sin(rot)
    tilt = np.arctan2(ca * r[:, 2, 0] + sa * r[:, 2, 1], r[:, 2, 2])
    # R applied to (-sa, ca, 0) is (sg, cg, 0): psi fits the rot just taken, however small tilt is.
    psi = np.arctan2(ca * r[:, 0, 1] - sa * r[:, 0, 0], ca * r[:, 1, 1] - sa * r[:, 1, 0])
    angles: NDArray[np.float64] = np.rad2deg(np.stack([rot, np.abs(tilt), psi], axis=-1))
    return angles
