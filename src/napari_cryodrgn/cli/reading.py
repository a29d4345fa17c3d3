"""Options of every command that reads particles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataFolder = Annotated[
    Path | None, typer.Option(help="Where to look for stacks named in the file.")
]
Passthrough = Annotated[
    list[Path] | None,
    typer.Option(help="cryoSPARC's further .cs file of the same particles; may be repeated."),
]
Poses = Annotated[
    Path | None, typer.Option(help="cryoDRGN's .pkl of poses, such as a run's pose.pkl.")
]
Ctf = Annotated[Path | None, typer.Option(help="cryoDRGN's .pkl of CTF parameters.")]
Indices = Annotated[Path | None, typer.Option(help="Which particles: cryoDRGN's .pkl of indices.")]
AmplitudeContrast = Annotated[
    float | None, typer.Option(min=0, max=1, help="If the file has none; 0.1 is usual.")
]
PixelSize = Annotated[float | None, typer.Option(min=0.01, help="Å per pixel, if no file says.")]
