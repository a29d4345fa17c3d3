from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from napari_cryodrgn.widgets.background import Background


class Mailbox:
    """Delivers when asked to, as a GUI does when it comes round to it."""

    def __init__(self) -> None:
        self._calls: SimpleQueue = SimpleQueue()

    def __call__(self, call) -> None:
        self._calls.put(call)

    def open_one(self) -> None:
        self._calls.get(timeout=5)()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def background(mailbox: Mailbox) -> Iterator[Background]:
    background = Background(mailbox)
    yield background
    background.close()


def test_a_job_runs_in_another_thread_and_its_answer_in_this_one(background, mailbox):
    threads = []

    def job() -> int:
        threads.append(threading.get_ident())
        return 7

    answers = []
    background.ask("a", job, answers.append, pytest.fail)
    mailbox.open_one()

    assert answers == [7]
    assert threads != [threading.get_ident()]
    assert not background.waits_for("a")


def test_the_latest_question_wins(background, mailbox):
    started, go = threading.Event(), threading.Event()
    ran, answers = [], []

    def slow() -> str:
        started.set()
        go.wait(5)
        return "first"

    def job(name: str) -> str:
        ran.append(name)
        return name

    background.ask("a", slow, answers.append, pytest.fail)
    assert started.wait(5)
    background.ask("a", lambda: job("second"), answers.append, pytest.fail)
    background.ask("a", lambda: job("third"), answers.append, pytest.fail)
    go.set()
    mailbox.open_one()
    mailbox.open_one()

    assert ran == ["third"]
    assert answers == ["third"]


def test_other_keys_do_not_compete(background, mailbox):
    answers = []
    background.ask("a", lambda: 1, answers.append, pytest.fail)
    background.ask("b", lambda: 2, answers.append, pytest.fail)
    mailbox.open_one()
    mailbox.open_one()

    assert answers == [1, 2]


def test_failures_come_back_whatever_their_class(background, mailbox):
    failures = []

    def job() -> None:
        raise RuntimeError("shapes")

    background.ask("a", job, pytest.fail, failures.append)
    mailbox.open_one()

    assert [str(f) for f in failures] == ["shapes"]


def test_a_forgotten_question_is_not_answered(background, mailbox):
    background.ask("a", lambda: 1, pytest.fail, pytest.fail)
    background.forget("a")
    background.ask("b", lambda: 2, lambda _: None, pytest.fail)
    mailbox.open_one()

    assert not background.waits_for("a")


def test_closing_waits_for_the_job_that_runs_and_drops_the_rest(mailbox):
    background = Background(mailbox)
    started, done = threading.Event(), threading.Event()

    def job() -> None:
        started.set()
        threading.Event().wait(0.1)
        done.set()

    background.ask("a", job, pytest.fail, pytest.fail)
    background.ask("b", pytest.fail, pytest.fail, pytest.fail)
    assert started.wait(5)
    background.close()

    assert done.is_set()
