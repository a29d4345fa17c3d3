"""Rows about files: large stacks and tables, minibatches from disk, preprocessing.

Each is measured in a process of its own, after everything has been imported, so that the memory is
that of the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_cryodrgn.particles import ParticleSet, read
from napari_cryodrgn.particles.minibatches import random_minibatches
from napari_cryodrgn.particles.preprocessing import PreprocessSettings, preprocess

from .files_made import noise_stack, sparse_stack, write_table
from .memory import peak_mib
from .rows import Bench, Entry, Row, span

_MIB = 1 << 20
_REPEATS = 5
_BATCH = 128


def open_stack(bench: Bench, seed: int) -> Entry:
    """Opening a stack of 100 GB with holes for images, up to its first image in a napari layer."""
    path = bench.folder / "large.mrcs"
    n = (10**8 if bench.tiny else 10**11) // (4 * 256**2)
    sparse_stack(path, n, 256)
    return {"gigabytes": round(path.stat().st_size / 1e9, 1), **_alone(_open, path)}


def _open(path: Path) -> Entry:
    from napari.layers import Layer

    from napari_cryodrgn.widgets.reader import read_layers

    entries = []
    for _ in range(_REPEATS):
        before, start = _reset_peak(), time.perf_counter()
        images = read(path).images
        first = np.array(images.array[0])
        image = time.perf_counter() - start
        layer = Layer.create(*read_layers(str(path))[0])
        shown = time.perf_counter() - start
        last = images[len(images) - 1]
        assert first.shape == last.shape == layer.data.shape[2:]
        entries.append((image, shown, peak_mib() - before))
    image, shown, _ = np.min(entries, axis=0)
    return {
        "first_image_s": _digits(image),
        "layer_s": _digits(shown),
        "added_mib": _digits(max(added for *_, added in entries)),
    }


def read_star(bench: Bench, seed: int) -> Entry:
    """Reading a table of a million particles in 4,000 stacks."""
    star = bench.folder / "run_data.star"
    n = 4000 if bench.tiny else 1_000_000
    write_table(star, n, per_stack=250, seed=seed)
    return {"rows": n, "megabytes": round(star.stat().st_size / 1e6), **_alone(_read, star)}


def _read(star: Path) -> Entry:
    taken, added = [], 0.0
    for _ in range(2):
        before, start = _reset_peak(), time.perf_counter()
        particles = read(star)
        taken.append(time.perf_counter() - start)
        added = max(added, peak_mib() - before)
        assert particles.has_poses
        del particles
    return {"seconds": _digits(min(taken)), "added_mib": _digits(added)}


def minibatches(bench: Bench, seed: int) -> Entry:
    """Random minibatches of 128 images of 128² from a cached file, alone and beside a compute."""
    path = bench.folder / "images.mrcs"
    noise_stack(path, 512 if bench.tiny else 8192, 128, seed)
    return _alone(_minibatches, path)


def _minibatches(path: Path) -> Entry:
    torch.set_num_threads(1)
    images = read(path).images
    megabytes = images.size * 4 / 1e6
    batches = -(-len(images) // _BATCH)

    def alone() -> None:
        for _ in random_minibatches(images, _BATCH):
            pass

    read_s = _least(alone)
    square = torch.randn(256, 256)

    def multiply(products: int) -> None:
        for _ in range(products):
            torch.mm(square, square)

    products = max(1, round(read_s / batches / _least(lambda: multiply(100)) * 100))
    entry: Entry = {"mb_per_s": round(megabytes / read_s), "read_s": _digits(read_s)}
    # A device at work leaves the processor free, which a pause does too.
    for name, work in (
        ("device", lambda: time.sleep(read_s / batches)),
        ("processor", lambda: multiply(products)),
    ):

        def beside(work: Callable[[], None] = work) -> None:
            for _ in random_minibatches(images, _BATCH):
                work()

        def compute(work: Callable[[], None] = work) -> None:
            for _ in range(batches):
                work()

        compute_s, both_s = _least(compute), _least(beside)
        entry |= {
            f"mb_per_s_beside_{name}": round(megabytes / both_s),
            f"{name}_s": _digits(compute_s),
            f"both_{name}_s": _digits(both_s),
            # 1: the shorter is hidden in the longer; 0: one after the other.
            f"overlap_{name}": _digits((read_s + compute_s - both_s) / min(read_s, compute_s)),
        }
    return entry


def preprocessing(bench: Bench, seed: int) -> Entry:
    """Preprocessing a stack of more than 1 GiB: 256² cropped to 128² and normalised."""
    path = bench.folder / "raw.mrcs"
    noise_stack(path, 256 if bench.tiny else 5120, 256, seed)
    return {"mib": round(path.stat().st_size / _MIB), **_alone(_preprocess, path)}


def _preprocess(path: Path) -> Entry:
    torch.set_num_threads(1)
    before, start = _reset_peak(), time.perf_counter()
    *_, made = preprocess(read(path), path.parent / "small", PreprocessSettings(128))
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    *_, _again = preprocess(read(path), path.parent / "small", PreprocessSettings(128))
    assert isinstance(made, ParticleSet)
    return {
        "images_per_s": round(len(made) / seconds),
        "seconds": _digits(seconds),
        "peak_mib": round(peak_mib()),
        "added_mib": round(peak_mib() - before),
        "again_s": _digits(time.perf_counter() - start),
    }


def _alone(work: Callable[[Path], Entry], path: Path) -> Entry:
    """What ``work`` returns in a fresh process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work, path).result()


def _reset_peak() -> float:
    """Begin to measure the peak memory anew; the memory in use now, in MiB."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")
    return peak_mib()


def _least(work: Callable[[], Any]) -> float:
    """Least time of several, in seconds, after one to warm up."""
    work()
    taken = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _digits(value: float) -> float:
    return float(f"{value:.3g}")


ROWS = {
    "open_stack": Row(
        "opening a stack of 100 GB (sparse), up to the first image in a layer",
        "under 1 s, under 200 MiB added",
        "-",
        (0,),
        open_stack,
        lambda e: f"{span(e, 'layer_s')} s, {span(e, 'added_mib', '{:.0f}')} MiB added",
    ),
    "read_star": Row(
        "reading a STAR file of 1,000,000 particles in 4,000 stacks",
        "under 10 s",
        "-",
        (0,),
        read_star,
        lambda e: f"{span(e, 'seconds', '{:.1f}')} s, {span(e, 'added_mib', '{:.0f}')} MiB added",
    ),
    "minibatches": Row(
        "random minibatches of 128 images of 128² from a cached file, one thread",
        "over 300 MB/s, overlapped with compute",
        "-",
        (0,),
        minibatches,
        lambda e: (
            f"{span(e, 'mb_per_s', '{:.0f}')} MB/s alone, "
            f"{span(e, 'mb_per_s_beside_device', '{:.0f}')} MB/s beside a device that computes "
            f"as long, {span(e, 'mb_per_s_beside_processor', '{:.0f}')} MB/s beside the processor"
        ),
    ),
    "preprocess": Row(
        "preprocessing 5,120 images of 256² (1.25 GiB) to 128², one thread",
        "under 1 GiB of memory",
        "-",
        (0,),
        preprocessing,
        lambda e: (
            f"{span(e, 'images_per_s', '{:.0f}')} images/s, peak "
            f"{span(e, 'peak_mib', '{:.0f}')} MiB, found again in {span(e, 'again_s')} s"
        ),
    ),
}
