from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from types import SimpleNamespace

import numpy as np
import pytest

from napari_cryodrgn.errors import RunFolderError
from napari_cryodrgn.particles import Volume
from napari_cryodrgn.widgets import decode_model, previews
from napari_cryodrgn.widgets.decode_model import Decoded, DecodeModel


@dataclass
class SlowRun:
    """Decodes constant volumes of its z; those larger than ``open_box`` wait for `go`.

    ``seconds`` is the time that a volume of a box of 32 takes; ``asked`` holds (z, box). Without
    ``latents`` there are no previews.
    """

    folder: Path = Path("/runs/one")
    zdim: int = 1
    box: int = 128
    pixel_size: float | None = 2.0
    can_decode: bool = True
    finished: bool = True
    latents: SimpleNamespace | None = None
    open_box: int = 10_000
    seconds: float = 0.0
    fails: Exception | None = None
    asked: list[tuple[float, int]] = field(default_factory=list)
    stopped: int = 0
    contours: int = 0
    go: threading.Event = field(default_factory=threading.Event)

    def decode(self, z, box=None, limit=None, *, stop=None):
        box = box or self.box
        self.asked.append((float(z[0]), box))
        if self.fails is not None and z[0]:
            raise self.fails
        end = threading.Event()
        while box > self.open_box and not self.go.is_set():
            if stop is not None and stop():
                self.stopped += 1
                raise RuntimeError("not wanted any more")
            end.wait(0.002)
        end.wait(self.seconds * (box / 32) ** 3)
        return np.full((box,) * 3, z[0], np.float32)

    def consensus(self):
        return Volume(np.full((self.box,) * 3, -1, np.float32), self.pixel_size)

    def contour(self):
        self.contours += 1
        return 0.35


class Harness:
    """A model whose answers arrive in this thread when they are waited for."""

    def __init__(self, run: SlowRun | None, **more) -> None:
        self._queue: SimpleQueue = SimpleQueue()
        self.model = DecodeModel(self._queue.put, **more)
        self.got: list[Decoded] = []
        self.failed: list[Exception] = []
        self.busy: list[bool] = []
        self.model.decoded.connect(self.got.append)
        self.model.failed.connect(self.failed.append)
        self.model.busy_changed.connect(lambda: self.busy.append(self.model.busy))
        self.model.set_run(run)
        self.prepared()

    def prepared(self) -> None:
        while self.model._background.waits_for("prepare"):
            self._queue.get(timeout=5)()

    def one(self) -> None:
        self._queue.get(timeout=5)()

    def finish(self) -> list[tuple[float, int]]:
        """All that has come until nothing is left to do: z and box."""
        while self.model.busy:
            self.one()
        with suppress(Empty):  # answers to what was given up
            while True:
                self._queue.get_nowait()()
        return self.seen()

    def begun(self, run: SlowRun, z: float, box: int) -> None:
        """Wait until the other thread decodes this."""
        deadline = time.monotonic() + 5
        while run.asked[-1:] != [(z, box)]:
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def seen(self) -> list[tuple[float, int]]:
        found = [(float(d.data[0, 0, 0]), d.box) for d in self.got]
        self.got.clear()
        return found


@pytest.fixture
def make() -> Iterator[Callable[..., Harness]]:
    made = []

    def make(run: SlowRun | None = None, **more) -> Harness:
        made.append(Harness(run, **more))
        if run is not None:
            run.asked.clear()
        return made[-1]

    yield make
    for harness in made:
        harness.model.close()


# A volume of 32 takes 10 ms, so that only this box is quick.
def slow(**more) -> SlowRun:
    return SlowRun(seconds=0.01, **more)


def test_a_click_gives_growing_boxes_of_one_contour(make):
    run = slow(open_box=32)
    harness = make(run)
    harness.model.settle([2.0], "here")
    harness.one()

    assert harness.seen() == [(2.0, 32)]
    assert harness.model.busy
    run.go.set()
    while harness.model.busy:
        harness.one()

    assert [(d.box, d.final) for d in harness.got] == [(64, False), (128, True)]
    assert [(d.pixel_size, d.step) for d in harness.got] == [(4.0, 2.0), (2.0, 1.0)]
    assert {(d.contour, d.caption, d.folder) for d in harness.got} == {(0.35, "here", run.folder)}
    np.testing.assert_array_equal(harness.got[0].z, [2.0])
    assert harness.busy == [True, False]
    assert run.contours == 1


def test_an_unknown_pixel_size_stays_unknown(make):
    harness = make(slow(pixel_size=None, box=48))
    harness.model.look([1.0])
    while harness.model.busy:
        harness.one()
    assert [(d.pixel_size, d.step) for d in harness.got] == [(None, 1.5)]


def test_looking_gives_the_small_box_only(make):
    run = slow()
    harness = make(run)
    harness.model.look([1.0])

    assert harness.finish() == [(1.0, 32)]
    assert run.asked == [(1.0, 32)]


def test_a_fast_mouse_is_followed_and_ends_where_it_stops(make):
    run = slow()
    harness = make(run)
    for i in range(1, 40):
        harness.model.look([float(i)])
        if i % 10 == 0:
            harness.one()  # one of ten moves is as long as a volume takes
    harness.model.settle([40.0])
    seen = harness.finish()

    assert seen[0] == (1.0, 32)
    assert seen[-3:] == [(40.0, 32), (40.0, 64), (40.0, 128)]
    # Each of the pictures in between is the newest place when the one before it was done.
    assert [z for z, box in seen if box == 32] == [1.0, 10.0, 20.0, 30.0, 40.0]
    assert len(run.asked) == len(seen)


def test_a_large_box_is_given_up_for_the_next_request(make):
    run = slow(open_box=32)
    harness = make(run)
    harness.model.settle([1.0])
    harness.one()
    harness.begun(run, 1.0, 64)
    harness.model.look([2.0])
    assert harness.finish() == [(1.0, 32), (2.0, 32)]

    run.go.set()
    harness.model.settle([3.0])
    harness.one()
    harness.model.settle([4.0])
    assert harness.finish() == [(3.0, 32), (4.0, 32), (4.0, 64), (4.0, 128)]
    assert run.stopped == 1
    assert not harness.failed


def test_the_small_box_grows_where_decoding_is_fast(make, monkeypatch):
    monkeypatch.setattr(decode_model, "_QUICK", 100.0)
    harness = make(SlowRun())
    harness.model.look([1.0])
    assert harness.finish() == [(1.0, 64)]
    harness.model.look([2.0])
    assert harness.finish() == [(2.0, 128)]
    harness.model.settle([3.0])
    assert harness.finish() == [(3.0, 128)]


def test_a_box_that_turns_out_slow_is_left(make, monkeypatch):
    monkeypatch.setattr(decode_model, "_QUICK", 0.3)
    run = SlowRun(box=64, open_box=32)
    harness = make(run)
    harness.model.look([1.0])
    harness.begun(run, 1.0, 64)
    threading.Timer(0.35, run.go.set).start()
    assert harness.finish() == [(1.0, 64)]
    harness.model.look([2.0])
    assert harness.finish() == [(2.0, 32)]


def test_kept_volumes_come_within_the_call(make):
    run = slow()
    harness = make(run)
    harness.model.settle([1.0])
    harness.model.settle([2.0])
    harness.finish()
    run.asked.clear()

    harness.model.settle([2.0])
    assert harness.seen() == [(2.0, 128)]
    harness.model.look([2.0])
    assert harness.seen() == [(2.0, 128)]
    assert not run.asked
    assert not harness.model.busy
    with pytest.raises(ValueError, match="read-only"):
        harness.model._kept.get(np.array([2.0], np.float32), 128)[0] = 1


def test_of_a_place_looked_at_the_larger_boxes_are_added(make):
    run = slow()
    harness = make(run)
    harness.model.look([1.0])
    harness.finish()
    harness.model.settle([1.0])
    assert harness.seen() == [(1.0, 32)]
    assert harness.finish() == [(1.0, 64), (1.0, 128)]
    assert run.asked == [(1.0, 32), (1.0, 64), (1.0, 128)]


def test_the_volumes_used_last_are_kept(make):
    run = slow(box=32)
    harness = make(run, room=2 * 4 * 32**3)
    for z in (1.0, 2.0, 1.0, 3.0, 1.0, 2.0):
        harness.model.settle([z])
        harness.finish()
    assert [z for z, _ in run.asked] == [1.0, 2.0, 3.0, 2.0]


def test_new_weights_are_decoded_anew_at_the_old_contour(make):
    run, again = slow(box=32), slow(box=32)
    other = slow(box=32, folder=Path("/runs/two"))
    harness = make(run)
    for one in (run, again, other):
        harness.model.set_run(one)
        harness.prepared()
        one.asked.clear()
        harness.model.settle([1.0])
        harness.finish()
        assert one.asked == [(1.0, 32)]
    assert (run.contours, again.contours, other.contours) == (1, 0, 1)


def test_nothing_of_another_run_arrives(make):
    run = slow(open_box=0)
    harness = make()
    harness.model.set_run(run)
    harness.model.settle([1.0])
    harness.model.set_run(None)
    run.go.set()
    assert not harness.model.busy
    harness.model.look([1.0])
    harness.model.show_structure()
    assert not harness.model.busy
    harness.model.close()
    assert harness.finish() == []


def test_the_structure_needs_no_decoder(make):
    run = slow(can_decode=False)
    harness = make(run)
    harness.model.look([1.0])
    assert not harness.model.busy
    harness.model.show_structure()
    while harness.model.busy:
        harness.one()
    (found,) = harness.got
    assert (found.z, found.box, found.final, found.caption) == (None, 128, True, "structure")
    assert float(found.data.max()) == -1
    assert not run.asked


def test_a_failure_is_told_and_the_next_volume_comes(make):
    run = slow()
    harness = make(run)
    run.fails = RunFolderError("/runs/one", "weights.pkl is damaged.")
    harness.model.look([1.0])
    harness.model.look([2.0])
    assert harness.finish() == []
    assert harness.failed == [run.fails, run.fails]
    run.fails = None
    harness.model.look([3.0])
    assert harness.finish() == [(3.0, 32)]


def previewed(**more) -> SlowRun:
    """A run that is previewed: 40 particles of z from 0 to 3.9."""
    mu = np.arange(40, dtype=np.float32)[:, None] / 10
    return slow(latents=SimpleNamespace(mu=mu), **more)


def wait_for_preview(harness: Harness, z: float = 1.05) -> None:
    deadline = time.monotonic() + 20
    while harness.model._previews.at(np.array([z], np.float32)) is None:
        assert time.monotonic() < deadline
        harness.one()


def test_previews_take_the_place_of_small_volumes(make):
    run = previewed(box=64)
    harness = make(run)
    wait_for_preview(harness)
    assert not harness.model.busy
    assert harness.seen() == []  # nothing of the work is shown
    run.asked.clear()

    harness.model.look([1.05])
    (shown,) = harness.got
    assert (shown.preview, shown.final, shown.box, shown.step) == (True, False, 32, 2.0)
    np.testing.assert_allclose(shown.data, 1.05, atol=1e-3)
    harness.got.clear()
    harness.model.settle([1.05])
    assert [d.preview for d in harness.got] == [True]
    harness.got.clear()
    assert harness.finish() == [(np.float32(1.05), 64)]
    assert [box for _, box in run.asked if box == 64] == [64]
    # The volume itself is kept, not the preview.
    harness.model.look([1.05])
    assert [(d.preview, d.box) for d in harness.got] == [(False, 64)]


def test_far_from_the_particles_the_volume_is_decoded(make):
    harness = make(previewed(box=64))
    wait_for_preview(harness)
    harness.model.settle([50.0])
    assert harness.finish() == [(50.0, 32), (50.0, 64)]


def test_making_a_preview_gives_way_to_requests(make, monkeypatch):
    monkeypatch.setattr(previews, "_QUIET", 0.0)
    run = previewed(box=64, open_box=0)
    harness = make()
    run.go.set()
    harness.model.set_run(run)
    harness.prepared()
    run.go.clear()  # what is decoded for the preview from now on takes for ever
    deadline = time.monotonic() + 5
    count = len(run.asked)
    while len(run.asked) == count:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    harness.model.settle([2.0])
    harness.begun(run, 2.0, 32)
    assert run.stopped == 1
    run.go.set()
    assert harness.finish()[-1] == (2.0, 64)
    assert not harness.failed
    wait_for_preview(harness)  # goes on afterwards


def test_all_work_gives_way_until_the_next_question(make, monkeypatch):
    monkeypatch.setattr(previews, "_QUIET", 0.0)
    run = previewed(box=64)
    harness = make(run)
    harness.model.settle([1.0])
    assert harness.model.busy
    harness.model.give_way()
    assert not harness.model.busy
    assert not harness.model._background.waits_for("preview")
    harness.model.settle([2.0])
    assert harness.finish()[-1] == (2.0, 64)
    wait_for_preview(harness)


def test_a_run_in_progress_is_previewed_once_somebody_looks(make, monkeypatch):
    monkeypatch.setattr(previews, "_QUIET", 0.0)
    run = previewed(box=64, finished=False)
    harness = make(run)
    assert not harness.model._background.waits_for("preview")
    harness.model.look([1.0])
    harness.finish()
    wait_for_preview(harness)


def test_quick_decoders_and_small_boxes_need_no_preview(make):
    for run in (previewed(box=32), previewed(box=64)):
        run.seconds = 0.01 if run.box == 32 else 0.0
        harness = make(run)
        assert not harness.model._background.waits_for("preview")


def test_a_preview_that_fails_is_given_up(make, monkeypatch):
    monkeypatch.setattr(previews, "_QUIET", 0.0)
    run = previewed(box=64)
    run.fails = RunFolderError("/runs/one", "weights.pkl is damaged.")
    harness = make(run)
    while harness.model._background.waits_for("preview"):
        harness.one()
    assert not harness.failed
    run.fails = None
    harness.model.settle([2.0])
    assert harness.finish() == [(2.0, 32), (2.0, 64)]
    assert not harness.model._background.waits_for("preview")


def test_who_is_told_may_ask_for_another(make):
    run = slow()
    harness = make(run)
    asked = []

    def follow(decoded: Decoded) -> None:
        if not asked:
            asked.append(decoded.box)
            harness.model.settle([9.0])

    harness.model.decoded.connect(follow)
    harness.model.settle([1.0])
    assert harness.finish() == [(1.0, 32), (9.0, 32), (9.0, 64), (9.0, 128)]


def test_closing_does_not_wait_for_a_large_box(make):
    run = slow(open_box=32)
    harness = make(run)
    harness.model.settle([1.0])
    harness.one()
    harness.begun(run, 1.0, 64)
    harness.model.close()  # would wait for ever
    assert run.stopped == 1
