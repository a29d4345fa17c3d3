"""The contrast transfer function (CTF)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


@dataclass(frozen=True)
class CTFParameters:
    """CTF parameters of N particles, each field a float64 array of shape (N,).

    Units: defocus in Å (positive is underfocus), angles and phase shift in degrees, voltage in kV,
    spherical aberration in mm, amplitude contrast as a fraction.
    """

    defocus_u: NDArray[np.float64]
    defocus_v: NDArray[np.float64]
    defocus_angle: NDArray[np.float64]
    voltage: NDArray[np.float64]
    spherical_aberration: NDArray[np.float64]
    amplitude_contrast: NDArray[np.float64]
    phase_shift: NDArray[np.float64]

    @classmethod
    def create(
        cls,
        defocus_u: ArrayLike,
        defocus_v: ArrayLike,
        defocus_angle: ArrayLike = 0.0,
        voltage: ArrayLike = 300.0,
        spherical_aberration: ArrayLike = 2.7,
        amplitude_contrast: ArrayLike = 0.1,
        phase_shift: ArrayLike = 0.0,
    ) -> CTFParameters:
        """Broadcast numbers and arrays to one length.

        Raises
        ------
        ValueError
            If the lengths disagree.
        """
        values = (
            defocus_u,
            defocus_v,
            defocus_angle,
            voltage,
            spherical_aberration,
            amplitude_contrast,
            phase_shift,
        )
        arrays = np.broadcast_arrays(*[np.atleast_1d(np.asarray(v, np.float64)) for v in values])
        return cls(*[np.ascontiguousarray(a) for a in arrays])

    def __len__(self) -> int:
        return len(self.defocus_u)

    def select(self, indices: ArrayLike | slice) -> CTFParameters:
        """Parameters of some particles, in the order of ``indices``."""
        index = indices if isinstance(indices, slice) else np.asarray(indices)
        return CTFParameters(*[getattr(self, f.name)[index] for f in fields(self)])


def electron_wavelength(voltage: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Relativistic wavelength in Å of electrons accelerated by ``voltage`` kV."""
    volts = voltage * 1e3
    return 12.2643247 / torch.sqrt(volts * (1 + volts * 0.978466e-6))


class CTF:
    """The CTF of N particles at fixed Fourier pixels, in RELION's convention.

    sqrt(1 - w²) sin(chi) + w cos(chi) with chi = pi lambda df s² - pi/2 Cs lambda³ s⁴ - phase
    shift: positive at low frequency for particles that are bright on dark.

    Parameters
    ----------
    parameters
        Of N particles.
    k
        Integer frequencies (P, 2) as (kx, ky).
    box
        Box size in pixels that the frequencies belong to.
    pixel_size
        Å per pixel of that box.
    device
        Where to compute.
    """

    def __init__(
        self,
        parameters: CTFParameters,
        k: Float[Tensor, "pixels 2"],
        box: int,
        pixel_size: float,
        device: torch.device | str = "cpu",
    ) -> None:
        s = k.double() / (box * pixel_size)
        s2 = (s**2).sum(-1)
        angle = torch.atan2(s[:, 1], s[:, 0])
        self._s2_exact = s2.to(device)
        self._s2 = s2.float().to(device)
        # cos(2(theta - a)) splits into the pixel's and the particle's part: no (N, P) trigonometry.
        self._cos2 = torch.cos(2 * angle).float().to(device)
        self._sin2 = torch.sin(2 * angle).float().to(device)

        def column(values: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(np.asarray(values, np.float64))

        wavelength = electron_wavelength(column(parameters.voltage))
        u, v = column(parameters.defocus_u), column(parameters.defocus_v)
        a = torch.deg2rad(column(parameters.defocus_angle))
        w = column(parameters.amplitude_contrast)
        cs = column(parameters.spherical_aberration) * 1e7
        # In turns. Defocus makes a hundred of them and more, of which only the last fraction
        # counts: that product is double precision, and the small rest need not be.
        scale = 0.5 * wavelength
        self._mean = (scale * 0.5 * (u + v)).to(device)
        self._per_particle = torch.stack(
            [
                scale * 0.5 * (u - v) * torch.cos(2 * a),
                scale * 0.5 * (u - v) * torch.sin(2 * a),
                -0.25 * cs * wavelength**3,
                # sqrt(1-w²) sin(chi) + w cos(chi) = sin(chi + asin w)
                torch.asin(w) / math.tau - column(parameters.phase_shift) / 360,
            ],
            dim=1,
        ).to(device, torch.float32)

    def __call__(
        self, index: Tensor | slice, n_pixels: int | None = None
    ) -> Float[Tensor, "batch pixels"]:
        """CTF of the particles ``index`` at the first ``n_pixels`` Fourier pixels."""
        p = slice(None, n_pixels)
        cos_part, sin_part, quartic, offset = self._per_particle[index].unsqueeze(-1).unbind(1)
        turns = self._mean[index].unsqueeze(-1) * self._s2_exact[p]
        turns = (turns - turns.round()).float()
        s2 = self._s2[p]
        rest = (cos_part * self._cos2[p] + sin_part * self._sin2[p] + quartic * s2) * s2 + offset
        return torch.sin(math.tau * (turns + rest))
