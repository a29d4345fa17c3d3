"""Where the lines of a text are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .star_rows import SPACE

# Bytes looked through at a time, so that what is found in them stays small.
_CHUNK = 1 << 24
# Spaces that a line is freed of for all lines at once; after so many the few left are done singly.
_SPACES = 32
_WHITE = bytes(range(SPACE + 1))


def trimmed_lines(raw: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each line starts and ends, without the white space around it."""
    characters = np.frombuffer(raw, np.uint8)
    breaks = [
        at + np.flatnonzero(characters[at : at + _CHUNK] == ord("\n"))
        for at in range(0, len(raw), _CHUNK)
    ]
    ends = np.concatenate([*breaks, np.array([len(raw)], np.int64)])
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    left = right = np.arange(len(starts))
    for _ in range(_SPACES):
        left = left[starts[left] < ends[left]]
        left = left[characters[starts[left]] <= SPACE]
        starts[left] += 1
        right = right[starts[right] < ends[right]]
        right = right[characters[ends[right] - 1] <= SPACE]
        ends[right] -= 1
    for line in np.union1d(left, right).tolist():
        text = raw[starts[line] : ends[line]]
        starts[line] = ends[line] - len(text.lstrip(_WHITE))
        ends[line] = starts[line] + len(text.strip(_WHITE))
    return starts, ends
