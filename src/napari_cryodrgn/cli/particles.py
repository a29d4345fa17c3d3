"""Commands about files of particles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import CryodrgnError, ParticleFileError
from .output import bar as progress_bar
from .output import console, messages
from .reading import (
    AmplitudeContrast,
    Ctf,
    DataFolder,
    Indices,
    Passthrough,
    PixelSize,
    Poses,
)

_UNKNOWN_VOXEL = 5.0


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
    from .. import imaging
    from ..particles import read_volume, write_simulation

    with messages():
        if map_file and trajectory:
            raise CryodrgnError("--map and --trajectory: give one of them, not both.")
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
            raise CryodrgnError(f"simulate: {error}.") from error
        with progress_bar() as bar:
            task = bar.add_task("Simulating", total=particles)
            star = write_simulation(out, simulation, lambda n, _: bar.update(task, completed=n))
        console.print(
            f"{star}: {particles} particles, box {box}, {size:g} Å/px, SNR {snr:g}, seed {seed}"
        )


def preprocess(
    file: Annotated[Path, typer.Argument(help="Particles: .star, .mrcs, .mrc, .txt or .cs.")],
    out: Annotated[Path, typer.Argument(help="Folder for particles.star and .mrcs.")],
    box: Annotated[int | None, typer.Option(help="Crop to this box in Fourier space.")] = None,
    normalise: Annotated[
        bool, typer.Option(help="Background to mean 0 and standard deviation 1.")
    ] = True,
    window: Annotated[
        bool, typer.Option(help="Fade out towards the corners; not for training.")
    ] = False,
    invert: Annotated[
        bool | None, typer.Option(help="Turn the contrast; default: if the file says dark.")
    ] = None,
    data_folder: DataFolder = None,
    passthrough: Passthrough = None,
    poses: Poses = None,
    ctf: Ctf = None,
    indices: Indices = None,
    amplitude_contrast: AmplitudeContrast = None,
    pixel_size: PixelSize = None,
) -> None:
    """Write a smaller, normalised set; goes on where it was interrupted."""
    from ..particles import PreprocessSettings, read
    from ..particles import preprocess as run

    with messages(), progress_bar() as bar:
        found = read(
            file,
            data_folder,
            amplitude_contrast=amplitude_contrast,
            pixel_size=pixel_size,
            passthrough=passthrough or (),
            poses=poses,
            ctf=ctf,
            indices=indices,
        )
        turned = bool(found.dark) if invert is None else invert
        settings = PreprocessSettings(box=box, window=window, normalise=normalise, invert=turned)
        task = bar.add_task("Preprocessing", total=1.0)
        for step in run(found, out, settings):
            if isinstance(step, float):
                bar.update(task, completed=step)
            else:
                bar.console.print(f"{step.source}: {len(step)} particles, box {step.box}")


def info(
    path: Annotated[Path, typer.Argument(help="Particles, a volume or a run folder.")],
    data_folder: DataFolder = None,
    passthrough: Passthrough = None,
    poses: Poses = None,
    ctf: Ctf = None,
    indices: Indices = None,
    amplitude_contrast: AmplitudeContrast = None,
    pixel_size: PixelSize = None,
) -> None:
    """Print what a reader sees in a file or run folder."""
    from ..analysis import Run
    from ..particles import mrc_kind, read, read_listed, read_volume

    warning = None
    with messages():
        if any((path / name).is_file() for name in ("config.yaml", "config.pkl")):
            run = Run.open(path)
            size = "unknown pixel size" if run.pixel_size is None else f"{run.pixel_size:.4g} Å/px"
            rows = {
                "run": str(run.folder),
                "particles": str(run.n_particles),
                "box": f"{run.box} px, {size}",
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
            try:
                particles = read(
                    path,
                    data_folder,
                    amplitude_contrast=amplitude_contrast,
                    pixel_size=pixel_size,
                    passthrough=passthrough or (),
                    poses=poses,
                    ctf=ctf,
                    indices=indices,
                )
                rows = particles.describe()
            except ParticleFileError as error:
                # The table alone, where its images cannot be opened.
                listed = read_listed(path, passthrough or (), amplitude_contrast)
                if listed is None:
                    raise
                rows, warning = listed.describe(), error
        table = Table(show_header=False, box=None)
        for name, value in rows.items():
            table.add_row(f"[bold]{name}[/bold]", escape(value))
        console.print(table)
        if warning is not None:
            text = escape(str(warning))
            console.print(f"[yellow]Warning:[/yellow] {text}", soft_wrap=True, highlight=False)


def export(
    particles: Annotated[Path, typer.Argument(help="Particles, or a run folder.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write: .star, .cs, or .pkl of indices."),
    ],
    original: Annotated[
        bool, typer.Option("--original", help="As the file they were preprocessed from.")
    ] = False,
    data_folder: DataFolder = None,
    passthrough: Passthrough = None,
    poses: Poses = None,
    ctf: Ctf = None,
    indices: Indices = None,
    amplitude_contrast: AmplitudeContrast = None,
    pixel_size: PixelSize = None,
) -> None:
    """Write particles, all or some, for the program they came from."""
    from ..particles import read, write_original, write_subset

    with messages():
        if poses and output.suffix.lower() == ".pkl":
            raise CryodrgnError("--poses: a .pkl of indices has no room for them. Write a .star.")
        source = particles
        if particles.is_dir():
            source = particles / "particles.star"
            if not source.is_file():
                raise CryodrgnError(
                    f"{particles}: it has no particles.star, which a run writes at its end. "
                    "Give the file of the particles itself."
                )
        found = read(
            source,
            data_folder,
            amplitude_contrast=amplitude_contrast,
            pixel_size=pixel_size,
            passthrough=passthrough or (),
            poses=poses,
            ctf=ctf,
            indices=indices,
        )
        if original:
            write_original(output, found, data_folder=data_folder)
        else:
            write_subset(output, found)
        console.print(f"{escape(str(output))}: {len(found)} particles", soft_wrap=True)
        if found.dark and output.suffix.lower() == ".star":
            console.print(
                "[yellow]Warning:[/yellow] the particles are dark on light, which a STAR file "
                "cannot say. Give --invert where it is used.",
                soft_wrap=True,
            )
