"""Trajectories as files: numbered volumes with a script for ChimeraX, and films of the canvas."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CryodrgnError
from ..particles import replacing, write_volume
from .background import Deliver

if TYPE_CHECKING:
    from napari.components import ViewerModel

Frame = NDArray[np.uint8]
#: Endings of the films that can be written.
FILMS = (".gif", ".mp4")
#: Pictures in a second of a film.
FRAME_RATE = 12
# Longest edge of a GIF in pixels: its pictures are kept in memory until the end, a byte a pixel.
_GIF_EDGE = 720
_PATIENCE = 0.05


def series_paths(path: Path | str, count: int) -> list[Path]:
    """Names of ``count`` volumes: name.mrc stands for name_000.mrc, name_001.mrc, ..."""
    path = Path(path)
    digits = max(3, len(str(count - 1)))
    return [path.with_name(f"{path.stem}_{i:0{digits}}.mrc") for i in range(count)]


def write_series(
    path: Path | str,
    volumes: Iterator[NDArray[np.float32]],
    count: int,
    pixel_size: float | None,
    contour: float,
) -> Iterator[float | list[Path]]:
    """Write volumes (z, y, x) one by one, and name.cxc, which plays them in ChimeraX.

    Only one volume is in memory at a time. With fewer volumes than ``count`` it ends there, and
    what was written stays.

    Parameters
    ----------
    path
        name.mrc, see `series_paths`.
    volumes
        ``count`` of them, with voxels of ``pixel_size`` Å.
    contour
        Iso level that the script sets.

    Yields
    ------
    float or list of Path
        The fraction done; at last the files, with the script at the end.

    Raises
    ------
    ParticleFileError
        If a file cannot be written.
    """
    paths = series_paths(path, count)
    done = 0
    for volume in volumes:
        write_volume(paths[done], volume, pixel_size)
        done += 1
        yield done / count
    if done < count:
        return
    script = Path(path).with_suffix(".cxc")
    with replacing(script) as temporary:
        temporary.write_text(chimerax_script(paths, contour), encoding="utf-8")
    yield [*paths, script]


def chimerax_script(paths: Sequence[Path], contour: float) -> str:
    """Commands for ChimeraX that open volumes beside the script as a series and play it."""
    # Each by its name: a pattern would take in what is left of a longer series.
    names = " ".join(json.dumps(path.name, ensure_ascii=False) for path in paths)
    return (
        "# Made by napari-cryodrgn. Open this file in ChimeraX, with no other model open.\n"
        f"open {names} vseries true\n"
        f"volume #1 style surface level {contour:.6g} step 1\n"
        "view\n"
        f"vseries play #1 loop true direction oscillate maxFrameRate {FRAME_RATE}\n"
    )


def canvas_shots(
    viewer: ViewerModel, deliver: Deliver, go_to: Callable[[int], None]
) -> Callable[[int], Future[Frame]]:
    """A function that asks for a picture of the canvas, from any thread.

    Parameters
    ----------
    viewer
        With a window.
    deliver
        Runs a callable in the thread of the window.
    go_to
        Has the viewer show a step, called in that thread.

    Returns
    -------
    callable
        Takes the number of a step; the picture (height, width, 3) comes with the future.
    """

    def shoot(step: int) -> Future[Frame]:
        future: Future[Frame] = Future()

        def take() -> None:
            try:
                go_to(step)
                picture: Any = viewer.screenshot(  # type: ignore[attr-defined]
                    canvas_only=True, flash=False
                )
                future.set_result(np.ascontiguousarray(picture[..., :3]))
            # It belongs to the thread that waits.
            except Exception as error:  # noqa: BLE001
                future.set_exception(error)

        deliver(take)
        return future

    return shoot


def write_film(
    path: Path | str, steps: Sequence[int], shoot: Callable[[int], Future[Frame]]
) -> Iterator[float | Path]:
    """Write an .mp4 or .gif film, whole or not at all.

    It may be stopped while it waits for a picture. Pictures of another size than the first are
    cropped or get a border.

    Parameters
    ----------
    path
        Its ending says what is written. An .mp4 needs the package imageio-ffmpeg.
    steps
        What the pictures show, in order.
    shoot
        Gives the picture (height, width, 3) of a step, see `canvas_shots`.

    Yields
    ------
    float or Path
        The fraction done; at last the file.

    Raises
    ------
    CryodrgnError
        If films of this kind cannot be written.
    ParticleFileError
        If the file cannot be written.
    """
    path = Path(path)
    opened = film_writer(path)
    with replacing(path) as temporary, opened(temporary) as add:
        for done, step in enumerate(steps):
            future = shoot(step)
            while not wait([future], _PATIENCE).done:
                yield done / len(steps)
            add(future.result())
            yield (done + 1) / len(steps)
    yield path


def film_writer(
    path: Path,
) -> Callable[[Path], AbstractContextManager[Callable[[Frame], None]]]:
    """What writes films with the ending of ``path``.

    Raises
    ------
    CryodrgnError
        If the ending is none of `FILMS`, or the package for it is not installed.
    """
    kind = path.suffix.lower()
    if kind == ".gif":
        return _gif
    if kind != ".mp4":
        raise CryodrgnError(f"{path.name}: a film ends in {' or '.join(FILMS)}.")
    try:
        import imageio_ffmpeg  # type: ignore[import-not-found]
    except ImportError:
        raise CryodrgnError(
            "An .mp4 film needs the package imageio-ffmpeg, which is not installed. "
            'Install it with: pip install "napari-cryodrgn[film]"; or save a .gif.'
        ) from None

    @contextmanager
    def mp4(path: Path) -> Iterator[Callable[[Frame], None]]:
        writer: Any = None
        shape = (0, 0)

        def add(frame: Frame) -> None:
            nonlocal writer, shape
            if writer is None:
                # Players know only even sizes.
                shape = (frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2)
                writer = imageio_ffmpeg.write_frames(
                    str(path),
                    shape[::-1],
                    fps=FRAME_RATE,
                    quality=8,
                    macro_block_size=2,
                    # The temporary name does not say what it is.
                    output_params=["-f", "mp4"],
                )
                writer.send(None)
            writer.send(_fit(frame, shape))

        try:
            yield add
        finally:
            if writer is not None:
                writer.close()

    return mp4


@contextmanager
def _gif(path: Path) -> Iterator[Callable[[Frame], None]]:
    from PIL import Image

    frames: list[Image.Image] = []
    shape = (0, 0)

    def add(frame: Frame) -> None:
        nonlocal shape
        if not frames:
            shape = (frame.shape[0], frame.shape[1])
        picture = Image.fromarray(_fit(frame, shape))
        picture.thumbnail((_GIF_EDGE, _GIF_EDGE))
        frames.append(picture.quantize(256))

    yield add
    if frames:
        milliseconds = round(1000 / FRAME_RATE)
        first, *others = frames
        first.save(path, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)


def _fit(frame: Frame, shape: tuple[int, int]) -> Frame:
    """A picture cropped to (height, width), and with a black border where it is smaller."""
    height, width = shape
    frame = frame[:height, :width]
    border = ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0))
    return np.ascontiguousarray(np.pad(frame, border))
