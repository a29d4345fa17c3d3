"""Measures the rows of the table; writes ``results.json``, ``RESULTS.md`` and the plots.

``python -m benchmarks [NAME ...]`` measures some rows only; the others keep their last figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from napari_cryodrgn.errors import CryodrgnError

from . import (
    evidence_row,
    explore_rows,
    files_rows,
    fuzz,
    map_rows,
    motion_rows,
    other_rows,
    poses_rows,
    recon_rows,
    report,
    scaling_rows,
    sphere_row,
    validity_row,
)
from .rows import Bench, Row

ROWS: dict[str, Row] = {
    **poses_rows.ROWS,
    **recon_rows.ROWS,
    **motion_rows.ROWS,
    **scaling_rows.ROWS,
    **files_rows.ROWS,
    **explore_rows.ROWS,
    **map_rows.ROWS,
    **evidence_row.ROWS,
    **sphere_row.ROWS,
    **validity_row.ROWS,
    **other_rows.ROWS,
    **fuzz.ROWS,
}
HERE = Path(__file__).parent
IMAGES = HERE.parent / "docs" / "images"


def hardware() -> str:
    """What the figures are measured on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            x.split(":", 1)[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        model = names[0] if names else model
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    return (
        f"{os.cpu_count()} cores ({model}), {gpu}, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def measured(row: Row, tiny: bool) -> Iterator[dict[str, Any]]:
    """One entry per seed; a seed that fails says why and does not keep the others from running."""
    for seed in row.seeds[:1] if tiny else row.seeds:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                entry = row.measure(Bench(Path(folder), tiny), seed)
            except (CryodrgnError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
                entry = {"error": f"{type(error).__name__}: {error}"}
        yield {"seed": seed, **entry, "minutes": round((time.perf_counter() - start) / 60, 2)}


def main() -> None:
    """Measure what is asked for; everything is written after each entry."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seeds", type=int, nargs="+", help="other seeds than the rows' own")
    parser.add_argument(
        "--tiny", action="store_true", help="sets of 200 particles, to see that all of it runs"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for results and plots; the repository's own if absent"
    )
    chosen = parser.parse_args()
    unknown = [n for n in chosen.names if n not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if chosen.tiny and chosen.out is None:
        parser.error("--tiny needs --out: its figures mean nothing")
    out, images = (chosen.out, chosen.out) if chosen.out else (HERE, IMAGES)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    # What a row has started ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    start, failed = time.perf_counter(), False
    for name in chosen.names or ROWS:
        row = ROWS[name].with_seeds(tuple(chosen.seeds)) if chosen.seeds else ROWS[name]
        results[name] = {"hardware": hardware(), "entries": []}
        for entry in measured(row, chosen.tiny):
            minutes = (time.perf_counter() - start) / 60
            print(f"[{minutes:5.1f} min] {name} {json.dumps(entry)}", flush=True)
            failed |= "error" in entry
            results[name]["entries"].append(entry)
            path.write_text(json.dumps(results, indent=1) + "\n")
            (out / "RESULTS.md").write_text(report.markdown(ROWS, results))
    report.plots(results, images)
    sys.exit(failed)


if __name__ == "__main__":
    main()
