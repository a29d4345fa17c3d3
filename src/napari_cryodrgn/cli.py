"""The program without a screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .errors import CryodrgnError, TrainingError

app = typer.Typer(
    help="From cryo-EM particle images to a moving molecule.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True)

_UNKNOWN_VOXEL = 5.0


class PoseMode(StrEnum):
    """Where poses come from."""

    given = "given"
    search = "search"


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@contextmanager
def _messages() -> Iterator[None]:
    """Turn errors meant for the user into one line on standard error and exit status 1."""
    try:
        yield
    except CryodrgnError as error:
        errors.print(f"[red]Error:[/red] {error}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for particles.star, .mrcs and truth.npz.")],
    map_file: Annotated[
        Path | None, typer.Option("--map", help="A still molecule: a density map (MRC).")
    ] = None,
    trajectory: Annotated[
        Path | None,
        typer.Option(help="A moving molecule: .npz with xyz, frames x atoms x 3, in Å."),
    ] = None,
    particles: Annotated[int, typer.Option(min=1, help="Number of images.")] = 1000,
    box: Annotated[int, typer.Option(min=8, help="Box in pixels, even.")] = 64,
    snr: Annotated[float, typer.Option(help="Variance of signal over noise.")] = 0.1,
    max_shift: Annotated[float, typer.Option(help="Largest shift in pixels.")] = 2.0,
    pixel_size: Annotated[
        float | None, typer.Option(help="Å per pixel; fits the molecule if absent.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Simulate particles of a molecule with a known answer, by default a built-in moving one."""
    from . import imaging
    from .particles import read_volume, write_simulation

    with _messages():
        if map_file and trajectory:
            raise TrainingError("--map and --trajectory: give one of them, not both.")
        molecule: imaging.Molecule
        if map_file:
            volume = read_volume(map_file)
            voxel = volume.pixel_size
            if voxel is None:
                voxel = _UNKNOWN_VOXEL
                console.print(f"{map_file}: voxel size unknown; {voxel:g} Å is assumed.")
            extent = len(volume.data) * voxel
            molecule = imaging.Map(volume.data, voxel)
        else:
            molecule = imaging.trajectory(trajectory) if trajectory else imaging.hinge()
            extent = molecule.extent / 0.75
        size = pixel_size or round(extent / box, 2)
        try:
            simulation = imaging.simulate(
                molecule, particles, box, size, snr=snr, max_shift=max_shift, seed=seed
            )
        except ValueError as error:
            raise TrainingError(f"simulate: {error}.") from error
        with _bar() as bar:
            task = bar.add_task("Simulating", total=particles)
            star = write_simulation(out, simulation, lambda n, _: bar.update(task, completed=n))
        console.print(
            f"{star}: {particles} particles, box {box}, {size:g} Å/px, SNR {snr:g}, seed {seed}"
        )


@app.command()
def train(
    particles: Annotated[Path, typer.Argument(help="Particles: .star, .mrcs or .mrc.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder.")],
    poses: Annotated[
        PoseMode | None, typer.Option(help="Use the file's poses, or search; default: if it has.")
    ] = None,
    zdim: Annotated[int, typer.Option(min=0, help="Latent dimensions; 0: one structure.")] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the VAE.")] = None,
    box: Annotated[int | None, typer.Option(help="Crop to this box in Fourier space.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[Device, typer.Option()] = Device.auto,
    data_folder: Annotated[
        Path | None, typer.Option(help="Where to look for stacks named in the STAR file.")
    ] = None,
    max_shift: Annotated[
        float | None, typer.Option(help="Largest shift searched, in pixels; 8 % of the box.")
    ] = None,
    refine_poses: Annotated[
        bool, typer.Option("--refine-poses", help="Refine the file's poses locally first.")
    ] = False,
    invert: Annotated[bool, typer.Option("--invert", help="Particles are dark on light.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
) -> None:
    """Infer poses, latents and volumes from particle images."""
    from .particles import read
    from .training import Settings

    with _messages():
        found = read(particles, data_folder)
        mode = poses.value if poses else ("given" if found.has_poses else "search")
        try:
            settings = Settings.model_validate(
                {
                    "output": output,
                    "poses": mode,
                    "zdim": zdim,
                    "epochs": epochs,
                    "box": box,
                    "seed": seed,
                    "device": device.value,
                    "max_shift": max_shift,
                    "invert_contrast": invert,
                    "refine_poses": refine_poses,
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            name = "--" + str(first["loc"][0]).replace("_", "-")
            raise TrainingError(f"{name}: {first['msg']}.") from error
        follow(settings, found, resume=resume)


def follow(settings: object, found: object, *, resume: bool = False) -> None:
    """Run a reconstruction to its end with a progress bar."""
    from .particles import ParticleSet
    from .training import (
        EpochDone,
        RunFinished,
        RunStarted,
        Settings,
        StageStarted,
        StepDone,
        Warned,
        reconstruct,
    )

    assert isinstance(settings, Settings)
    assert isinstance(found, ParticleSet)
    with _bar() as bar:
        task = bar.add_task("Reading particles", total=1.0)
        for event in reconstruct(settings, found, resume=resume):
            match event:
                case RunStarted():
                    bar.console.print(
                        f"{event.n_particles} particles, box {event.box}, "
                        f"{event.pixel_size:.3g} Å/px, on {event.device}"
                    )
                case StageStarted():
                    bar.update(task, description=event.title)
                case StepDone():
                    bar.update(task, completed=event.fraction)
                case EpochDone():
                    bar.console.print(
                        f"{event.stage}: pass {event.epoch}, loss {event.total:.4f}, "
                        f"reconstruction {event.reconstruction:.4f}, KL {event.kl:.3f}"
                    )
                case Warned():
                    bar.console.print(f"[yellow]Warning:[/yellow] {event.message}")
                case RunFinished():
                    bar.update(task, completed=1.0)
                    bar.console.print(f"{event.folder}: finished in {event.seconds:.0f} s")
                case _:
                    pass


@app.command()
def decode(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Volume to write (MRC).")],
    z: Annotated[str | None, typer.Option(help="Latent, as in 0.1,-0.3")] = None,
    particle: Annotated[
        int | None, typer.Option(help="Number of a particle, from 0, whose latent to decode.")
    ] = None,
) -> None:
    """Decode the volume at a latent into an MRC file."""
    from .analysis import Run
    from .particles import write_volume

    with _messages():
        opened = Run.open(run)
        if (z is None) == (particle is None) and opened.zdim:
            raise TrainingError("decode: give either --z or --particle.")
        if opened.zdim == 0:
            latent: list[float] = []
        elif z is not None:
            try:
                latent = [float(part) for part in z.split(",")]
            except ValueError:
                raise TrainingError(f"--z: expected numbers such as 0.1,-0.3, got {z!r}.") from None
        else:
            assert particle is not None
            if opened.latents is None:
                raise TrainingError(f"{run}: z.pkl is not there yet. Wait for the first epoch.")
            n = len(opened.latents.mu)
            if not 0 <= particle < n:
                raise TrainingError(f"--particle: expected 0 to {n - 1}, got {particle}.")
            latent = opened.latents.mu[particle].tolist()
        write_volume(output, opened.decode(latent), opened.pixel_size)
        console.print(f"{output}: box {opened.box}, {opened.pixel_size:.3g} Å/px")


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A stack, STAR, volume or run folder.")],
) -> None:
    """Print what a reader sees in a file or run folder."""
    from .analysis import Run
    from .particles import mrc_kind, read, read_volume

    with _messages():
        if path.is_dir():
            run = Run.open(path)
            rows = {
                "run": str(run.folder),
                "particles": str(run.n_particles),
                "box": f"{run.box} px, {run.pixel_size:.4g} Å/px",
                "latent": f"{run.zdim} dimensions" if run.zdim else "none: one structure",
                "poses": str(run.settings.get("poses")),
                "state": "finished" if run.finished else f"in progress, pass {run.epoch}",
            }
        elif path.suffix.lower() == ".map" or (
            path.suffix.lower() == ".mrc" and path.is_file() and mrc_kind(path) == "volume"
        ):
            volume = read_volume(path)
            size = "unknown" if volume.pixel_size is None else f"{volume.pixel_size:.4g} Å"
            rows = {
                "volume": str(path),
                "box": " x ".join(map(str, volume.data.shape)),
                "voxel size": size,
                "values": f"{volume.data.min():.4g} to {volume.data.max():.4g}",
            }
        else:
            rows = read(path).describe()
        table = Table(show_header=False, box=None)
        for name, value in rows.items():
            table.add_row(f"[bold]{name}[/bold]", value)
        console.print(table)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("demo-output"),
) -> None:
    """Simulate a moving molecule, reconstruct it from nothing, and explore it in napari."""
    try:
        from .demo import run_demo
    except ImportError as error:
        errors.print(
            f"[red]Error:[/red] the demo needs napari and Qt ({error}). "
            'Install them with: pip install "napari-cryodrgn[gui]"'
        )
        raise typer.Exit(1) from error
    interactive = sys.stdout is not None and not os.environ.get("NAPARI_CRYODRGN_HEADLESS")
    with _messages():
        run_demo(output, stay_open=interactive)
