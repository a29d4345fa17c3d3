"""What can be wrong with particles and poses, seen in numbers that a run has anyway.

Each check returns a message for the user, or None. The thresholds were measured on simulated sets,
good and bad.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..imaging import Lattice
from ..poses import so3_grid

# Standard deviations that differ this much from the median are no particles of the same set.
_BLANK, _GLARING = 1e-3, 10.0
# Half width in degrees of the band around a view's plane that it is taken to sample.
_BAND = 5.0
_SPARSE, _UNSEEN = 0.1, 0.1
_EDGE, _AT_EDGE = 0.9, 0.5
_MATCHES, _SKEWNESS = -6.0, -0.5
_IMAGES_PER_COMPONENT = 100
# In cycles per box: where the outline of a particle shows.
BLOB_LIMIT = 4.0


def blank_images(deviations: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Which images are constant, from the standard deviations of all: they say nothing."""
    return deviations < _BLANK * deviations.median()


def check_images(deviations: Float[Tensor, " n"]) -> str | None:
    """Images that are constant, or so glaring that they outweigh many others."""
    blank, glaring = blank_images(deviations), deviations > _GLARING * deviations.median()
    faults = []
    for which, what in (
        (blank, "constant; given no weight"),
        (glaring, f"more than {_GLARING:.0f} times as strong as the others"),
    ):
        if bool(which.any()):
            rows = (which.nonzero()[:, 0] + 1).tolist()
            names = ", ".join(str(row) for row in rows[:5]) + (", ..." if len(rows) > 5 else "")
            faults.append(f"{len(rows)} of {len(which)} images (number {names}) are {what}")
    return f"{'; '.join(faults)}. Leave them out." if faults else None


def check_count(n: int) -> str | None:
    """Too few particles to find poses from nothing."""
    if n >= 200:
        return None
    return f"{n} particles are few for finding a structure from nothing. Expect it to fail."


def check_zdim(zdim: int, n: int) -> str | None:
    """More latent dimensions than so many particles can tell apart."""
    if zdim * _IMAGES_PER_COMPONENT <= n:
        return None
    most = n // _IMAGES_PER_COMPONENT
    advice = f"Try {most}" if most else "Try 0 (one structure)"
    return (
        f"zdim: {zdim} latent dimensions are many for {n} particles. {advice}, or more particles."
    )


def check_views(rotations: Float[Tensor, "n 3 3"]) -> str | None:
    """Views that leave directions of Fourier space unseen.

    A view samples the plane across its direction; what counts is how many views come within a
    band around each direction (the sampling of Baldwin and Lyumkis, 2020), against uniform views.
    """
    views = rotations[:, 2].float()
    n = len(views)
    # Few particles are judged with a wider band, so that chance leaves no gaps.
    band = max(float(torch.deg2rad(torch.tensor(_BAND)).sin()), min(0.5, 30 / n))
    directions = so3_grid(8)[:: 6 * 8, 2].to(views)
    seen = torch.stack([((d @ views.T).abs() < band).float().mean(1) for d in directions.split(96)])
    unseen = float((seen < _SPARSE * band).float().mean())
    if unseen < _UNSEEN:
        return None
    return (
        f"The views leave {100 * unseen:.0f} % of the directions in Fourier space almost unseen: "
        "the particles have a preferred orientation, or the poses are wrong. The volumes will be "
        "smeared along these directions; add particles from a tilted grid."
    )


def check_shifts(shifts: Float[Tensor, "n 2"], max_shift: float) -> str | None:
    """Winners of a search that pile up at the edge of the range searched."""
    edge = float((shifts.abs().max(1).values > _EDGE * max_shift).float().mean())
    if edge < _AT_EDGE:
        return None
    return (
        f"max_shift: {100 * edge:.0f} % of the particles lie at the edge of the range of shifts "
        f"searched ({max_shift:.1f} px of the run's box): they may be further off. Search further, "
        "or centre the particles first."
    )


def blob_template(lattice: Lattice) -> Float[Tensor, " pixels"]:
    """Transform of a bright spot a fifth of the box wide in the centre, up to ``BLOB_LIMIT``."""
    radius = lattice.radius[: lattice.count(BLOB_LIMIT)]
    return torch.exp(-0.5 * (radius / 1.5) ** 2)


def check_contrast(matches: Float[Tensor, " n"]) -> str | None:
    """Particles darker than what surrounds them once the CTF's sign is undone.

    ``matches`` (n,) are correlations of whitened images with the CTF times a bright spot in the
    centre.
    """
    n = len(matches)
    score = float(matches.mean() / matches.std().clamp_min(1e-12)) * n**0.5
    return _INVERTED if score < _MATCHES else None


def check_density(volume: Float[Tensor, "z y x"]) -> str | None:
    """A molecule that is darker than the solvent: its density is skewed to negative values."""
    skewness = float((volume - volume.mean()).pow(3).mean() / volume.std() ** 3)
    return _INVERTED if skewness < _SKEWNESS else None


_INVERTED = (
    "The molecule looks darker than the solvent: the contrast of the images is inverted, or the "
    "CTF has the wrong sign. Set invert_contrast the other way."
)
