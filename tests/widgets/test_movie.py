from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from PIL import Image

from napari_cryodrgn.errors import CryodrgnError, ParticleFileError
from napari_cryodrgn.particles import read_volume
from napari_cryodrgn.widgets.movie import (
    FRAME_RATE,
    canvas_shots,
    chimerax_script,
    series_paths,
    write_film,
    write_series,
)

needs_ffmpeg = pytest.mark.skipif(
    importlib.util.find_spec("imageio_ffmpeg") is None, reason="imageio-ffmpeg is not installed"
)


def at_once(frames: dict[int, np.ndarray]):
    """Pictures that are there as soon as they are asked for."""

    def shoot(step: int) -> Future:
        future: Future = Future()
        future.set_result(frames[step])
        return future

    return shoot


def squares(count: int, shape=(60, 80)) -> dict[int, np.ndarray]:
    """A white square that goes to the right."""
    frames = {}
    for i in range(count):
        frames[i] = np.full((*shape, 3), (20, 30, 60), np.uint8)
        frames[i][20:40, 10 * i : 10 * i + 20] = 255
    return frames


def test_volumes_are_numbered_from_zero():
    names = [p.name for p in series_paths("/there/walk.mrc", 2)]
    assert names == ["walk_000.mrc", "walk_001.mrc"]
    assert series_paths("walk", 1500)[-1].name == "walk_1499.mrc"


def test_a_series_holds_the_volumes_and_plays_them_in_chimerax(tmp_path):
    volumes = np.random.default_rng(0).normal(size=(4, 8, 8, 8)).astype(np.float32)

    *fractions, files = write_series(tmp_path / "my walk.mrc", iter(volumes), 4, 3.5, 0.25)

    assert fractions == [0.25, 0.5, 0.75, 1.0]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    for path, volume in zip(files[:4], volumes, strict=True):
        back = read_volume(path)
        np.testing.assert_array_equal(back.data, volume)
        assert back.pixel_size == pytest.approx(3.5)
        assert mrcfile.validate(path)
    script = files[-1].read_text()
    assert files[-1].name == "my walk.cxc"
    assert 'open "my walk_000.mrc" "my walk_001.mrc"' in script
    assert "vseries true" in script
    assert "volume #1 style surface level 0.25" in script


def test_only_one_volume_of_a_series_is_asked_for_at_a_time(tmp_path):
    made = []

    def volumes():
        for i in range(5):
            made.append(i)
            yield np.zeros((4, 4, 4), np.float32)

    steps = write_series(tmp_path / "walk.mrc", volumes(), 5, None, 1.0)
    next(steps)
    assert made == [0]
    next(steps)
    steps.close()

    assert [p.name for p in sorted(tmp_path.iterdir())] == ["walk_000.mrc", "walk_001.mrc"]


def test_a_script_names_each_file():
    script = chimerax_script([Path("/far/a_000.mrc"), Path("/far/a_001.mrc")], 1.5)
    assert "/far" not in script
    assert "*" not in script


def test_a_gif_moves(tmp_path):
    frames = squares(5)

    *fractions, path = write_film(tmp_path / "walk.gif", [0, 1, 2, 3, 4, 3], at_once(frames))

    assert fractions[-1] == 1.0
    assert list(tmp_path.iterdir()) == [path]
    with Image.open(path) as film:
        assert film.n_frames == 6
        assert film.info["loop"] == 0
        # GIF counts hundredths of a second.
        assert film.info["duration"] == pytest.approx(1000 / FRAME_RATE, abs=10)
        for i in (0, 4):
            film.seek(i)
            picture = np.asarray(film.convert("RGB"))
            np.testing.assert_allclose(picture, frames[i], atol=4)


def test_a_large_gif_is_made_smaller(tmp_path):
    *_, path = write_film(tmp_path / "walk.gif", [0, 1], at_once(squares(2, (1000, 2000))))
    with Image.open(path) as film:
        assert film.size == (720, 360)


@pytest.mark.parametrize("kind", ["gif", pytest.param("mp4", marks=needs_ffmpeg)])
def test_pictures_of_another_size_fit_the_first(tmp_path, kind):
    frames = squares(3, (60, 80))
    frames[1] = frames[1][:50]
    frames[2] = squares(3, (70, 90))[2]

    *_, path = write_film(tmp_path / f"walk.{kind}", [0, 1, 2], at_once(frames))

    assert path.stat().st_size > 0
    if kind == "gif":
        with Image.open(path) as film:
            assert (film.size, film.n_frames) == ((80, 60), 3)


@needs_ffmpeg
def test_an_mp4_has_even_edges_and_all_pictures(tmp_path):
    import imageio_ffmpeg

    frames = squares(12, (61, 201))
    *_, path = write_film(tmp_path / "walk.mp4", range(12), at_once(frames))

    assert list(tmp_path.iterdir()) == [path]
    # imageio-ffmpeg's own reader leaves pipes open.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path)]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    pictures = np.frombuffer(raw, np.uint8).reshape(-1, 60, 200, 3)
    assert len(pictures) == 12
    # Colours are coded coarsely.
    assert np.abs(pictures[7].astype(int) - frames[7][:60, :200]).mean() < 4


def test_without_ffmpeg_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(CryodrgnError, match=r"imageio-ffmpeg.*napari-cryodrgn\[film\].*\.gif"):
        next(write_film(tmp_path / "walk.mp4", [0], at_once(squares(1))))
    assert not list(tmp_path.iterdir())


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(CryodrgnError, match=r"walk.avi: a film ends in \.gif or \.mp4"):
        next(write_film(tmp_path / "walk.avi", [0], at_once(squares(1))))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ParticleFileError, match="cannot be written"):
        list(write_film(tmp_path / "none" / "walk.gif", [0], at_once(squares(1))))


def test_a_film_can_be_stopped_while_it_waits(tmp_path):
    asked = []

    def never(step: int) -> Future:
        asked.append(step)
        return Future()

    film = write_film(tmp_path / "walk.gif", [0, 1, 2], never)
    assert [next(film) for _ in range(3)] == [0.0, 0.0, 0.0]
    film.close()

    assert asked == [0]
    assert not list(tmp_path.iterdir())


def test_pictures_are_taken_where_the_window_lives():
    posted: deque = deque()
    seen = []

    class Viewer:
        def screenshot(self, canvas_only, flash):
            assert canvas_only
            assert not flash
            seen.append(threading.current_thread())
            return np.full((4, 6, 4), steps[-1], np.uint8)

    steps: list[int] = []
    shoot = canvas_shots(Viewer(), posted.append, steps.append)
    answers: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: answers.append(shoot(3).result(5)))
    thread.start()
    while not posted:
        thread.join(0.01)
    posted.popleft()()
    thread.join()

    assert seen == [threading.current_thread()]
    assert steps == [3]
    np.testing.assert_array_equal(answers[0], np.full((4, 6, 3), 3))


def test_a_failed_picture_fails_the_film(tmp_path):
    class Viewer:
        def screenshot(self, canvas_only, flash):
            raise ValueError("no canvas")

    shoot = canvas_shots(Viewer(), lambda call: call(), lambda step: None)
    with pytest.raises(ValueError, match="no canvas"):
        list(write_film(tmp_path / "walk.gif", [0], shoot))
    assert not list(tmp_path.iterdir())
