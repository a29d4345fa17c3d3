"""What every decoder can do, whatever it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Decoder(nn.Module, ABC):
    """A volume as a function of a latent.

    ``kind`` names the class of decoder in ``Settings.decoder`` and in saved runs, ``zdim`` is the
    number of dimensions of the latent, ``box`` the edge of the volume in pixels.
    """

    zdim: int
    box: int

    @property
    @abstractmethod
    def kind(self) -> str:
        """One of "plain", "residual", "basis" and, for runs of cryoDRGN, "cryodrgn"."""

    @abstractmethod
    def decode(
        self, z: Float[Tensor, " zdim"], limit: float | None = None
    ) -> Float[Tensor, "z y x"]:
        """Voxel volume at ``z``.

        Parameters
        ----------
        z
            One latent.
        limit
            Largest frequency decoded, in cycles per box; all if absent.
        """

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Numbers that, with ``kind`` and the weights, rebuild this decoder."""

    @torch.no_grad()
    def decode_all(
        self, z: Float[Tensor, "n zdim"], limit: float | None = None
    ) -> Float[Tensor, "n z y x"]:
        """Volumes at several latents, as ``poses.PoseSearch`` takes them."""
        return torch.stack([self.decode(one, limit) for one in z])
