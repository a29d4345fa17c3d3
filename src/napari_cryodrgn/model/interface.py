"""What every decoder can do, whatever it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, Self, TypeVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from ..imaging import Lattice, slice_points
from .points import Stop
from .slices import VolumeSlices

T = TypeVar("T")


class Decoder(nn.Module, ABC):
    """A volume as a function of a latent.

    ``kind`` names the class of decoder in ``Settings.decoder`` and in saved runs, ``zdim`` is the
    number of dimensions of the latent, ``box`` the edge of the volume in pixels.

    In evaluation mode, what does not depend on the latent is kept from one volume to the next:
    weights must not change then.
    """

    zdim: int
    box: int

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[Hashable, Any] = {}
        self._last: tuple[tuple[float, ...], VolumeSlices] | None = None

    @property
    @abstractmethod
    def kind(self) -> str:
        """One of "plain", "residual", "basis" and, for runs of cryoDRGN, "cryodrgn"."""

    @abstractmethod
    def decode(
        self,
        z: Float[Tensor, " zdim"],
        limit: float | None = None,
        box: int | None = None,
        stop: Stop | None = None,
    ) -> Float[Tensor, "b b b"]:
        """Voxel volume at ``z``.

        Parameters
        ----------
        z
            One latent.
        limit
            Largest frequency decoded, in cycles per box; all if absent.
        box
            Edge of the volume in voxels, even; that of the decoder if absent. A smaller one holds
            frequencies below ``box`` / 2 only. Its voxels are larger, lie about the same centre and
            have the density of the filtered volume there.
        stop
            Asked now and then whether the volume is no longer wanted.

        Raises
        ------
        ValueError
            If ``box`` is odd or larger than that of the decoder.
        Abandoned
            If ``stop`` says so.
        """

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Numbers that, with ``kind`` and the weights, rebuild this decoder."""

    @torch.no_grad()
    def slice(
        self,
        z: Float[Tensor, " zdim"],
        rotation: Float[Tensor, "3 3"],
        lattice: Lattice,
        stop: Stop | None = None,
    ) -> Complex[Tensor, " pixels"]:
        """Central slice of the volume at ``z``: the pixels of a projection of it.

        Here by way of the volume, whose transform is kept until another is wanted. Networks are
        asked at the slice's points alone.

        Parameters
        ----------
        z
            One latent.
        rotation
            From object to image.
        lattice
            Pixels of the decoder's box.
        stop
            As in `decode`.

        Raises
        ------
        Abandoned
            If ``stop`` says so.
        """
        key = tuple(z.tolist())
        kept = self._last
        if kept is None or kept[0] != key or self.training:
            volume = self.decode(z, stop=stop)
            kept = self._last = key, VolumeSlices(volume[None])
        return kept[1](slice_points(rotation, lattice.k))[0]

    @torch.no_grad()
    def decode_all(
        self, z: Float[Tensor, "n zdim"], limit: float | None = None, box: int | None = None
    ) -> Float[Tensor, "n b b b"]:
        """Volumes at several latents, as ``poses.PoseSearch`` takes them."""
        return torch.stack([self.decode(one, limit, box) for one in z])

    def train(self, mode: bool = True) -> Self:
        """Change the mode, and drop what is kept."""
        self._kept.clear()
        self._last = None
        return super().train(mode)

    def _keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives; in evaluation mode it is made once."""
        if self.training:
            return make()
        if key not in self._kept:
            self._kept[key] = make()
        found: T = self._kept[key]
        return found

    def _size(self, box: int | None) -> int:
        """The box to decode, checked."""
        if box is None:
            return self.box
        if box % 2 and box != self.box or not 2 <= box <= self.box:
            raise ValueError(f"box: expected an even number from 2 to {self.box}, got {box}")
        return box
