"""Opening particle stacks, STAR files and volumes by drag and drop or from the File menu."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari

from ..errors import CryodrgnError
from ..particles import mrc_kind, read, read_volume
from . import notify
from .layers import stack_layer, volume_layer

SUFFIXES = (".mrc", ".mrcs", ".star", ".cs", ".csg", ".map")


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Any]] | None:
    """Return `read_layers` for files that it can read, else None."""
    return read_layers if all(p.suffix.lower() in SUFFIXES for p in _paths(path)) else None


def read_layers(path: str | Sequence[str]) -> list[Any]:
    """Layer data of each file: a lazy stack of particles, or a volume.

    A file that cannot be read becomes a notification and no layer. Were the error raised, napari
    would offer other readers in a dialog and end in a traceback.
    """
    layers = []
    for one in _paths(path):
        try:
            layers.append(_layer(one))
        except CryodrgnError as error:
            notify.error(error)
    return layers or [(None,)]


def _layer(path: Path) -> Any:
    viewer = napari.current_viewer()
    present = viewer.layers if viewer is not None else ()
    suffix = path.suffix.lower()
    if suffix == ".map" or (suffix in (".mrc", ".mrcs") and mrc_kind(path) == "volume"):
        volume = read_volume(path)
        return volume_layer(volume.data, volume.pixel_size, path.name, present)
    return stack_layer(read(path), path.name, present)


def _paths(path: str | Sequence[str]) -> list[Path]:
    return [Path(path)] if isinstance(path, str) else [Path(p) for p in path]
