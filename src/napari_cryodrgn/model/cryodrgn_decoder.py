"""Decoders that cryoDRGN has trained, evaluated as its ``eval_vol`` does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .interface import Decoder

# As in CoordinateDecoder: chunks that stay in a core's cache.
_CHUNK = 2048
# Bytes of what does not depend on the latent that are kept from one volume to the next.
_KEPT = 2**28


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
        self._kept: dict[float | None, list[tuple[Tensor, Tensor]]] = {}
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
        self, z: Float[Tensor, " zdim"], limit: float | None = None
    ) -> Float[Tensor, "z y x"]:
        """Voxel volume at ``z``, in the units of the images before normalisation.

        Parameters
        ----------
        z
            One latent.
        limit
            Largest frequency decoded, in cycles per box; as far as ``eval_vol`` goes if absent.
        """
        d, (mean, deviation), mirrored = self.box, self.norm, self._is_mirrored()
        weight = self.first.weight
        offset = self.first.bias + weight[:, self.n_features :] @ self._encode(z.to(weight))
        # Coefficients beyond the ball are those of a mean image, but with no encoding cryoDRGN
        # sets them to zero last.
        ground = 0.0 if self.bare and not self.hartley else mean
        transform = torch.full((d**3,), ground, device=weight.device)
        for k, hidden in self._hidden(limit):
            values = self._network(hidden + offset)
            if self.hartley:
                transform[_flat(k, d)] = values[:, 0] * deviation + mean
            else:
                real, imaginary = values.T
                if mirrored or int(k[0, 2]):
                    transform[_flat(-k, d)] = (real + imaginary) * deviation + mean
                transform[_flat(k, d)] = (real - imaginary) * deviation + mean
        return _inverse_hartley(transform.reshape(d, d, d))

    def _encode(self, z: Float[Tensor, " zdim"]) -> Float[Tensor, " f"]:
        if self.latent_frequencies is None:
            return z
        angle = z[:, None] * self.latent_frequencies
        return torch.cat([angle.sin(), angle.cos()], 1).flatten()

    def _hidden(self, limit: float | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Frequencies (p, 3) and the first layer's output for them, the latent left out."""
        if limit in self._kept:
            yield from self._kept[limit]
            return
        kept: list[tuple[Tensor, Tensor]] = []
        free = _KEPT - sum(h.nbytes for part in list(self._kept.values()) for _, h in part)
        for plane in self._slices(limit):
            for k in plane.split(_CHUNK):
                features = self.encoding(k.to(self.first.weight))
                hidden = features @ self.first.weight[:, : self.n_features].T
                free -= hidden.nbytes
                if free >= 0:
                    kept.append((k, hidden))
                else:
                    kept.clear()
                yield k, hidden
        if free >= 0:
            self._kept[limit] = kept

    def _network(self, h: Float[Tensor, "p width"]) -> Float[Tensor, "p outputs"]:
        """What follows the first layer; changes ``h``."""
        for layer in self.others:
            h = nn.functional.leaky_relu_(h, self.slope) if self.slope else h.relu_()
            h = layer(h)
        return h

    def _slices(self, limit: float | None) -> Iterator[Int[Tensor, "p 3"]]:
        """Frequencies (kx, ky, kz) to be evaluated, those of one kz at a time."""
        half = self.box // 2
        largest = math.inf if self.hartley else half
        limit = largest if limit is None else min(limit, largest)
        reach = int(min(half, limit))
        r = torch.arange(-reach, min(reach + 1, half), device=self.first.weight.device)
        ky, kx = torch.meshgrid(r, r, indexing="ij")
        for kz in r.tolist() if self.hartley else range(-reach, 1):
            inside = kx**2 + ky**2 + kz**2 <= limit**2 + 1e-6
            if self.radius is not None:
                inside &= self._disc(kx, ky, kz, self.radius)
            if not self.hartley and not self.bare:
                inside &= self._ball(kx, ky, kz)
            if kz == 0 and not self.hartley and self._is_mirrored():
                inside &= (ky < 0) | ((ky == 0) & (kx <= 0))
            x, y = kx[inside], ky[inside]
            yield torch.stack([x, y, torch.full_like(x, kz)], -1)

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
    x, y, z = (k % d).unbind(-1)
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
