"""Commands about runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from ..errors import CryodrgnError, TrainingError
from .output import bar as progress_bar
from .output import console, messages
from .reading import AmplitudeContrast, Ctf, DataFolder, Indices, Passthrough, PixelSize


class PoseMode(StrEnum):
    """Where poses come from."""

    given = "given"
    search = "search"


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def train(
    particles: Annotated[Path, typer.Argument(help="Particles: .star, .cs, .mrcs, .mrc or .txt.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder.")],
    poses: Annotated[
        PoseMode | None, typer.Option(help="Use the file's poses, or search; default: if it has.")
    ] = None,
    zdim: Annotated[int, typer.Option(min=0, help="Latent dimensions; 0: one structure.")] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the VAE.")] = None,
    box: Annotated[int | None, typer.Option(help="Crop to this box in Fourier space.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[Device, typer.Option()] = Device.auto,
    max_shift: Annotated[
        float | None, typer.Option(help="Largest shift searched, in pixels; 8 % of the box.")
    ] = None,
    refine_poses: Annotated[
        bool, typer.Option("--refine-poses", help="Refine the file's poses locally first.")
    ] = False,
    invert: Annotated[
        bool | None, typer.Option(help="Particles are dark on light; default: if the file says so.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    data_folder: DataFolder = None,
    passthrough: Passthrough = None,
    pose_file: Annotated[
        Path | None, typer.Option(help="cryoDRGN's .pkl of poses, in place of the file's.")
    ] = None,
    ctf: Ctf = None,
    indices: Indices = None,
    amplitude_contrast: AmplitudeContrast = None,
    pixel_size: PixelSize = None,
) -> None:
    """Infer poses, latents and volumes from particle images."""
    from ..particles import read
    from ..training import Settings

    with messages():
        found = read(
            particles,
            data_folder,
            amplitude_contrast=amplitude_contrast,
            pixel_size=pixel_size,
            passthrough=passthrough or (),
            poses=pose_file,
            ctf=ctf,
            indices=indices,
        )
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
                    "invert_contrast": bool(found.dark) if invert is None else invert,
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
    from ..particles import ParticleSet
    from ..training import (
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
    with progress_bar() as bar:
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


def decode(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Volume to write (MRC).")],
    z: Annotated[str | None, typer.Option(help="Latent, as in 0.1,-0.3")] = None,
    particle: Annotated[
        int | None, typer.Option(help="Number of a particle, from 0, whose latent to decode.")
    ] = None,
) -> None:
    """Decode the volume at a latent into an MRC file."""
    from ..analysis import Run
    from ..particles import write_volume

    with messages():
        opened = Run.open(run)
        if (z is None) == (particle is None) and opened.zdim:
            raise CryodrgnError("decode: give either --z or --particle.")
        if opened.zdim == 0:
            latent: list[float] = []
        elif z is not None:
            try:
                latent = [float(part) for part in z.split(",")]
            except ValueError:
                raise CryodrgnError(f"--z: expected numbers such as 0.1,-0.3, got {z!r}.") from None
        else:
            assert particle is not None
            if opened.latents is None:
                raise CryodrgnError(f"{run}: z.pkl is not there yet. Wait for the first epoch.")
            n = len(opened.latents.mu)
            if not 0 <= particle < n:
                raise CryodrgnError(f"--particle: expected 0 to {n - 1}, got {particle}.")
            latent = opened.latents.mu[particle].tolist()
        write_volume(output, opened.decode(latent), opened.pixel_size)
        size = opened.pixel_size
        known = "unknown pixel size" if size is None else f"{size:.3g} Å/px"
        console.print(f"{output}: box {opened.box}, {known}")
