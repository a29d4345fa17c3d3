"""A molecule in a small box, and whitened pictures of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from napari_cryodrgn.imaging import CTF, Lattice, hinge, images_to_pixels, simulate

BOX, PIXEL_SIZE = 32, 9.0


@dataclass(frozen=True)
class Pictures:
    """Whitened pixels and CTF of images (E|noise|² = 1), and the truth."""

    lattice: Lattice
    pixels: Tensor
    ctf: Tensor
    rotations: Tensor
    shifts: Tensor
    t: Tensor
    volumes: Tensor


TakePictures = Callable[..., Pictures]


@pytest.fixture
def take_pictures() -> TakePictures:
    """Pictures of the hinge at SNR ``snr``; at conformation 0.5 throughout if ``still``."""

    def take(n: int, snr: float, max_shift: float = 2.0, *, still: bool = True) -> Pictures:
        s = simulate(hinge(), n, BOX, PIXEL_SIZE, snr=snr, max_shift=max_shift, seed=11)
        if still:
            s.t[:] = 0.5
        images = torch.from_numpy(next(s.chunks(n)))
        lattice = Lattice.create(BOX)
        # White noise of deviation s in a pixel has variance s² D² in a Fourier pixel.
        sigma = (s.noise or float(images.std())) * BOX
        ctf = CTF(s.ctf, lattice.k, BOX, PIXEL_SIZE)(slice(None)) / sigma
        return Pictures(
            lattice,
            images_to_pixels(images, lattice) / sigma,
            ctf,
            *(torch.from_numpy(x) for x in (s.rotations, s.shifts, s.t, s.volumes)),
        )

    return take


@pytest.fixture
def rotations() -> Tensor:
    return torch.from_numpy(Rotation.random(200, rng=0).as_matrix()).float()
