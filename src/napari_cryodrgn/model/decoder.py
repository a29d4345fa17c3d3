"""The coordinate decoder: from a frequency and a latent to a Fourier coefficient."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from ..imaging import FourierGrid
from .encoding import PositionalEncoding
from .interface import Decoder

# Chunks that stay in a core's cache decode up to twice as fast.
_CHUNK = 2048


class CoordinateDecoder(Decoder):
    """MLP p(V | k, z) in Fourier space (paper, 3.1), optionally on top of a consensus volume.

    V(k, z) = V0(k) + s(|k|) MLP(encoding(k), z). With no consensus (V0 = 0, s = 1) this is the
    paper's decoder. The first layer is split, W_k pe(k) + W_z z, so that the latent is added
    once per image.

    Parameters
    ----------
    encoding
        Positional encoding of k.
    zdim
        Dimensions of the latent; 0 for one structure.
    width, layers
        Hidden units and residual hidden layers.
    box
        Edge of the volume in pixels.
    consensus
        V0 on voxels (z, y, x), or None.
    amplitude
        s per shell (shells,), linearly interpolated; 1 if absent.
    """

    consensus: Tensor
    amplitude: Tensor
    attenuated: Tensor

    def __init__(
        self,
        encoding: PositionalEncoding,
        zdim: int,
        width: int,
        layers: int,
        box: int,
        consensus: Float[Tensor, "z y x"] | None = None,
        amplitude: Float[Tensor, " shells"] | None = None,
    ) -> None:
        super().__init__()
        self.encoding, self.zdim, self.box = encoding, zdim, box
        self.input = nn.Linear(encoding.n_features, width)
        self.latent = nn.ModuleList(
            [nn.Linear(zdim, width, bias=False) for _ in range(layers + 1)] if zdim else []
        )
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(layers)])
        self.output = nn.Linear(width, 2)
        self.residual = consensus is not None
        blank = torch.zeros(box, box, box)
        self.register_buffer("consensus", blank if consensus is None else consensus.clone())
        ones = torch.ones(box)
        self.register_buffer("amplitude", ones if amplitude is None else amplitude.clone())
        # Fitted to trilinear insertions rather than to images: see FourierGrid.correction.
        self.register_buffer("attenuated", torch.tensor(False))

    @property
    def kind(self) -> str:
        """Whether a consensus volume lies under the network."""
        return "residual" if self.residual else "plain"

    def arguments(self) -> dict[str, Any]:
        """Sizes of the network."""
        return {
            "zdim": self.zdim,
            "width": self.input.out_features,
            "layers": len(self.hidden),
            "box": self.box,
            "features": self.encoding.n_features // 2,
        }

    def scale(self, k: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """s(|k|)."""
        radius = k.norm(dim=-1).clamp(max=len(self.amplitude) - 1.01)
        low = radius.floor().long()
        return torch.lerp(self.amplitude[low], self.amplitude[low + 1], radius - low)

    def network(
        self, features: Float[Tensor, "*batch p f"], z: Float[Tensor, "*batch 1 zdim"]
    ) -> Complex[Tensor, "*batch p"]:
        """The MLP on encoded coordinates; ``z`` broadcasts over the points."""
        h = self.input(features)
        if self.zdim:
            h = h + self.latent[0](z)
        h = nn.functional.silu(h)
        for i, layer in enumerate(self.hidden):
            step = layer(h) if not self.zdim else layer(h) + self.latent[i + 1](z)
            h = nn.functional.silu(h + step)
        return torch.view_as_complex(self.output(h).contiguous())

    def forward(
        self, k: Float[Tensor, "*batch p 3"], z: Float[Tensor, "*batch 1 zdim"]
    ) -> Complex[Tensor, "*batch p"]:
        """Network part of V at frequencies ``k`` in cycles per box, without the consensus."""
        return self.network(self.encoding(k), z) * self.scale(k)

    @torch.no_grad()
    def decode(
        self, z: Float[Tensor, " zdim"], limit: float | None = None
    ) -> Float[Tensor, "z y x"]:
        """Voxel volume at ``z``: half a ball of coefficients, inverse transform, soft mask.

        Parameters
        ----------
        z
            One latent.
        limit
            Largest frequency decoded, box / 2 - 1 if absent.
        """
        device = self.consensus.device
        d, largest = self.box, self.box // 2 - 1
        limit = largest if limit is None else min(limit, largest)
        r = torch.arange(-int(limit), int(limit) + 1, device=device)
        gz, gy, gx = torch.meshgrid(r, r, r[r >= 0], indexing="ij")
        inside = gx**2 + gy**2 + gz**2 <= limit**2 + 1e-6
        gz, gy, gx = gz[inside], gy[inside], gx[inside]
        k = torch.stack([gx, gy, gz], -1).float()
        latent = z.to(device, torch.float32).reshape(1, -1)
        values = torch.cat([self(part, latent) for part in k.split(_CHUNK)])
        # On the plane kx = 0 both mates are present; irfftn needs them conjugate.
        spectrum = torch.zeros(d, d, d // 2 + 1, dtype=values.dtype, device=device)
        spectrum[gz % d, gy % d, gx] = values
        plane = spectrum[:, :, 0]
        mates = torch.roll(plane.flip(0, 1), (1, 1), (0, 1)).conj()
        spectrum[:, :, 0] = (plane + mates) / 2
        spectrum[0, 0, 0] = 0
        volume: Tensor = torch.fft.fftshift(torch.fft.irfftn(spectrum, s=(d, d, d)))
        grid = FourierGrid(d, 1.0, device=device)
        volume = volume * grid.mask
        if bool(self.attenuated):
            volume = volume * grid.correction
        return volume + self.consensus


class ConsensusSlices:
    """Central slices of a decoder's consensus volume."""

    def __init__(self, decoder: CoordinateDecoder, limit: float) -> None:
        self._grid = FourierGrid(decoder.box, limit, device=decoder.consensus.device)
        self._transform = self._grid.transform(decoder.consensus)[None]

    def __call__(self, points: Float[Tensor, "*batch 3"]) -> Complex[Tensor, "*batch"]:
        """V0 at frequencies ``points``."""
        return self._grid.sample(self._transform, points)
