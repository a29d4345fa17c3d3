"""Rows about the explorer and the window: decoding a volume, pauses while a run trains."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import torch

from napari_cryodrgn.imaging import hinge
from napari_cryodrgn.model import BasisDecoder, CoordinateDecoder, Decoder, density

from .rows import Bench, Entry, Row, span

# Volumes that the basis mixes, beside the mean.
_NODES = 8


def decode(bench: Bench, seed: int) -> Entry:
    """Time to decode a volume after one to warm up: the voxel basis, and the network."""
    entry: Entry = {}
    for box in (32,) if bench.tiny else (32, 64, 128):
        volume = hinge().volume(0.5, box, 256 / box)
        nodes, random = torch.randn(_NODES, 2), torch.randn(_NODES, _NODES)
        decoders: dict[str, Decoder] = {
            "basis": BasisDecoder(volume.repeat(1 + _NODES, 1, 1, 1), nodes, random, torch.ones(2)),
            "network": CoordinateDecoder(density(volume, 128), 2, 128, 3, box, volume),
        }
        for name, decoder in decoders.items():
            decoder.decode(torch.zeros(2))
            taken = []
            for i in range(20 if box < 128 else 5):
                start = time.perf_counter()
                decoder.decode(torch.full((2,), 0.1 * i))
                taken.append(time.perf_counter() - start)
            entry[f"{name}_ms_{box}"] = round(1000 * float(np.median(taken)), 2)
    return entry


def gui(bench: Bench, seed: int) -> Entry:
    """Event-loop gaps while training, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gui_gaps"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


ROWS = {
    "decode": Row(
        "decoding a volume: voxel basis of 9 volumes; network of 3 x 128",
        "64³ under 500 ms",
        "-",
        (0,),
        decode,
        lambda entries: (
            f"64³ {span(entries, 'basis_ms_64', '{:.1f}')} ms from the basis, "
            f"{span(entries, 'network_ms_64', '{:.0f}')} ms from the network"
        ),
    ),
    "gui": Row(
        "pauses of the window while a run trains, software OpenGL",
        "none over 100 ms",
        "-",
        (0,),
        gui,
        lambda entries: (
            f"longest {span(entries, 'max_ms', '{:.0f}')} ms; "
            f"{span(entries, 'over_100_ms', '{:.0f}')} over 100 ms in "
            f"{span(entries, 'seconds', '{:.0f}')} s"
        ),
    ),
}
