"""Particles as whitened Fourier pixels: what every stage of the inference works on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from ..errors import TrainingError
from ..imaging import CTF, FourierGrid, Lattice, images_to_pixels, shift_phases, slice_points
from ..particles import ParticleSet
from .checks import BLOB_LIMIT, blank_images, blob_template, check_contrast, check_images
from .noise import chunk_size, estimate_noise
from .settings import Settings

_CHUNK = 256
# Above this many bytes the Fourier pixels live in a memory-mapped file of the run folder.
_IN_MEMORY = 4 << 30
_JUDGES = 2000


@dataclass
class Dataset:
    """All particles in one box, in Fourier space, with their CTF and noise spectrum.

    ``pixels`` (N, P) are in units of the mean noise amplitude, ``scale`` such units per unit of
    the input's transform. ``noise`` (shells,) is the standard deviation of the noise per shell in
    the same units. Shifts are in pixels of ``lattice.box``, whose limit is below Nyquist where the
    images hold nothing beyond.
    ``blank`` (N,) marks constant images, whose CTF is taken as zero: they say nothing. ``warnings``
    are what the user should know about the images.
    """

    lattice: Lattice
    pixels: Complex[Tensor, "n pixels"]
    ctf: CTF | None
    noise: Float[Tensor, " shells"]
    pixel_size: float
    scale: float
    device: torch.device
    blank: Bool[Tensor, " n"] | None = None
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def box(self) -> int:
        """Edge of the box in pixels."""
        return self.lattice.box

    def batch(
        self, index: Int[Tensor, " batch"] | slice, limit: float | None = None
    ) -> tuple[Complex[Tensor, "batch pixels"], Float[Tensor, "batch pixels"]]:
        """Whitened pixels and whitened CTF up to ``limit``: E|noise|² = 1 in each."""
        count = len(self.lattice) if limit is None else self.lattice.count(limit)
        weight = 1 / self.noise[self.lattice.shell[:count]]
        pixels = self.pixels[index, :count].to(self.device) * weight
        if self.ctf is None:
            ctf = weight.expand(len(pixels), -1)
        else:
            ctf = self.ctf(index, count) * weight
        if self.blank is not None:
            ctf = torch.where(self.blank[index, None].to(self.device), 0.0, ctf)
        return pixels, ctf

    def batches(
        self, size: int, limit: float | None = None, index: Int[Tensor, " m"] | None = None
    ) -> Iterator[tuple[Int[Tensor, " b"], Complex[Tensor, "b p"], Float[Tensor, "b p"]]]:
        """Whitened batches over the particles ``index`` (all if absent), with their indices."""
        index = torch.arange(len(self)) if index is None else index
        for part in index.split(size):
            yield part, *self.batch(part, limit)

    def cropped(self, box: int) -> Dataset:
        """The same particles in a smaller box: the same integer frequencies, fewer of them."""
        if box >= self.box:
            return self
        lattice = Lattice.create(box, self.lattice.limit, device=self.device)
        return replace(
            self,
            lattice=lattice,
            pixels=self.pixels[:, : len(lattice)],
            pixel_size=self.pixel_size * self.box / box,
        )

    def back_project(
        self,
        rotations: Float[Tensor, "n 3 3"],
        shifts: Float[Tensor, "n 2"],
        limit: float,
        weights: Float[Tensor, "n k"] | None = None,
        index: Int[Tensor, " m"] | None = None,
    ) -> tuple[FourierGrid, Complex[Tensor, "k n n n"], Float[Tensor, "k n n n"]]:
        """Sums of CTF-weighted images and of CTF² on a Fourier grid, for K sets of weights."""
        grid = FourierGrid(self.box, limit, device=self.device)
        n_sets = 1 if weights is None else weights.shape[1]
        sums = torch.zeros(n_sets, 3, grid.n, grid.n, grid.n, device=self.device)
        for part, pixels, ctf in self.batches(_CHUNK, limit, index):
            k = self.lattice.k[: pixels.shape[1]]
            centred = pixels * shift_phases(k, self.box, shifts[part]) * ctf
            values = torch.stack([centred.real, centred.imag, ctf.square()])
            points = slice_points(rotations[part], k)
            if weights is None:
                sums += grid.insert(points, values)
                continue
            for s in range(n_sets):
                share = weights[part, s]
                some = share > 1e-3
                if some.any():
                    sums[s] += grid.insert(points[some], values[:, some] * share[some, None])[0]
        return grid, torch.complex(sums[:, 0], sums[:, 1]), sums[:, 2]

    def residual_noise(
        self,
        volume: Float[Tensor, "z y x"],
        rotations: Float[Tensor, "n 3 3"],
        shifts: Float[Tensor, "n 2"],
        limit: float,
        index: Int[Tensor, " m"],
    ) -> Float[Tensor, " shells"]:
        """Noise spectrum re-estimated from what a volume leaves unexplained.

        Shells beyond ``limit`` keep their value; nothing falls below a tenth or rises above ten
        times the present estimate.
        """
        if self.blank is not None:
            index = index[~self.blank[index]]
        grid = FourierGrid(self.box, limit, device=self.device)
        transform = grid.transform(volume)[None]
        count = self.lattice.count(limit)
        k = self.lattice.k[:count]
        power = torch.zeros(count, device=self.device)
        for part, pixels, ctf in self.batches(_CHUNK, limit, index):
            predicted = ctf * grid.sample(transform, slice_points(rotations[part], k))
            residual = pixels * shift_phases(k, self.box, shifts[part]) - predicted
            power += residual.abs().square().sum(0) / len(index)
        ratio = self.lattice.shell_mean(power).sqrt()
        complete = torch.arange(len(ratio), device=ratio.device) <= limit - 0.5
        known = complete & (ratio > 0)
        return self.noise * torch.where(known, ratio.clamp(0.1, 10), torch.ones_like(ratio))


def load(
    particles: ParticleSet, settings: Settings, device: torch.device
) -> Iterator[float | Dataset]:
    """Read the particles; yields the fraction done, then the ``Dataset``.

    Images are transformed chunk by chunk and cropped in Fourier space to ``settings.box``. The
    noise is estimated before the first yield.

    Raises
    ------
    TrainingError
        If the pixel size is unknown, the box does not fit, or the images hold nothing to search.
    ParticleFileError
        If images cannot be read.
    """
    if particles.pixel_size is None:
        raise TrainingError(
            f"{particles.source}: the pixel size is not known. "
            "Open the STAR file of this stack, or give the pixel size or a CTF file beside it."
        )
    box = settings.box or particles.box
    if box > particles.box:
        raise TrainingError(
            f"box: {box} px is larger than the particles' box of {particles.box} px. "
            f"Choose an even box from 16 to {particles.box}."
        )
    if box < 16:
        raise TrainingError(
            f"{particles.source}: a box of {box} px is too small; at least 16 px are needed."
        )
    noise = estimate_noise(particles, Lattice.create(box))
    lattice = Lattice.create(box, noise.limit)
    scale = 1 / noise.mean**0.5
    sign = -1.0 if settings.invert_contrast else 1.0
    n = len(particles)
    pixels = _allocate(n, len(lattice), settings.output)
    deviations = torch.empty(n)
    step = chunk_size(particles.box)
    for start in range(0, n, step):
        chunk = slice(start, min(start + step, n))
        images = torch.from_numpy(particles.images.read(chunk))
        images -= images.mean((1, 2), keepdim=True)
        deviations[chunk] = torch.linalg.vector_norm(images, dim=(1, 2)) / particles.box
        torch.mul(images_to_pixels(images, lattice), sign * scale, out=pixels[chunk])
        yield chunk.stop / n
    pixel_size = particles.pixel_size * particles.box / box
    ctf = None
    if particles.ctf is not None:
        ctf = CTF(particles.ctf, lattice.k, box, pixel_size, device)
    if device.type == "cuda" and pixels.numel() * 8 < _IN_MEMORY:
        pixels = pixels.to(device)
    blank = blank_images(deviations)
    data = Dataset(
        Lattice.create(box, noise.limit, device=device),
        pixels,
        ctf,
        (noise.power.sqrt() * scale).to(device),
        pixel_size,
        scale,
        device,
        blank if bool(blank.any()) else None,
    )
    faults = (check_images(deviations), check_contrast(_blob_matches(data)))
    data.warnings = noise.warnings + tuple(f for f in faults if f is not None)
    yield data


def _blob_matches(data: Dataset) -> Float[Tensor, " n"]:
    """Correlations of up to 2,000 images with the picture of a bright spot in the centre."""
    template = blob_template(data.lattice)
    sample = torch.arange(len(data))[:: max(1, len(data) // _JUDGES)][:_JUDGES]
    parts = data.batches(_CHUNK, BLOB_LIMIT, sample)
    return torch.cat([(x.real * ctf) @ template for _, x, ctf in parts])


def _allocate(n: int, p: int, folder: Path) -> Complex[Tensor, "n p"]:
    """Room for all pixels: in memory, or in an unlinked file when they are many."""
    if n * p * 8 <= _IN_MEMORY:
        return torch.empty(n, p, dtype=torch.complex64)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".pixels.cache"
    path.unlink(missing_ok=True)
    store = torch.from_file(str(path), shared=True, size=n * p * 2, dtype=torch.float32)
    path.unlink()  # the mapping keeps the data until it is dropped
    return torch.view_as_complex(store.reshape(n, p, 2))


def shift_step(box: int) -> float:
    """Spacing of the coarse shift grid in pixels: a twenty-fifth of the box."""
    return box / 25.6
