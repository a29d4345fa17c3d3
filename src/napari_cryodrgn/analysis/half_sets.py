"""What two halves of a run's particles agree on, and the two halves as files of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.typing import NDArray

from ..errors import CryodrgnError, RunFolderError
from ..imaging import fsc, resolution
from ..particles import ParticleSet
from ..particles.origin import origin_path
from .alignment import align_volumes
from .baseline import Baseline, back_project, given_halves
from .run import Run
from .run_images import RunImages
from .selection_export import export
from .source_table import given_ctf

Mask = Bool[NDArray[np.bool_], " n"]
# Fewer particles give no half map to speak of: of a group, and of each of its halves.
_FEWEST, _FEWEST_OF_HALF = 20, 10
_DEPENDENT = {
    "poses": "two runs at given poses: not independent unless these were found apart",
    "particles": "two runs that share particles: not independent",
}


@dataclass(frozen=True, eq=False)
class HalfCurve:
    """Fourier shell correlation (box // 2,) of two volumes of ``n`` particles together.

    ``how`` says what the two are of, and ``shared_poses`` whether they are halves of one run, whose
    poses both share. ``pixel_size`` is in Å, None if unknown.
    """

    name: str
    how: str
    n: int
    fsc: Float32[NDArray[np.float32], " shells"]
    box: int
    pixel_size: float | None
    shared_poses: bool = True

    def resolution(self, threshold: float = 0.143) -> float | None:
        """Where it falls below ``threshold``; None if it never does.

        In Å, or in pixels where their size is not known.
        """
        if bool((self.fsc >= threshold).all()):
            return None
        size = self.pixel_size or 1.0
        return resolution(torch.from_numpy(self.fsc), threshold, self.box, size)


def posed_particles(images: RunImages) -> tuple[ParticleSet, bool]:
    """The run's particles with its poses and CTF, and whether they are dark on light.

    Raises
    ------
    RunFolderError
        If the run has saved no poses yet.
    CryodrgnError
        If its CTF cannot be read.
    """
    run, particles = images.run, images.particles
    rotations, shifts = images.poses(np.arange(run.n_particles))
    moved = shifts * (particles.box / run.box)
    posed = particles.with_poses(rotations.numpy(), moved.numpy())
    size = run.pixel_size
    posed = replace(
        posed,
        ctf=given_ctf(run) or particles.ctf,
        pixel_size=particles.pixel_size if size is None else size * run.box / particles.box,
    )
    return posed, bool(run.settings.get("invert_contrast", particles.dark))


def half_map_curves(
    images: RunImages, groups: Mapping[str, Mask | None], scratch: Path
) -> Iterator[float | HalfCurve]:
    """FSC between back-projections of two halves of each group, at the run's poses.

    The halves are those that the particles' file tells, if there are 10 particles in each of them,
    else every other particle. They share poses that were found with all of these particles, so
    the curve is optimistic at high resolution (Scheres and Chen, 2012). Groups of fewer than 20
    particles are left out. Yields the fraction done, too.

    Parameters
    ----------
    images
        Of the run.
    groups
        Masks (n,) of the particles by name; None is all.
    scratch
        Folder for images that do not fit into memory.

    Raises
    ------
    CryodrgnError
        If no group is large enough, there are no poses, or images cannot be read.
    """
    posed, dark = posed_particles(images)
    box = min(images.run.box, posed.box)
    parts = {
        name: posed if mask is None else posed.select(np.flatnonzero(mask))
        for name, mask in groups.items()
    }
    parts = {name: part for name, part in parts.items() if len(part) >= _FEWEST}
    if not parts:
        raise CryodrgnError(f"Two half maps need at least {_FEWEST} particles.")
    total = sum(map(len, parts.values()))
    before = 0
    for name, whole in parts.items():
        part, how = _halved(whole)
        for outcome in back_project(part, scratch, box=box, invert_contrast=dark):
            if isinstance(outcome, Baseline):
                curve = np.asarray(outcome.fsc.cpu(), np.float32)
                yield HalfCurve(name, how, len(part), curve, box, outcome.pixel_size)
            else:
                yield (before + outcome * len(part)) / total
        before += len(part)


def _halved(particles: ParticleSet) -> tuple[ParticleSet, str]:
    """Particles without the half sets of their file if these are of no use, and what halves are."""
    told = given_halves(particles.half_sets)
    if told is None:
        return particles, "every other particle"
    least = int(torch.bincount(told).min())
    if least >= _FEWEST_OF_HALF:
        return particles, "half sets of the file"
    how = f"every other particle, as the file has only {least} of these in one of its half sets"
    return replace(particles, half_sets=None), how


def split_halves(run: Run, half_sets: NDArray[np.int8] | None, folder: Path) -> tuple[Path, Path]:
    """Write the two halves of a run's particles as ``half_1.star`` and ``half_2.star``.

    Of a run on a .cs file they are .cs files. They are written both or none. To be trained apart,
    each with a search of its own poses: then what the two runs agree on is in no way due to noise
    that they share (Scheres and Chen, 2012). The poses in the files are those of this run, which
    were found with both halves: two trainings at these would not be independent.

    Parameters
    ----------
    run
        Whose particles they are.
    half_sets
        (n,), 1 or 2; every other particle if absent or all the same.
    folder
        Made if absent.

    Raises
    ------
    CryodrgnError
        As `export`; or if the folder cannot be made, or holds such files already.
    """
    told = given_halves(half_sets)
    second = (np.arange(run.n_particles) % 2 if told is None else told.numpy()) == 1
    source = run.particles_path
    suffix = ".cs" if source is not None and source.suffix.lower() in (".cs", ".csg") else ".star"
    paths = folder / f"half_1{suffix}", folder / f"half_2{suffix}"
    there = [path for path in paths if path.exists()]
    if there:
        raise CryodrgnError(f"{there[0]} is there already. Choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CryodrgnError(f"{folder} cannot be made: {error.strerror}.") from error
    try:
        for path, mask in zip(paths, (~second, second), strict=True):
            export(run, mask, path)
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
            origin_path(path).unlink(missing_ok=True)
        raise
    return paths


def compare_runs(run: Run, other: Run) -> HalfCurve:
    """FSC between the consensus volumes of two runs, the other turned onto this one's.

    Of two trainings on the two half sets it is the gold standard, if each searched its own poses.
    ``how`` says where it did not, or where the runs share particles.

    Raises
    ------
    RunFolderError
        If a volume is missing, or they differ in box or pixel size, or one of these is unknown.
    """
    if run.box != other.box or not _of_one_size(run.pixel_size, other.pixel_size):
        raise RunFolderError(
            other.folder,
            f"its box is {other.box} px of {_in_angstrom(other.pixel_size)}, that of "
            f"{run.folder.name} is {run.box} px of {_in_angstrom(run.pixel_size)}.",
            remedy="Compare runs of one box.",
        )
    a, b = (torch.from_numpy(np.array(r.consensus().data, np.float32)) for r in (run, other))
    fit = align_volumes(b, a)
    curve = fsc(a - a.mean(), fit.volume).numpy().astype(np.float32)
    name = f"{run.folder.name} and {other.folder.name}"
    problem = ""
    if "given" in (run.settings.get("poses"), other.settings.get("poses")):
        problem = _DEPENDENT["poses"]
    if _share_particles(run, other):
        problem = _DEPENDENT["particles"]
    n = run.n_particles + other.n_particles
    how = problem or "two runs"
    return HalfCurve(name, how, n, curve, run.box, run.pixel_size, shared_poses=False)


def _of_one_size(a: float | None, b: float | None) -> bool:
    return a is b if a is None or b is None else bool(np.isclose(a, b, rtol=1e-3))


def _in_angstrom(size: float | None) -> str:
    return "unknown size" if size is None else f"{size:.4g} Å"


def _share_particles(run: Run, other: Run) -> bool:
    """Whether both used rows of one file that are the same."""
    paths = run.particles_path, other.particles_path
    if None in paths or paths[0] != paths[1]:
        return False
    if run.indices is None or other.indices is None:
        return True
    return bool(np.isin(run.indices, other.indices).any())
