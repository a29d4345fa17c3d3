"""A decoder without a network: voxel volumes mixed by smooth functions of the latent."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ..imaging import Lattice, slice_points
from .interface import Decoder
from .points import Stop, fourier_crop
from .slices import VolumeSlices

# Bytes that transforms for slices may take: enough for 9 volumes of a box of 128.
_KEPT = 2**29


class BasisDecoder(Decoder):
    """V(z) = U_0 + sum_q a_q(z) U_q, with a(z) = K(z, nodes) M.

    K is the Gaussian kernel exp(-|z - node|² / 2), z in units of ``length``. Decoding is a weighted
    sum of volumes: a millisecond at a box of 64. Far from the nodes the volume is U_0.

    Parameters
    ----------
    volumes
        U on voxels, (1 + Q, D, D, D).
    nodes
        Latents that the kernel is centred on (K, zdim).
    mixing
        M, (K, Q).
    length
        Length of the kernel along each dimension of the latent (zdim,).
    """

    volumes: Tensor
    nodes: Tensor
    mixing: Tensor
    length: Tensor

    def __init__(
        self,
        volumes: Float[Tensor, "q z y x"],
        nodes: Float[Tensor, "k zdim"],
        mixing: Float[Tensor, "k functions"],
        length: Float[Tensor, " zdim"],
    ) -> None:
        super().__init__()
        self.zdim, self.box = nodes.shape[1], volumes.shape[-1]
        self.register_buffer("volumes", volumes)
        self.register_buffer("nodes", nodes)
        self.register_buffer("mixing", mixing)
        self.register_buffer("length", length)

    @property
    def kind(self) -> str:
        """The name of this class of decoder."""
        return "basis"

    def arguments(self) -> dict[str, Any]:
        """Shapes of the tensors."""
        k, q = self.mixing.shape
        return {"box": self.box, "zdim": self.zdim, "nodes": k, "functions": q}

    @classmethod
    def blank(cls, box: int, zdim: int, nodes: int, functions: int) -> BasisDecoder:
        """Decoder of the given shape, to load saved tensors into."""
        return cls(
            torch.zeros(1 + functions, box, box, box),
            torch.zeros(nodes, zdim),
            torch.zeros(nodes, functions),
            torch.ones(zdim),
        )

    def coefficients(self, z: Float[Tensor, "*batch zdim"]) -> Float[Tensor, "*batch q"]:
        """Weights (1, a(z)) of the volumes."""
        a = self._kernel(z)[0] @ self.mixing
        return torch.cat([a.new_ones(*a.shape[:-1], 1), a], -1)

    def slopes(self, z: Float[Tensor, "*batch zdim"]) -> Float[Tensor, "*batch q zdim"]:
        """Derivatives of ``coefficients`` with respect to z."""
        kernel, apart = self._kernel(z)
        along = -kernel[..., None] * apart / self.length
        slopes = torch.einsum("...kd,kq->...qd", along, self.mixing)
        return torch.cat([torch.zeros_like(slopes[..., :1, :]), slopes], -2)

    def _kernel(self, z: Float[Tensor, "*batch zdim"]) -> tuple[Tensor, Tensor]:
        """Kernel to each node (*batch, K), and the vector from it (*batch, K, zdim)."""
        apart = (z[..., None, :] - self.nodes) / self.length
        return (-0.5 * apart.square().sum(-1)).exp(), apart

    @torch.no_grad()
    def decode(
        self,
        z: Float[Tensor, " zdim"],
        limit: float | None = None,
        box: int | None = None,
        stop: Stop | None = None,
    ) -> Float[Tensor, "b b b"]:
        """Voxel volume at ``z``: a weighted sum; with ``limit``, low-pass filtered after it.

        It takes no time worth stopping. See `Decoder.decode` for the parameters.
        """
        d = self._size(box)
        volumes = self.volumes
        if d < self.box:
            # Sums of cropped volumes are cropped sums.
            volumes = self._keep((d, volumes.device), lambda: fourier_crop(self.volumes, d))
        weights = self.coefficients(z.to(self.nodes))
        volume: Tensor = (weights @ volumes.flatten(1)).reshape(d, d, d)
        if limit is None or limit >= d // 2:
            return volume
        k = torch.fft.fftfreq(d, 1 / d, device=volume.device)
        inside = k[:, None, None] ** 2 + k[:, None] ** 2 + k[: d // 2 + 1] ** 2 <= limit**2 + 1e-6
        spectrum = torch.fft.rfftn(volume) * inside
        low: Tensor = torch.fft.irfftn(spectrum, s=(d, d, d))
        return low

    @torch.no_grad()
    def slice(
        self,
        z: Float[Tensor, " zdim"],
        rotation: Float[Tensor, "3 3"],
        lattice: Lattice,
        stop: Stop | None = None,
    ) -> Complex[Tensor, " pixels"]:
        """Central slice of the volume at ``z``: a weighted sum of slices, unless that is too large.

        See `Decoder.slice` for the parameters.
        """
        if VolumeSlices.memory(self.box, len(self.volumes)) > _KEPT:
            return super().slice(z, rotation, lattice, stop)
        slices = self._keep("slices", lambda: VolumeSlices(self.volumes))
        weights = self.coefficients(z.to(self.nodes))
        found: Tensor = weights.to(torch.complex64) @ slices(slice_points(rotation, lattice.k))
        return found


def kernel_functions(
    nodes: Float[Tensor, "k zdim"], length: Float[Tensor, " zdim"], n: int
) -> Float[Tensor, "k functions"]:
    """Mixing M of the leading eigenfunctions of the Gaussian kernel on the nodes (Nyström).

    The functions K M are such that a sum of them with independent unit normal coefficients is a
    Gaussian process with this kernel, cut off after ``n`` functions or where they vanish.
    """
    apart = (nodes[:, None] - nodes) / length
    kernel = (-0.5 * apart.square().sum(-1)).exp().double()
    values, vectors = torch.linalg.eigh(kernel)
    keep = (values > 1e-3 * values[-1]) & (
        torch.arange(len(values), device=values.device) >= len(values) - n
    )
    mixing: Tensor = vectors[:, keep].flip(1) / values[keep].flip(0).sqrt()
    return mixing.to(nodes.dtype)
