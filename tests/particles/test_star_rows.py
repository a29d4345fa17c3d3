from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_cryodrgn.particles.star_rows import RaggedRowError, StarRows, parse_numbers, split_line

NUMBERS = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.from_regex(r"[-+]?[0-9]{0,12}\.?[0-9]{0,12}", fullmatch=True),
    st.from_regex(r"[-+.e0-9 ]{0,8}", fullmatch=True),
    st.sampled_from(["", ".", "-", "1.", ".5", "1e5", "nan", "inf", "--1", "1.2.3", "<NA>", "é"]),
)


@given(st.lists(NUMBERS, max_size=8))
def test_numbers_are_those_of_python(texts: list[str]) -> None:
    def expected(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return float("nan")

    raw = [text.encode() for text in texts]
    ends = np.cumsum([len(r) for r in raw], dtype=np.int64)
    starts = ends - np.array([len(r) for r in raw], np.int64)
    found = parse_numbers(b"".join(raw), starts, ends)
    # Exactly, the sign of zero too.
    assert list(map(repr, found.tolist())) == [repr(expected(t)) for t in texts]


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1).filter(
    lambda text: len(split_line(text)) == 1 and text == text.strip("".join(map(chr, range(33))))
)


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=5), st.data())
def test_columns_and_edits(table: list[tuple[str, str, str]], data: st.DataObject) -> None:
    gap = data.draw(st.sampled_from([" ", "  \t"]))
    # Two lone quotes in a row of values would be taken for a pair.
    assume(all(split_line(gap.join(values)) == list(values) for values in table))
    rows = StarRows.of([gap.join(values) for values in table])
    order = data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1))
    new = [str(i) for i in range(len(order))]
    changed = rows.take(np.array(order)).replaced(3, [1, 3], [new, new])
    assert [split_line(row) for row in changed] == [
        [table[i][0], str(k), table[i][2], str(k)] for k, i in enumerate(order)
    ]
    text, _ = changed.parse(4, [0, 2, 3], [])
    inner = [t[1:-1] if len(t) > 1 and t[0] == t[-1] and t[0] in "\"'" else t for t, *_ in table]
    assert text[0] == [inner[i] for i in order]
    assert text[3] == new


def test_quoted_values_are_replaced_with_their_quotes() -> None:
    rows = StarRows.of(["'a b' 1 \"\"", "c' 2 'd'"])
    assert list(rows.replaced(3, [0, 2], [["x", "y"], ["u", '"v w"']])) == ["x 1 u", 'y 2 "v w"']


@pytest.mark.parametrize("row", ["1", "1 2 3", "", "'1 2'"])
def test_ragged_rows(row: str) -> None:
    # As many values in all as whole rows would have, where there are more and fewer.
    rows = StarRows.of(["1 2"] * 5000 + [row, "1 2 3", "1"])
    with pytest.raises(RaggedRowError) as caught:
        rows.parse(2, [0], [1])
    assert caught.value.row == 5000
