"""Rotations: exponential map, distances, and alignment of two sets of poses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def expmap(w: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a rotation vector in radians (Rodrigues)."""
    angle = w.norm(dim=-1).clamp_min(1e-12)[..., None, None]
    x, y, z = w.unbind(-1)
    o = torch.zeros_like(x)
    cross = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(*w.shape[:-1], 3, 3)
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    sine, versine = angle.sin() / angle, (1 - angle.cos()) / angle**2
    matrix: Tensor = eye + sine * cross + versine * (cross @ cross)
    return matrix


def logmap(rotations: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vector in radians: the inverse of `expmap`, not exact near half a turn."""
    r = rotations
    axis = torch.stack(
        [
            r[..., 2, 1] - r[..., 1, 2],
            r[..., 0, 2] - r[..., 2, 0],
            r[..., 1, 0] - r[..., 0, 1],
        ],
        -1,
    )
    trace = r.diagonal(dim1=-2, dim2=-1).sum(-1)
    angle = torch.atan2(axis.norm(dim=-1), trace - 1)
    vectors: Tensor = axis * (angle / axis.norm(dim=-1).clamp_min(1e-9))[..., None]
    return vectors


def angular_distance(
    a: Float[Tensor, "*batch 3 3"], b: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch"]:
    """Angle in degrees of the rotation from ``a`` to ``b``."""
    trace = (a.double() * b.double()).sum((-1, -2))
    return torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1)))


def flip_hand(rotations: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Poses M R M, M = diag(1, 1, -1), of the mirror image: the same projections.

    Handedness cannot be decided from projections.
    """
    sign = rotations.new_tensor([1.0, 1.0, -1.0])
    return rotations * sign[:, None] * sign


@dataclass(frozen=True)
class Alignment:
    """Estimated poses brought into the frame of the true ones.

    ``errors`` (N,) are degrees; ``frame`` (3, 3) the rotation G with estimate = truth @ G (after
    ``flip_hand`` of the estimate where ``flipped``).
    """

    errors: Float[Tensor, " n"]
    flipped: bool
    frame: Float[Tensor, "3 3"]

    @property
    def median(self) -> float:
        """Median error in degrees."""
        return float(self.errors.median())


def align_poses(
    estimated: Float[Tensor, "n 3 3"], truth: Float[Tensor, "n 3 3"], seed: int = 0
) -> Alignment:
    """Best global rotation and hand between two sets of poses of the same particles.

    A consensus of the pairwise frames starts the search; a trimmed mean refines it, so that
    particles with a wrong pose do not count.
    """
    estimated, truth = estimated.double(), truth.double()
    best: Alignment | None = None
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randperm(len(truth), generator=generator)[:300].to(truth.device)
    for flipped in (False, True):
        hand = flip_hand(estimated) if flipped else estimated
        frames = truth.transpose(-1, -2) @ hand
        cosine = (torch.einsum("aij,bij->ab", frames[sample], frames) - 1) / 2
        angles = torch.acos(cosine.clamp(-1, 1))
        votes = (angles < math.radians(15)).sum(1)
        for start in (angles.median(1).values.argmin(), votes.argmax()):
            frame = frames[sample[start]]
            for _ in range(5):
                errors = angular_distance(truth @ frame, hand)
                near = errors <= max(10.0, float(errors.median()))
                u, _, vt = torch.linalg.svd(frames[near].mean(0))
                flip = torch.ones(3, dtype=u.dtype, device=u.device)
                flip[2] = torch.linalg.det(u @ vt)
                frame = u * flip @ vt
            errors = angular_distance(truth @ frame, hand)
            if best is None or float(errors.median()) < best.median:
                best = Alignment(errors, flipped, frame)
    assert best is not None
    return best
