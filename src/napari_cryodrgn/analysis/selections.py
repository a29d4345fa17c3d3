"""Named selections of particles, kept with their run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import ArrayLike, NDArray
from psygnal import Signal

from ..errors import CryodrgnError
from .selection_export import export
from .selection_files import Mask, SelectionFiles

__all__ = ["Operation", "Selections", "export"]

Operation = Literal["and", "or", "and not", "not"]
_MOST_STEPS = 100
_LONGEST_NAME = 200


class Selections:
    """Selections of n particles by name, in order, with undo.

    Each is saved as its own file of indices that cryoDRGN takes (``--ind``): rows of the
    particles' file that the run was made of.

    Parameters
    ----------
    folder
        Of the run; selections are kept in its folder ``explorer``.
    n
        Particles of the run.
    rows
        Row (n,) of each in the particles' file, `Run.indices`; all in order if None.
    """

    #: Emitted after each change, undone and redone ones too.
    changed = Signal()

    def __init__(
        self, folder: Path, n: int, rows: Int[NDArray[np.intp], " n"] | None = None
    ) -> None:
        self.n = n
        #: What could not be loaded, a sentence for each file.
        self.problems: tuple[str, ...] = ()
        self._files = SelectionFiles(folder, n, rows)
        self._masks: dict[str, Mask] = {}
        self._past: list[dict[str, Mask]] = []
        self._future: list[dict[str, Mask]] = []

    @classmethod
    def load(
        cls, folder: Path, n: int, rows: Int[NDArray[np.intp], " n"] | None = None
    ) -> Selections:
        """The selections kept with a run, none if there are none.

        Files that are missing, damaged or of other particles are told in ``problems``.
        """
        selections = cls(folder, n, rows)
        selections._masks, selections.problems = selections._files.load()
        return selections

    # Looking

    @property
    def names(self) -> list[str]:
        """Names in order, oldest first."""
        return list(self._masks)

    def __contains__(self, name: str) -> bool:
        return name in self._masks

    def __len__(self) -> int:
        return len(self._masks)

    def get(self, name: str) -> Bool[Mask, " n"]:
        """Which particles are selected, not to be written to.

        Raises
        ------
        CryodrgnError
            If there is no such selection.
        """
        if name not in self._masks:
            raise CryodrgnError(f"There is no selection {name!r}.")
        return self._masks[name]

    def count(self, name: str) -> int:
        """How many particles are selected; raises as `get`."""
        return int(np.count_nonzero(self.get(name)))

    def free_name(self, wish: str = "Selection") -> str:
        """``wish``, with a number if it is taken."""
        number, name = 1, wish
        while name in self._masks:
            number += 1
            name = f"{wish} {number}"
        return name

    # Changing

    def add(self, name: str, mask: ArrayLike) -> None:
        """Add a selection.

        Parameters
        ----------
        name
            Not in use yet.
        mask
            (n,) bool.

        Raises
        ------
        CryodrgnError
            If the name is empty, too long or taken, or the mask is of another shape.
        """
        name = self._new_name(name)
        self._change({**self._masks, name: _checked(mask, self.n)})

    def rename(self, old: str, new: str) -> None:
        """Give a selection another name, in its place; raises as `get` and `add`."""
        self.get(old)
        if new.strip() != old:
            new = self._new_name(new)
            self._change({new if name == old else name: m for name, m in self._masks.items()})

    def remove(self, name: str) -> None:
        """Remove a selection; raises as `get`."""
        self.get(name)
        self._change({other: mask for other, mask in self._masks.items() if other != name})

    def combine(self, operation: Operation, a: str, b: str | None, name: str) -> Mask:
        """Add what is in both, in either, in ``a`` but not in ``b``, or not in ``a``.

        Parameters
        ----------
        operation
            "and", "or", "and not" or "not".
        a, b
            Selections; "not" takes no ``b``.
        name
            Of the new one.

        Raises
        ------
        CryodrgnError
            If a selection does not exist, ``b`` is missing, or the name cannot be used.
        """
        first = self.get(a)
        if operation == "not":
            mask = ~first
        elif b is None:
            raise CryodrgnError(f"{operation!r} takes two selections; choose another beside {a!r}.")
        else:
            second = self.get(b)
            mask = {"and": first & second, "or": first | second, "and not": first & ~second}[
                operation
            ]
        self.add(name, mask)
        return self.get(name.strip())

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is a change that was taken back."""
        return bool(self._future)

    def undo(self) -> None:
        """Take the last change back, if there is one."""
        self._step(self._past, self._future)

    def redo(self) -> None:
        """Make the change again that was last taken back, if there is one."""
        self._step(self._future, self._past)

    def _step(self, back: list[dict[str, Mask]], forth: list[dict[str, Mask]]) -> None:
        if back:
            forth.append(self._masks)
            self._masks = back.pop()
            self.changed.emit()

    def _change(self, masks: dict[str, Mask]) -> None:
        self._past = [*self._past[1 - _MOST_STEPS :], self._masks]
        self._future = []
        self._masks = masks
        self.changed.emit()

    def _new_name(self, name: str) -> str:
        name = name.strip()
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            raise CryodrgnError(f"A selection needs a name of 1 to {_LONGEST_NAME} characters.")
        if name in self._masks:
            raise CryodrgnError(f"There is a selection {name!r} already; choose another name.")
        return name

    def save(self) -> None:
        """Write what has changed since it was last written or loaded.

        A list that could not be loaded is kept as ``selections.json.old``.

        Raises
        ------
        CryodrgnError
            If it cannot be written.
        """
        self._files.save(self._masks)


def _checked(mask: ArrayLike, n: int) -> Mask:
    """A copy that nobody can write to."""
    given = np.asarray(mask)
    if given.dtype != bool or given.shape != (n,):
        raise CryodrgnError(
            f"A selection of {n:,} particles is a mask of shape ({n},), got {given.dtype} of "
            f"{given.shape}."
        )
    copy = given.copy()
    copy.flags.writeable = False
    return copy
