"""What is saved with a run rebuilds every decoder and the encoder."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from napari_cryodrgn.model import (
    BasisDecoder,
    CoordinateDecoder,
    Decoder,
    ImageEncoder,
    build_decoder,
    build_encoder,
    kernel_functions,
    model_description,
)

BOX = 16


def decoder_of(kind: str, make_decoder: Any) -> Decoder:
    if kind == "basis":
        nodes, length = torch.randn(5, 2), torch.tensor([0.5, 2.0])
        mixing = kernel_functions(nodes, length, 3)
        return BasisDecoder(torch.randn(4, BOX, BOX, BOX), nodes, mixing, length)
    consensus = torch.randn(BOX, BOX, BOX) if kind == "residual" else None
    decoder: CoordinateDecoder = make_decoder(2, consensus=consensus)
    decoder.attenuated.fill_(True)
    return decoder


@pytest.mark.parametrize("kind", ["plain", "residual", "basis"])
def test_decoders_come_back(kind: str, make_decoder: Any) -> None:
    torch.manual_seed(0)
    decoder = decoder_of(kind, make_decoder)
    assert decoder.kind == kind
    file = io.BytesIO()
    torch.save(model_description(None, decoder), file)
    file.seek(0)
    description = torch.load(file, weights_only=True)
    rebuilt = build_decoder(description)
    assert (rebuilt.kind, rebuilt.zdim, rebuilt.box) == (kind, 2, BOX)
    for z in torch.randn(3, 2):
        torch.testing.assert_close(rebuilt.decode(z), decoder.decode(z))
        torch.testing.assert_close(rebuilt.decode(z, 4), decoder.decode(z, 4))
    assert "encoder_args" not in description


def test_encoders_come_back(make_decoder: Any) -> None:
    encoder = ImageEncoder(6, 2, 8, 1, torch.linspace(1, 2, 6))
    rebuilt = build_encoder(model_description(encoder, make_decoder(2)))
    inputs = torch.randn(4, 6)
    torch.testing.assert_close(rebuilt(inputs), encoder(inputs))


def test_an_unknown_kind_is_refused(make_decoder: Any) -> None:
    description = model_description(None, make_decoder(1))
    description["decoder_args"]["kind"] = "crystal"
    with pytest.raises(ValueError, match="crystal"):
        build_decoder(description)
