"""The coordinate decoder: from a frequency and a latent to a Fourier coefficient."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

from ..imaging import FourierGrid, Lattice, slice_points
from .encoding import PositionalEncoding
from .interface import Decoder
from .points import Points, Stop, fourier_crop, linear
from .slices import VolumeSlices, windowed


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
        self,
        z: Float[Tensor, " zdim"],
        limit: float | None = None,
        box: int | None = None,
        stop: Stop | None = None,
    ) -> Float[Tensor, "b b b"]:
        """Voxel volume at ``z``: half a ball of coefficients, inverse transform, soft mask.

        See `Decoder.decode` for the parameters; frequencies go up to box / 2 - 1 at most.
        """
        d, device = self._size(box), self.consensus.device
        largest = d // 2 - 1
        limit = largest if limit is None else min(limit, largest)
        points = self._keep(("points", device), Points)
        k = points.frequencies(limit, lambda up_to: _half_ball(up_to, device))
        latent = z.to(device, torch.float32)
        shifts = [layer(latent) for layer in self.latent] or [0] * (len(self.hidden) + 1)
        # The input of a hidden layer is added to its output.
        identity = torch.eye(self.input.out_features, device=device)
        layers = [
            (weight + identity, bias + shift)
            for (weight, bias), shift in zip(linear(self.hidden), shifts[1:], strict=True)
        ]
        layers += linear([self.output])
        offset = self.input.bias + shifts[0]
        parts = points.values(k, self._first, offset, layers, _silu, stop)
        values = torch.view_as_complex(parts) * self.scale(k.float())
        return self._to_voxels(k, values, d)

    @torch.no_grad()
    def slice(
        self,
        z: Float[Tensor, " zdim"],
        rotation: Float[Tensor, "3 3"],
        lattice: Lattice,
        stop: Stop | None = None,
    ) -> Complex[Tensor, " pixels"]:
        """Central slice of the volume at ``z``, the network asked at its points alone.

        The volume's soft mask, and the correction of attenuated networks, are those of the
        projection's disc: along the view they are left out. See `Decoder.slice` for the parameters.
        """
        points = slice_points(rotation, lattice.k)
        # Half of the frequencies speak for all, as in `decode`.
        mirrored = points[:, 0] < 0
        values = self(torch.where(mirrored[:, None], -points, points), z.to(points)[None])
        values = torch.where(mirrored, values.conj(), values)
        pixels = windowed(values, lattice, self._keep("disc", self._disc))
        if self.residual:
            slices = self._keep("slices", lambda: VolumeSlices(self.consensus[None]))
            pixels = pixels + slices(points)[0]
        return pixels

    def _disc(self) -> Float[Tensor, "y x"]:
        """Section through the window of the volume."""
        grid = FourierGrid(self.box, 1.0, device=self.consensus.device)
        window = grid.mask * grid.correction if bool(self.attenuated) else grid.mask
        return window[self.box // 2]

    def _first(self, k: Int[Tensor, "p 3"]) -> Float[Tensor, "p width"]:
        """The first layer without latent and bias."""
        hidden: Tensor = self.encoding(k.float()) @ self.input.weight.T
        return hidden

    def _to_voxels(
        self, k: Int[Tensor, "p 3"], values: Complex[Tensor, " p"], d: int
    ) -> Float[Tensor, "b b b"]:
        """Volume on a box ``d`` from coefficients in half a ball."""
        # On the plane kx = 0 both mates are present; irfftn needs them conjugate.
        spectrum = torch.zeros(d, d, d // 2 + 1, dtype=values.dtype, device=values.device)
        x, y, z = k.long().unbind(1)
        spectrum[z % d, y % d, x] = values
        plane = spectrum[:, :, 0]
        mates = torch.roll(plane.flip(0, 1), (1, 1), (0, 1)).conj()
        spectrum[:, :, 0] = (plane + mates) / 2
        spectrum[0, 0, 0] = 0
        volume: Tensor = torch.fft.fftshift(torch.fft.irfftn(spectrum, s=(d, d, d)))
        window, consensus = self._keep((d, values.device), lambda: self._frame(d))
        return torch.addcmul(consensus, volume, window)

    def _frame(self, d: int) -> tuple[Tensor, Tensor]:
        """Factor and summand of the volumes on a box ``d``."""
        grid = FourierGrid(d, 1.0, device=self.consensus.device)
        window = grid.mask * (d / self.box) ** 3
        if bool(self.attenuated):
            window = window * grid.correction
        return window, self.consensus if d == self.box else fourier_crop(self.consensus, d)


class ConsensusSlices:
    """Central slices of a decoder's consensus volume."""

    def __init__(self, decoder: CoordinateDecoder, limit: float) -> None:
        self._grid = FourierGrid(decoder.box, limit, device=decoder.consensus.device)
        self._transform = self._grid.transform(decoder.consensus)[None]

    def __call__(self, points: Float[Tensor, "*batch 3"]) -> Complex[Tensor, "*batch"]:
        """V0 at frequencies ``points``."""
        return self._grid.sample(self._transform, points)


def _half_ball(limit: float, device: torch.device) -> Int[Tensor, "p 3"]:
    """Frequencies (kx, ky, kz) with kx >= 0 of a ball."""
    r = torch.arange(-int(limit), int(limit) + 1, device=device, dtype=torch.int32)
    z, y, x = torch.meshgrid(r, r, r[r >= 0], indexing="ij")
    inside = x**2 + y**2 + z**2 <= limit**2 + 1e-6
    return torch.stack([x[inside], y[inside], z[inside]], 1)


def _silu(h: Tensor) -> Tensor:
    return nn.functional.silu(h, inplace=True)
