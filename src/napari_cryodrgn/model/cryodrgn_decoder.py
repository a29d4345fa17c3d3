"""Decoders that cryoDRGN has trained, evaluated as its ``eval_vol`` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

from ..imaging import Lattice, slice_points
from .interface import Decoder
from .points import Points, Stop, linear


class CryodrgnDecoder(Decoder):
    """A network from a frequency and a latent to a Hartley or Fourier coefficient.

    With two outputs (the real and imaginary part, cryoDRGN's domain "fourier") it is evaluated in
    half a ball and mirrored. With one (domain "hartley") it has no symmetry, and all frequencies
    of the box are evaluated, the corners too.

    Parameters
    ----------
    encoding
        From frequencies in cycles per box to features; they come before the latent.
    layers
        Linear layers, the first from the features and the latent.
    zdim
        Dimensions of the latent; 0 for one structure.
    box
        Edge of the volume in pixels, even.
    norm
        Mean and standard deviation that the images' transforms were normalised with.
    slope
        Of the activation below zero.
    latent_frequencies
        Of a positional encoding of the latent, if it has one.
    bare
        No positional encoding: see ``_is_mirrored`` and ``decode`` for what goes with it.
    radius
        Of the training mask in cycles per box, for networks of ``abinit``.
    """

    def __init__(
        self,
        encoding: nn.Module,
        layers: list[nn.Linear],
        zdim: int,
        box: int,
        norm: tuple[float, float],
        slope: float = 0.0,
        latent_frequencies: Float[Tensor, " f"] | None = None,
        bare: bool = False,
        radius: int | None = None,
    ) -> None:
        super().__init__()
        self.encoding, self.zdim, self.box = encoding, zdim, box
        self.first, self.others = layers[0], nn.ModuleList(layers[1:])
        self.hartley = layers[-1].out_features == 1
        self.norm, self.slope, self.bare, self.radius = norm, slope, bare, radius
        self.latent_frequencies = latent_frequencies
        n_latent = zdim if latent_frequencies is None else 2 * zdim * len(latent_frequencies)
        self.n_features = layers[0].in_features - n_latent
        expected = 3 if bare else getattr(encoding, "n_features", 0)
        if self.n_features != expected:
            raise ValueError(
                f"the first layer takes {layers[0].in_features} numbers, expected {expected} of "
                f"the positional encoding and {n_latent} of the latent"
            )
        if layers[-1].out_features not in (1, 2):
            raise ValueError(f"expected 1 or 2 outputs, got {layers[-1].out_features}")

    @property
    def kind(self) -> str:
        """Always "cryodrgn"."""
        return "cryodrgn"

    def arguments(self) -> dict[str, Any]:
        """Sizes of the network; it is rebuilt from cryoDRGN's own files."""
        return {
            "zdim": self.zdim,
            "width": self.first.out_features,
            "layers": len(self.others) - 1,
            "box": self.box,
            "features": self.n_features,
            "outputs": 1 if self.hartley else 2,
        }

    @torch.no_grad()
    def decode(
        self,
        z: Float[Tensor, " zdim"],
        limit: float | None = None,
        box: int | None = None,
        stop: Stop | None = None,
    ) -> Float[Tensor, "b b b"]:
        """Voxel volume at ``z``, in the units of the images before normalisation.

        See `Decoder.decode` for the parameters; with neither ``limit`` nor ``box``, frequencies go
        as far as in ``eval_vol``.
        """
        d, (mean, deviation) = self._size(box), self.norm
        # The corners of the box are the last that a network without symmetry is asked for.
        largest = self.box * (1 if self.hartley else 0.5) if d == self.box else d // 2 - 1
        weight = self.first.weight
        points = self._keep(("points", weight.device), Points)
        limit = largest if limit is None else min(limit, largest)
        k = points.frequencies(limit, self._frequencies)
        offset = self.first.bias + weight[:, self.n_features :] @ self._encode(z.to(weight))
        values = points.values(k, self._first, offset, linear(self.others), self._activate, stop)
        values = values * deviation
        # Coefficients beyond the ball are those of a mean image, but with no encoding cryoDRGN
        # sets them to zero last.
        ground = 0.0 if self.bare and not self.hartley else mean
        transform = torch.full((d**3,), ground, device=weight.device)
        if self.hartley:
            transform[_flat(k, d)] = values[:, 0] + mean
        else:
            real, imaginary = values.T
            both = slice(None) if self._is_mirrored() else k[:, 2] != 0
            transform[_flat(-k[both], d)] = (real + imaginary)[both] + mean
            transform[_flat(k, d)] = real - imaginary + mean
        return _inverse_hartley(transform.reshape(d, d, d)) * (d / self.box) ** 3

    @torch.no_grad()
    def slice(
        self,
        z: Float[Tensor, " zdim"],
        rotation: Float[Tensor, "3 3"],
        lattice: Lattice,
        stop: Stop | None = None,
    ) -> Complex[Tensor, " pixels"]:
        """Central slice of the volume at ``z``, the network asked at its points alone.

        See `Decoder.slice` for the parameters.
        """
        points = slice_points(rotation, lattice.k)
        offset = self.first.bias + self.first.weight[:, self.n_features :] @ self._encode(
            z.to(self.first.weight)
        )
        if self.hartley:
            there, mirrored = (self._at(k, offset)[:, 0] for k in (points, -points))
            real, imaginary = (there + mirrored) / 2, (mirrored - there) / 2
        else:
            upper = points[:, 2] > 0
            real, imaginary = self._at(torch.where(upper[:, None], -points, points), offset).T
            imaginary = torch.where(upper, -imaginary, imaginary)
        if self.radius is not None:
            inside = lattice.radius <= self.radius
            real, imaginary = real * inside, imaginary * inside
        mean, deviation = self.norm
        return torch.complex(real * deviation + mean, imaginary * deviation)

    def _at(
        self, points: Float[Tensor, "p 3"], offset: Float[Tensor, " width"]
    ) -> Float[Tensor, "p outputs"]:
        """The network's output at frequencies of any kind."""
        h = self._first(points) + offset
        for weight, bias in linear(self.others):
            h = torch.addmm(bias, self._activate(h), weight.T)
        return h

    def _encode(self, z: Float[Tensor, " zdim"]) -> Float[Tensor, " f"]:
        if self.latent_frequencies is None:
            return z
        angle = z[:, None] * self.latent_frequencies
        return torch.cat([angle.sin(), angle.cos()], 1).flatten()

    def _first(self, k: Tensor) -> Float[Tensor, "p width"]:
        """The first layer at frequencies (p, 3), without latent and bias."""
        features = self.encoding(k.to(self.first.weight))
        hidden: Tensor = features @ self.first.weight[:, : self.n_features].T
        return hidden

    def _activate(self, h: Tensor) -> Tensor:
        return nn.functional.leaky_relu_(h, self.slope) if self.slope else h.relu_()

    def _frequencies(self, limit: float) -> Int[Tensor, "p 3"]:
        """Frequencies (kx, ky, kz) up to a limit that are evaluated."""
        half = self.box // 2
        reach = int(min(half, limit))
        device = self.first.weight.device
        r = torch.arange(-reach, min(reach + 1, half), device=device, dtype=torch.int32)
        ky, kx = torch.meshgrid(r, r, indexing="ij")
        planes = []
        for kz in r.tolist() if self.hartley else range(-reach, 1):
            inside = kx**2 + ky**2 + kz**2 <= limit**2 + 1e-6
            if self.radius is not None:
                inside &= self._disc(kx, ky, kz, self.radius)
            if not self.hartley and not self.bare:
                inside &= self._ball(kx, ky, kz)
            if kz == 0 and not self.hartley and self._is_mirrored():
                inside &= (ky < 0) | ((ky == 0) & (kx <= 0))
            x, y = kx[inside], ky[inside]
            planes.append(torch.stack([x, y, torch.full_like(x, kz)], 1))
        return torch.cat(planes)

    def _is_mirrored(self) -> bool:
        """Whether half the plane kz = 0 is taken from the other half, as below and above it.

        cryoDRGN does if it finds the plane, which rounding hides from it in some boxes, and does
        not without an encoding.
        """
        return not self.bare and bool(self._levels()[self.box // 2] == 0)

    def _levels(self) -> Float[Tensor, " levels"]:
        """Frequencies of an axis in [-0.5, 0.5], rounded as cryoDRGN's."""
        levels = np.linspace(-0.5, 0.5, self.box + 1).astype(np.float32)
        return torch.from_numpy(levels).to(self.first.weight.device)

    def _ball(self, kx: Int[Tensor, "y x"], ky: Int[Tensor, "y x"], kz: int) -> Tensor:
        """The part of a plane inside the ball; rounding decides about its very surface."""
        k = torch.stack([kx, ky, torch.full_like(kx, kz)], -1)
        return self._levels()[k + self.box // 2].square().sum(-1) <= 0.25

    def _disc(self, kx: Int[Tensor, "y x"], ky: Int[Tensor, "y x"], kz: int, radius: int) -> Tensor:
        """The part of a plane inside ``abinit``'s mask: discs without centre, never quite a ball.

        Rounded as there, or a ring is lost here and there.
        """
        size = self.box + 1
        squared = np.float32((radius / size) ** 2) - np.float32(kz / self.box) ** 2
        edge = int(np.sqrt(max(squared, np.float32(0))) * np.float32(size))
        distance = (kx / self.box) ** 2 + (ky / self.box) ** 2
        return (distance <= (edge / (self.box // 2) * 0.5) ** 2) & ((kx != 0) | (ky != 0))


def _flat(k: Int[Tensor, "p 3"], d: int) -> Int[Tensor, " p"]:
    """Index into a flat transform (kz, ky, kx), zero frequency first."""
    x, y, z = (k.long() % d).unbind(1)
    return (z * d + y) * d + x


def _inverse_hartley(transform: Float[Tensor, "z y x"]) -> Float[Tensor, "z y x"]:
    """Volume with the origin at its centre, from a Hartley transform with zero frequency first."""
    d = len(transform)
    mirrored = torch.roll(transform.flip(0, 1, 2), (1, 1, 1), (0, 1, 2))
    half = d // 2 + 1
    even, odd = (transform + mirrored)[..., :half], (mirrored - transform)[..., :half]
    volume = torch.fft.irfftn(torch.complex(even, odd) / 2, s=(d, d, d))
    shifted: Tensor = torch.fft.fftshift(volume)
    return shifted
