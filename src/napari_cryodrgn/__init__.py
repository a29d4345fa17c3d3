"""From a stack of cryo-EM particle images to a moving 3D molecule, inside napari."""

from importlib.metadata import version

__version__ = version("napari-cryodrgn")
