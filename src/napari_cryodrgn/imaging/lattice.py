"""Fourier pixels of an image: the complex half plane, sorted by radius.

An image is real, so half of its Fourier plane says everything (Friedel); the other half is the
complex conjugate. This is the paper's Hartley formulation in other clothes, at half the work.
Sorting by radius turns frequency marching into taking a longer prefix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Lattice:
    """Integer frequencies of the half disc 0 < |k| <= limit of a ``box`` x ``box`` image.

    ``k`` (P, 2) holds (kx, ky) in cycles per box, ``radius`` (P,) their length (ascending), and
    ``shell`` (P,) the radius rounded to an integer. DC and Nyquist are left out.
    """

    box: int
    limit: float
    k: Float[Tensor, "pixels 2"]
    radius: Float[Tensor, " pixels"]
    shell: Int[Tensor, " pixels"]

    @classmethod
    def create(
        cls, box: int, limit: float | None = None, device: torch.device | str = "cpu"
    ) -> Lattice:
        """Lattice up to ``limit`` (box/2 - 1 if absent or larger), in cycles per box."""
        largest = box // 2 - 1
        limit = largest if limit is None else min(limit, largest)
        r = torch.arange(-int(limit), int(limit) + 1)
        y, x = torch.meshgrid(r, r, indexing="ij")
        x, y = x.reshape(-1), y.reshape(-1)
        square = x * x + y * y
        half = (y > 0) | ((y == 0) & (x > 0))
        inside = half & (square <= limit * limit + 1e-6)
        x, y, square = x[inside], y[inside], square[inside]
        order = torch.argsort(square, stable=True)
        k = torch.stack([x[order], y[order]], 1).float().to(device)
        radius = square[order].float().sqrt().to(device)
        return cls(box, float(limit), k, radius, radius.round().long())

    def count(self, limit: float) -> int:
        """Number of pixels with |k| <= ``limit``: the length of the prefix."""
        return int(torch.searchsorted(self.radius, limit + 1e-4, right=True))

    def __len__(self) -> int:
        return len(self.radius)

    @property
    def n_shells(self) -> int:
        """One more than the largest shell number."""
        return int(self.shell[-1]) + 1

    def shell_mean(self, values: Float[Tensor, " pixels"]) -> Float[Tensor, " shells"]:
        """Mean over each shell of values at the first pixels; shells without pixels give 0."""
        shell = self.shell[: len(values)]
        zeros = torch.zeros(self.n_shells, device=values.device, dtype=values.dtype)
        total = zeros.index_add(0, shell, values)
        return total / zeros.index_add(0, shell, torch.ones_like(values)).clamp_min(1)


def images_to_pixels(
    images: Float[Tensor, "batch y x"], lattice: Lattice
) -> Complex[Tensor, "batch pixels"]:
    """Fourier transform of images at the pixels of ``lattice``.

    The origin is pixel D // 2. The images may be larger than ``lattice.box``: taking the same
    integer frequencies of the larger transform is Fourier cropping.
    """
    d = images.shape[-1]
    # rfft2 keeps kx >= 0; the mate of a pixel with kx < 0 is the conjugate at -k.
    kx, ky = lattice.k.long().unbind(1)
    negative = kx < 0
    row, column = torch.where(negative, -ky, ky) % d, kx.abs()
    where = (row * (d // 2 + 1) + column).expand(len(images), -1)
    pixels = torch.fft.rfft2(images).flatten(-2).gather(1, where)
    pixels.imag.mul_(torch.where(negative, -1.0, 1.0))
    # The origin is moved to pixel d // 2 here rather than by shifting the images.
    angle = (kx + ky).double() * (2 * math.pi * (d // 2) / d)
    turned: Tensor = pixels.mul_(torch.polar(torch.ones_like(angle), angle).to(pixels.dtype))
    return turned


def pixels_to_images(
    pixels: Complex[Tensor, "batch pixels"], lattice: Lattice
) -> Float[Tensor, "batch y x"]:
    """Real images of ``lattice.box`` pixels from Fourier pixels; the inverse of the above."""
    d = lattice.box
    kx, ky = lattice.k[: pixels.shape[1], 0].long(), lattice.k[: pixels.shape[1], 1].long()
    full = torch.zeros(len(pixels), d, d, dtype=pixels.dtype, device=pixels.device)
    full[:, ky % d, kx % d] = pixels
    full[:, -ky % d, -kx % d] = pixels.conj()
    images: Tensor = torch.fft.fftshift(torch.fft.ifft2(full).real, dim=(-2, -1))
    return images


def shift_phases(
    k: Float[Tensor, "pixels 2"], box: int, shifts: Float[Tensor, "*batch 2"]
) -> Complex[Tensor, "*batch pixels"]:
    """Phases S(-t) that move a particle displaced by ``shifts`` pixels back to the centre."""
    angle = (shifts @ k.T) * (2 * math.pi / box)
    return torch.polar(torch.ones_like(angle), angle)


def slice_points(
    rotations: Float[Tensor, "*batch 3 3"], k: Float[Tensor, "pixels 2"]
) -> Float[Tensor, "*batch pixels 3"]:
    """Where the pixels of an image lie in the volume's Fourier space: R^T (kx, ky, 0)."""
    return k @ rotations[..., :2, :]
