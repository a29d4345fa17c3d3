"""A small decoder with weights that are not symmetric in any way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from napari_cryodrgn.model import CoordinateDecoder, geometric

MakeDecoder = Callable[..., CoordinateDecoder]


@pytest.fixture
def make_decoder() -> MakeDecoder:
    def make(
        zdim: int = 2, box: int = 16, consensus: Tensor | None = None, **more: Tensor
    ) -> CoordinateDecoder:
        torch.manual_seed(4)
        return CoordinateDecoder(geometric(box), zdim, 24, 2, box, consensus, **more)

    return make
