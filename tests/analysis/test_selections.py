"""Selections: made, combined, undone, saved, and found broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_cryodrgn.analysis.selections import Selections
from napari_cryodrgn.errors import CryodrgnError, RunFolderError
from napari_cryodrgn.particles import read_indices, write_indices

N = 100
RANDOM = np.random.default_rng(3)
A, B = RANDOM.random((2, N)) < 0.4


@pytest.fixture
def selections(tmp_path: Path) -> Selections:
    found = Selections(tmp_path, N)
    found.add("a", A)
    found.add("b", B)
    return found


def test_names_counts_and_masks(selections: Selections) -> None:
    assert selections.names == ["a", "b"]
    assert selections.count("a") == A.sum()
    np.testing.assert_array_equal(selections.get("b"), B)
    with pytest.raises(ValueError, match="read-only"):
        selections.get("a")[0] = True
    mask = A.copy()
    selections.add("c", mask)
    mask[:] = False
    assert selections.count("c") == A.sum()
    assert selections.free_name() == "Selection"
    selections.add("Selection", A)
    selections.add("Selection 2", A)
    assert selections.free_name() == "Selection 3"


@pytest.mark.parametrize(
    ("operation", "other", "expected"),
    [("and", "b", A & B), ("or", "b", A | B), ("and not", "b", A & ~B), ("not", None, ~A)],
)
def test_combinations(
    selections: Selections, operation: str, other: str | None, expected: np.ndarray
) -> None:
    found = selections.combine(operation, "a", other, " both ")
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(selections.get("both"), expected)
    assert selections.names == ["a", "b", "both"]


def test_what_cannot_be_done(selections: Selections) -> None:
    with pytest.raises(CryodrgnError, match="already"):
        selections.add("a ", A)
    for name in ("", "  ", "x" * 300, "a\nb"):
        with pytest.raises(CryodrgnError, match="needs a name"):
            selections.add(name, A)
    for mask in (A[:5], A.astype(int), A[None]):
        with pytest.raises(CryodrgnError, match="mask of shape"):
            selections.add("c", mask)
    for call in (selections.get, selections.count, selections.remove):
        with pytest.raises(CryodrgnError, match="no selection 'z'"):
            call("z")
    with pytest.raises(CryodrgnError, match="already"):
        selections.rename("a", "b")
    with pytest.raises(CryodrgnError, match="takes two"):
        selections.combine("and", "a", None, "c")
    assert selections.names == ["a", "b"]


def test_every_change_is_undone_and_redone(selections: Selections) -> None:
    heard: list[list[str]] = []
    selections.changed.connect(lambda: heard.append(selections.names))
    selections.rename("a", "first")
    selections.combine("or", "first", "b", "c")
    selections.remove("b")
    assert heard == [["first", "b"], ["first", "b", "c"], ["first", "c"]]
    assert not selections.can_redo
    for expected in (["first", "b", "c"], ["first", "b"], ["a", "b"], ["a"], []):
        selections.undo()
        assert selections.names == expected
    assert not selections.can_undo
    selections.undo()  # nothing left
    for _ in range(9):
        selections.redo()
    assert selections.names == ["first", "c"]
    selections.undo()
    selections.add("other", A)
    assert not selections.can_redo
    assert len(heard) == 3 + 5 + 5 + 2


def test_renaming_to_the_same_changes_nothing(selections: Selections) -> None:
    heard: list[int] = []
    selections.changed.connect(lambda: heard.append(1))
    selections.rename("a", " a ")
    assert (heard, selections.names) == ([], ["a", "b"])


def test_saved_and_loaded(selections: Selections, tmp_path: Path) -> None:
    selections.add("A", ~A)  # another file where case does not count
    selections.add("Öffnung / geschlossen?", np.zeros(N, bool))
    selections.save()
    found = Selections.load(tmp_path, N)
    assert (found.names, found.problems) == (selections.names, ())
    for name in found.names:
        np.testing.assert_array_equal(found.get(name), selections.get(name))
    assert not found.can_undo
    files = {p.name.lower() for p in (tmp_path / "explorer").glob("*.pkl")}
    assert len(files) == 4
    np.testing.assert_array_equal(read_indices(tmp_path / "explorer" / "b.pkl"), np.flatnonzero(B))


def test_indices_are_rows_of_the_particles_file(tmp_path: Path) -> None:
    rows = RANDOM.permutation(1000)[:N]
    selections = Selections(tmp_path, N, rows)
    selections.add("a", A)
    selections.save()
    path = tmp_path / "explorer" / "a.pkl"
    np.testing.assert_array_equal(read_indices(path), rows[A])
    np.testing.assert_array_equal(Selections.load(tmp_path, N, rows).get("a"), A)
    write_indices(path, np.setdiff1d(np.arange(1000), rows)[:3])
    found = Selections.load(tmp_path, N, rows)
    assert not found.names
    assert "does not have" in found.problems[0]


def test_only_what_has_changed_is_written(selections: Selections, tmp_path: Path) -> None:
    selections.save()
    folder = tmp_path / "explorer"
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.pkl")}
    found = Selections.load(tmp_path, N)
    found.rename("a", "c")
    found.remove("b")
    found.add("d", B)
    found.save()
    after = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.pkl")}
    assert set(after) == {"c.pkl", "d.pkl"}
    found.save()
    assert after == {p.name: p.stat().st_mtime_ns for p in folder.glob("*.pkl")}
    found.undo()
    found.undo()
    found.save()
    assert set(before) - {"a.pkl"} <= {p.name for p in folder.glob("*.pkl")}
    assert Selections.load(tmp_path, N).names == ["c", "b"]


def test_nothing_is_made_for_nothing(tmp_path: Path) -> None:
    assert Selections.load(tmp_path, N).names == []
    Selections(tmp_path, N).save()
    assert not (tmp_path / "explorer").exists()


def test_one_damaged_file_leaves_the_others(selections: Selections, tmp_path: Path) -> None:
    selections.save()
    folder = tmp_path / "explorer"
    (folder / "a.pkl").write_bytes(b"nonsense")
    found = Selections.load(tmp_path, N)
    assert found.names == ["b"]
    assert len(found.problems) == 1
    assert found.problems[0].startswith("Selection 'a'")
    (folder / "a.pkl").unlink()
    assert "no such file" in Selections.load(tmp_path, N).problems[0]
    write_indices(folder / "a.pkl", np.array([N]))
    assert "does not have" in Selections.load(tmp_path, N).problems[0]


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other"}', "{" * 5000, '{"n": 3}'])
def test_a_damaged_list_is_told_and_kept(selections: Selections, tmp_path: Path, text: str) -> None:
    selections.save()
    path = tmp_path / "explorer" / "selections.json"
    path.write_text(text)
    found = Selections.load(tmp_path, N)
    assert (found.names, len(found.problems)) == ([], 1)
    assert "cannot be read" in found.problems[0]
    found.add("a", B)
    found.save()
    assert path.with_name("selections.json.old").read_text() == text
    np.testing.assert_array_equal(Selections.load(tmp_path, N).get("a"), B)
    # What the damaged list may have named is still there.
    np.testing.assert_array_equal(read_indices(path.with_name("a.pkl")), np.flatnonzero(A))


def test_selections_of_other_particles_are_kept(selections: Selections, tmp_path: Path) -> None:
    selections.save()
    found = Selections.load(tmp_path, N - 1)
    assert "of 100 particles, but the run has 99" in found.problems[0]
    found.add("b", B[:-1])
    found.save()
    old = json.loads((tmp_path / "explorer" / "selections.json.old").read_text())
    assert [entry["name"] for entry in old["selections"]] == ["a", "b"]
    assert (tmp_path / "explorer" / "b.pkl").is_file()


@pytest.mark.parametrize("file", ["../b.pkl", "/tmp/b.pkl", "b.json", "sub/b.pkl", "..\\b.pkl"])
def test_a_list_cannot_ask_for_files_elsewhere(
    selections: Selections, tmp_path: Path, file: str
) -> None:
    selections.save()
    path = tmp_path / "explorer" / "selections.json"
    told = json.loads(path.read_text())
    told["selections"][0]["file"] = file
    path.write_text(json.dumps(told))
    assert "cannot be read" in Selections.load(tmp_path, N).problems[0]


def test_a_folder_that_cannot_be_made(selections: Selections, tmp_path: Path) -> None:
    (tmp_path / "explorer").write_text("a file")
    with pytest.raises(RunFolderError, match="cannot be saved"):
        selections.save()


def test_what_could_not_be_read_today_stays_in_the_list(
    selections: Selections, tmp_path: Path
) -> None:
    selections.save()
    away = tmp_path / "explorer" / "b.pkl"
    content = away.read_bytes()
    away.write_bytes(b"not now")

    found = Selections.load(tmp_path, N)
    assert found.names == ["a"]
    found.add("c", B)
    found.save()
    away.write_bytes(content)

    again = Selections.load(tmp_path, N)
    assert sorted(again.names) == ["a", "b", "c"]
    np.testing.assert_array_equal(again.get("b"), B)
