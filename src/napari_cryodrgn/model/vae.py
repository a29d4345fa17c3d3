"""The variational autoencoder and its objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from .decoder import ConsensusSlices, CoordinateDecoder
from .encoder import ImageEncoder


@dataclass(frozen=True)
class Elbo:
    """Terms of the negative ELBO, means over a batch.

    ``reconstruction`` is -log p(X | z) without its constant, the squared residual summed over
    the Fourier half plane in units of the noise; ``kl`` is KL(q(z | X) || N(0, 1)) in nats.
    """

    reconstruction: Tensor
    kl: Tensor


class VAE(nn.Module):
    """Image encoder and coordinate decoder (paper, 3.2)."""

    def __init__(self, encoder: ImageEncoder, decoder: CoordinateDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def elbo(
        self,
        inputs: Float[Tensor, "batch inputs"],
        pixels: Complex[Tensor, "batch pixels"],
        ctf: Float[Tensor, "batch pixels"],
        points: Float[Tensor, "batch pixels 3"],
        consensus: ConsensusSlices | None,
        *,
        sample: bool = True,
    ) -> tuple[Elbo, Float[Tensor, "batch zdim"], Float[Tensor, "batch zdim"]]:
        """Monte Carlo ELBO with one sample of z per image; also returns mean and log variance.

        Parameters
        ----------
        inputs
            Encoder inputs.
        pixels, ctf
            Whitened and centred.
        points
            R^T c: where the pixels lie in Fourier space, in cycles per box.
        consensus
            Slices of the decoder's consensus volume, if it has one.
        """
        mean, logvar = self.encoder(inputs)
        z = mean + torch.randn_like(mean) * (0.5 * logvar).exp() if sample else mean
        predicted = self.decoder(points, z[:, None])
        if consensus is not None:
            predicted = predicted + consensus(points)
        residual = torch.view_as_real(pixels - ctf * predicted)
        reconstruction = residual.square().sum((1, 2)).mean()
        kl = -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum(1).mean()
        return Elbo(reconstruction, kl), mean, logvar
