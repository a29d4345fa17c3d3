"""From a stack of cryo-EM particle images to a moving 3D molecule, inside napari."""

import os
from importlib.metadata import version

# Before torch starts its threads: ones that spin while they wait would starve the GUI, and each
# other where cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = version("napari-cryodrgn")
