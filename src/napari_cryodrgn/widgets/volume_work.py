"""What a thread makes of a volume before its layer shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .layers import CONTOUR, bright_level
from .surfaces import Mesh, mesh

Array = NDArray[np.float32]
Mode = Literal["surface", "volume"]


@dataclass(frozen=True)
class Question:
    """A volume (z, y, x) to show; no contour if it is to be found.

    ``size`` is the edge of its voxels in the viewer: in Å if ``pixel_size`` is known.
    """

    volume: Array
    pixel_size: float | None
    size: float
    name: str
    source: object
    contour: float | None
    front: bool


@dataclass(frozen=True)
class Answer:
    """What was made of it: data for the layer, its contour, and where the molecule is.

    ``low`` and ``high`` are the corners of its bounding box in voxels.
    """

    question: Question
    mode: Mode
    volume: Array
    surface: Mesh | None
    contour: float
    low: Array
    high: Array


def prepared(question: Question, mode: Mode, contour: float | None, normalize: bool) -> Answer:
    """The answer to a question; with ``normalize``, in units of the volume's `bright_level`."""
    # A copy: the layer is later written in place, and events are shared.
    volume = np.array(question.volume, np.float32)
    if normalize:
        volume /= bright_level(volume)
        level = contour if contour is not None else CONTOUR
    else:
        level = contour if contour is not None else CONTOUR * bright_level(volume)
    if mode == "surface":
        surface = mesh(volume, level)
        return Answer(question, mode, volume, surface, level, surface[0].min(0), surface[0].max(0))
    inside = np.argwhere(volume >= level)
    if not len(inside):
        inside = np.array([[0, 0, 0], np.array(volume.shape) - 1])
    low, high = inside.min(0).astype(np.float32), inside.max(0).astype(np.float32)
    return Answer(question, mode, volume, None, level, low, high)
