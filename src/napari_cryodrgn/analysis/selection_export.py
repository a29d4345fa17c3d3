"""Selected particles of a run, written for the program that they came from."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike, NDArray

from ..errors import CryodrgnError, ParticleFileError, RunFolderError
from ..imaging import CTFParameters
from ..particles import (
    WRITABLE,
    CsTable,
    ImageStack,
    MrcFile,
    Origin,
    ParticleSet,
    ParticleTable,
    read,
    read_listed,
    read_origin,
    write_indices,
    write_origin,
    write_original,
)
from ..particles.origin import origin_path
from ..particles.star_columns import USUAL_CONTRAST
from .run import Run
from .source_table import given_ctf, open_source, rows_of

# Files of a run, of this program or of cryoDRGN.
_OF_RUNS = re.compile(r"(weights|z|pose|checkpoint|config|ctf)(\.\d+)?\.pkl")


def export(
    run: Run,
    mask: Bool[NDArray[np.bool_], " n"] | ArrayLike,
    path: Path | str,
    original: bool = False,
    data_folder: Path | None = None,
) -> None:
    """Write selected particles with the run's poses, whole or not at all.

    Rows of the file that the run was made of, or of the one which that was preprocessed from.
    Between files of one program the stacks are not needed.

    Parameters
    ----------
    run
        Whose particles they are.
    mask
        (n,) bool.
    path
        Of the file; ``.star``, ``.cs`` or ``.pkl`` (rows as cryoDRGN's indices); replaced if
        present.
    original
        As rows of the file that the particles were preprocessed from, shifts in its pixels.
    data_folder
        Where to look for stacks, if they are needed.

    Raises
    ------
    CryodrgnError
        If nothing is selected, the mask does not fit, the file is one of those read, or the
        particles were not preprocessed but ``original`` is asked for.
    RunFolderError
        If the run does not tell its particles any more.
    ParticleFileError
        If a file that is needed is missing or has changed, or ``path`` cannot be written.
    """
    path = Path(path)
    chosen = _chosen(run, mask)
    suffix = path.suffix.lower()
    if suffix not in (".star", ".cs", ".csg", ".pkl"):
        raise ParticleFileError(
            path, "Particles are not written to files of this kind.", remedy=f"Use {WRITABLE}."
        )
    if run.particles_path is None:
        raise RunFolderError(
            run.folder, "nothing tells any more which particles of which file these are."
        )
    if suffix == ".pkl" and not original:
        ours = path.resolve().parent == run.folder.resolve() and _OF_RUNS.fullmatch(path.name)
        if ours or path.resolve() in {p.resolve() for p in (run.ctf_path,) if p is not None}:
            raise CryodrgnError(f"{path}: the run needs this file. Choose another name.")
        write_indices(path, rows_of(run)[chosen])
        return
    found = _source(run, data_folder)
    before = _before(found, original)
    if original and before is None:
        raise CryodrgnError(
            f"{found.path}: nothing tells what these particles were before, so they can only be "
            "written as they are."
        )
    origin = before if original and before is not None else found.origin
    if path.resolve() in {p.resolve() for p in (run.particles_path, found.path, origin.path)}:
        raise CryodrgnError(f"{path}: these particles come from it. Choose another name.")
    write_original(path, _particles(run, found, origin, chosen), data_folder=data_folder)
    if suffix == ".star":
        if before is not None and not original:
            write_origin(path, before.select(chosen))
        else:
            # One that is there is of the file that stood here before.
            with suppress(OSError):
                origin_path(path).unlink()


@dataclass(frozen=True, eq=False)
class _Source:
    """All n particles of a run in the file that they are exported from.

    ``origin`` holds the file, each particle's row in it and its box; ``n_rows`` are all its rows.
    """

    origin: Origin
    n_rows: int
    table: ParticleTable | CsTable | None
    ctf: CTFParameters | None

    @property
    def path(self) -> Path:
        return self.origin.path


def _source(run: Run, data_folder: Path | None) -> _Source:
    source = open_source(run)
    if source is None:
        return _bare(run, data_folder)
    path = source.path
    listed = read_listed(path, amplitude_contrast=USUAL_CONTRAST)
    assert listed is not None  # a table, as it was opened as one
    box, size = listed.box, listed.pixel_size
    if box is None and size is not None and run.pixel_size is not None:
        # Made smaller, images keep their field of view.
        box = 2 * round(run.box * run.pixel_size / size / 2)
    if box is None:
        box = read(path, data_folder, amplitude_contrast=USUAL_CONTRAST).box
    return _Source(Origin(path, source.rows, box, size), len(listed), listed.table, None)


def _bare(run: Run, data_folder: Path | None) -> _Source:
    path = run.particles_path
    assert path is not None  # or there would have been an error
    images = read(path, data_folder)
    rows = rows_of(run)
    fits = len(images) == len(rows) if run.indices is None else rows.max(initial=-1) < len(images)
    if not fits:
        raise ParticleFileError(
            path,
            f"It has {len(images):,} images, which are not the {run.n_particles:,} of "
            f"{run.folder.name}: it has changed since.",
            remedy="Put back the file that the run was made of.",
        )
    size = images.pixel_size
    if run.pixel_size is not None:
        size = run.pixel_size * run.box / images.box
    return _Source(Origin(path, rows, images.box, size), len(images), None, given_ctf(run))


def _before(found: _Source, needed: bool) -> Origin | None:
    """What the run's particles were before they were preprocessed, if that is told."""
    try:
        origin = read_origin(found.path)
    except ParticleFileError:
        if needed:
            raise
        return None
    # One of another length is of a file that stood here before.
    known = origin is not None and len(origin) == found.n_rows
    return origin.select(found.origin.rows) if known and origin is not None else None


def _particles(run: Run, found: _Source, origin: Origin, chosen: NDArray[np.intp]) -> ParticleSet:
    """The run's particles as a set whose images are never looked at."""
    nothing = np.zeros(len(chosen), np.intp)
    shape = (1, run.box, run.box)
    unread = MrcFile(found.path, shape, np.dtype(np.float32), 0, None, (1, 2, 3), "stack")
    posed = all(x is not None and len(x) == run.n_particles for x in (run.rotations, run.shifts))
    return ParticleSet(
        images=ImageStack((unread,), nothing, nothing),
        pixel_size=run.pixel_size,
        ctf=None if found.ctf is None else found.ctf.select(chosen),
        rotations=run.rotations[chosen] if posed and run.rotations is not None else None,
        shifts=run.shifts[chosen] if posed and run.shifts is not None else None,
        source=found.path,
        table=found.table,
        rows=found.origin.rows[chosen],
        origin=origin.select(chosen),
    )


def _chosen(run: Run, mask: ArrayLike) -> NDArray[np.intp]:
    given = np.asarray(mask)
    if given.dtype != bool or given.shape != (run.n_particles,):
        raise CryodrgnError(
            f"{run.folder}: a selection of its {run.n_particles:,} particles is a mask of as many, "
            f"got {given.dtype} of {given.shape}."
        )
    if not given.any():
        raise CryodrgnError(f"{run.folder}: no particles are selected, so none are written.")
    return np.flatnonzero(given)
