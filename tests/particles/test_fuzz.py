"""A short round of the campaign in ``benchmarks/fuzz.py``."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

pytest.importorskip("resource", reason="the campaign limits memory and time as Unix does")

from benchmarks.fuzz import campaign, judge, summary
from benchmarks.fuzz_files import KINDS, neighbours, valid
from benchmarks.fuzz_mutations import mutate

FILES = 200


@pytest.mark.parametrize("kind", KINDS)
def test_spoilt_files_are_read_or_refused(kind: str) -> None:
    step = len(KINDS)
    results = list(campaign(1, range(KINDS.index(kind), FILES * step, step)))
    found = summary(results)
    assert not found["failures"]
    outcomes = {entry["outcome"] for entry in results}
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file_can_be_spoilt_too(kind: str) -> None:
    # What an earlier mutation cut to nothing.
    assert all(isinstance(mutate(kind, Random(seed), [b""]), bytes) for seed in range(300))


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_not_spoilt_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    neighbours(tmp_path)
    for raw in valid(kind):
        path = tmp_path / f"file.{kind}"
        path.write_bytes(raw)
        assert judge(path)["outcome"] == "read"


def test_a_fault_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    path.write_bytes(b"")
    monkeypatch.setattr("benchmarks.fuzz.read_latents", lambda path: path.stat().nothing)
    assert "AttributeError" in judge(path)["outcome"]
    (tmp_path / "SENTINEL").touch()
    assert judge(path)["outcome"] == "code was run"
