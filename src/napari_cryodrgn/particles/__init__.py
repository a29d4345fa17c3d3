"""Files and the one :class:`ParticleSet` made of them."""

from .cryodrgn_files import (
    read_ctf,
    read_indices,
    read_latents,
    read_pickles,
    read_poses,
    write_ctf,
    write_indices,
    write_latents,
    write_poses,
)
from .cs import read_cs, read_cs_table
from .cs_table import CsTable
from .cs_write import write_cs
from .euler import euler_from_rotations, rotations_from_euler
from .files import replacing
from .image_stack import ImageStack
from .listed import ListedParticles
from .minibatches import random_minibatches, read_ahead
from .mrc import (
    MrcFile,
    Volume,
    mrc_kind,
    open_mrc,
    open_stack,
    read_volume,
)
from .mrc_write import StackWriter, write_volume
from .origin import Origin, read_origin, write_origin
from .particle_set import ParticleSet, Poses
from .preprocessing import PreprocessSettings, preprocess
from .reading import READABLE, read, read_listed
from .simulated import SimulatedParticles, write_simulation
from .star import read_star, read_table
from .star_write import write_star
from .subset import WRITABLE, write_original, write_subset
from .tables import ParticleTable

__all__ = [
    "READABLE",
    "WRITABLE",
    "CsTable",
    "ImageStack",
    "ListedParticles",
    "MrcFile",
    "Origin",
    "ParticleSet",
    "ParticleTable",
    "Poses",
    "PreprocessSettings",
    "SimulatedParticles",
    "StackWriter",
    "Volume",
    "euler_from_rotations",
    "mrc_kind",
    "open_mrc",
    "open_stack",
    "preprocess",
    "random_minibatches",
    "read",
    "read_ahead",
    "read_cs",
    "read_cs_table",
    "read_ctf",
    "read_indices",
    "read_latents",
    "read_listed",
    "read_origin",
    "read_pickles",
    "read_poses",
    "read_star",
    "read_table",
    "read_volume",
    "replacing",
    "rotations_from_euler",
    "write_cs",
    "write_ctf",
    "write_indices",
    "write_latents",
    "write_origin",
    "write_original",
    "write_poses",
    "write_simulation",
    "write_star",
    "write_subset",
    "write_volume",
]
