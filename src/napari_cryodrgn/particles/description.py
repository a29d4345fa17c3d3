"""What is known of particles, in words."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_cryodrgn.imaging import CTFParameters

from .cs_table import CsTable
from .tables import ParticleTable

# RELION 4 writes 3.1's number.
_VERSION = re.compile(r"#\s*version\s+([0-9])[0-9]{4}\b")


def facts(
    source: Path,
    table: ParticleTable | CsTable | None,
    n: int,
    box: int | None,
    pixel_size: float | None,
    ctf: CTFParameters | None,
    has_poses: bool,
    optics_groups: NDArray[np.intp] | None,
    half_sets: NDArray[np.int8] | None,
    dark: bool | None,
) -> dict[str, str]:
    """Label and text of what a person wants to know of N particles at a glance."""
    edge = "unknown" if box is None else f"{box} px"
    if box is not None and pixel_size is not None:
        edge += f" ({box * pixel_size:.1f} Å)"
    known = {
        "File": str(source),
        "Format": _format(source, table),
        "Particles": f"{n:,}",
        "Box": edge,
        "Pixel size": "unknown" if pixel_size is None else f"{pixel_size:.4g} Å",
        "CTF": _ctf(ctf),
        "Poses": "given" if has_poses else "none",
        "Optics groups": "not given" if optics_groups is None else _counts(optics_groups),
        "Half sets": "none" if half_sets is None else _counts(half_sets),
    }
    if dark is not None:
        known["Contrast"] = "dark particles: invert them" if dark else "bright particles"
    return known


def _format(source: Path, table: ParticleTable | CsTable | None) -> str:
    if isinstance(table, CsTable):
        others = ", ".join(file.path.name for file in table.passthrough)
        return "cryoSPARC" + (f", with {others}" if others else "")
    if table is None:
        return "list of stacks" if source.suffix.lower() == ".txt" else "MRC stack"
    found = [_VERSION.match(c) for block in table.blocks for c in block.comments]
    newest = max((int(match[1]) for match in found if match), default=0)
    return f"RELION STAR, version {newest if newest > 3 else table.version}"


def _ctf(ctf: CTFParameters | None) -> str:
    if ctf is None:
        return "none"
    if not len(ctf):
        return "given"
    mean = (ctf.defocus_u + ctf.defocus_v) / 2e4
    voltages = ", ".join(f"{v:g}" for v in np.unique(ctf.voltage))
    return f"defocus {mean.min():.2f} to {mean.max():.2f} µm, {voltages} kV"


def _counts(kind: NDArray[np.intp] | NDArray[np.int8]) -> str:
    """How many kinds there are, and how many particles of each if they are few."""
    counts = np.unique(kind, return_counts=True)[1]
    each = f" ({', '.join(f'{count:,}' for count in counts)})" if 1 < len(counts) <= 6 else ""
    return f"{len(counts)}{each}"
