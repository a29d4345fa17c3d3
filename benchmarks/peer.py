"""cryodrgn 4.3.1 on the same images: in its own environment, by its own files and commands."""

from __future__ import annotations

import json
import pickle
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles import ParticleSet, read, read_latents, write_poses

from .scores import rank_correlation
from .sets import Truth

HERE = Path(__file__).parent
PYTHON = HERE.parent / ".venv-cryodrgn" / "bin" / "python"
_POLL = 0.5


def install() -> None:
    """Make its environment, if that is not there yet."""
    subprocess.run([HERE / "install-cryodrgn.sh"], check=True)


def write_inputs(star: Path, folder: Path) -> dict[str, Path]:
    """Its ``poses.pkl`` and ``ctf.pkl`` for a set of ours; the stack is read as it is."""
    particles = read(star)
    assert particles.rotations is not None
    assert particles.shifts is not None
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.pkl" for name in ("poses", "ctf")}
    write_poses(files["poses"], particles.rotations, particles.shifts, particles.box)
    files["ctf"].write_bytes(pickle.dumps(_ctf_table(particles)))
    return files | {"particles": star.with_name("particles.mrcs")}


def _ctf_table(particles: ParticleSet) -> np.ndarray:
    """(N, 9): box, Å per pixel, defocus U, V and angle, kV, Cs, amplitude contrast, phase shift."""
    ctf = particles.ctf
    assert ctf is not None
    columns = [
        np.full(len(particles), particles.box),
        np.full(len(particles), particles.pixel_size),
        ctf.defocus_u,
        ctf.defocus_v,
        ctf.defocus_angle,
        ctf.voltage,
        ctf.spherical_aberration,
        ctf.amplitude_contrast,
        ctf.phase_shift,
    ]
    return np.stack(columns, 1).astype(np.float32)


def pose_search_time(star: Path, folder: Path, **job: Any) -> dict[str, float]:
    """Seconds per image of its ``PoseSearch``; ``job`` as in ``peer_search``."""
    install()
    files = write_inputs(star, folder)
    path = folder / "search.json"
    path.write_text(json.dumps(job | {k: str(v) for k, v in files.items()}))
    command = [PYTHON, HERE / "peer_search.py", path]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def train_vae_until(
    star: Path,
    folder: Path,
    truth: Truth,
    level: float,
    seed: int,
    limit_cpu: float,
    *,
    width: int = 256,
) -> dict[str, Any]:
    """Run its ``train_vae`` until the latents rank the particles as well as ``level`` says.

    Looked at after every epoch, as a user would; then, or after ``limit_cpu`` processor seconds, it
    is ended. ``cpu_seconds`` is what it took until then, ``curve`` holds (processor seconds,
    |Spearman|) of each epoch.
    """
    install()
    files = write_inputs(star, folder)
    out = folder / "out"
    command = [
        *(PYTHON.with_name("cryodrgn"), "train_vae", files["particles"], "-o", out),
        *("--poses", files["poses"], "--ctf", files["ctf"], "--zdim", "1", "--seed", seed),
        *("--enc-dim", width, "--dec-dim", width, "-n", 200, "--no-analysis", "--uninvert-data"),
    ]
    began = time.perf_counter()
    curve: list[tuple[float, float]] = []
    reached: tuple[float | None, float | None] = (None, None)
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=subprocess.STDOUT)
        watched = psutil.Process(process.pid)
        cpu = 0.0
        try:
            while reached[0] is None and cpu < limit_cpu:
                if process.poll() is not None:
                    raise RuntimeError(f"cryodrgn ended with {process.returncode}: see {log.name}")
                time.sleep(_POLL)
                times = watched.cpu_times()
                cpu, seconds = times.user + times.system, time.perf_counter() - began
                path = out / f"z.{len(curve) + 1}.pkl"
                if not path.is_file():
                    continue
                try:
                    mu, _ = read_latents(path)
                except ParticleFileError:
                    continue  # still being written
                curve.append((round(cpu, 1), round(rank_correlation(mu, truth.t), 4)))
                if curve[-1][1] >= level:
                    reached = (round(cpu, 1), round(seconds, 1))
        finally:
            process.terminate()
            process.wait()
    return {
        "cpu_seconds": round(cpu, 1),
        "cpu_seconds_to_level": reached[0],
        "seconds_to_level": reached[1],
        "spearman": curve[-1][1] if curve else None,
        "curve": curve,
    }
