"""Runs on simulated sets with a known answer."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from napari_cryodrgn.analysis import Run, pca
from napari_cryodrgn.imaging import Map, Molecule, hinge, simulate, trajectory
from napari_cryodrgn.model import CoordinateDecoder, density
from napari_cryodrgn.particles import read, read_volume, write_simulation
from napari_cryodrgn.poses import align_poses
from napari_cryodrgn.training import Settings, Warned, reconstruct

SHARED = Path(__file__).parents[2] / "shared" / "data" / "maps"
MAPS = Path(os.environ.get("NAPARI_CRYODRGN_MAPS", SHARED))
# The ribosome map's header holds no voxel size; the particle is 48 voxels and 250 Å across.
RIBOSOME_VOXEL = 4.92


def _train(
    molecule: Molecule, n: int, box: int, pixel_size: float, seed: int, **settings: Any
) -> tuple[Run, dict[str, np.ndarray], float, list[str]]:
    """Simulate at SNR 0.1 with CTF and shifts to 2 px, train, and open the run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        simulation = simulate(molecule, n, box, pixel_size, snr=0.1, max_shift=2.0, seed=seed)
        particles = read(write_simulation(out / "set", simulation))
        start = time.perf_counter()
        chosen = Settings(output=out / "run", seed=seed, **settings)
        warnings = [e.message for e in reconstruct(chosen, particles) if isinstance(e, Warned)]
        seconds = time.perf_counter() - start
        with np.load(out / "set" / "truth.npz") as archive:
            truth = dict(archive)
        return Run.open(out / "run"), truth, seconds, warnings


def ribosome_from_nothing(seeds: tuple[int, ...] = (101, 102, 103, 104, 105)) -> dict[str, Any]:
    """70S ribosome, 1,000 particles, box 32, 10 Å/px, no poses given, one structure."""
    volume = read_volume(MAPS / "70S_ribosome_65.mrc")
    rows = []
    for seed in seeds:
        molecule = Map(volume.data, RIBOSOME_VOXEL)
        run, truth, seconds, warnings = _train(
            molecule, 1000, 32, 10.0, seed, poses="search", zdim=0
        )
        assert run.rotations is not None
        found = align_poses(torch.from_numpy(run.rotations), torch.from_numpy(truth["rots"]))
        rows.append(
            {
                "seed": seed,
                "median_degrees": round(found.median, 2),
                "under_10_degrees": round(float((found.errors < 10).double().mean()), 3),
                "seconds": round(seconds, 1),
                "warned": bool(warnings),
            }
        )
        print(rows[-1], flush=True)
    return {"rows": rows}


def adk_given(seeds: tuple[int, ...] = (201,)) -> dict[str, Any]:
    """Adenylate kinase closed to open, 3,000 particles, box 64, poses given, zdim 2."""
    rows = []
    for seed in seeds:
        molecule = trajectory(MAPS / "adk_closed_to_open.npz")
        run, truth, seconds, _ = _train(molecule, 3000, 64, 1.5, seed, poses="given", zdim=2)
        assert run.latents is not None
        mu = run.latents.mu
        axes = np.concatenate([mu, pca(mu)[:, :1]], 1)
        rho = [abs(float(spearmanr(axis, truth["t"])[0])) for axis in axes.T]
        rows.append(
            {
                "seed": seed,
                "spearman_axes": [round(r, 3) for r in rho[:-1]],
                "spearman_pc1": round(rho[-1], 3),
                "seconds": round(seconds, 1),
            }
        )
        print(rows[-1], flush=True)
    return {"rows": rows}


def decode_time(repeats: int = 20) -> dict[str, Any]:
    """Time to decode a volume at the default width, after one to warm up."""
    times = {}
    for box in (32, 64, 128):
        volume = hinge().volume(0.5, box, 256 / box)
        decoder = CoordinateDecoder(density(volume, 128), 2, 128, 3, box, volume)
        decoder.decode(torch.zeros(2))
        taken = []
        for i in range(repeats if box < 128 else 5):
            start = time.perf_counter()
            decoder.decode(torch.full((2,), 0.1 * i))
            taken.append(time.perf_counter() - start)
        times[str(box)] = round(float(np.median(taken)), 4)
    return {"seconds": times}
