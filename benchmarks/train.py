"""One run in a process of its own, so that its processor time and memory are its own.

``python -m benchmarks.train JOB.json``; ``train`` is the other end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.analysis import Run

from .memory import peak_mib


@dataclass(frozen=True)
class Outcome:
    """A finished run and what it took.

    ``seconds`` from the images on disk to the finished folder; ``cpu_seconds`` and ``peak_mib``
    (resident memory) of the whole process; ``latents`` holds (seconds, cpu_seconds, mu) each time
    that the latents were updated, ``stages`` the seconds of each stage.
    """

    run: Run
    seconds: float
    cpu_seconds: float
    peak_mib: float
    warnings: list[str]
    stages: dict[str, float]
    latents: list[tuple[float, float, NDArray[np.float32]]]

    @property
    def cost(self) -> dict[str, Any]:
        """Time, memory and warnings, as they are written to the results."""
        return {
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 1),
            "peak_mib": round(self.peak_mib),
            "stages": {k: round(v, 1) for k, v in self.stages.items()},
            "warnings": self.warnings,
        }


def train(star: Path, folder: Path, **settings: Any) -> Outcome:
    """Run ``reconstruct`` with ``settings`` in a process of its own, output in ``folder``."""
    beside = folder.with_name(f"{folder.name}-job")
    beside.mkdir(parents=True)
    job = beside / "job.json"
    job.write_text(json.dumps({"star": str(star), "output": str(folder), "settings": settings}))
    subprocess.run([sys.executable, "-m", __name__, str(job)], check=True)
    told = json.loads((beside / "outcome.json").read_text())
    with np.load(beside / "latents.npz") as archive:
        updates = zip(told.pop("latents_at"), archive.values(), strict=True)
        latents = [(seconds, cpu, mu) for (seconds, cpu), mu in updates]
    return Outcome(Run.open(folder), **told, latents=latents)


def _main(job: Path) -> None:
    from napari_cryodrgn.particles import read
    from napari_cryodrgn.training import (
        LatentUpdated,
        Settings,
        StageStarted,
        Warned,
        reconstruct,
    )

    told = json.loads(job.read_text())
    settings = Settings(output=Path(told["output"]), **told["settings"])
    began = time.perf_counter()
    warnings: list[str] = []
    stages: list[tuple[str, float]] = []
    at: list[tuple[float, float]] = []
    latents = []
    for event in reconstruct(settings, read(told["star"])):
        now = time.perf_counter() - began
        if isinstance(event, Warned):
            warnings.append(event.message)
        elif isinstance(event, StageStarted):
            stages.append((event.title, now))
        elif isinstance(event, LatentUpdated):
            at.append((now, time.process_time()))
            latents.append(event.mu)
    seconds = time.perf_counter() - began
    ends = [start for _, start in stages[1:]] + [seconds]
    np.savez(job.with_name("latents.npz"), *latents)
    outcome = {
        "seconds": seconds,
        "cpu_seconds": time.process_time(),
        "peak_mib": peak_mib(),
        "warnings": warnings,
        "stages": {s: end - start for (s, start), end in zip(stages, ends, strict=True)},
        "latents_at": at,
    }
    job.with_name("outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
