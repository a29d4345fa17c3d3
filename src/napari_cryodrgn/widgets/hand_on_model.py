"""Selected particles for other programs and for training, without Qt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from ..errors import CryodrgnError
from .background import Background, Deliver
from .selection_model import Mask, SelectionModel

if TYPE_CHECKING:
    from ..analysis import Run


class HandOnModel:
    """Writes the current selection as a file.

    Parameters
    ----------
    selections
        Whose current selection is written.
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    """

    #: Whether there is an original file.
    changed = Signal()
    #: A STAR file that is to be trained on.
    training_written = Signal(object)
    failed = Signal(object)

    def __init__(self, selections: SelectionModel, deliver: Deliver) -> None:
        self._selections = selections
        self._background = Background(deliver)
        #: Whether the particles were preprocessed, and their original is known.
        self.has_original = False
        selections.explorer.run_changed.connect(self._on_run)
        self._on_run()

    def close(self) -> None:
        """Finish what is being written; the model cannot be used afterwards."""
        self._background.close()

    def suggested_path(self, suffix: str) -> Path | None:
        """A file in the run folder named like the selection; None without a run."""
        run = self._selections.explorer.run
        return None if run is None else run.folder / f"{self._stem}{suffix}"

    def export(self, path: Path, original: bool) -> Iterator[Path]:
        """Write it for the program that ``path`` is of; to be run in a thread.

        ``original`` writes the rows of the file that the particles were preprocessed from.

        Raises
        ------
        CryodrgnError
            If nothing is selected, or the file cannot be written.
        """
        run, mask = self._chosen()
        _export(run, mask, path, original)
        yield path

    def train(self) -> None:
        """Write it beside the run, with the run's poses, for training."""
        try:
            run, mask = self._chosen()
        except CryodrgnError as error:
            self.failed.emit(error)
            return
        folder, stem = run.folder / "explorer", f"train_{self._stem}"

        def write() -> Path:
            folder.mkdir(exist_ok=True)
            path, number = folder / f"{stem}.star", 1
            # A run that was trained on the one that is there still needs it.
            while path.exists():
                number += 1
                path = folder / f"{stem}_{number}.star"
            _export(run, mask, path, original=False)
            return path

        self._background.ask("train", write, self.training_written.emit, self.failed.emit)

    @property
    def _stem(self) -> str:
        name = self._selections.chosen or self._selections.suggestion or "selection"
        return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)

    def _chosen(self) -> tuple[Run, Mask]:
        run, mask = self._selections.explorer.run, self._selections.explorer.current_mask
        if run is None or mask is None or not mask.any():
            raise CryodrgnError("No particles are selected. Draw a selection on the map first.")
        return run, mask

    def _on_run(self) -> None:
        run = self._selections.explorer.run
        self.has_original = False
        if run is not None and run.particles_path is not None:
            path = run.particles_path
            self._background.ask(
                "origin", lambda: _has_original(path), self._traced, self.failed.emit
            )
        self.changed.emit()

    def _traced(self, has_original: bool) -> None:
        self.has_original = has_original
        self.changed.emit()


def _export(run: Run, mask: Mask, path: Path, original: bool) -> None:
    from ..analysis.selection_export import export

    export(run, mask, path, original)


def _has_original(path: Path) -> bool:
    from ..particles import read_origin

    return read_origin(path) is not None
