"""Values of a body are told from its bytes as a parser would tell them, in linear time whatever the body is."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.http.body_values import STRIDE_BYTES, ValueCount, count_values

TEXTS = st.lists(st.sampled_from(['"', "\\", ",", "[", "{", "}", "x", "\n", "é"]), max_size=8).map("".join)


def count_by_parsing(value: Any) -> ValueCount:
    if not isinstance(value, dict | list):
        return ValueCount(0, 0)
    inner = [count_by_parsing(each) for each in (value.values() if isinstance(value, dict) else value)]
    commas = sum(each.commas for each in inner) + max(0, len(value) - 1)
    return ValueCount(commas, 1 + sum(each.containers for each in inner))


@given(
    st.recursive(
        TEXTS | st.integers() | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
        max_leaves=20,
    ),
    st.integers(0, 3),
)
def test_commas_and_brackets_are_counted_outside_of_texts_alone(value: object, before: int) -> None:
    # The values lie across the end of a stride.
    raw = b" " * (STRIDE_BYTES - 4 - before) + json.dumps(value, ensure_ascii=False).encode()
    assert count_values(raw) == count_by_parsing(value)


def test_a_text_of_backslashes_may_be_longer_than_a_stride() -> None:
    text = "\\" * STRIDE_BYTES + '"'
    assert count_values(json.dumps([text, [text]]).encode()) == ValueCount(1, 2)


def test_a_text_of_quotes_that_never_ends_is_read_once() -> None:
    # Looking for its end anew from each of them would take hours.
    assert count_values(b"[[" + b'"' + b'\\"' * 8_000_000).containers == 2
