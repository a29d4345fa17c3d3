"""Positional encoding, coordinate decoder, image encoder, and the VAE."""

from .decoder import ConsensusSlices, CoordinateDecoder
from .description import build_decoder, build_encoder, model_description
from .encoder import ImageEncoder
from .encoding import PositionalEncoding, density, gaussian, geometric
from .vae import VAE, Elbo

__all__ = [
    "VAE",
    "ConsensusSlices",
    "CoordinateDecoder",
    "Elbo",
    "ImageEncoder",
    "PositionalEncoding",
    "build_decoder",
    "build_encoder",
    "density",
    "gaussian",
    "geometric",
    "model_description",
]
