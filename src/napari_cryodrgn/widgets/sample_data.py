"""The simulated particle set in napari's File > Open Sample menu."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import napari
import platformdirs

from ..errors import CryodrgnError
from ..imaging import hinge, simulate
from ..particles import read, write_simulation
from .layers import stack_layer

PARTICLES, BOX, PIXEL_SIZE = 1000, 48, 6.0


def moving_molecule() -> list[Any]:
    """Layer data of 1,000 views of a molecule with a swinging arm, box 48, 6 Å per pixel.

    Made on first use and kept in the user's cache folder.
    """
    viewer = napari.current_viewer()
    present = viewer.layers if viewer is not None else ()
    return [stack_layer(read(_star(_folder())), "moving molecule", present)]


def _folder() -> Path:
    cache = Path(platformdirs.user_cache_dir("napari-cryodrgn", appauthor=False))
    return cache / f"moving-molecule-{PARTICLES}-{BOX}"


def _star(folder: Path) -> Path:
    star = folder / "particles.star"
    try:
        if star.exists() and len(read(star)) == PARTICLES:
            return star
    except CryodrgnError:
        # A cache that cannot be read is made anew.
        pass
    simulation = simulate(hinge(), PARTICLES, BOX, PIXEL_SIZE, snr=0.2)
    try:
        return write_simulation(folder, simulation)
    except CryodrgnError:
        # The home folder may be read-only or full.
        return write_simulation(tempfile.mkdtemp(prefix="napari-cryodrgn-"), simulation)
