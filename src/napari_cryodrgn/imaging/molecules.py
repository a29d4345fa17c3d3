"""Things to take pictures of: atoms that move, and voxel maps that do not."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ParticleFileError
from .grid import FourierGrid
from .lattice import Lattice, pixels_to_images, shift_phases, slice_points


class Molecule(Protocol):
    """A density that depends on a conformation coordinate t in [0, 1]."""

    moves: bool

    def project(
        self,
        t: Float[Tensor, " batch"],
        rotations: Float[Tensor, "batch 3 3"],
        shifts: Float[Tensor, "batch 2"],
        box: int,
        pixel_size: float,
    ) -> Float[Tensor, "batch y x"]:
        """Projections along the beam; ``shifts`` in pixels."""

    def volume(self, t: float, box: int, pixel_size: float) -> Float[Tensor, "z y x"]:
        """Density on voxels; its projection along z is ``project`` at the identity."""


class Atoms:
    """Gaussian blobs that follow a trajectory, with linear interpolation between its frames.

    Parameters
    ----------
    frames
        Positions (frames, atoms, 3) as x, y, z in Å. The mean over everything becomes the origin.
    sigma
        Standard deviation of a blob in Å.
    """

    def __init__(self, frames: NDArray[np.floating], sigma: float) -> None:
        positions = torch.from_numpy(np.asarray(frames, np.float32))
        self._frames = positions - positions.mean((0, 1))
        self._sigma = sigma
        self.moves = len(frames) > 1

    @property
    def extent(self) -> float:
        """Diameter in Å of the sphere around the origin that holds every atom of every frame."""
        return 2 * float(self._frames.norm(dim=-1).max())

    def positions(self, t: Float[Tensor, " batch"]) -> Float[Tensor, "batch atoms 3"]:
        """Positions in Å at conformations ``t``."""
        last = len(self._frames) - 1
        x = t.clamp(0, 1) * last
        low = x.floor().long().clamp(max=max(last - 1, 0))
        part = (x - low)[:, None, None]
        return torch.lerp(self._frames[low], self._frames[(low + 1).clamp(max=last)], part)

    def project(
        self,
        t: Float[Tensor, " batch"],
        rotations: Float[Tensor, "batch 3 3"],
        shifts: Float[Tensor, "batch 2"],
        box: int,
        pixel_size: float,
    ) -> Float[Tensor, "batch y x"]:
        """Exact projections: a Gaussian is separable, so an image is one matrix product."""
        plane = self.positions(t) @ rotations[:, :2].transpose(1, 2) / pixel_size + shifts[:, None]
        along = self._along(plane, box, pixel_size)
        return along[..., 1].transpose(1, 2) @ along[..., 0]

    def volume(self, t: float, box: int, pixel_size: float) -> Float[Tensor, "z y x"]:
        """Density on voxels, in the units of ``project``."""
        centres = self.positions(torch.tensor([t])) / pixel_size
        along = self._along(centres, box, pixel_size)[0]
        return torch.einsum("az,ay,ax->zyx", along[..., 2], along[..., 1], along[..., 0])

    def _along(
        self, centres: Float[Tensor, "batch atoms d"], box: int, pixel_size: float
    ) -> Float[Tensor, "batch atoms box d"]:
        """Profile of each blob along each axis, with unit sum."""
        x = torch.arange(box) - box // 2
        sigma = self._sigma / pixel_size
        exponent = (x[:, None] - centres[:, :, None]) / sigma
        # Held above 1e-18: denormal numbers would make the product tens of times slower.
        profile: Tensor = torch.exp(-(0.5 * exponent**2).clamp(max=40)) / (
            sigma * (2 * np.pi) ** 0.5
        )
        return profile


class Map:
    """A voxel map, seen by Fourier slicing.

    Parameters
    ----------
    volume
        Density (z, y, x), cubic.
    pixel_size
        Å per voxel.
    """

    moves = False

    def __init__(self, volume: NDArray[np.floating], pixel_size: float) -> None:
        d = volume.shape[0]
        # An odd box gets a layer of zeros in front: the centre, d // 2, stays in the centre.
        padded = np.pad(np.asarray(volume, np.float32), [(d % 2, 0)] * 3)
        self._volume, self._pixel_size = torch.from_numpy(padded), pixel_size
        self._grids: dict[float, tuple[FourierGrid, Complex[Tensor, "n n n"]]] = {}

    def _slices(
        self, points: Float[Tensor, "*batch 3"], box: int, pixel_size: float
    ) -> Complex[Tensor, "*batch"]:
        """Fourier transform of the map at frequencies in cycles per target box, per voxel area."""
        ratio = len(self._volume) * self._pixel_size / (box * pixel_size)
        limit = min((box / 2 - 1) * ratio, len(self._volume) / 2 - 1)
        if limit not in self._grids:
            grid = FourierGrid(len(self._volume), limit)
            self._grids[limit] = (grid, grid.transform(self._volume))
        grid, transform = self._grids[limit]
        values = grid.sample(transform[None], points * ratio)
        known = points.norm(dim=-1) * ratio <= limit
        return torch.where(known, values, torch.zeros_like(values)) / len(self._volume)

    def project(
        self,
        t: Float[Tensor, " batch"],
        rotations: Float[Tensor, "batch 3 3"],
        shifts: Float[Tensor, "batch 2"],
        box: int,
        pixel_size: float,
    ) -> Float[Tensor, "batch y x"]:
        """Projections by central slices; ``t`` is not used."""
        lattice = Lattice.create(box)
        pixels = self._slices(slice_points(rotations, lattice.k), box, pixel_size)
        return pixels_to_images(pixels * shift_phases(lattice.k, box, -shifts), lattice)

    def volume(self, t: float, box: int, pixel_size: float) -> Float[Tensor, "z y x"]:
        """The map resampled to the box, without its mean."""
        grid = FourierGrid(box, box / 2 - 1, mask_radius=float(box))
        r = torch.arange(-(box // 2) + 1, box // 2).float()
        z, y, x = torch.meshgrid(r, r, r, indexing="ij")
        points = torch.stack([x, y, z], -1)
        inside = points.norm(dim=-1) <= grid.limit
        values = torch.where(inside, self._slices(points, box, pixel_size), 0.0)
        full = torch.zeros(box, box, box, dtype=values.dtype)
        full[1:, 1:, 1:] = values
        full[box // 2, box // 2, box // 2] = 0
        volume: Tensor = torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(full)).real)
        return volume


def hinge(seed: int = 7) -> Atoms:
    """The built-in moving molecule: a compact body with an arm that swings by 60 degrees.

    About 250 Å across; 835 blobs. The same for everyone: the seed only shapes its surface.
    """
    random = np.random.default_rng(seed)

    def lobe(n: int, centre: tuple[float, float, float], radii: tuple[float, float, float]):  # type: ignore[no-untyped-def]
        direction = random.normal(size=(n, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return np.asarray(centre) + direction * random.random((n, 1)) ** (1 / 3) * radii

    body = np.concatenate(
        [
            lobe(360, (-25, 0, 0), (48, 36, 30)),
            lobe(140, (-38, 34, 22), (26, 24, 20)),
            lobe(95, (-52, -30, -14), (16, 26, 18)),
            lobe(80, (0, -22, 34), (18, 14, 26)),
        ]
    )
    arm = np.concatenate(
        [
            lobe(50, (32, 0, 0), (20, 12, 12)),
            lobe(80, (68, 6, 0), (30, 24, 18)),
            lobe(30, (84, 26, 10), (12, 16, 12)),
        ]
    )
    pivot = np.array([12.0, 0.0, 0.0])
    frames = []
    for angle in np.radians(np.linspace(-30, 30, 25)):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        frames.append(np.concatenate([body, (arm - pivot) @ turn.T + pivot]))
    return Atoms(np.stack(frames), sigma=4.5)


def trajectory(path: Path | str, sigma: float = 1.5) -> Atoms:
    """Atoms from a NumPy archive with ``xyz`` (frames, atoms, 3) in Å.

    Raises
    ------
    ParticleFileError
        If the file is no such archive, or the array is missing, misshapen or not finite.
    """
    path = Path(path)
    try:
        # NumPy leaves a file that it opened and could not read open.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, NpzFile):
                raise ParticleFileError(
                    path, "not a NumPy archive but one array.", remedy="Make one with numpy.savez."
                )
            if "xyz" not in archive:
                raise ParticleFileError(
                    path,
                    f"the array is missing; the archive holds {', '.join(archive) or 'nothing'}.",
                    field="xyz",
                    remedy="Save the trajectory as xyz, frames x atoms x 3, in Å.",
                )
            xyz = np.asarray(archive["xyz"])
    except FileNotFoundError:
        raise ParticleFileError(path, "there is no such file.") from None
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise ParticleFileError(
            path, f"not a NumPy archive ({error}).", remedy="Make one with numpy.savez."
        ) from error
    if xyz.ndim != 3 or xyz.shape[2] != 3 or not xyz.size or xyz.dtype.kind not in "fiu":
        raise ParticleFileError(
            path, f"expected frames x atoms x 3 numbers, got {xyz.shape} {xyz.dtype}.", field="xyz"
        )
    if not np.isfinite(xyz).all():
        raise ParticleFileError(path, "some coordinates are not finite.", field="xyz")
    return Atoms(xyz, sigma)
