"""Networks as plain tensors and numbers, and back: what is saved with a run."""

from __future__ import annotations

from typing import Any

import torch

from .decoder import CoordinateDecoder
from .encoder import ImageEncoder
from .encoding import PositionalEncoding
from .vae import VAE


def model_description(vae: VAE | None, decoder: CoordinateDecoder) -> dict[str, Any]:
    """Architecture and weights as plain tensors and numbers, to rebuild the networks from."""
    description: dict[str, Any] = {
        "decoder_args": {
            "zdim": decoder.zdim,
            "width": decoder.input.out_features,
            "layers": len(decoder.hidden),
            "box": decoder.box,
            "features": decoder.encoding.n_features // 2,
            "residual": decoder.residual,
        },
        "decoder_state_dict": decoder.state_dict(),
    }
    if vae is not None:
        encoder = vae.encoder
        description["encoder_args"] = {
            "n_inputs": encoder.input.in_features,
            "zdim": encoder.zdim,
            "width": encoder.input.out_features,
            "layers": len(encoder.hidden),
        }
        description["encoder_state_dict"] = encoder.state_dict()
    return description


def build_decoder(description: dict[str, Any]) -> CoordinateDecoder:
    """Decoder from ``model_description``."""
    args = dict(description["decoder_args"])
    features, residual = args.pop("features"), args.pop("residual")
    box = args["box"]
    decoder = CoordinateDecoder(
        PositionalEncoding(torch.zeros(3, features)),
        consensus=torch.zeros(box, box, box) if residual else None,
        **args,
    )
    decoder.load_state_dict(description["decoder_state_dict"])
    return decoder


def build_encoder(description: dict[str, Any]) -> ImageEncoder:
    """Encoder from ``model_description``."""
    encoder = ImageEncoder(**description["encoder_args"])
    encoder.load_state_dict(description["encoder_state_dict"])
    return encoder
