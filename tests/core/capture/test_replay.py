"""What is told of a request that was sent again."""

from __future__ import annotations

import pytest

from core.capture.replay import Replayed
from tests.fakes.captured import exchange_of


def test_a_stream_has_a_rate_and_a_reply_in_one_piece_has_none() -> None:
    streamed = exchange_of("a", reply_type="text/event-stream; charset=utf-8", first=0.1)
    assert Replayed(streamed, 41).rate == pytest.approx(100.0)
    assert Replayed(streamed, 1).rate is None
    assert Replayed(exchange_of("a", first=0.1), 41).rate is None
