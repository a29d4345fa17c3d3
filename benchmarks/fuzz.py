"""Fuzzing: whatever a file holds, a reader gives its value or a ParticleFileError.

``python -m benchmarks.fuzz SEED FILES [FIRST]`` prints a line of JSON for each file; file I of a
seed is always the same. ``--keep`` writes file FIRST to the present folder instead.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.particles import (
    ParticleSet,
    read,
    read_ctf,
    read_indices,
    read_latents,
    read_poses,
    read_volume,
    write_subset,
)

from .fuzz_files import BOX, IMAGES, KINDS, STACK, TABLE, neighbours, valid
from .fuzz_mutations import mutate
from .rows import Bench, Entry, Row, span

FILES = 20_000
SECONDS = 5.0
# What a reader may allocate at most: bytes per byte of the file, and bytes in any case. Tables are
# read some thousand rows at a time, each value of which has its place in the text.
TIMES, BYTES, TABLE_BYTES = 4, 1 << 20, 1 << 23
# Characters of a message.
LONGEST = 10_000
# One file of so many of a kind has so many particles, for memory that grows with the file.
LARGE_EVERY, LARGE = 100, 3000


class Hang(BaseException):
    """A reader takes too long."""


class Fault(Exception):
    """A reader does what it must not do, other than to raise."""


def spoilt(seed: int, index: int) -> tuple[str, bytes]:
    """Kind and content of a file of the campaign ``seed``."""
    kind = KINDS[index % len(KINDS)]
    large = index // len(KINDS) % LARGE_EVERY == LARGE_EVERY - 1
    bases = _bases(kind, LARGE if large else IMAGES)
    return kind, mutate(kind, Random(f"{seed} {index}"), bases)


_bases = cache(valid)


def judge(path: Path) -> Entry:
    """Read a file in every way that its kind can be, and use what was read.

    Numbers of the memory are right while tracemalloc is tracing. The working folder is where a
    pickle's code would leave a file called SENTINEL.
    """
    size = path.stat().st_size
    tracemalloc.reset_peak()
    before, start = tracemalloc.get_traced_memory()[0], time.perf_counter()
    try:
        outcome = "read" if sum(_taken(reader) for reader in _readers(path)) else "refused"
    except (Hang, Exception) as error:  # noqa: BLE001
        outcome = _where(error)
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1] - before
    if peak > TIMES * size + (TABLE_BYTES if path.suffix == ".star" else BYTES):
        outcome = f"memory: {peak} bytes for a file of {size}"
    if Path("SENTINEL").exists():
        outcome = "code was run"
    return {"outcome": outcome, "seconds": seconds, "peak": max(0, peak), "size": size}


def _readers(path: Path) -> list[Callable[[], Any]]:
    match path.suffix:
        case ".pkl":
            own: list[Callable[..., Any]] = [read_latents, read_ctf, read_indices]
            beside = [partial(_use, Path(STACK), **{n: path}) for n in ("poses", "ctf", "indices")]
            return [*(partial(r, path) for r in own), partial(read_poses, path, BOX), *beside]
        case ".csg":
            return [partial(read, path)]
        case ".mrc" | ".mrcs":
            return [partial(read_volume, path), partial(_use, path)]
        case ".cs":
            return [partial(_use, path), partial(_use, Path(TABLE), passthrough=(path,))]
        case _:
            return [partial(_use, path)]


def _taken(reader: Callable[[], Any]) -> bool:
    """Whether a reader gives its value; False after a proper error."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reader()
    except ParticleFileError as error:
        if not error.path.name or not error.problem or len(str(error)) > LONGEST:
            raise Fault("an error without file or problem, or one that nobody reads") from error
        str(error).encode()
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return True


def _use(path: Path, **options: Any) -> None:
    particles = read(path, **options)
    if not isinstance(particles, ParticleSet) or not len(particles):
        raise Fault(f"read gives {particles!r}")
    json.dumps([particles.describe(), repr(particles)], ensure_ascii=False).encode()
    for i in (0, -1):
        with suppress(ParticleFileError):
            particles.images.read([i])
    for kind in ("star", "cs", "pkl"):
        written = path.with_name(f"written.{kind}")
        try:
            write_subset(written, particles.select([0]))
        except CryodrgnError:
            continue
        again = read(written) if kind != "pkl" else read_indices(written)
        if len(again) != 1:
            raise Fault("what was written is another set")


def _where(error: BaseException) -> str:
    """The error and the line of the package it comes from."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if "napari_cryodrgn" in f.filename
    ]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {place}: {error}"[:200]


def campaign(seed: int, indices: Iterable[int]) -> Iterator[Entry]:
    """Judge files in a folder of their own, which is the working folder meanwhile."""
    before = signal.signal(signal.SIGALRM, _alarm)
    tracemalloc.start()
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        neighbours(Path(folder))
        try:
            for index in indices:
                kind, raw = spoilt(seed, index)
                path = Path(folder, f"spoilt.{kind}")
                path.write_bytes(raw)
                del raw
                yield {"index": index, "kind": kind, **judge(path)}
        finally:
            os.chdir(home)
            tracemalloc.stop()
            signal.signal(signal.SIGALRM, before)


def _alarm(*_: object) -> None:
    raise Hang(f"more than {SECONDS:g} s")


def fuzz(bench: Bench, seed: int) -> Entry:
    """The campaign, in processes that may take 1 GiB; one that dies is a failure of its file."""
    files = 600 if bench.tiny else FILES
    results: list[Entry] = []
    while len(results) < files:
        numbers = [str(n) for n in (seed, files, len(results))]
        command = [sys.executable, "-m", "benchmarks.fuzz", *numbers]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        results += [json.loads(line) for line in done.stdout.splitlines()]
        if len(results) < files:
            outcome = f"the process died: {done.returncode}"
            lost: Entry = {"outcome": outcome, "seconds": 0.0, "peak": 0, "size": 1}
            results.append(
                {"index": len(results), "kind": KINDS[len(results) % len(KINDS)], **lost}
            )
    return summary(results)


def summary(results: list[Entry]) -> Entry:
    """Counts by kind and outcome, and the extremes."""
    good = ("read", "refused")
    failed = [r for r in results if r["outcome"] not in good]
    counts = Counter(
        (r["kind"], r["outcome"] if r["outcome"] in good else "failed") for r in results
    )
    entry: Entry = {"files": len(results), "failed": len(failed)}
    for kind in KINDS:
        entry[kind] = ", ".join(
            f"{counts[kind, o]} {o}" for o in (*good, "failed") if counts[kind, o]
        )
    entry["slowest_s"] = round(max(r["seconds"] for r in results), 2)
    large = [r["peak"] / r["size"] for r in results if r["size"] > BYTES / 4]
    entry["memory_of_large_over_size"] = round(max(large), 1) if large else None
    entry["failures"] = [f"{r['index']} {r['kind']}: {r['outcome']}" for r in failed[:50]]
    return entry


def main() -> None:
    """Print an entry for each file."""
    keep = "--keep" in sys.argv
    seed, files, first = ([int(a) for a in sys.argv[1:] if a != "--keep"] + [0])[:3]
    if keep:
        kind, raw = spoilt(seed, first)
        Path(f"spoilt-{first}.{kind}").write_bytes(raw)
        return
    status = Path("/proc/self/status")
    if status.exists():
        held = next(x for x in status.read_text().splitlines() if x.startswith("VmSize:"))
        limit = int(held.split()[1]) * 1024 + (1 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for entry in campaign(seed, range(first, files)):
        # What even the alarm cannot stop.
        faulthandler.dump_traceback_later(6 * SECONDS, exit=True)
        print(json.dumps(entry), flush=True)


ROWS = {
    "fuzz": Row(
        f"{FILES:,} spoilt STAR, MRC, .cs, .csg, .pkl and .txt files, read in every way there is",
        "each gives particles or an error that names the file; memory at most 4 times the file",
        "-",
        (0,),
        fuzz,
        lambda entries: (
            f"{span(entries, 'failed', '{:.0f}')} failures in "
            f"{span(entries, 'files', '{:.0f}')} files, slowest {span(entries, 'slowest_s')} s"
        ),
    ),
}

if __name__ == "__main__":
    main()
