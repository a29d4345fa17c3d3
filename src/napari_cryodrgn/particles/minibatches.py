"""Images read ahead of whoever computes with them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from .image_stack import ImageStack

_AHEAD = 4


def read_ahead(
    images: ImageStack, parts: Iterable[NDArray[np.intp]], ahead: int = _AHEAD
) -> Generator[tuple[NDArray[np.intp], NDArray[np.float32]], None, None]:
    """Read parts of a stack in a thread, while the caller is at work on earlier ones.

    The thread ends when the iterator is exhausted or closed, or has raised an error.

    Parameters
    ----------
    images
        N images of D x D.
    parts
        Positions (n,) of the images of each part.
    ahead
        How many parts are read and kept before they are asked for; bounds the memory.

    Yields
    ------
    tuple
        The positions (n,), and their images (n, D, D).

    Raises
    ------
    ParticleFileError
        As :meth:`ImageStack.read`, where the part that cannot be read would have come.
    """
    waiting: deque[tuple[NDArray[np.intp], Future[NDArray[np.float32]]]] = deque()
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        try:
            for part in parts:
                waiting.append((part, reader.submit(images.read, part)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def random_minibatches(
    images: ImageStack, size: int, seed: int = 0, ahead: int = _AHEAD
) -> Generator[tuple[NDArray[np.intp], NDArray[np.float32]], None, None]:
    """All images once, in random order, ``size`` at a time and read ahead; the last may be fewer.

    Parameters
    ----------
    images
        N images of D x D.
    size
        Images of a minibatch, at least 1.
    seed
        Of the order.
    ahead
        As :func:`read_ahead`.

    Yields
    ------
    tuple
        The positions (size,), and their images (size, D, D).

    Raises
    ------
    ParticleFileError
        As :func:`read_ahead`.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    parts = (order[start : start + size] for start in range(0, len(order), size))
    return read_ahead(images, parts, ahead)
