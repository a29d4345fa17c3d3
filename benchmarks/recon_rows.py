"""Rows about one structure from nothing."""

from __future__ import annotations

from .rows import Bench, Entry, Row, share, span
from .scores import pose_errors
from .volumes import resolutions


def from_nothing(name: str, bench: Bench, seed: int) -> Entry:
    """No poses given, one structure: errors of the poses, resolution, time."""
    star, truth = bench.make(name, seed)
    ours = bench.train(star, poses="search", zdim=0, seed=seed)
    assert ours.run.rotations is not None
    return {
        **pose_errors(ours.run.rotations, truth.rotations),
        **resolutions(ours.run, star, truth),
        **ours.cost,
    }


def ribo32(bench: Bench, seed: int) -> Entry:
    """The ribosome at 10 Å per pixel."""
    return from_nothing("ribo32", bench, seed)


def ribo64(bench: Bench, seed: int) -> Entry:
    """The ribosome at 5 Å per pixel, with half the signal."""
    return from_nothing("ribo64", bench, seed)


def _good(entry: Entry, within: float, degrees: float, seconds: float) -> bool:
    return bool(
        entry["median_degrees"] < degrees
        and entry["resolution"] <= within * entry["resolution_true_poses"]
        and entry["seconds"] <= seconds
    )


def _reached(entries: list[Entry], within: float, degrees: float, seconds: float) -> str:
    good = share(entries, lambda e: _good(e, within, degrees, seconds))
    return (
        f"{good}: {span(entries, 'median_degrees')}°, {span(entries, 'resolution', '{:.1f}')} Å "
        f"(true poses {span(entries, 'resolution_true_poses', '{:.1f}')} Å), "
        f"{span(entries, 'seconds', '{:.0f}')} s"
    )


ROWS = {
    "ribo32": Row(
        "ribosome, 1,000 images, D = 32, SNR 0.1, no poses",
        "9 of 10 seeds under 4 degrees, FSC = 0.5 within 5 % of the true poses', 60 s",
        "30 s",
        tuple(range(1000, 1010)),
        ribo32,
        lambda entries: _reached(entries, 1.05, 4.0, 60.0),
    ),
    "ribo64": Row(
        "ribosome, 3,000 images, D = 64, SNR 0.05, no poses",
        "4 of 5 seeds, FSC = 0.5 within 10 % of the true poses', 6 minutes",
        "3 minutes",
        tuple(range(1002, 1007)),
        ribo64,
        lambda entries: _reached(entries, 1.10, 180.0, 360.0),
    ),
}
