"""Runs every benchmark and writes ``benchmarks/RESULTS.md``.

``python -m benchmarks [NAME ...]`` runs some of them only; the others keep their last figures.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .goals import REPORTS
from .runs import adk_given, decode_time, ribosome_from_nothing

HERE = Path(__file__).parent
FIGURES = HERE / "results.json"


def gui_gaps() -> dict[str, Any]:
    """Event-loop gaps while training, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gui_gaps"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "ribosome": ribosome_from_nothing,
    "adk": adk_given,
    "decode": decode_time,
    "gui": gui_gaps,
}


def hardware() -> str:
    """What the figures were measured on."""
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


def main() -> None:
    """Run what is asked for and write the table."""
    names = sys.argv[1:] or list(BENCHMARKS)
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in names:
        print(f"{name} ...", flush=True)
        figures[name] = {**BENCHMARKS[name](), "hardware": hardware()}
        print(json.dumps(figures[name]), flush=True)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    lines = ["# Results", "", "Written by `make bench`; every figure is of the run described.", ""]
    for name, report in REPORTS.items():
        if name in figures:
            lines += [*report(figures[name]), f"Hardware: {figures[name]['hardware']}.", ""]
    (HERE / "RESULTS.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
