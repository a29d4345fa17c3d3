"""Random minibatches, read ahead in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from napari_cryodrgn.errors import ParticleFileError
from napari_cryodrgn.particles import ImageStack, open_stack
from napari_cryodrgn.particles.minibatches import random_minibatches, read_ahead

MakeStack = Callable[..., NDArray[np.float32]]


class Counted(ImageStack):
    """Counts how many parts were read."""

    reads = 0

    def read(self, indices: ArrayLike | slice) -> NDArray[np.float32]:
        Counted.reads += 1
        return super().read(indices)


@pytest.fixture
def stack(tmp_path: Path, make_stack: MakeStack) -> ImageStack:
    make_stack(tmp_path / "a.mrcs", n=50)
    return ImageStack.whole(open_stack(tmp_path / "a.mrcs"))


def readers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("read-ahead")]


def test_every_image_comes_once_with_its_position(stack: ImageStack) -> None:
    batches = list(random_minibatches(stack, 8))
    assert [len(index) for index, _ in batches] == [8, 8, 8, 8, 8, 8, 2]
    index = np.concatenate([i for i, _ in batches])
    assert sorted(index.tolist()) == list(range(50))
    assert np.array_equal(np.concatenate([b for _, b in batches]), stack.read(index))
    assert readers() == []


def test_the_seed_decides_the_order(stack: ImageStack) -> None:
    orders = [
        np.concatenate([i for i, _ in random_minibatches(stack, 8, seed=s)]).tolist()
        for s in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_no_more_is_read_than_was_allowed(stack: ImageStack) -> None:
    Counted.reads = 0
    counted = Counted(stack.files, stack.file_index, stack.image_index)
    batches = random_minibatches(counted, 1, ahead=3)
    next(batches)
    time.sleep(0.2)
    assert Counted.reads == 4
    batches.close()


def test_it_reads_while_the_caller_works(
    stack: ImageStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ImageStack.read

    def slow(self: ImageStack, indices: ArrayLike | slice) -> NDArray[np.float32]:
        time.sleep(0.03)
        return plain(self, indices)

    monkeypatch.setattr(ImageStack, "read", slow)
    start = time.perf_counter()
    for _ in random_minibatches(stack, 5):
        time.sleep(0.03)
    # One after the other would take 0.6 s.
    assert time.perf_counter() - start < 0.5


def test_closing_early_ends_the_thread(stack: ImageStack) -> None:
    batches = random_minibatches(stack, 4)
    next(batches)
    assert len(readers()) == 1
    batches.close()
    assert readers() == []


def test_an_error_reaches_the_caller_in_its_turn(tmp_path: Path, make_stack: MakeStack) -> None:
    make_stack(tmp_path / "a.mrcs", n=12)
    raw = np.memmap(tmp_path / "a.mrcs", np.float32, "r+", 1024, (12, 8, 8))
    raw[7, 3, 3] = np.nan
    raw.flush()
    stack = ImageStack.whole(open_stack(tmp_path / "a.mrcs"))
    batches = read_ahead(stack, np.arange(12).reshape(3, 4))
    assert len(next(batches)[1]) == 4
    with pytest.raises(ParticleFileError, match=r"a\.mrcs.*Image 8 .*NaN"):
        next(batches)
    assert readers() == []


def test_a_file_that_goes_away_is_an_error_not_a_hang(stack: ImageStack) -> None:
    batches = random_minibatches(stack, 2, ahead=1)
    next(batches)
    stack.files[0].path.unlink()
    with pytest.raises(ParticleFileError, match="no longer be read"):
        list(batches)
    assert readers() == []
