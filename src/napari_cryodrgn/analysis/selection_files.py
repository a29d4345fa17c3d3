"""The files of selections: a list of names, and indices of each as cryoDRGN takes them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from ..errors import ParticleFileError, RunFolderError
from ..particles import read_indices, replacing, write_indices

Mask = NDArray[np.bool_]
FOLDER, FILE = "explorer", "selections.json"
_FORMAT = "napari-cryodrgn selections"
_LONGEST_STEM, _LONGEST_FILE = 60, 200
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, eq=False)
class _Saved:
    """A selection as it stands in a file."""

    file: str
    mask: Mask


class SelectionFiles:
    """``explorer/selections.json`` of a run folder, and a .pkl of indices for each selection.

    Parameters
    ----------
    folder
        Of the run.
    n
        Particles of the run.
    rows
        Row (n,) of each in the particles' file, which the indices are of; all in order if None.
    """

    def __init__(self, folder: Path, n: int, rows: Int[NDArray[np.intp], " n"] | None) -> None:
        self._path = Path(folder) / FOLDER / FILE
        self._n = n
        self._rows = rows
        self._saved: dict[str, _Saved] = {}
        # Files that could not be read: they stay in the list, for better days.
        self._unread: dict[str, str] = {}
        self._lock = threading.Lock()

    def load(self) -> tuple[dict[str, Mask], tuple[str, ...]]:
        """Masks (n,) by name, not to be written to, and what was wrong with the others."""
        self._saved, self._unread = {}, {}
        if not self._path.is_file():
            return {}, ()
        try:
            told = self._told()
        except RunFolderError as error:
            return {}, (str(error),)
        problems = []
        for name, file in told.items():
            try:
                self._saved[name] = _Saved(file, self._mask(self._path.with_name(file)))
            except ParticleFileError as error:
                self._unread[name] = file
                problems.append(f"Selection {name!r}: {error}")
        return {name: saved.mask for name, saved in self._saved.items()}, tuple(problems)

    def save(self, masks: Mapping[str, Mask]) -> None:
        """Write the masks that are not in their files yet, the list, and remove what is left over.

        Safe in any thread.

        Raises
        ------
        RunFolderError
            If the folder cannot be written to.
        ParticleFileError
            If a file cannot be.
        """
        with self._lock:
            if masks or self._path.parent.is_dir():
                self._save(masks)

    def _save(self, masks: Mapping[str, Mask]) -> None:
        present = self._prepared()
        saved: dict[str, _Saved] = {}
        for name, mask in masks.items():
            before = self._saved.get(name)
            if before is not None and before.mask is mask and before.file.lower() in present:
                saved[name] = before
                continue
            file = _free_file(name, present)
            present.add(file.lower())
            rows = np.flatnonzero(mask)
            write_indices(
                self._path.with_name(file), rows if self._rows is None else self._rows[rows]
            )
            saved[name] = _Saved(file, mask)
        listed = [
            {"name": name, "file": kept.file, "count": int(np.count_nonzero(kept.mask))}
            for name, kept in saved.items()
        ]
        listed += [
            {"name": name, "file": file}
            for name, file in self._unread.items()
            if name not in saved and file.lower() in present
        ]
        told = {"format": _FORMAT, "n": self._n, "selections": listed}
        with replacing(self._path) as temporary:
            text = json.dumps(told, indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        # Now that the list no longer names them.
        in_use = {kept.file for kept in saved.values()}
        for old in self._saved.values():
            if old.file not in in_use:
                self._path.with_name(old.file).unlink(missing_ok=True)
        self._saved = saved

    def _prepared(self) -> set[str]:
        """Make the folder, put aside a list that is not of these particles; names in the folder."""
        path = self._path
        try:
            path.parent.mkdir(exist_ok=True)
            if path.is_file():
                try:
                    self._told()
                except RunFolderError:
                    path.replace(path.with_name(f"{FILE}.old"))
            return {entry.name.lower() for entry in path.parent.iterdir()}
        except OSError as error:
            raise RunFolderError(
                path.parent.parent,
                f"selections cannot be saved: {error.strerror or error}.",
                remedy="Check the free space and your permissions.",
            ) from error

    def _told(self) -> dict[str, str]:
        """Names and files that the list tells."""
        folder = self._path.parent.parent
        remedy = "It is put aside when selections are saved anew."
        try:
            told: Any = json.loads(self._path.read_text(encoding="utf-8"))
            if told["format"] != _FORMAT:
                raise ValueError("not of this program")
            n = int(told["n"])
            found = {str(entry["name"]): str(entry["file"]) for entry in told["selections"]}
            for file in found.values():
                # Plain names beside it: no list may ask for a file elsewhere.
                if not file.endswith(".pkl") or _UNSAFE.search(file) or len(file) > _LONGEST_FILE:
                    raise ValueError(f"a file {file[:40]!r}")
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise RunFolderError(
                folder, f"{FOLDER}/{FILE} cannot be read ({error}).", remedy=remedy
            ) from error
        if n != self._n:
            raise RunFolderError(
                folder,
                f"{FOLDER}/{FILE} is of {n:,} particles, but the run has {self._n:,}.",
                remedy=remedy,
            )
        return found

    def _mask(self, path: Path) -> Mask:
        index = read_indices(path)
        mask = np.zeros(self._n, bool)
        if self._rows is not None:
            mask = np.isin(self._rows, index)
            found = int(np.count_nonzero(mask)) == len(index)
        else:
            found = not len(index) or 0 <= int(index.min()) <= int(index.max()) < self._n
            if found:
                mask[index] = True
        if not found:
            raise ParticleFileError(
                path,
                "It selects particles that the run does not have.",
                remedy="It belongs to another run.",
            )
        mask.flags.writeable = False
        return mask


def _free_file(name: str, present: set[str]) -> str:
    """A file name like a selection's name, no other file's even where case does not count."""
    stem = _UNSAFE.sub("_", name).strip("._")[:_LONGEST_STEM] or "selection"
    file, number = f"{stem}.pkl", 1
    while file.lower() in present:
        number += 1
        file = f"{stem}_{number}.pkl"
    return file
