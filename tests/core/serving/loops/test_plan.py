"""The planner decides by what it is told alone: these are its promises."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.requests import Priority
from core.serving.loops.plan import SMALLEST_CHUNK_TOKENS, STALL_SECONDS, PrefillPace, plan_step, plan_whole_passes
from core.serving.queue import PATIENCE_SECONDS, find_turn

pending = st.lists(st.integers(1, 3000), max_size=40)
shares = st.floats(0.05, 1.0)
BATCH = 512


@given(pending, st.integers(40, 2048), st.integers(0, 512))
def test_every_decoding_sequence_gets_its_token_and_the_batch_is_never_overrun(
    counts: list[int], batch: int, limit: int
) -> None:
    chunks = plan_step(counts, batch, limit)
    assert len(chunks) == len(counts)
    assert all(chunk <= count for chunk, count in zip(chunks, counts, strict=True))
    assert all(chunk == 1 for chunk, count in zip(chunks, counts, strict=True) if count == 1)
    assert sum(chunks) <= batch


@given(pending, st.integers(40, 2048), st.integers(0, 512))
def test_prefill_beside_streams_keeps_to_its_limit(counts: list[int], batch: int, limit: int) -> None:
    chunks = plan_step(counts, batch, limit)
    prefill = sum(chunk for chunk, count in zip(chunks, counts, strict=True) if count > 1)
    if 1 in counts:
        assert prefill <= limit
    elif counts:
        assert prefill == min(batch, sum(counts))


def test_the_prompt_whose_turn_came_first_is_served_first() -> None:
    assert plan_step([900, 1, 300], batch=512, limit=100) == [100, 1, 0]
    assert plan_step([100, 300, 900], batch=512, limit=100) == [100, 300, 112]


def test_nothing_running_plans_nothing() -> None:
    assert plan_step([], batch=512, limit=32) == []


@given(st.lists(st.integers(1, 64), min_size=1, max_size=40))
def test_a_pass_that_must_not_be_divided_is_computed_whole_and_somebody_gets_on(due: list[int]) -> None:
    chunks = plan_whole_passes(due, batch=len(due) + 64, limit=32)
    assert all(chunk in (0, count) for chunk, count in zip(chunks, due, strict=True))
    assert all(chunk == 1 for chunk, count in zip(chunks, due, strict=True) if count == 1)
    assert sum(chunks) <= len(due) + 64
    prefilled = [index for index, count in enumerate(due) if count > 1 and chunks[index]]
    assert prefilled[:1] == [index for index, count in enumerate(due) if count > 1][:1]
    assert len(prefilled) <= 1 or 1 not in due


def test_a_whole_pass_waits_while_streams_are_owed_time() -> None:
    assert plan_whole_passes([64, 1], batch=512, limit=0) == [0, 1]
    assert plan_whole_passes([64, 64], batch=512, limit=0) == [64, 64]


@given(
    shares,
    st.floats(0.0005, 0.2),
    st.floats(0.00001, 0.02),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3000)), min_size=1, max_size=40),
    st.integers(0, 20),
)
def test_beside_streams_prefill_takes_its_share_of_the_time_and_each_stream_a_token_of_every_step(
    share: float, plain: float, each: float, phases: Sequence[tuple[int, int]], warm: int
) -> None:
    """`plain` seconds take the streams of a step, `each` a prompt token; both are told by no clock but this one."""
    pace = PrefillPace(share)
    for _ in range(warm):
        pace.observe(0, 1, plain)
    left, steps = 0, []
    for streams, prompt in phases:
        left += prompt
        for _ in range(25):
            counts = [*[1] * streams, *[left] * (left > 1)]
            chunks = plan_step(counts, BATCH, pace.limit(BATCH))
            assert chunks[:streams] == [1] * streams
            chunk = chunks[streams] if left > 1 else 0
            left -= chunk
            if chunk or streams:
                spent, seconds = chunk * each, chunk * each + plain * (streams > 0)
                pace.observe(chunk, streams, seconds)
                steps.append((spent, seconds) if streams else None)
    # Over any stretch in which something decodes; the last chunk is paid for behind it.
    prefill = total = largest = 0.0
    for step in steps:
        if step is None:
            prefill = total = largest = 0.0
            continue
        spent, seconds = step
        prefill, total, largest = prefill + spent, total + seconds, max(largest, seconds)
        assert prefill <= share * total + largest + 1e-6


@given(shares, st.floats(10.0, 100_000.0), st.integers(1, 60))
def test_a_chunk_beside_streams_is_bounded_in_time(share: float, rate: float, streams: int) -> None:
    pace = PrefillPace(share)
    chunk = pace.limit(BATCH)
    assert chunk == SMALLEST_CHUNK_TOKENS
    for _ in range(50):
        if chunk:
            assert chunk <= max(SMALLEST_CHUNK_TOKENS, rate * STALL_SECONDS)
            pace.observe(chunk, streams, chunk / rate)
        else:
            pace.observe(0, streams, 0.01)
        chunk = pace.limit(BATCH)


@given(shares)
def test_a_prompt_beside_streams_is_never_left_alone(share: float) -> None:
    pace, left, steps = PrefillPace(share), 3000, 0
    while left:
        chunk = min(left, pace.limit(BATCH))
        pace.observe(chunk, 4, 0.01 + chunk * 0.001)
        left -= chunk
        steps += 1
        # What 3000 tokens take, and at the smallest share nineteen times as much for the streams.
        assert steps < 3000 * 0.001 * 20 / 0.01 + 200


def test_nothing_is_owed_to_streams_that_have_ended() -> None:
    pace = PrefillPace(0.1)
    pace.observe(32, 1, 1.0)
    assert pace.limit(BATCH) == 0
    pace.observe(BATCH, 0, 0.5)
    assert pace.limit(BATCH) > 0


def test_the_time_that_is_left_follows_the_rate_and_the_share() -> None:
    pace = PrefillPace(0.5)
    assert pace.estimate_seconds(1000, beside=False) is None
    pace.observe(500, 0, 1.0)
    assert pace.estimate_seconds(1000, beside=False) == pytest.approx(2.0)
    assert pace.estimate_seconds(1000, beside=True) == pytest.approx(4.0)


def compute_all(arrivals: Sequence[tuple[float, Priority, int]], per_second: int) -> dict[int, float]:
    """When each prompt is computed, `per_second` tokens in each step of a second, on a clock that only moves here."""
    now = 0.0
    left: dict[int, int] = {}
    ends: dict[int, float] = {}
    coming = sorted(range(len(arrivals)), key=lambda index: arrivals[index][0])
    while coming or left:
        while coming and arrivals[coming[0]][0] <= now:
            index = coming.pop(0)
            left[index] = arrivals[index][2]
        order = sorted(left, key=lambda index: find_turn(*arrivals[index][:2]))
        for index, chunk in zip(order, plan_step([left[each] for each in order], per_second, 0), strict=True):
            left[index] -= chunk
            if not left[index]:
                del left[index]
                ends[index] = now + 1
        now += 1
    return ends


def test_an_interactive_prompt_goes_before_a_long_batch_prompt_under_way() -> None:
    ends = compute_all([(0.0, Priority.BATCH, 10_000), (5.0, Priority.INTERACTIVE, 1000)], 500)
    assert ends == {0: 22.0, 1: 7.0}


@given(st.integers(2, 8000), st.lists(st.integers(2, 1000), min_size=200, max_size=200))
def test_a_batch_prompt_is_computed_although_interactive_ones_never_end(batch: int, others: Sequence[int]) -> None:
    arrivals = [(0.0, Priority.BATCH, batch), *((float(at), Priority.INTERACTIVE, n) for at, n in enumerate(others))]
    ends = compute_all(arrivals, 500)
    # Before it come those that came within its patience, and nothing else.
    before = sum(others[: int(PATIENCE_SECONDS[Priority.BATCH]) + 1])
    assert ends[0] <= max(PATIENCE_SECONDS[Priority.BATCH], (before + batch) / 500) + batch / 500 + 2
