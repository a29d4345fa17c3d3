"""Errors that a user can act on.

None of them derives from ``RuntimeError``: napari's generator workers swallow that class
without a word, so an error meant for a person must be something else.
"""

from __future__ import annotations

from pathlib import Path

_LONGEST = 4000  # characters


class CryodrgnError(Exception):
    """An error with a message for the user: what was wrong, where, and what to do."""


class ParticleFileError(CryodrgnError):
    """A particle, volume or STAR file cannot be used.

    Parameters
    ----------
    path
        The file at fault.
    problem
        What is wrong with it, as a sentence.
    field
        The column, header word or array that is wrong, if one is.
    remedy
        What the user can do about it.
    """

    def __init__(
        self, path: Path | str, problem: str, *, field: str | None = None, remedy: str = ""
    ) -> None:
        self.path = Path(path)
        self.field = field
        self.problem = _shown(problem)
        self.remedy = remedy
        where = _shown(f"{self.path}" + (f" [{field}]" if field else ""))
        super().__init__(f"{where}: {self.problem}" + (f" {remedy}" if remedy else ""))


class RunFolderError(CryodrgnError):
    """A folder is not a run, or a file of the run cannot be used."""

    def __init__(self, folder: Path | str, problem: str, *, remedy: str = "") -> None:
        self.folder = Path(folder)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{self.folder}: {problem}" + (f" {remedy}" if remedy else ""))


class TrainingError(CryodrgnError):
    """Training cannot start or go on with these settings and particles."""


def _shown(text: str) -> str:
    """Text that can be printed: what a file holds may be no text, or go on for ever."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
