"""Noise spectrum of particle images, estimated from their corners."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import TrainingError
from ..imaging import Lattice, images_to_pixels
from ..particles import ParticleSet

# Pixels of the images read at a time.
_CHUNK_PIXELS = 1 << 22
_SAMPLE = 500
# The noise is never taken below this share of a shell's power: the model errs by interpolation,
# and without noise the likelihood would be infinitely sharp.
_SHARPEST = 0.05
# Corners with less than this share of the image's variance were masked or padded.
_MASKED = 1e-3
# Shells with less than this share of the strongest shell's power hold rounding errors only.
_EMPTY = 1e-9
# The search starts at 8 cycles per box.
_FEWEST_SHELLS = 8


@dataclass(frozen=True)
class NoiseSpectrum:
    """Noise power (shells,) per Fourier pixel, in units of the images' transform.

    It ends at ``limit`` (cycles per box), where the images hold nothing any more. ``warnings`` say
    what is unusual about the images.
    """

    power: Float[Tensor, " shells"]
    limit: float
    warnings: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Mean over the shells, DC left out."""
        return float(self.power[1:].mean())


def estimate_noise(particles: ParticleSet, lattice: Lattice) -> NoiseSpectrum:
    """Noise outside the inscribed circle of up to 500 images spread evenly over the set.

    Raises
    ------
    TrainingError
        If all images are constant, or were filtered so far down that nothing can be searched.
    ParticleFileError
        If images cannot be read.
    """
    n, p = len(particles), len(lattice)
    sample = torch.linspace(0, n - 1, min(n, _SAMPLE)).round().long()
    corners = corner_mask(particles.box)
    # Share of white noise's power that is left in the corners after their mean is subtracted.
    area = float(corners.sum())
    window = images_to_pixels(corners[None], lattice)[0] / area
    square = images_to_pixels(corners[None].square(), lattice)[0]
    energy = float(corners.square().sum())
    share = energy * (1 + window.abs().square()) - 2 * (window.conj() * square).real
    share = share / particles.box**2
    power, corner_power, largest = torch.zeros(p), torch.zeros(p), 0.0
    for index in sample.split(chunk_size(particles.box)):
        images = torch.from_numpy(particles.images.read(index.numpy()))
        largest = max(largest, float(images.abs().max()))
        images -= images.mean((1, 2), keepdim=True)
        power += images_to_pixels(images, lattice).abs().square().sum(0) / len(sample)
        level = (images * corners).sum((1, 2), keepdim=True) / area
        outside = images_to_pixels((images - level) * corners, lattice)
        corner_power += outside.abs().square().sum(0) / len(sample)
    total = lattice.shell_mean(power)
    # What rounding leaves of a constant is no signal.
    if float(total.max()) <= (1e-6 * largest * particles.box) ** 2:
        raise TrainingError(
            f"{particles.source}: all images are constant; nothing to reconstruct. "
            "Extract the particles again."
        )
    warnings = []
    noise = lattice.shell_mean(corner_power / share)
    if float(noise[1:].sum()) < _MASKED * float(total[1:].sum()):
        warnings.append(
            "The corners of the images hold no noise: they were masked or padded. The noise is "
            "taken from whole images at first; particles extracted without a mask are better."
        )
        noise = total.clone()
    noise = torch.minimum(torch.maximum(noise, _SHARPEST * total), total)
    noise[0] = noise[1]
    empty = total < _EMPTY * total.max()
    empty[0] = False
    last = int(lattice.limit)
    if bool(empty.any()):
        last = int(empty.nonzero()[0]) - 1
        shells = f"shell {last} of {int(lattice.limit)}"
        finest = (particles.pixel_size or 0.0) * particles.box / max(last, 1)
        if last < min(_FEWEST_SHELLS, int(lattice.limit)):
            raise TrainingError(
                f"{particles.source}: the images hold nothing finer than {finest:.0f} Å "
                f"({shells}); the search needs {_FEWEST_SHELLS} shells. "
                "Extract the particles again without a low-pass filter."
            )
        warnings.append(
            f"The images hold nothing finer than {finest:.1f} Å ({shells}): they were low-pass "
            "filtered or enlarged. These frequencies are left out; a smaller box would do."
        )
    return NoiseSpectrum(noise[: last + 1], float(last), tuple(warnings))


def corner_mask(box: int) -> Float[Tensor, "y x"]:
    """1 in the corners, outside the inscribed circle, with a soft edge."""
    x = torch.arange(box) - box // 2
    r = (x[:, None] ** 2 + x**2).float().sqrt()
    return ((r - 0.48 * box) / (0.04 * box)).clamp(0, 1)


def chunk_size(box: int) -> int:
    """How many images to read at a time."""
    return max(1, _CHUNK_PIXELS // box**2)
