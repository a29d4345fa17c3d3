"""Rows about exploring a run: volumes at a click and along a path, of networks of 256 x 3."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_cryodrgn.analysis import Run
from napari_cryodrgn.imaging import hinge
from napari_cryodrgn.model import CoordinateDecoder, Decoder, density
from napari_cryodrgn.model.cryodrgn_weights import decoder_of_training
from napari_cryodrgn.particles import read_volume

from .peer import PYTHON, install, write_inputs
from .rows import Bench, Entry, Row, span
from .sets import make

_WIDTH, _LAYERS, _ZDIM = 256, 3, 8
_STEPS = 20


def own_network(box: int) -> Decoder:
    """A network on top of a consensus, as this program trains it; untrained."""
    volume = hinge().volume(0.5, box, 256 / box)
    return CoordinateDecoder(density(volume, 128), _ZDIM, _WIDTH, _LAYERS, box, volume)


def cryodrgn_network(box: int) -> Decoder:
    """A network with cryoDRGN's defaults, untrained: as many random features as its box has."""
    sizes = [3 * box + _ZDIM, *[_WIDTH] * (_LAYERS + 1), 2]
    state: dict[str, Tensor] = {"rand_freqs": torch.randn(3 * (box // 2), 3) / 2}
    for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layer = f"decoder.main.{2 * i}." + ("linear." if n == m else "")
        state |= {f"{layer}weight": torch.randn(m, n) / n**0.5, f"{layer}bias": torch.randn(m)}
    args = {"pe_type": "gaussian", "zdim": _ZDIM}
    return decoder_of_training(state, args, box, (0.0, 1.0))


def decode_click(bench: Bench, seed: int) -> Entry:
    """Time to decode a volume: the first of a run, and those after it, each at another z.

    A volume of 32 is that of a network for a box of 64, as while dragging.
    """
    torch.manual_seed(seed)
    entry: Entry = {}
    for name, network in (("own", own_network), ("cryodrgn", cryodrgn_network)):
        for full, boxes in ((32, (16, 32)),) if bench.tiny else ((64, (32, 64)), (128, (128,))):
            decoder = network(full).eval()
            for box in boxes:
                start = time.perf_counter()
                decoder.decode(torch.zeros(_ZDIM), box=box)
                entry[f"{name}_first_ms_{box}"] = _ms(time.perf_counter() - start)
                taken = []
                for _ in range(20 if box < 128 else 5):
                    z = torch.randn(_ZDIM)
                    start = time.perf_counter()
                    decoder.decode(z, box=box)
                    taken.append(time.perf_counter() - start)
                entry[f"{name}_ms_{box}"] = _ms(float(np.median(taken)))
                entry[f"{name}_worst_ms_{box}"] = _ms(max(taken))
    return entry


def decode_path(bench: Bench, seed: int) -> Entry:
    """Volumes along a path against ``cryodrgn eval_vol``, with weights that cryoDRGN has trained.

    Ours from opening the run to the last volume. Theirs is the command as a user runs it; what it
    takes without its start is found from that and from the command for one volume.
    """
    install()
    folder = _trained(bench, seed)
    start = time.perf_counter()
    run = Run.open(folder)
    assert run.latents is not None
    mu = run.latents.mu
    # Between the particles at the ends of the longest axis.
    order = np.argsort(mu[:, mu.std(0).argmax()])
    path = np.linspace(mu[order[0]], mu[order[-1]], _STEPS)
    volumes = np.stack([run.decode(z) for z in path])
    seconds = time.perf_counter() - start
    theirs, found = _eval_vol(folder, path, bench.folder / "path")
    one, _ = _eval_vol(folder, path[:1], bench.folder / "one")
    without_start = (theirs - one) * _STEPS / (_STEPS - 1)
    errors = np.linalg.norm((volumes - found).reshape(_STEPS, -1), axis=1)
    errors /= np.linalg.norm(found.reshape(_STEPS, -1), axis=1)
    return {
        "box": run.box,
        "seconds": round(seconds, 2),
        "cryodrgn_seconds": round(theirs, 2),
        "cryodrgn_seconds_without_start": round(without_start, 2),
        "ratio": round(theirs / seconds, 1),
        "ratio_without_start": round(without_start / seconds, 1),
        "difference": float(f"{errors.max():.2g}"),
    }


def explore(bench: Bench, seed: int) -> Entry:
    """Clicks and a drag in a viewer, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.explorer_drag", "32" if bench.tiny else "64"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


def _trained(bench: Bench, seed: int) -> Path:
    """A run of cryoDRGN's ``train_vae`` of one epoch."""
    # How well it is trained does not matter here.
    star, _ = make("swing64", seed, bench.folder / "set", n=300, box=32 if bench.tiny else 64)
    files = write_inputs(star, bench.folder / "inputs")
    out = bench.folder / "cryodrgn"
    command = [
        *(PYTHON.with_name("cryodrgn"), "train_vae", files["particles"], "-o", out),
        *("--poses", files["poses"], "--ctf", files["ctf"], "--zdim", _ZDIM, "--seed", seed),
        *("--enc-dim", _WIDTH, "--dec-dim", _WIDTH, "-n", 1, "--no-analysis", "--uninvert-data"),
    ]
    with (bench.folder / "train.txt").open("w") as log:
        subprocess.run([str(c) for c in command], stdout=log, stderr=log, check=True)
    return out


def _eval_vol(folder: Path, path: np.ndarray, out: Path) -> tuple[float, np.ndarray]:
    """Seconds that ``cryodrgn eval_vol`` takes for the latents of a path, and its volumes."""
    zfile = out.with_suffix(".txt")
    np.savetxt(zfile, path)
    command = [
        *(PYTHON.with_name("cryodrgn"), "eval_vol", folder / "weights.pkl"),
        *("-c", folder / "config.yaml", "--zfile", zfile, "-o", out),
    ]
    start = time.perf_counter()
    with out.with_suffix(".log").open("w") as log:
        subprocess.run([str(c) for c in command], stdout=log, stderr=log, check=True)
    seconds = time.perf_counter() - start
    return seconds, np.stack([read_volume(p).data for p in sorted(out.glob("vol_*.mrc"))])


ROWS = {
    "explore": Row(
        "from the mouse to the volume on the screen: network of 256 x 3, box 64, software OpenGL",
        "while dragging 15 volumes a second of 32³; a picture 50 ms after a click, kept ones 30 ms",
        "-",
        (0, 1, 2),
        explore,
        lambda entries: (
            f"{span(entries, 'drag_volumes_per_s', '{:.0f}')} volumes a second of "
            f"{span(entries, 'drag_box', '{:.0f}')}³; after a click the first picture is ready in "
            f"{span(entries, 'ready_ms', '{:.0f}')} ms and drawn in "
            f"{span(entries, 'first_picture_ms', '{:.0f}')} ms, the full box in "
            f"{span(entries, 'full_ms', '{:.0f}')} ms, a kept one ready in "
            f"{span(entries, 'kept_ready_ms', '{:.0f}')} and drawn in "
            f"{span(entries, 'kept_ms', '{:.0f}')} ms"
        ),
    ),
    "decode_click": Row(
        "decoding a volume of a network of 256 x 3, of this program's and of cryoDRGN's form",
        "32³ 15 a second, 64³ under 250 ms, 128³ under 2 s",
        "32³ in 50 ms, the first of a run too",
        (0,),
        decode_click,
        lambda entries: "; ".join(
            f"{name} {span(entries, f'{key}_ms_32', '{:.0f}')}, "
            f"{span(entries, f'{key}_ms_64', '{:.0f}')}, "
            f"{span(entries, f'{key}_ms_128', '{:.0f}')} ms"
            for name, key in (("own", "own"), ("cryoDRGN's", "cryodrgn"))
        ),
    ),
    "decode_path": Row(
        "20 volumes of 64³ along a path, a network of 256 x 3 that cryodrgn 4.3.1 has trained",
        "5 times faster than `cryodrgn eval_vol`, equal to 1e-3",
        "-",
        (1000,),
        decode_path,
        lambda entries: (
            f"{span(entries, 'seconds', '{:.1f}')} s, {span(entries, 'ratio', '{:.1f}')} times "
            f"faster than the command, {span(entries, 'ratio_without_start', '{:.1f}')} times "
            f"without its start; they differ by {span(entries, 'difference', '{:.0e}')}"
        ),
    ),
}
