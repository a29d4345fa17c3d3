"""A row about telling heterogeneity from none, at poses that the program has found itself."""

from __future__ import annotations

import time

from napari_cryodrgn.analysis import RunImages
from napari_cryodrgn.analysis.validity import Verdict, heterogeneity

from .rows import Bench, Entry, Row, share, span
from .scores import pose_errors
from .sets import make

_N, _BOX = 1500, 32
_STILL = ("still_ribosome", "still_body", "still_adk")
_MOVING = ("swing64", "adk64", "two_states")


def validity(bench: Bench, seed: int) -> Entry:
    """Verdicts on a set that does not move and on one that does, by turns of three molecules."""
    entry: Entry = {}
    for kind, names in (("still", _STILL), ("moving", _MOVING)):
        name = names[seed % len(names)]
        part = Bench(bench.folder / kind, bench.tiny)
        n = 200 if bench.tiny else _N
        star, truth = make(name, seed, part.folder / "set", n=n, box=_BOX)
        run = part.train(star, zdim=1, seed=seed).run
        assert run.rotations is not None
        start = time.perf_counter()
        *_, found = heterogeneity(RunImages(run), part.folder)
        assert isinstance(found, Verdict)
        entry |= {
            f"{kind}_set": name,
            f"{kind}_found": found.found,
            f"{kind}_excess": round(found.excess, 3),
            f"{kind}_errors": round(found.excess / found.error, 1),
            f"{kind}_seconds": round(time.perf_counter() - start, 1),
            f"{kind}_pose_error": pose_errors(run.rotations, truth.rotations),
        }
    return entry


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
        f"is there heterogeneity: still and moving sets, {_N:,} images, D = {_BOX}, SNR 0.1, poses "
        "searched",
        "none in 5 of 5 still sets, some in 5 of 5 moving ones",
        "10 of 10",
        (1002, 1003, 1004, 1005, 1006),
        validity,
        _reached,
    )
}
