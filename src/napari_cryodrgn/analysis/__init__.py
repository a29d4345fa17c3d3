"""Looking at runs: latents, decoded volumes, principal axes; reconstructions to compare with."""

from .alignment import VolumeFit, align_volumes
from .baseline import Baseline, back_project
from .latent import pca
from .run import Latents, Products, Run, contour_level

__all__ = [
    "Baseline",
    "Latents",
    "Products",
    "Run",
    "VolumeFit",
    "align_volumes",
    "back_project",
    "contour_level",
    "pca",
]
