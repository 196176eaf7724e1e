"""Thoughts that clients carry from one request to the next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sealing import open_text, seal_text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_thought_is_opened_as_it_was_sealed(thought: str) -> None:
    assert open_text(seal_text(thought)) == thought


@pytest.mark.parametrize("sealed", ["", "gAAAA", "benchtop1:%%", "benchtop1:/w=="])
def test_a_thought_that_was_sealed_elsewhere_is_none(sealed: str) -> None:
    assert open_text(sealed) == ""
