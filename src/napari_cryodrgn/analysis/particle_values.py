"""What is known of each particle of a run: what a map is coloured by, and thresholds are set on."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float32, Int32
from numpy.typing import NDArray

from ..errors import CryodrgnError, RunFolderError
from ..particles import CsTable, ParticleTable, euler_from_rotations
from .density import log_density
from .run import Run
from .source_table import MICROGRAPHS, SourceTable, given_ctf, open_source

Numbers = NDArray[np.float64] | NDArray[np.float32]
LOSS = "loss.npy"
_DIGITS = re.compile(r"([0-9]+)")
_DEFOCUS = (("rlnDefocusU", "rlnDefocusV"), ("ctf/df1_A", "ctf/df2_A"))
_HALVES = ("rlnRandomSubset", "alignments3D/split")
_GROUPS = ("rlnOpticsGroup", "ctf/exp_group_id")
_GROUP_NAME = "rlnOpticsGroupName"
_VIEW = ("view: rot", "view: tilt", "in-plane angle")


@dataclass(frozen=True, eq=False)
class Values:
    """A value for each of n particles.

    ``data`` (n,) are float32 numbers, NaN where unknown, or int32 places in ``labels``, which is
    None for numbers. ``unit`` is empty where there is none.
    """

    name: str
    data: Float32[NDArray[np.float32], " n"] | Int32[NDArray[np.int32], " n"]
    labels: tuple[str, ...] | None = None
    unit: str = ""


class ParticleValues:
    """Values of a run's particles by name, found when asked for and kept; safe in any thread.

    Names are "density", "sigma z0" (posterior standard deviation), "loss", "defocus",
    "CTF astigmatism", "view: rot", "view: tilt", "in-plane angle", "shift", "half set",
    "optics group", "micrograph", as far as they are known, and the columns of the particles' STAR
    or .cs file under their own names. No stack is needed.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._sources: dict[str, Callable[[], Values]] | None = None
        self._found: dict[str, Values] = {}
        self._problem: str | None = None

    def names(self) -> list[str]:
        """What can be asked for. The first call opens the particles' file."""
        return list(self._known())

    @property
    def problem(self) -> str | None:
        """Why the columns of the particles' file are missing, if they should be there."""
        self._known()
        return self._problem

    def get(self, name: str) -> Values:
        """The values of that name.

        Raises
        ------
        CryodrgnError
            If nothing of that name is known, or the file that has it cannot be read any more.
        """
        if name not in self._found:
            known = self._known()
            if name not in known:
                raise CryodrgnError(
                    f"{self._run.folder}: nothing called {name!r} is known of its particles. "
                    f"There are {', '.join(known)}."
                )
            # Not under the lock: others need not wait, and at worst it is found twice.
            self._keep(known[name]())
        return self._found[name]

    def _keep(self, values: Values) -> None:
        values.data.flags.writeable = False
        self._found.setdefault(values.name, values)

    def _known(self) -> dict[str, Callable[[], Values]]:
        with self._lock:
            if self._sources is None:
                self._sources = self._of_run() | self._of_file()
            return self._sources

    # What the run itself knows

    def _of_run(self) -> dict[str, Callable[[], Values]]:
        run = self._run
        known: dict[str, Callable[[], Values]] = {}
        latents = run.latents
        if latents is not None and run.zdim and len(latents.mu):
            known["density"] = partial(_density, latents.mu)
            # Where a run gives no variances they are all exp(0).
            if latents.logvar.any():
                known |= {
                    f"sigma z{i}": partial(_sigma, i, latents.logvar) for i in range(run.zdim)
                }
        if (run.folder / LOSS).is_file():
            known["loss"] = self._loss
        if run.rotations is not None and len(run.rotations) == run.n_particles:
            known |= {name: partial(self._angle, name, run.rotations) for name in _VIEW}
        if run.shifts is not None and len(run.shifts) == run.n_particles:
            known["shift"] = partial(_shift, run.shifts, run.pixel_size)
        return known

    def _loss(self) -> Values:
        path = self._run.folder / LOSS
        try:
            loss = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise RunFolderError(path.parent, f"{LOSS} cannot be read ({error}).") from error
        n = self._run.n_particles
        if loss.shape != (n,) or loss.dtype.kind != "f":
            raise RunFolderError(
                path.parent, f"{LOSS} holds {loss.dtype} of {loss.shape}, expected ({n},) numbers."
            )
        return _numbers("loss", loss, "nats")

    def _angle(self, name: str, rotations: NDArray[np.float32]) -> Values:
        angles = euler_from_rotations(rotations).astype(np.float32)
        found = {
            other: _numbers(other, np.ascontiguousarray(values), "°")
            for other, values in zip(_VIEW, angles.T, strict=True)
        }
        for values in found.values():
            self._keep(values)
        return found[name]

    # What the particles' file says

    def _of_file(self) -> dict[str, Callable[[], Values]]:
        known: dict[str, Callable[[], Values]] = {}
        try:
            source = open_source(self._run)
            known = {} if source is None else _of_table(source)
        except CryodrgnError as error:
            self._problem = str(error)
        if "defocus" not in known:
            try:
                # cryoDRGN's runs on bare stacks go with a file of CTF parameters.
                ctf = given_ctf(self._run)
            except CryodrgnError as error:
                self._problem = self._problem or str(error)
            else:
                known = {} if ctf is None else _of_ctf(lambda: (ctf.defocus_u, ctf.defocus_v))
        return known


def _numbers(name: str, data: Numbers, unit: str = "") -> Values:
    return Values(name, data.astype(np.float32, copy=False), unit=unit)


def _density(mu: NDArray[np.float32]) -> Values:
    return Values("density", log_density(mu), unit="log10 particles per unit of z")


def _sigma(i: int, logvar: NDArray[np.float32]) -> Values:
    return _numbers(f"sigma z{i}", np.exp(0.5 * logvar[:, i]))


def _shift(shifts: NDArray[np.float32], pixel_size: float | None) -> Values:
    length = np.linalg.norm(shifts, axis=1)
    return _numbers("shift", length * (pixel_size or 1), "px" if pixel_size is None else "Å")


def _pair(source: SourceTable, u: str, v: str) -> tuple[Numbers, Numbers]:
    return source.numbers(u), source.numbers(v)


def _of_table(source: SourceTable) -> dict[str, Callable[[], Values]]:
    known: dict[str, Callable[[], Values]] = {}
    for u, v in _DEFOCUS:
        if u in source and v in source:
            known |= _of_ctf(partial(_pair, source, u, v))
    for name, make, columns in (
        ("half set", _half_sets, _HALVES),
        ("optics group", _optics_groups, _GROUPS),
        ("micrograph", _micrographs, MICROGRAPHS),
    ):
        for column in columns:
            if column in source:
                known[name] = partial(make, source, column)
    for column, is_kind in source.columns().items():
        known[column] = partial(_column, source, column, is_kind)
    return known


def _of_ctf(defocus: Callable[[], tuple[Numbers, Numbers]]) -> dict[str, Callable[[], Values]]:
    """Values made of the defocus along both axes, in Å."""

    def mean() -> Values:
        u, v = defocus()
        return _numbers("defocus", (u + v) / 2e4, "µm")

    def difference() -> Values:
        u, v = defocus()
        return _numbers("CTF astigmatism", np.abs(u - v), "Å")

    return {"defocus": mean, "CTF astigmatism": difference}


def _column(source: SourceTable, name: str, is_kind: bool) -> Values:
    if not is_kind:
        return _numbers(name, source.numbers(name))
    table = source.table
    if isinstance(table, CsTable) and table.values(name).dtype.kind not in "SU":
        return _kinds(name, source.numbers(name).tolist(), lambda number: f"{number:g}")
    return _kinds(name, source.text(name), str)


def _half_sets(source: SourceTable, column: str) -> Values:
    # RELION counts the halves from 1, cryoSPARC from 0.
    first = 0 if isinstance(source.table, ParticleTable) else 1
    numbers = source.numbers(column) + first
    return _kinds("half set", numbers.tolist(), lambda number: f"half {number:g}")


def _optics_groups(source: SourceTable, column: str) -> Values:
    table = source.table
    if isinstance(table, CsTable):
        numbers = source.numbers(column).tolist()
        return _kinds("optics group", numbers, lambda number: f"group {number:g}")
    names: dict[str, str] = {}
    if table.optics is not None and {column, _GROUP_NAME} <= set(table.optics.columns):
        told = table.optics.values([column, _GROUP_NAME])
        names = dict(zip(told[column], told[_GROUP_NAME], strict=True))
    return _kinds("optics group", source.text(column), lambda group: names.get(group, str(group)))


def _micrographs(source: SourceTable, column: str) -> Values:
    found = _kinds("micrograph", source.text(column), str)
    assert found.labels is not None
    # The folder that all are in says nothing.
    shared = os.path.commonprefix(found.labels).rfind("/") + 1
    return Values(found.name, found.data, tuple(label[shared:] for label in found.labels))


def _kinds(name: str, values: Sequence[Hashable], label: Callable[..., str]) -> Values:
    """Codes of values, their labels in the order that people sort in."""
    places: dict[Hashable, int] = {}
    codes = np.fromiter(
        (places.setdefault(value, len(places)) for value in values), np.int32, len(values)
    )
    labels = [label(value) for value in places]
    order = sorted(range(len(labels)), key=lambda i: _natural(labels[i]))
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return Values(name, rank[codes], tuple(labels[i] for i in order))


def _natural(label: str) -> list[tuple[bool, int, str]]:
    """Sorts group 10 after group 9."""
    return [
        (part.isdecimal(), int(part) if part.isdecimal() else 0, part)
        for part in _DIGITS.split(label)
    ]
