"""The `traceparent` headers that clients send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.telemetry.origin import TraceParent, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(("flags", "sampled"), [("01", True), ("00", False), ("03", True), ("02", False)])
def test_a_traceparent_names_trace_and_span_and_whether_they_are_kept(flags: str, sampled: bool) -> None:
    parent = parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}".encode())
    assert parent == TraceParent(bytes.fromhex(TRACE), bytes.fromhex(SPAN), sampled)


def test_later_versions_may_say_more() -> None:
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-01-more".encode()) is not None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        "x" * 1_000_000,
    ],
)
def test_what_is_no_traceparent_is_none(value: str) -> None:
    assert parse_traceparent(value.encode()) is None


@given(st.binary(max_size=80))
def test_any_bytes_can_be_read(value: bytes) -> None:
    parse_traceparent(value)
