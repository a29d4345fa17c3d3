"""The program without a screen."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from .output import errors, messages
from .particles import export, info, preprocess, simulate
from .training import decode, train

app = typer.Typer(
    help="From cryo-EM particle images to a moving molecule.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _command in (info, simulate, preprocess, train, decode, export):
    app.command()(_command)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("demo-output"),
) -> None:
    """Simulate a moving molecule, reconstruct it from nothing, and explore it in napari."""
    try:
        from ..demo import run_demo
    except ImportError as error:
        errors.print(
            f"[red]Error:[/red] the demo needs napari and Qt ({error}). "
            'Install them with: pip install "napari-cryodrgn[gui]"'
        )
        raise typer.Exit(1) from error
    interactive = sys.stdout is not None and not os.environ.get("NAPARI_CRYODRGN_HEADLESS")
    with messages():
        run_demo(output, stay_open=interactive)
