"""Whether a particle's image shows what the run says of it: its volume, at its pose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Float32
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..errors import CryodrgnError, RunFolderError
from ..imaging import (
    CTFParameters,
    FourierGrid,
    Lattice,
    pixels_to_images,
    resolution,
    shift_phases,
)
from ..imaging import slice_points as points_of
from .run import Run
from .run_images import RunImages

#: Particles that a mean goes over at most.
AVERAGED = 500
_CHUNK = 4
_PERCENTILE_95 = 1.645
# FSC of two half maps where the whole map is at its resolution (Rosenthal and Henderson, 2003).
_HALF_MAPS = 0.143


@dataclass(frozen=True, eq=False)
class Rings:
    """Sums over Fourier rings of n images and their projections, (n, shells) each.

    ``image`` and ``projection`` are powers, ``cross`` the real part of image times conjugate
    projection. ``size`` (shells,) is the number of pixels of a ring's half; ring 0 is empty.
    """

    image: Float[Tensor, "n shells"]
    cross: Float[Tensor, "n shells"]
    projection: Float[Tensor, "n shells"]
    size: Float[Tensor, " shells"]

    @classmethod
    def of(
        cls, image: Complex[Tensor, "n p"], projection: Complex[Tensor, "n p"], lattice: Lattice
    ) -> Rings:
        """Sums of Fourier pixels."""
        size = torch.bincount(lattice.shell, minlength=lattice.n_shells).float()

        def total(values: Float[Tensor, "n p"]) -> Float[Tensor, "n shells"]:
            return values.new_zeros(len(values), len(size)).index_add(1, lattice.shell, values)

        cross = total((image * projection.conj()).real)
        return cls(total(image.abs().square()), cross, total(projection.abs().square()), size)

    @classmethod
    def join(cls, parts: list[Rings]) -> Rings:
        """The rings of all images of several."""
        image, cross, projection = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("image", "cross", "projection")
        )
        return cls(image, cross, projection, parts[0].size)

    def frc(self) -> Float[Tensor, "n shells"]:
        """Fourier ring correlation (Saxton and Baumeister, 1982), 0 where there is nothing."""
        power = (self.image * self.projection).sqrt()
        return torch.where(power > 0, self.cross / power.clamp_min(1e-30), 0.0)

    def noise(self) -> Float[Tensor, " shells"]:
        """Mean power of a pixel of the images less their projections."""
        left = self.image - 2 * self.cross + self.projection
        return left.mean(0) / self.size.clamp_min(1)

    def expected(self, noise: Float[Tensor, " shells"]) -> Float[Tensor, "n shells"]:
        """FRC that images would have with their projections if these were right.

        sqrt(S / (S + N)) with the power S of a pixel of the projection and N of the ``noise``.
        """
        signal = self.projection / self.size.clamp_min(1)
        return (signal / (signal + noise).clamp_min(1e-30)).sqrt()


@dataclass(frozen=True, eq=False)
class MeanFrc:
    """FRC of ``n`` images with their projections, and the one expected, (shells,) each: means."""

    frc: Float[Tensor, " shells"]
    expected: Float[Tensor, " shells"]
    n: int


@dataclass(frozen=True, eq=False)
class Evidence:
    """The image of a particle beside the projection of its volume at its pose.

    ``pixels`` and ``projection`` (P,) are Fourier pixels on ``lattice``, the projection with CTF
    and shift. ``z`` and ``sigma`` (zdim,) are the posterior of its latent, None where the run
    says none; then the projection is that of the consensus if there is no other. ``rotation``
    (3, 3) maps object to image, ``shift`` (2,) is in pixels of the run's box.
    """

    particle: int
    lattice: Lattice
    pixel_size: float | None
    pixels: Complex[Tensor, " p"]
    projection: Complex[Tensor, " p"]
    rotation: Float[Tensor, "3 3"]
    shift: Float[Tensor, " 2"]
    z: Float32[NDArray[np.float32], " zdim"] | None
    sigma: Float32[NDArray[np.float32], " zdim"] | None
    ctf: CTFParameters | None

    @property
    def rings(self) -> Rings:
        """Of this one image."""
        return Rings.of(self.pixels[None], self.projection[None], self.lattice)

    @property
    def scale(self) -> float:
        """Factor of the projection that leaves the smallest residual: 1 if all is right."""
        power = float(self.projection.abs().square().sum())
        return float((self.pixels * self.projection.conj()).real.sum()) / max(power, 1e-30)

    def correlation(self, low_pass: float | None = None) -> float:
        """Correlation coefficient of image and projection, both filtered to ``low_pass``."""
        filter_ = self._filter(low_pass)
        a, b = self.pixels * filter_, self.projection * filter_
        norm = float(a.norm() * b.norm())
        return float((a * b.conj()).real.sum()) / norm if norm else 0.0

    def pictures(self, low_pass: float | None = None) -> Float32[NDArray[np.float32], "3 y x"]:
        """Image, projection times ``scale``, and the residual, in register.

        Parameters
        ----------
        low_pass
            Resolution in Å (in pixels where their size is unknown) where a Gaussian filter has
            fallen to 0.61; None for all.
        """
        scaled = self.scale * self.projection
        stack = torch.stack([self.pixels, scaled, self.pixels - scaled])
        images: NDArray[np.float32] = pixels_to_images(
            stack * self._filter(low_pass), self.lattice
        ).numpy()
        return images

    def _filter(self, low_pass: float | None) -> Float[Tensor, " p"]:
        extent = self.lattice.box * (self.pixel_size or 1.0)
        return torch.exp(-0.5 * (self.lattice.radius * (low_pass or 0.0) / extent) ** 2)


class Examiner:
    """Compares the particles of a run with what the run says of them; safe in any thread.

    Parameters
    ----------
    images
        Of the run.
    """

    def __init__(self, images: RunImages) -> None:
        self.images = images
        self.run = images.run
        self._consensus: tuple[FourierGrid, Complex[Tensor, "1 n n n"]] | None = None

    def of(self, particle: int) -> Evidence:
        """The evidence of one particle.

        Raises
        ------
        RunFolderError
            If the run has no poses or no volumes yet.
        ParticleFileError
            If the image cannot be read.
        """
        run, images, rows = self.run, self.images, [particle]
        rotations, shifts = images.poses(rows)
        latents, parameters = run.latents, images.ctf_parameters
        known = latents is not None and bool(latents.logvar.any())
        return Evidence(
            particle,
            images.lattice,
            run.pixel_size,
            images.pixels(rows)[0],
            self.project(rows)[0],
            rotations[0],
            shifts[0],
            None if latents is None else latents.mu[particle],
            np.exp(0.5 * latents.logvar[particle]) if latents is not None and known else None,
            None if parameters is None else parameters.select(rows),
        )

    def project(self, rows: ArrayLike) -> Complex[Tensor, "n p"]:
        """Projections of particles' own volumes, with their CTF and shift.

        Raises
        ------
        RunFolderError
            If the run has no poses or no volumes yet.
        """
        index, images = np.asarray(rows), self.images
        rotations, shifts = images.poses(index)
        pairs = zip(index.tolist(), rotations, strict=True)
        slices = torch.stack([self._slice(row, rotation) for row, rotation in pairs])
        k, box = images.lattice.k, images.lattice.box
        return slices * images.ctf(index) * shift_phases(k, box, shifts).conj()

    def rings(self, rows: ArrayLike) -> Rings:
        """Sums over the rings of particles.

        Raises
        ------
        CryodrgnError
            As `of`.
        """
        return Rings.of(self.images.pixels(rows), self.project(rows), self.images.lattice)

    def mean_frc(self, rows: ArrayLike, stop: Callable[[], bool]) -> Iterator[float | MeanFrc]:
        """FRC of many particles; yields the share done, and the mean unless ``stop`` says so.

        Raises
        ------
        CryodrgnError
            As `of`; or if there are no rows.
        """
        rows = np.asarray(rows)
        if not len(rows):
            raise CryodrgnError("No particles are selected.")
        parts = []
        for start in range(0, len(rows), _CHUNK):
            if stop():
                return
            parts.append(self.rings(rows[start : start + _CHUNK]))
            yield min(1.0, (start + _CHUNK) / len(rows))
        rings = Rings.join(parts)
        expected = rings.expected(rings.noise())
        yield MeanFrc(rings.frc().mean(0), expected.mean(0), len(rows))

    def _slice(self, row: int, rotation: Float[Tensor, "3 3"]) -> Complex[Tensor, " p"]:
        run, lattice = self.run, self.images.lattice
        if run.can_decode and (run.latents is not None or not run.zdim):
            z = np.zeros(0) if run.latents is None else run.latents.mu[row]
            return run.slice(z, rotation, lattice)
        if self._consensus is None:
            grid = FourierGrid(lattice.box, lattice.limit)
            volume = torch.from_numpy(np.asarray(run.consensus().data, np.float32))
            self._consensus = grid, grid.transform(volume)[None]
        grid, transform = self._consensus
        return grid.sample(transform, points_of(rotation, lattice.k))


def some_rows(n: int, mask: Bool[NDArray[np.bool_], " n"] | None, most: int) -> NDArray[np.intp]:
    """Up to ``most`` particles, spread evenly over a selection or over all n."""
    chosen = np.arange(n) if mask is None else np.flatnonzero(mask)
    if len(chosen) <= most:
        return chosen
    return chosen[np.linspace(0, len(chosen) - 1, most).round().astype(np.intp)]


def noise_level(lattice: Lattice) -> Float[Tensor, " shells"]:
    """FRC (shells,) that 95 % of images of pure noise stay below, of one image.

    1.645 / sqrt(n) with the n pixels of a whole ring, the 95th percentile of a normal
    distribution; that of the mean of m images is 1 / sqrt(m) of it.
    """
    size = torch.bincount(lattice.shell, minlength=lattice.n_shells)
    return (_PERCENTILE_95 / (2 * size).clamp_min(1).sqrt()).clamp_max(1)


def half_map_resolution(run: Run) -> float | None:
    """Resolution in Å at which the half maps that a run wrote at its end agree (FSC 0.143).

    Beyond it, that images agree with volumes trained on them is not evidence: the noise of these
    same images may be in the volumes. The finest of the box if they agree throughout; None where
    the run left no such curve: before its end, or of cryoDRGN.

    Raises
    ------
    RunFolderError
        If ``fsc.csv`` is damaged.
    """
    path = run.folder / "fsc.csv"
    if run.pixel_size is None or not path.is_file():
        return None
    try:
        rows = path.read_text(encoding="utf-8").splitlines()[1:]
        if not rows:
            raise RunFolderError(run.folder, "fsc.csv holds no curve.")
        found = np.loadtxt(rows, delimiter=",", usecols=2, ndmin=1)
    except (OSError, ValueError) as error:
        raise RunFolderError(run.folder, f"fsc.csv cannot be read ({error}).") from error
    # Shell 0 is left out of the file.
    curve = torch.from_numpy(np.concatenate([[1.0], found]))
    return resolution(curve, _HALF_MAPS, run.box, run.pixel_size)
