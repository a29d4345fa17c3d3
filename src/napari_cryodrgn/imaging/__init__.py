"""What the microscope does to a volume."""

from .correlation import crossing, fsc, resolution
from .ctf import CTF, CTFParameters, electron_wavelength
from .grid import FourierGrid, friedel
from .lattice import Lattice, images_to_pixels, pixels_to_images, shift_phases, slice_points
from .molecules import Atoms, Map, Molecule, hinge, trajectory
from .simulate import Simulation, simulate

__all__ = [
    "CTF",
    "Atoms",
    "CTFParameters",
    "FourierGrid",
    "Lattice",
    "Map",
    "Molecule",
    "Simulation",
    "crossing",
    "electron_wavelength",
    "friedel",
    "fsc",
    "hinge",
    "images_to_pixels",
    "pixels_to_images",
    "resolution",
    "shift_phases",
    "simulate",
    "slice_points",
    "trajectory",
]
