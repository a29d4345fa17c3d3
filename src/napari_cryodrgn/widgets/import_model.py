"""What the Import particles dock knows of its files and particles, without Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from ..errors import CryodrgnError, ParticleFileError
from .background import Background, Deliver

if TYPE_CHECKING:
    from ..analysis.hypotheses import Change
    from ..particles import ParticleSet
    from .particle_preview import CtfPicture, Preview


@dataclass(frozen=True)
class Source:
    """Files that together make a set, and what they leave open.

    ``pixel_size`` in Å and ``amplitude_contrast`` are used where the files have none.
    """

    path: Path
    data_folder: Path | None = None
    poses: Path | None = None
    ctf: Path | None = None
    indices: Path | None = None
    passthrough: tuple[Path, ...] = ()
    amplitude_contrast: float | None = None
    pixel_size: float | None = None


def open_source(source: Source) -> ParticleSet:
    """Read the set.

    Raises
    ------
    ParticleFileError
        If a file is missing or damaged, or they do not go together.
    """
    from ..particles import read

    return read(
        source.path,
        source.data_folder,
        amplitude_contrast=source.amplitude_contrast,
        passthrough=source.passthrough,
        poses=source.poses,
        ctf=source.ctf,
        indices=source.indices,
        pixel_size=source.pixel_size,
    )


def concerned_field(source: Source, error: Exception) -> str:
    """Name of the field of a `Source` that an error is about."""
    if not isinstance(error, ParticleFileError):
        return "path"
    if error.field == "rlnImageName" or "data folder" in error.remedy:
        return "data_folder"
    if error.field in ("rlnAmplitudeContrast", "ctf/amp_contrast"):
        return "amplitude_contrast"
    for field in fields(source):
        value = getattr(source, field.name)
        if error.path == value or (isinstance(value, tuple) and error.path in value):
            return field.name
    return "path"


def found(particles: ParticleSet) -> dict[str, str]:
    """What was found in the files, as label and text."""
    # The file stands in its field.
    return {label: text for label, text in particles.describe().items() if label != "File"}


class ImportModel:
    """One particle set: its files, and what was corrected since.

    Files are read in a thread; answers come through ``deliver``, see `Background`.
    """

    changed = Signal()
    #: Field concerned and error.
    failed = Signal(str, Exception)
    previewed = Signal(object)
    ctf_drawn = Signal(object)
    #: The set can now be trained on: it is in a file as it is here.
    saved = Signal()

    def __init__(
        self, deliver: Deliver, open_source: Callable[[Source], ParticleSet] = open_source
    ) -> None:
        self._background = Background(deliver)
        self._pictures = Background(deliver)
        self._open = open_source
        self.source: Source | None = None
        self.particles: ParticleSet | None = None
        self.changes: list[Change] = []
        self.inverted = False

    @property
    def opening(self) -> bool:
        """Whether files are being read."""
        return self._background.waits_for("open")

    @property
    def saving(self) -> bool:
        """Whether a file is being written."""
        return self._background.waits_for("save")

    @property
    def name(self) -> str:
        """Of the set, for a layer."""
        if self.source is None:
            return ""
        return self.source.path.name + (", corrected" if self.changes else "")

    @property
    def in_one_file(self) -> bool:
        """Whether reading the main file alone gives the set as it is.

        A run notes that file's name, and reads it when it is resumed.
        """
        return self.source == Source(self.source.path) and not self.changes if self.source else True

    def open(self, source: Source) -> None:
        """Read files in the background; an earlier set is gone at once."""
        self.source, self.particles = source, None
        self.changes, self.inverted = [], False
        self._pictures.forget("preview")
        self._pictures.forget("ctf")

        def done(particles: ParticleSet) -> None:
            self.particles, self.inverted = particles, bool(particles.dark)
            self.changed.emit()

        def failed(error: Exception) -> None:
            self.changed.emit()
            self.failed.emit(concerned_field(source, error), error)

        self._background.ask("open", lambda: self._open(source), done, failed)
        self.changed.emit()

    def clear(self) -> None:
        """Forget the set."""
        self._background.forget("open")
        self.source = self.particles = None
        self.changes, self.inverted = [], False
        self.changed.emit()

    def change_poses(self, change: Change) -> None:
        """Correct the poses; the files stay as they are."""
        from ..analysis.hypotheses import change_poses

        if self.particles is not None:
            self.particles = change_poses(self.particles, change)
            self.changes.append(change)
            self.changed.emit()

    def set_inverted(self, inverted: bool) -> None:
        """Take the particles as dark on light, or not."""
        if inverted != self.inverted:
            self.inverted = inverted
            self.changed.emit()

    def save(self, path: Path) -> None:
        """Write the set as it is here into one file, in the background, and go on with that.

        If meanwhile another file was opened, or the poses were corrected, the file is written all
        the same, and what is shown stays.
        """
        particles, source = self.particles, self.source
        if particles is None or source is None:
            return
        saved_as = Source(path, data_folder=source.data_folder)

        def job() -> ParticleSet:
            from ..particles import read, write_subset

            if path.suffix.lower() not in (".star", ".cs"):
                raise ParticleFileError(
                    path, "Particles are saved here as .star or .cs.", remedy="Name it so."
                )
            write_subset(path, particles)
            return read(path, saved_as.data_folder)

        def done(saved: ParticleSet) -> None:
            as_saved = self.particles is particles
            if as_saved:
                self.source, self.particles, self.changes = saved_as, saved, []
            self.changed.emit()
            if as_saved:
                self.saved.emit()

        def failed(error: Exception) -> None:
            self.changed.emit()
            self.failed.emit("", error)

        self._background.ask("save", job, done, failed)
        self.changed.emit()

    def preview(self, rows: list[int], low_pass: float | None) -> None:
        """Load some images for a look, low-pass filtered at ``low_pass`` Å, in the background."""
        particles, inverted = self.particles, self.inverted
        if particles is None:
            return

        def job() -> Preview:
            from .particle_preview import load_preview

            return load_preview(particles, rows, low_pass, inverted)

        self._pictures.ask("preview", job, self.previewed.emit, self._report)

    def draw_ctf(self, row: int) -> None:
        """Compute the CTF of one particle for a picture, in the background."""
        particles = self.particles
        if particles is None:
            return

        def job() -> CtfPicture | None:
            from .particle_preview import ctf_picture

            return ctf_picture(particles, row)

        self._pictures.ask("ctf", job, self.ctf_drawn.emit, self._report)

    def _report(self, error: Exception) -> None:
        self.failed.emit("path", error)

    def close(self) -> None:
        """Drop what is being read; the model cannot be used afterwards."""
        self._background.close()
        self._pictures.close()


def low_passes(particles: ParticleSet) -> list[float]:
    """Resolutions in Å (pixels if their size is unknown) that a preview can be filtered to."""
    size = particles.pixel_size or 1.0
    extent = size * particles.box
    steps = [s for s in (60, 40, 30, 20, 15, 10) if 2.5 * size < s < extent / 3]
    return [float(s) for s in steps] if steps else [round(extent / k, 1) for k in (6, 10)]


def random_rows(n: int, count: int, seed: int) -> list[int]:
    """Up to ``count`` different rows of n, ascending; the same for the same seed."""
    random = np.random.default_rng(seed)
    return sorted(int(i) for i in random.choice(n, min(count, n), replace=False))


def check_folder(text: str) -> Path:
    """Folder for a preprocessed set.

    Raises
    ------
    CryodrgnError
        If none is given, or it is a file.
    """
    if not text.strip():
        raise CryodrgnError("Choose a folder for the preprocessed particles.")
    folder = Path(text.strip()).expanduser().absolute()
    if folder.is_file():
        raise CryodrgnError(f"{folder} is a file. Choose a folder.")
    return folder
