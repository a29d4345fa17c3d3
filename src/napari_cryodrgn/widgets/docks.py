"""The docks of this plugin, opened from one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_PLUGIN = "napari-cryodrgn"


def show_explorer(viewer: Any, folder: Path) -> None:
    """Open the Latent explorer on a run folder, or bring the open one there."""
    show_dock(viewer, "Latent explorer").open_folder(folder)


def show_inspector(viewer: Any, folder: Path, particle: int) -> None:
    """Open the Particle inspector on a particle of a run, or bring the open one there."""
    show_dock(viewer, "Particle inspector").inspect(folder, particle)


def show_training(viewer: Any, particles: Path) -> None:
    """Open the Train dock on a file of particles, or bring the open one there."""
    show_dock(viewer, "Train").form.add_file(particles)


def show_dock(viewer: Any, name: str) -> Any:
    """Open a dock by its name, or bring the open one forward; returns its widget."""
    dock, widget = viewer.window.add_plugin_dock_widget(_PLUGIN, name, tabify=True)
    dock.show()
    dock.raise_()
    return widget
