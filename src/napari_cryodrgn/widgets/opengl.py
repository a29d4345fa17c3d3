"""What draws the canvas: a graphics card, or the processor."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.components import ViewerModel
    from napari.layers import Layer

_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader", "software")


def is_software(viewer: ViewerModel) -> bool:
    """Whether a viewer's OpenGL runs on the processor, where volumes take seconds to draw.

    False for a viewer without a window.
    """
    if getattr(viewer, "window", None) is None:
        return False
    if os.environ.get("LIBGL_ALWAYS_SOFTWARE", "").lower() in ("1", "true", "yes"):
        return True
    return any(name in _renderer() for name in _SOFTWARE)


@lru_cache(maxsize=1)
def _renderer() -> str:
    """Name of the OpenGL renderer, in lower case."""
    from vispy.app import Canvas
    from vispy.gloo import gl
    from vispy.gloo.context import get_current_canvas

    canvas = Canvas(show=False) if get_current_canvas() is None else None
    try:
        return str(gl.glGetParameter(gl.GL_RENDERER)).lower()
    finally:
        if canvas is not None:
            canvas.close()


def paint(viewer: ViewerModel) -> None:
    """Have the canvas drawn now, rather than when Qt comes to it; nothing without a window."""
    if getattr(viewer, "window", None) is not None:
        # The only public way that does not let the window work off its other events.
        viewer.screenshot(canvas_only=True, flash=False)  # type: ignore[attr-defined]


def remove_layers(viewer: ViewerModel, layers: Iterable[Layer | None]) -> None:
    """Take those of some layers that are there out of a viewer.

    Mesa's renderers end the program with a segmentation fault when two layers that were drawn go
    between two frames: there every one is drawn away at once.
    """
    for layer in [one for one in layers if one is not None and one in viewer.layers]:
        viewer.layers.remove(layer)
        if is_software(viewer):
            paint(viewer)
