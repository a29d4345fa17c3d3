"""The image encoder q(z | X) (paper, 3.2.1)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ImageEncoder(nn.Module):
    """Residual MLP from an image to the mean and log variance of the latent's posterior.

    Parameters
    ----------
    n_inputs
        Length of an input: real and imaginary parts of the low Fourier pixels of the centred,
        CTF-weighted image.
    zdim, width, layers
        Dimensions of the latent, hidden units, hidden layers.
    deviation
        Standard deviation of each input over the particles (n_inputs,), to normalise with.
    """

    deviation: Tensor

    def __init__(
        self,
        n_inputs: int,
        zdim: int,
        width: int,
        layers: int,
        deviation: Float[Tensor, " inputs"] | None = None,
    ) -> None:
        super().__init__()
        self.zdim = zdim
        self.register_buffer("deviation", torch.ones(n_inputs) if deviation is None else deviation)
        self.input = nn.Linear(n_inputs, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(layers)])
        self.output = nn.Linear(width, 2 * zdim)

    def forward(
        self, inputs: Float[Tensor, "batch inputs"]
    ) -> tuple[Float[Tensor, "batch zdim"], Float[Tensor, "batch zdim"]]:
        """Mean and log variance of q(z | X)."""
        h = torch.relu(self.input(inputs / self.deviation))
        for layer in self.hidden:
            h = torch.relu(h + layer(h))
        mean, logvar = self.output(h).chunk(2, -1)
        return mean, logvar.clamp(-10, 4)
