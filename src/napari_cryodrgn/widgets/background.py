"""Slow answers off the GUI thread, where only the latest question counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")
Deliver = Callable[[Callable[[], None]], None]


class Background:
    """One thread of its own that works through questions.

    Training holds threads of Qt's pool for hours, so that pool is not used. A question is dropped
    as soon as another with the same key has been asked: before it runs if possible, else its answer
    is thrown away.

    Parameters
    ----------
    deliver
        Runs a callable in the thread that asks. Answers and failures come through it.
    """

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="napari-cryodrgn")
        self._numbers = itertools.count()
        self._latest: dict[str, int] = {}

    def ask(
        self,
        key: str,
        job: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run ``job`` in the thread, then ``done`` or ``failed`` where `deliver` puts them."""
        number = self._latest[key] = next(self._numbers)

        def run() -> None:
            if self._latest.get(key) != number:
                return
            try:
                answer = job()
            # Whatever a job raises belongs to the one who asked: here nobody would see it.
            except Exception as error:  # noqa: BLE001
                self._deliver(partial(self._answer, key, number, partial(failed, error)))
            else:
                self._deliver(partial(self._answer, key, number, partial(done, answer)))

        self._executor.submit(run)

    def waits_for(self, key: str) -> bool:
        """Whether a question with this key is open."""
        return key in self._latest

    def forget(self, key: str) -> None:
        """Drop the open question with this key, if there is one."""
        self._latest.pop(key, None)

    def close(self) -> None:
        """Drop every question and wait for the job that runs."""
        self._latest.clear()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _answer(self, key: str, number: int, then: Callable[[], None]) -> None:
        if self._latest.get(key) == number:
            del self._latest[key]
            then()
