"""A row about telling heterogeneity from none."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from napari_cryodrgn.analysis import RunImages
from napari_cryodrgn.analysis.validity import Verdict, heterogeneity
from napari_cryodrgn.imaging import Molecule, simulate
from napari_cryodrgn.particles import read, write_simulation

from .rows import Bench, Entry, Row, span
from .scores import pose_errors
from .sets import SETS

_N, _BOX = 1500, 32
_CONTRAST, _JUNK = 0.2, 0.1
_STILL = ("still_ribosome", "still_body", "still_adk")
_MOVING = ("swing64", "adk64", "two_states")


class Uneven:
    """A molecule whose images differ in contrast; some show nothing at all.

    Both follow from the conformation t, by ways so winding that they are independent of it.
    """

    def __init__(self, molecule: Molecule) -> None:
        self._molecule = molecule
        self.moves = molecule.moves

    def project(
        self, t: Tensor, rotations: Tensor, shifts: Tensor, box: int, pixel_size: float
    ) -> Tensor:
        """Projections times their contrast."""
        contrast = 1 + _CONTRAST * torch.special.ndtri((89 * t % 1).clamp(0.01, 0.99))
        there = 97 * t % 1 > _JUNK
        whole = self._molecule.project(t, rotations, shifts, box, pixel_size)
        return whole * (contrast * there)[:, None, None]

    def volume(self, t: float, box: int, pixel_size: float) -> Tensor:
        """Density at ``t``."""
        return self._molecule.volume(t, box, pixel_size)


def validity(bench: Bench, seed: int) -> Entry:
    """Verdicts on a set that does not move and on one that does, by turns of three molecules.

    At the true poses, and at poses that the program has searched as if nothing moved.
    """
    entry: Entry = {}
    for label, names in (("still", _STILL), ("moving", _MOVING)):
        name = names[seed % len(names)]
        kind = SETS[name]
        simulation = simulate(
            Uneven(kind.molecule(seed)),
            200 if bench.tiny else _N,
            _BOX,
            kind.width / _BOX,
            snr=kind.snr,
            max_shift=_BOX / 16,
            seed=seed,
        )
        part = Bench(bench.folder / label, bench.tiny)
        star = write_simulation(part.folder / "set", simulation)
        start = time.perf_counter()
        found = _verdict(_true(star), part.folder)
        seconds = time.perf_counter() - start
        # A consensus is all that the verdict needs, and takes a fraction of the time of a motion.
        run = part.train(star, zdim=0, seed=seed).run
        assert run.rotations is not None
        searched = _verdict(run, part.folder)
        entry |= {
            f"{label}_set": name,
            f"{label}_kind": found.kind,
            f"{label}_errors": round(found.as_posed.errors, 1),
            f"{label}_refined_errors": round(found.refined.errors, 1),
            f"{label}_left_out": found.refined.left_out,
            f"{label}_seconds": round(seconds, 1),
            f"{label}_searched_kind": searched.kind,
            f"{label}_searched_errors": round(searched.as_posed.errors, 1),
            f"{label}_searched_refined_errors": round(searched.refined.errors, 1),
            f"{label}_pose_error": pose_errors(run.rotations, simulation.rotations),
        }
    return entry


def _true(star: Path) -> Any:
    """What the verdict needs of a run, with the true poses."""
    particles = read(star)
    return SimpleNamespace(
        **{"folder": star.parent, "particles_path": star, "indices": None, "settings": {}},
        **{"box": particles.box, "pixel_size": particles.pixel_size, "ctf_path": None},
        **{"rotations": particles.rotations, "shifts": particles.shifts},
        n_particles=len(particles),
    )


def _verdict(run: Any, scratch: Path) -> Verdict:
    *_, found = heterogeneity(RunImages(run), scratch)
    assert isinstance(found, Verdict)
    return found


def _reached(entries: list[Entry]) -> str:
    def told(label: str, which: str = "") -> str:
        kinds = [entry[f"{label}_{which}kind"] for entry in entries]
        words = {"none": "none found", "unclear": "it cannot be told", "found": "found"}
        counts = [f"{words[kind]} in {kinds.count(kind)}" for kind in words if kind in kinds]
        errors = span(entries, f"{label}_{which}refined_errors", "{:+.1f}")
        return f"{label}: {', '.join(counts)} of {len(kinds)} ({errors} standard errors)"

    return (
        f"{told('still')}; {told('moving')}; {span(entries, 'moving_seconds', '{:.0f}')} s each. "
        f"At poses searched without motion, {told('still', 'searched_')}; "
        f"{told('moving', 'searched_')}"
    )


ROWS = {
    "validity": Row(
        f"is there heterogeneity: still and moving sets, {_N:,} images, D = {_BOX}, SNR 0.1, "
        f"contrast ± {100 * _CONTRAST:.0f} %, {100 * _JUNK:.0f} % without a particle, true poses "
        "(seeds that were seen while the verdicts were chosen, unlike those of other rows)",
        "none in 5 of 5 still sets, some in 5 of 5 moving ones",
        "10 of 10",
        (1002, 1003, 1004, 1005, 1006),
        validity,
        _reached,
    )
}
