"""Power of a volume's central slices, beside that of the images they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..imaging import FourierGrid, Lattice, slice_points
from ..model.points import fourier_crop
from .run_images import RunImages

Array = NDArray[np.float32]
# Edge of the volumes that slices are taken of: the padded transform of a larger one takes GiBs.
_LARGEST = 128
_CHUNK = 16
# Times the power of the signal at which noise dominates.
_NOISE = 10.0


@dataclass(frozen=True, eq=False)
class SlicePower:
    """Mean power of ``n`` images and of the volume's central slices at their poses.

    At the Fourier pixels of ``lattice``, (pixels,) each: ``volume`` of the slices, ``ctf`` the
    square of the CTF, ``expected`` of the slices times the CTF: what the signal should be, and
    ``images`` signal and noise; None where there are no images.
    """

    n: int
    lattice: Lattice
    volume: Float32[Array, " pixels"]
    ctf: Float32[Array, " pixels"] | None
    expected: Float32[Array, " pixels"] | None
    images: Float32[Array, " pixels"] | None

    def rings(self, values: Float32[Array, " pixels"]) -> Float32[Array, " rings"]:
        """Means of values at the pixels over rings 1, 2, ... cycles per box from the centre."""
        return self.lattice.shell_mean(torch.from_numpy(values)).numpy()[1:]

    @property
    def noise_from(self) -> int | None:
        """The ring, in cycles per box, from which on images have ten times the expected power.

        None if they have not even in the last one, or are not known. Averages over three rings
        decide: the CTF passes through zero.
        """
        if self.images is None or self.expected is None:
            return None
        found, wanted = (_smooth(self.rings(v)) for v in (self.images, self.expected))
        signal = np.flatnonzero(found < _NOISE * wanted)
        first = int(signal[-1]) + 2 if signal.size else 1
        return first if first <= len(found) else None

    def picture(self, values: Float32[Array, " pixels"]) -> Float32[Array, "n n"]:
        """Values at the pixels as an image about the zero frequency; nan where there are none."""
        largest = int(self.lattice.limit)
        kx, ky = self.lattice.k.numpy().astype(int).T
        image = np.full((2 * largest + 1,) * 2, np.nan, np.float32)
        image[largest + ky, largest + kx] = image[largest - ky, largest - kx] = values
        return image


class CentralSlices:
    """Central slices of one volume.

    Parameters
    ----------
    volume
        A cube of even edge.
    box
        Edge in pixels of the images of the same cube: the volume may be on a coarser grid.

    Raises
    ------
    ValueError
        If it is no even cube.
    """

    def __init__(self, volume: Float32[Array, "b b b"], box: int) -> None:
        if len(set(volume.shape)) != 1 or volume.ndim != 3 or len(volume) % 2:
            raise ValueError(f"expected an even cube, got an array of shape {volume.shape}")
        # A copy: the volume may belong to a layer, or be read-only.
        data = torch.from_numpy(np.array(volume, np.float32))
        if len(data) > _LARGEST:
            data = fourier_crop(data, _LARGEST)
        self.lattice = Lattice.create(box, len(data) // 2 - 1)
        self._grid = FourierGrid(len(data), self.lattice.limit)
        # A transform is a sum over voxels, of which a coarser grid has fewer.
        self._transform = self._grid.transform(data)[None] * (box / len(data)) ** 3

    def power(self, rotations: ArrayLike) -> Float[Tensor, "n pixels"]:
        """Power of the slices across the views of rotations (n, 3, 3), object to image."""
        matrices = torch.as_tensor(np.asarray(rotations, np.float32))
        points = slice_points(matrices, self.lattice.k)
        found: Tensor = self._grid.sample(self._transform, points).abs().square()
        return found

    def compare(self, images: RunImages, rows: ArrayLike) -> SlicePower:
        """Power of a run's images and of the slices at their poses.

        Raises
        ------
        ParticleFileError
            If the images cannot be read.
        RunFolderError
            If the run has no poses yet.
        """
        rows = np.atleast_1d(np.asarray(rows))
        pixels = len(self.lattice)
        sums = torch.zeros(4, pixels)
        for start in range(0, len(rows), _CHUNK):
            some = rows[start : start + _CHUNK]
            ctf = images.ctf(some)[:, :pixels].square()
            slices = self.power(images.poses(some)[0])
            data = images.pixels(some)[:, :pixels].abs().square()
            sums += torch.stack([part.sum(0) for part in (slices, ctf, slices * ctf, data)])
        volume, ctf_mean, expected, data_mean = (sums / len(rows)).numpy()
        return SlicePower(len(rows), self.lattice, volume, ctf_mean, expected, data_mean)

    def alone(self, rotation: Float[Array, "3 3"]) -> SlicePower:
        """Power of one slice, without images."""
        (volume,) = self.power(rotation[None]).numpy()
        return SlicePower(0, self.lattice, volume, None, None, None)


def _smooth(rings: Float32[Array, " rings"]) -> Float32[Array, " rings"]:
    return np.convolve(np.pad(rings, 1, mode="edge"), np.full(3, 1 / 3, np.float32), mode="valid")
