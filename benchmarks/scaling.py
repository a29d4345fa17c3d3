"""Time and memory of the stages at one size, in a process of its own.

``python -m benchmarks.scaling JOB.json``; ``measure`` is the other end.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from napari_cryodrgn.imaging import FourierGrid
from napari_cryodrgn.poses import PoseSearch, SearchSettings
from napari_cryodrgn.training.dataset import Dataset
from napari_cryodrgn.training.half_maps import reconstruct_volume

from .memory import peak_mib
from .volumes import dataset

_BATCH = 50


def measure(star: Path, search: int, clusters: int = 1) -> dict[str, float]:
    """Seconds of reading, back-projecting and searching (``search`` particles), and memory.

    ``peak_mib`` is what the process took beyond its libraries. Floors are the operations or bytes
    that a stage cannot do without, at the speed of this machine.
    """
    job = star.with_name("job.json")
    job.write_text(json.dumps({"star": str(star), "search": search, "clusters": clusters}))
    command = [sys.executable, "-m", __name__, str(job)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def machine() -> dict[str, float]:
    """Operations per second of a large matrix product, bytes per second of a large copy."""
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    source = torch.rand(1 << 26)
    return {
        "flops": 2 * 1024**3 / _least(lambda: a @ b, 10),
        "bytes": 2 * 4 * len(source) / _least(source.clone, 5),
    }


def _least(work: Callable[[], object], repeats: int) -> float:
    """Least of some times, after one to warm up."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _search_flops(data: Dataset, settings: SearchSettings, clusters: int) -> float:
    """Multiplications and additions of one image's search: coarse products, then the children."""
    rotations = 72 * settings.n_side**3
    shifts = (round(2 * settings.max_shift / settings.shift_step) + 1) ** 2
    first = data.lattice.count(settings.first_limit)
    flops = 2.0 * clusters * rotations * shifts * 2 * first
    for level in range(1, settings.levels + 1):
        rise = settings.last_limit - settings.first_limit
        count = data.lattice.count(settings.first_limit + rise * level / settings.levels)
        parents = settings.keep[min(level - 1, len(settings.keep) - 1)]
        # Eight corners of two parts each for a sample; 32 children share eight slices.
        flops += parents * count * (8 * 8 * 2 * 2 + 32 * 2 * 2)
    return flops


def _main(job: Path) -> None:
    told = json.loads(job.read_text())
    base, star = peak_mib(), Path(told["star"])
    start = time.perf_counter()
    data = dataset(star)
    load = time.perf_counter() - start
    limit = data.lattice.limit
    generator = torch.Generator().manual_seed(0)
    rotations = torch.linalg.qr(torch.randn(len(data), 3, 3, generator=generator)).Q
    rotations = rotations * torch.linalg.det(rotations)[:, None, None]
    shifts = torch.zeros(len(data), 2)
    start = time.perf_counter()
    volume = reconstruct_volume(data, rotations, shifts, limit).volume
    back_projection = time.perf_counter() - start
    settings = SearchSettings(
        last_limit=limit,
        levels=5,
        max_shift=data.box / 16,
        shift_step=data.box / 25.6,
    )
    start = time.perf_counter()
    search = PoseSearch(data.lattice, volume.repeat(told["clusters"], 1, 1, 1), settings)
    set_up = time.perf_counter() - start
    start = time.perf_counter()
    index = torch.arange(min(told["search"], len(data)))
    for _, pixels, ctf in data.batches(_BATCH, settings.last_limit, index):
        search(pixels, ctf)
    searching = time.perf_counter() - start
    peak = peak_mib() - base
    speed, n, p = machine(), len(data), len(data.lattice)
    grid = FourierGrid(data.box, limit)
    fft = 5 * data.box**2 * math.log2(data.box**2)
    print(
        json.dumps(
            {
                "particles": n,
                "box": data.box,
                "clusters": told["clusters"],
                "load": load,
                "load_floor": n * (fft / speed["flops"] + 4 * data.box**2 / speed["bytes"]),
                "back_projection": back_projection,
                # Read a pixel, its CTF and point; add three numbers at eight corners.
                "back_projection_floor": (n * p * (8 + 4 + 12 + 8 * 3 * 8) + 2 * 12 * grid.n**3)
                / speed["bytes"],
                "search_set_up": set_up,
                "search_per_image": searching / len(index),
                "search_per_image_floor": _search_flops(data, settings, told["clusters"])
                / speed["flops"],
                "peak_mib": peak,
            }
        )
    )


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
