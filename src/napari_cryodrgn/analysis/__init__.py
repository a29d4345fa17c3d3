"""Looking at runs: latents, decoded volumes, principal axes."""

from .latent import pca
from .run import Latents, Run, contour_level

__all__ = ["Latents", "Run", "contour_level", "pca"]
