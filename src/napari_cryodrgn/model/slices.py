"""Central slices of voxel volumes whose transforms are kept, for slices at a moment's notice."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from ..imaging import FourierGrid, Lattice, images_to_pixels, pixels_to_images

_OVERSAMPLING = 2


class VolumeSlices:
    """Transforms of volumes (q, D, D, D), half of them by Friedel's law, to be sampled.

    As `imaging.FourierGrid` at all frequencies below Nyquist, in a quarter of its memory: numbers
    of half precision err by 1e-4, trilinear interpolation by 2e-2.
    """

    def __init__(self, volumes: Float[Tensor, "q z y x"]) -> None:
        d = volumes.shape[-1]
        self._half = _OVERSAMPLING * (d // 2) - 1
        self._n = 2 * self._half + 1
        kernel = FourierGrid(d, 1.0, device=volumes.device).correction
        transforms = [self._transform(volume * kernel) for volume in volumes]
        self._largest = [max(float(parts.abs().max()), 1e-30) for parts in transforms]
        pairs = zip(transforms, self._largest, strict=True)
        # All volumes of a point stand together: they are wanted together.
        self._parts = torch.stack([(parts / largest).half() for parts, largest in pairs], 1)

    @staticmethod
    def memory(box: int, n: int = 1) -> int:
        """Bytes that ``n`` volumes of ``box``³ voxels would take."""
        half = _OVERSAMPLING * (box // 2) - 1
        return 4 * n * (2 * half + 1) ** 2 * (half + 1)

    def __call__(self, points: Float[Tensor, "p 3"]) -> Complex[Tensor, "q p"]:
        """Each volume at frequencies (x, y, z) in cycles per box, shorter than D / 2 - 0.5."""
        mirrored = points[:, 0] < 0
        index = torch.where(mirrored[:, None], -points, points) * _OVERSAMPLING
        low = index.floor()
        part = index - low
        low = low.long()
        total = torch.zeros(len(points), len(self._largest), 2, device=points.device)
        for corner in range(8):
            step = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=points.device)
            weight = torch.where(step == 1, part, 1 - part).prod(1)
            total += self._parts[self._flat(low + step)].float() * weight[:, None, None]
        scale = torch.tensor(self._largest, device=points.device)
        values = (torch.view_as_complex(total) * scale).T
        return torch.where(mirrored, values.conj(), values)

    def _flat(self, index: Int[Tensor, "p 3"]) -> Int[Tensor, " p"]:
        x, y, z = index.unbind(1)
        return ((z + self._half) * self._n + y + self._half) * (self._half + 1) + x

    def _transform(self, volume: Float[Tensor, "z y x"]) -> Float[Tensor, "points 2"]:
        """One axis after the other, so that nothing is transformed that is zero or not kept."""
        d, h = volume.shape[-1], self._half
        size = _OVERSAMPLING * d
        k = torch.arange(-h, h + 1, device=volume.device)
        kept = torch.fft.rfft(volume, size)[..., : h + 1]
        for axis in (1, 0):
            kept = torch.fft.fft(kept, size, dim=axis).index_select(axis, k % size)
        # The origin is voxel D // 2.
        angle = (2 * math.pi * (d // 2) / size) * k.double()
        turn = torch.polar(torch.ones_like(angle), angle).to(kept.dtype)
        kept = kept * turn[:, None, None] * turn[:, None] * turn[h:]
        return torch.view_as_real(kept).reshape(-1, 2)


def windowed(
    pixels: Complex[Tensor, " p"], lattice: Lattice, window: Float[Tensor, "y x"]
) -> Complex[Tensor, " p"]:
    """Pixels of an image after it was multiplied by a window."""
    return images_to_pixels(pixels_to_images(pixels[None], lattice) * window, lattice)[0]
