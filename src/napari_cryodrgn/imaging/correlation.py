"""Fourier shell correlation, and the resolution it stands for."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def fsc(
    a: Float[Tensor, "z y x"], b: Float[Tensor, "z y x"], mask: Float[Tensor, "z y x"] | None = None
) -> Float[Tensor, " shells"]:
    """Fourier shell correlation of two volumes (Harauz and van Heel, 1986).

    Parameters
    ----------
    a, b
        Cubic, of D voxels.
    mask
        Multiplies both first.

    Returns
    -------
    Tensor
        (D // 2,), shell s at s cycles per box; 1 at shell 0, 0 where a volume holds nothing.

    Raises
    ------
    ValueError
        If the shapes differ or are no cubes.
    """
    if a.shape != b.shape or len(set(a.shape)) != 1 or a.ndim != 3:
        raise ValueError(f"expected two cubes of one size, got {tuple(a.shape)}, {tuple(b.shape)}")
    d = len(a)
    if mask is not None:
        a, b = a * mask, b * mask
    fa, fb = torch.fft.rfftn(a), torch.fft.rfftn(b)
    line = torch.fft.fftfreq(d, 1 / d, device=a.device)
    half = torch.fft.rfftfreq(d, 1 / d, device=a.device)
    radius = (line[:, None, None] ** 2 + line[:, None] ** 2 + half**2).sqrt()
    shell = radius.round().long().flatten()
    # Half of Fourier space is left out by Friedel's law, but for the planes kx = 0 and Nyquist.
    twice = torch.where((half > 0) & (2 * half < d), 2.0, 1.0).expand_as(radius)

    def shell_sum(values: Tensor) -> Tensor:
        zeros = torch.zeros(int(shell.max()) + 1, dtype=torch.float64, device=a.device)
        return zeros.index_add(0, shell, (values * twice).flatten().double())[: d // 2]

    power = shell_sum(fa.abs().square()) * shell_sum(fb.abs().square())
    cross = shell_sum((fa * fb.conj()).real)
    curve = torch.where(power > 0, cross / power.sqrt().clamp_min(1e-300), 0.0).float()
    curve[0] = 1
    return curve


def crossing(curve: Float[Tensor, " shells"], threshold: float) -> float:
    """Shell where an FSC first falls below ``threshold``, between shells by linear interpolation.

    The last shell if it never does.
    """
    below = (curve[1:] < threshold).nonzero()
    if not len(below):
        return float(len(curve) - 1)
    s = int(below[0, 0])
    above, under = float(curve[s]), float(curve[s + 1])
    return s + (above - threshold) / (above - under)


def resolution(
    curve: Float[Tensor, " shells"], threshold: float, box: int, pixel_size: float
) -> float:
    """Resolution in Å where an FSC of volumes of ``box`` voxels falls below ``threshold``.

    0.143 for two half maps, 0.5 for a map against the truth (Rosenthal and Henderson, 2003).
    """
    return box * pixel_size / max(crossing(curve, threshold), 1e-6)
