"""Rows about growth: with the number of particles, the box, and the number of volumes."""

from __future__ import annotations

import numpy as np

from .rows import Bench, Entry, Row
from .scaling import measure
from .sets import make

PARTICLES = (1000, 3000, 10_000, 30_000, 100_000)
BOXES = (32, 48, 64, 96, 128)
CLUSTERS = (1, 2, 5, 10, 20)
# What is fitted against what; floors and memory beside the times.
_TIMES = ("load", "back_projection", "search_per_image", "peak_mib")


def with_particles(bench: Bench, seed: int) -> Entry:
    """Reading and back-projecting 10^3 to 10^5 particles, D = 32."""
    sizes = (100, 200, 400) if bench.tiny else PARTICLES
    return _points(bench, seed, "particles", [(n, 32, 1) for n in sizes])


def with_box(bench: Bench, seed: int) -> Entry:
    """D = 32 to 128, 500 particles."""
    sizes = (16, 24, 32) if bench.tiny else BOXES
    return _points(bench, seed, "box", [(50 if bench.tiny else 500, d, 1) for d in sizes])


def with_clusters(bench: Bench, seed: int) -> Entry:
    """1 to 20 volumes in one search, D = 64, 500 particles."""
    n, d = (50, 32) if bench.tiny else (500, 64)
    sizes = (1, 2, 3) if bench.tiny else CLUSTERS
    return _points(bench, seed, "clusters", [(n, d, k) for k in sizes])


def _points(bench: Bench, seed: int, axis: str, sizes: list[tuple[int, int, int]]) -> Entry:
    points, made = [], None
    for n, box, clusters in sizes:
        if made != (n, box):
            star, _ = make("ribo32", seed, bench.folder / "set", n=n, box=box)
            made = (n, box)
        told = measure(star, search=20 if bench.tiny else 200, clusters=clusters)
        points.append({k: float(f"{v:.3g}") for k, v in told.items()})
    return {
        "axis": axis,
        "points": points,
        "exponents": {
            k: exponent([p[axis] for p in points], [p[k] for p in points]) for k in _TIMES
        },
    }


def exponent(x: list[float], y: list[float]) -> float:
    """Slope of log y over log x at the upper half of the sizes, where constants matter least."""
    half = len(x) // 2
    slope = np.polyfit(np.log(x[half:]), np.log(np.maximum(y[half:], 1e-9)), 1)[0]
    return round(float(slope), 2)


def _reached(entries: list[Entry], keys: tuple[str, ...]) -> str:
    fits = entries[-1]["exponents"]
    return ", ".join(f"{k.replace('_', ' ')} ~ {fits[k]:.2f}" for k in keys)


ROWS = {
    "growth_particles": Row(
        "growth with N = 10^3 to 10^5, D = 32",
        "exponents, with the floor beside the times",
        "time and memory at most linear",
        (1000,),
        with_particles,
        lambda e: _reached(e, ("load", "back_projection", "peak_mib")),
    ),
    "growth_box": Row(
        "growth with D = 32 to 128, 500 images",
        "exponents, with the floor beside the times",
        "as the pixels (2) or the voxels (3)",
        (1000,),
        with_box,
        lambda e: _reached(e, ("load", "back_projection", "search_per_image", "peak_mib")),
    ),
    "growth_clusters": Row(
        "growth with 1 to 20 z-clusters, D = 64",
        "exponents, with the floor beside the times",
        "at most linear",
        (1000,),
        with_clusters,
        lambda e: _reached(e, ("search_per_image", "peak_mib")),
    ),
}
