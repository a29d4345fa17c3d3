"""Decoded volumes, kept as long as there is room."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class KeptVolumes:
    """The volumes used last, by their z (zdim,) and box.

    Parameters
    ----------
    room
        Bytes that they may take.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._volumes: OrderedDict[tuple[bytes, int], Array] = OrderedDict()

    def has(self, z: Array, box: int) -> bool:
        """Whether this volume is kept."""
        return (z.tobytes(), box) in self._volumes

    def get(self, z: Array, box: int) -> Array:
        """A volume that is kept; it counts as used now.

        Raises
        ------
        KeyError
            If it is not kept.
        """
        key = (z.tobytes(), box)
        self._volumes.move_to_end(key)
        return self._volumes[key]

    def put(self, z: Array, volume: Array) -> None:
        """Keep a volume (z, y, x), which becomes read-only, in place of those used longest ago."""
        volume.setflags(write=False)
        self._volumes[z.tobytes(), len(volume)] = volume
        while sum(v.nbytes for v in self._volumes.values()) > self._room:
            self._volumes.popitem(last=False)

    def clear(self) -> None:
        """Keep nothing."""
        self._volumes.clear()
