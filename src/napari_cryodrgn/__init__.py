"""From a stack of cryo-EM particle images to a moving 3D molecule, inside napari."""

import os
from importlib.metadata import version

# Before torch starts its threads: ones that spin for long while they wait starve the GUI, and each
# other where cores are shared; ones that do not spin at all take half as long again.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = version("napari-cryodrgn")
