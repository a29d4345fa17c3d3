"""Selections of particles: what the panel knows of them, without Qt."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal, SignalInstance

from ..errors import CryodrgnError
from .background import Background, Deliver

if TYPE_CHECKING:
    from ..analysis import Run
    from ..analysis.particle_values import ParticleValues
    from ..analysis.selections import Selections

Mask = NDArray[np.bool_]
Op = Literal["and", "or", "and not", "not"]
_UNNAMED = "Selection"


class Explorer(Protocol):
    """What is used of the explorer's model."""

    run_changed: SignalInstance
    selection_changed: SignalInstance

    @property
    def run(self) -> Run | None:
        """The open run."""

    @property
    def values(self) -> ParticleValues | None:
        """What is known of its particles."""

    @property
    def selections(self) -> Selections | None:
        """The selections kept with it."""

    @property
    def current_mask(self) -> Mask | None:
        """The current selection (n,), kept or not."""

    def set_current(self, mask: Mask | None) -> None:
        """Make a mask the current selection, and tell everyone."""


@dataclass(frozen=True)
class Kept:
    """A kept selection, and how many particles are in it."""

    name: str
    count: int


class SelectionModel:
    """The kept selections of the open run, and the current one, which need not be kept.

    What is kept is saved with the run after each change, in the background.

    Parameters
    ----------
    explorer
        Whose current selection is looked at and set.
    deliver
        Brings answers to the thread that owns this object, see `Background`.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, explorer: Explorer, deliver: Deliver) -> None:
        self.explorer = explorer
        self._background = Background(deliver)
        self._selections: Selections | None = None
        self._unsaved: list[Selections] = []
        self._setting = False
        #: Name of the kept selection that is the current one.
        self.chosen: str | None = None
        #: What the current selection is called if it is kept without a name.
        self.suggestion = ""
        explorer.run_changed.connect(self._on_run)
        explorer.selection_changed.connect(self._on_selection)
        self._on_run()

    def close(self) -> None:
        """Save what is not saved yet; the model cannot be used afterwards."""
        self._background.close()
        for selections in self._unsaved:
            # Nobody is there any more to be told.
            with suppress(CryodrgnError):
                selections.save()

    # What there is

    @property
    def n(self) -> int:
        """Particles that can be selected."""
        return 0 if self._selections is None else self._selections.n

    @property
    def count(self) -> int | None:
        """Particles in the current selection, None without one."""
        mask = self.explorer.current_mask
        return None if mask is None else int(np.count_nonzero(mask))

    @property
    def kept(self) -> list[Kept]:
        """The kept selections, in their order."""
        known = self._selections
        return [] if known is None else [Kept(name, known.count(name)) for name in known.names]

    @property
    def problems(self) -> tuple[str, ...]:
        """What was kept and could not be loaded, a sentence each."""
        return () if self._selections is None else self._selections.problems

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return self._selections is not None and self._selections.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether a change was taken back."""
        return self._selections is not None and self._selections.can_redo

    # What is done with them

    def keep(self, name: str = "") -> str | None:
        """Keep the current selection; under the suggested name if none is given."""
        mask, known = self.explorer.current_mask, self._selections
        if mask is None or known is None:
            return None
        before = self.chosen
        self.chosen = name.strip() or known.free_name(self.suggestion or _UNNAMED)
        try:
            known.add(self.chosen, mask)
        except CryodrgnError as error:
            self.chosen = before
            self.failed.emit(error)
            return None
        return self.chosen

    def choose(self, name: str) -> None:
        """Make a kept selection the current one."""
        if self._selections is not None:
            self.set(self._selections.get(name), name=name)

    def clear(self) -> None:
        """Have no current selection."""
        self.set(None)

    def set(self, mask: Mask | None, *, name: str | None = None, suggestion: str = "") -> None:
        """Make a mask the current selection: the kept one of that name, or a new one."""
        self.chosen, self.suggestion = name, suggestion
        self._setting = True
        try:
            self.explorer.set_current(mask)
        finally:
            self._setting = False
        self.changed.emit()

    def combine(self, op: Op, first: str | None, second: str | None = None) -> None:
        """Keep a combination of two selections, or the rest of one, and make it the current one.

        None stands for the current selection, which is then kept too.
        """
        known, one = self._selections, first or self.keep()
        if known is None or one is None:
            return
        two = None if op == "not" else second or self.keep()
        name = known.free_name(f"not {one}" if two is None else f"{one} {op} {two}")
        try:
            known.combine(op, one, two, name)
        except CryodrgnError as error:
            self.failed.emit(error)
        else:
            self.choose(name)

    def rename(self, name: str, new: str) -> None:
        """Give a kept selection another name."""
        known, was_chosen = self._selections, self.chosen == name
        if known is None or new.strip() == name:
            return
        try:
            if was_chosen:
                self.chosen = new.strip()
            known.rename(name, new)
        except CryodrgnError as error:
            self.chosen = name if was_chosen else self.chosen
            self.failed.emit(error)
            self.changed.emit()

    def remove(self, names: Sequence[str]) -> None:
        """Keep them no longer."""
        if self._selections is not None:
            for name in names:
                self._selections.remove(name)

    def undo(self) -> None:
        """Take the last change of the list back."""
        if self._selections is not None:
            self._selections.undo()

    def redo(self) -> None:
        """Make the change again that was taken back."""
        if self._selections is not None:
            self._selections.redo()

    # Following

    def _on_run(self) -> None:
        now, before = self.explorer.selections, self._selections
        if now is not before:
            if before is not None:
                before.changed.disconnect(self._on_list)
            if now is not None:
                now.changed.connect(self._on_list)
            self._selections = now
            self.chosen, self.suggestion = None, ""
        self.changed.emit()

    def _on_selection(self) -> None:
        if not self._setting:
            self.chosen, self.suggestion = None, _UNNAMED
            self.changed.emit()

    def _on_list(self) -> None:
        known = self._selections
        assert known is not None
        if self.chosen is not None and self.chosen not in known:
            self.chosen = None
        if known not in self._unsaved:
            self._unsaved.append(known)
        self._background.ask(
            f"save {id(known)}", known.save, lambda _: self._unsaved.remove(known), self._failed
        )
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        self.failed.emit(error)
