"""The particle sets of the benchmarks: simulated, each a function of its name and a seed.

A seed makes everything of a set: the shape of an invented molecule, the views, the noise. Seeds
from 1000 on belong to the benchmarks and are not used to choose a setting; 1000 and 1001 of ribo64
and swing64 were looked at when the refinement and the steady frame were made, so their rows begin
at 1002.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_cryodrgn.imaging import Atoms, Map, Molecule, simulate
from napari_cryodrgn.particles import read_volume, write_simulation
from napari_cryodrgn.poses import expmap

from .adk import adk_frames

MAPS = Path(
    os.environ.get("NAPARI_CRYODRGN_MAPS", Path(__file__).parents[2] / "shared" / "data" / "maps")
)
# The ribosome map's header holds no voxel size; the particle is 48 voxels and 250 Å across.
RIBOSOME_VOXEL = 4.92
SWING = np.radians(60)
_STEP, _BLOB = 11.0, 4.5


class Conformations(Protocol):
    """How the coordinates of a molecule, (n, q) in [0, 1], follow from its t, (n,) in [0, 1]."""

    def __call__(self, t: Tensor) -> Tensor:
        """Coordinates at ``t``."""


def one_motion(t: Tensor) -> Tensor:
    """t itself."""
    return t[:, None]


def two_states(t: Tensor) -> Tensor:
    """0 or 1, half and half."""
    return (t > 0.5).to(t)[:, None]


def two_motions(t: Tensor) -> Tensor:
    """Two coordinates, independent for a t drawn evenly: the second runs 89 times through."""
    return torch.stack([t, (89 * t) % 1], 1)


class Domains(Atoms):
    """Rigid domains hinged on a body; coordinate q in [0, 1] swings domain q by 60 degrees.

    Parameters
    ----------
    body
        Blobs (m, 3) in Å, from the centre of the box, that stay.
    domains
        Blobs (m, 3) of each domain with its hinge (3,) and the axis (3,) of unit length.
    conformations
        From t to the domains' coordinates.
    """

    def __init__(
        self,
        body: NDArray[np.floating],
        domains: list[tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]],
        conformations: Conformations,
    ) -> None:
        super().__init__(body[None], _BLOB)
        self.moves = True
        self.conformations = conformations
        self._body = torch.from_numpy(body).float()
        self._domains = [
            tuple(torch.from_numpy(a).float() for a in (points - hinge, hinge, axis))
            for points, hinge, axis in domains
        ]

    def positions(self, t: Tensor) -> Tensor:
        """Positions in Å at conformations ``t``."""
        angles = (self.conformations(t.clamp(0, 1)) - 0.5) * SWING
        parts = [self._body.expand(len(t), -1, -1)]
        for (points, hinge, axis), angle in zip(self._domains, angles.T, strict=True):
            parts.append(points @ expmap(angle[:, None] * axis).transpose(1, 2) + hinge)
        return torch.cat(parts, 1)


class Still:
    """A molecule held at one conformation."""

    moves = False

    def __init__(self, molecule: Molecule, t: float) -> None:
        self._molecule, self._t = molecule, t

    def project(
        self, t: Tensor, rotations: Tensor, shifts: Tensor, box: int, pixel_size: float
    ) -> Tensor:
        """Projections at the one conformation, whatever ``t``."""
        held = torch.full_like(t, self._t)
        return self._molecule.project(held, rotations, shifts, box, pixel_size)

    def volume(self, t: float, box: int, pixel_size: float) -> Tensor:
        """Density at the one conformation."""
        return self._molecule.volume(self._t, box, pixel_size)


def _chain(
    random: np.random.Generator,
    n: int,
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
) -> NDArray[np.float64]:
    """A random walk of ``n`` steps that stays in an ellipsoid: dense here, thin there."""
    inside = [np.zeros(3)]
    while len(inside) < n:
        step = random.normal(size=3)
        there = inside[-1] + _STEP * step / np.linalg.norm(step)
        if np.linalg.norm(there / radii) < 1:
            inside.append(there)
    return np.asarray(centre) + np.array(inside)


def swinging_domain(seed: int, conformations: Conformations = one_motion) -> Domains:
    """A body of the ribosome's size, 240 Å long; a quarter of it swings by 60 degrees."""
    random = np.random.default_rng([seed, 2])
    body = _chain(random, 1050, (-44, 0, 0), (66, 62, 58))
    arm = _chain(random, 350, (62, 0, 0), (46, 42, 38))
    return Domains(body, [(arm, np.array([18.0, 0, 0]), np.array([0.0, 0, 1]))], conformations)


def two_swinging_domains(seed: int) -> Domains:
    """A body with two domains, a fifth of the mass each, that swing independently."""
    random = np.random.default_rng([seed, 3])
    body = _chain(random, 840, (-28, 20, 0), (64, 56, 52))
    arm = _chain(random, 280, (70, 30, 0), (44, 38, 34))
    head = _chain(random, 280, (-30, -74, 0), (40, 40, 34))
    return Domains(
        body,
        [
            (arm, np.array([30.0, 25, 0]), np.array([0.0, 0, 1])),
            (head, np.array([-30.0, -36, 0]), np.array([1.0, 0, 0])),
        ],
        two_motions,
    )


def ribosome(seed: int) -> Map:
    """A real map of the 70S ribosome, about 250 Å across; the same for every seed.

    Raises
    ------
    FileNotFoundError
        If the map is not in the folder ``NAPARI_CRYODRGN_MAPS``.
    """
    path = MAPS / "70S_ribosome_65.mrc"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: set NAPARI_CRYODRGN_MAPS to the folder that holds it")
    return Map(read_volume(path).data, RIBOSOME_VOXEL)


def adenylate_kinase(seed: int) -> Atoms:
    """Adenylate kinase from closed to open, 98 frames; the same for every seed."""
    return Atoms(adk_frames(MAPS), sigma=1.5)


def still_body(seed: int) -> Still:
    """The body of the swinging domain at one random conformation."""
    return Still(swinging_domain(seed), float(np.random.default_rng([seed, 4]).random()))


def still_adk(seed: int) -> Still:
    """One random conformation of adenylate kinase."""
    return Still(adenylate_kinase(seed), float(np.random.default_rng([seed, 4]).random()))


@dataclass(frozen=True)
class SetKind:
    """A molecule for each seed, and how it is imaged: ``n`` images of ``box`` pixels.

    ``width`` is the edge of the images in Å. Shifts reach a sixteenth of the box.
    """

    molecule: Callable[[int], Molecule]
    n: int
    box: int
    width: float
    snr: float = 0.1


SETS: dict[str, SetKind] = {
    "ribo32": SetKind(ribosome, 1000, 32, 320),
    "ribo64": SetKind(ribosome, 3000, 64, 320, snr=0.05),
    "adk64": SetKind(adenylate_kinase, 3000, 64, 96),
    "swing64": SetKind(swinging_domain, 4000, 64, 320),
    "two_states": SetKind(partial(swinging_domain, conformations=two_states), 3000, 64, 320),
    "two_motions": SetKind(two_swinging_domains, 4000, 64, 320),
    "still_ribosome": SetKind(ribosome, 2000, 64, 320),
    "still_body": SetKind(still_body, 2000, 64, 320),
    "still_adk": SetKind(still_adk, 2000, 64, 96),
}


@dataclass(frozen=True)
class Truth:
    """What is known of a set.

    ``rotations`` (n, 3, 3), ``shifts`` (n, 2) in pixels, ``t`` (n,), ``coordinates`` (n, q) of the
    domains (t itself for one motion), ``molecule`` for volumes at any t.
    """

    molecule: Molecule
    rotations: NDArray[np.float32]
    shifts: NDArray[np.float32]
    t: NDArray[np.float32]
    coordinates: NDArray[np.float32]


def make(
    name: str, seed: int, folder: Path | str, n: int | None = None, box: int | None = None
) -> tuple[Path, Truth]:
    """Write the set ``name`` made by ``seed`` into ``folder``; the STAR file, and the truth.

    ``n`` and ``box`` make it smaller or larger than it is meant to be, over the same field. The
    truth is in ``truth.npz`` too, with the array ``coordinates``.
    """
    kind = SETS[name]
    box, molecule = box or kind.box, kind.molecule(seed)
    simulation = simulate(
        molecule,
        n or kind.n,
        box,
        kind.width / box,
        snr=kind.snr,
        max_shift=box / 16,
        seed=seed,
    )
    star = write_simulation(folder, simulation)
    t = torch.from_numpy(simulation.t)
    conformations = molecule.conformations if isinstance(molecule, Domains) else one_motion
    truth = Truth(
        molecule, simulation.rotations, simulation.shifts, simulation.t, conformations(t).numpy()
    )
    path = Path(folder) / "truth.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **arrays, coordinates=truth.coordinates)
    return star, truth
