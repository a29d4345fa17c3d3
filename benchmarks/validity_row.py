"""A row about telling heterogeneity from none, at poses that the program has found itself."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from napari_cryodrgn.analysis import Run, RunImages
from napari_cryodrgn.analysis.validity import Verdict, heterogeneity
from napari_cryodrgn.imaging import Molecule, simulate
from napari_cryodrgn.particles import write_simulation

from .rows import Bench, Entry, Row, share, span
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
    """Verdicts on a set that does not move and on one that does, by turns of three molecules."""
    entry: Entry = {}
    for label, names in (("still", _STILL), ("moving", _MOVING)):
        name = names[seed % len(names)]
        part = Bench(bench.folder / label, bench.tiny)
        start = time.perf_counter()
        run, error = _posed(part, name, seed)
        searched = time.perf_counter()
        *_, found = heterogeneity(RunImages(run), part.folder)
        assert isinstance(found, Verdict)
        entry |= {
            f"{label}_set": name,
            f"{label}_found": found.found,
            f"{label}_excess": round(found.excess, 3),
            f"{label}_errors": round(found.excess / found.error, 1),
            f"{label}_left_out": found.left_out,
            f"{label}_seconds": round(time.perf_counter() - searched, 1),
            f"{label}_search_seconds": round(searched - start, 1),
            f"{label}_pose_error": error,
        }
    return entry


def _posed(bench: Bench, name: str, seed: int) -> tuple[Run, dict[str, float]]:
    """A run that has searched the poses of the set ``name``, and their errors."""
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
    star = write_simulation(bench.folder / "set", simulation)
    # A consensus is all that the verdict needs, and takes a fraction of the time of a motion.
    run = bench.train(star, zdim=0, seed=seed).run
    assert run.rotations is not None
    return run, pose_errors(run.rotations, simulation.rotations)


def _reached(entries: list[Entry]) -> str:
    return (
        f"none found in {share(entries, lambda e: not e['still_found'])} still sets (excess "
        f"{span(entries, 'still_errors', '{:+.1f}')} standard errors), found in "
        f"{share(entries, lambda e: e['moving_found'])} moving ones "
        f"({span(entries, 'moving_errors', '{:+.1f}')}); "
        f"{span(entries, 'moving_seconds', '{:.1f}')} s each"
    )


ROWS = {
    "validity": Row(
        f"is there heterogeneity: still and moving sets, {_N:,} images, D = {_BOX}, SNR 0.1, "
        f"contrast ± {100 * _CONTRAST:.0f} %, {100 * _JUNK:.0f} % without a particle, poses "
        "searched without motion",
        "none in 5 of 5 still sets, some in 5 of 5 moving ones",
        "10 of 10",
        (1002, 1003, 1004, 1005, 1006),
        validity,
        _reached,
    )
}
