"""Asks where to save, and before files are replaced that the dialog has not asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget


def ask_path(
    parent: QWidget,
    title: str,
    start: Path | str,
    kinds: str,
    written: Callable[[Path], Sequence[Path]] | None = None,
) -> Path | None:
    """Ask for a file to save to; None if there is to be none.

    Parameters
    ----------
    parent
        What the dialog stands before.
    title
        Of the dialog.
    start
        The file it starts with.
    kinds
        As Qt has them, such as "RELION (*.star);;cryoSPARC (*.cs)". A name without an ending gets
        the first one of the kind chosen.
    written
        All files that will be written for the one chosen; that one alone if absent.
    """
    chosen, kind = QFileDialog.getSaveFileName(parent, title, str(start), kinds)
    if not chosen:
        return None
    path = Path(chosen)
    ending = re.search(r"\.\w+", kind or kinds)
    if not path.suffix and ending is not None:
        path = path.with_suffix(ending[0])
    files = [path] if written is None else written(path)
    # The dialog has asked for the name as it was typed.
    there = [file for file in files if file != Path(chosen) and file.exists()]
    return path if not there or _may_replace(parent, title, there) else None


def may_go_on(parent: QWidget, title: str, question: str) -> bool:
    """Ask whether something may be lost; if in doubt not."""
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    return QMessageBox.question(parent, title, question, yes | no, no) == yes


def _may_replace(parent: QWidget, title: str, there: list[Path]) -> bool:
    first, *others = there
    text = f"{first.name} is in {first.parent} already. Replace it?"
    if others:
        more = "one other file" if len(others) == 1 else f"{len(others)} other files"
        text = f"{first.name} and {more} are in {first.parent} already. Replace them?"
    return may_go_on(parent, title, text)
