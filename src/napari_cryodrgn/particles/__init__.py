"""Files and the one :class:`ParticleSet` made of them."""

from .cryodrgn_files import (
    read_ctf,
    read_indices,
    read_latents,
    read_pickles,
    read_poses,
    write_latents,
    write_poses,
)
from .euler import euler_from_rotations, rotations_from_euler
from .files import replacing
from .image_stack import ImageStack
from .mrc import (
    MrcFile,
    Volume,
    mrc_kind,
    open_mrc,
    open_stack,
    read_volume,
)
from .mrc_write import StackWriter, write_volume
from .particle_set import ParticleSet, ParticleTable, Poses
from .reading import READABLE, read
from .simulated import SimulatedParticles, write_simulation
from .star import StarParticles, read_star, read_table
from .star_write import write_star

__all__ = [
    "READABLE",
    "ImageStack",
    "MrcFile",
    "ParticleSet",
    "ParticleTable",
    "Poses",
    "SimulatedParticles",
    "StackWriter",
    "StarParticles",
    "Volume",
    "euler_from_rotations",
    "mrc_kind",
    "open_mrc",
    "open_stack",
    "read",
    "read_ctf",
    "read_indices",
    "read_latents",
    "read_pickles",
    "read_poses",
    "read_star",
    "read_table",
    "read_volume",
    "replacing",
    "rotations_from_euler",
    "write_latents",
    "write_poses",
    "write_simulation",
    "write_star",
    "write_volume",
]
