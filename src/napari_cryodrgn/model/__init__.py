"""Decoders, image encoder, and the VAE."""

from .basis import BasisDecoder, kernel_functions
from .decoder import ConsensusSlices, CoordinateDecoder
from .description import build_decoder, build_encoder, model_description
from .encoder import ImageEncoder
from .encoding import PositionalEncoding, density, gaussian, geometric
from .interface import Decoder
from .vae import VAE, Elbo

__all__ = [
    "VAE",
    "BasisDecoder",
    "ConsensusSlices",
    "CoordinateDecoder",
    "Decoder",
    "Elbo",
    "ImageEncoder",
    "PositionalEncoding",
    "build_decoder",
    "build_encoder",
    "density",
    "gaussian",
    "geometric",
    "kernel_functions",
    "model_description",
]
