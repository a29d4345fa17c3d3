"""Networks as plain tensors and numbers, and back: what is saved with a run."""

from __future__ import annotations

from typing import Any

import torch

from .basis import BasisDecoder
from .decoder import CoordinateDecoder
from .encoder import ImageEncoder
from .encoding import PositionalEncoding
from .interface import Decoder


def model_description(encoder: ImageEncoder | None, decoder: Decoder) -> dict[str, Any]:
    """Architecture and weights as plain tensors and numbers, to rebuild the networks from."""
    description: dict[str, Any] = {
        "decoder_args": {"kind": decoder.kind, **decoder.arguments()},
        "decoder_state_dict": decoder.state_dict(),
    }
    if encoder is not None:
        description["encoder_args"] = {
            "n_inputs": encoder.input.in_features,
            "zdim": encoder.zdim,
            "width": encoder.input.out_features,
            "layers": len(encoder.hidden),
        }
        description["encoder_state_dict"] = encoder.state_dict()
    return description


def build_decoder(description: dict[str, Any]) -> Decoder:
    """Decoder of any kind from ``model_description``.

    Raises
    ------
    ValueError
        If its kind is not known.
    """
    args = dict(description["decoder_args"])
    kind = args.pop("kind")
    decoder: Decoder
    if kind == "basis":
        decoder = BasisDecoder.blank(**args)
    elif kind in ("plain", "residual"):
        encoding = PositionalEncoding(torch.zeros(3, args.pop("features")))
        box = args["box"]
        consensus = torch.zeros(box, box, box) if kind == "residual" else None
        decoder = CoordinateDecoder(encoding, consensus=consensus, **args)
    else:
        raise ValueError(f"expected a decoder plain, residual or basis, got {kind}")
    decoder.load_state_dict(description["decoder_state_dict"])
    return decoder


def build_encoder(description: dict[str, Any]) -> ImageEncoder:
    """Encoder from ``model_description``."""
    encoder = ImageEncoder(**description["encoder_args"])
    encoder.load_state_dict(description["encoder_state_dict"])
    return encoder
