"""The planner decides by what it is told alone: these are its promises."""

from collections.abc import Callable, Sequence
from statistics import mode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.requests import Priority
from core.serving.loops.costs import SIZES
from core.serving.loops.plan import (
    FIRST_CHUNK_TOKENS,
    LEAST_CHUNK_TOKENS,
    LONGEST_TRIAL_SECONDS,
    SLOWED_FACTOR,
    STALL_SECONDS,
    PrefillPace,
    plan_step,
    plan_whole_passes,
)
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


Cost = Callable[[int, float], float]
"""Seconds that so many tokens take which lie so deep in their prompt."""


def constant(each: float) -> Cost:
    return lambda tokens, _: tokens * each


def growing(tokens: int, depth: float) -> float:
    """Attention looks at all that came before."""
    return tokens * (0.001 + depth * 4e-7)


def in_tiles(tokens: int, depth: float) -> float:
    """Attention that is fifteen times as fast from 64 rows on, as llama.cpp's on a processor."""
    return tokens * (0.0045 + depth * (1e-6 if tokens >= 64 else 1.5e-5))


def compute(
    pace: PrefillPace, prompt: int, cost: Cost, *, plain: float = 0.0, streams: int = 0, begin: int = 0
) -> list[tuple[int, float]]:
    """The steps in which a prompt is computed from `begin` on: tokens and seconds. Where there are `streams` they take
    `plain` seconds of each. No clock runs but this one."""
    steps = []
    while begin < prompt:
        limit = pace.limit(BATCH, prompt - begin, begin, streams) if streams else BATCH
        chunk = min(limit, prompt - begin, BATCH - streams)
        seconds = plain * (streams > 0) + (cost(chunk, begin + chunk / 2) if chunk else 0.0)
        pace.observe(chunk, begin + chunk / 2, streams, seconds)
        steps.append((chunk, seconds))
        begin += chunk
        assert len(steps) < 100_000
    return steps


def last_of(steps: Sequence[tuple[int, float]]) -> float:
    return sum(seconds for _, seconds in steps)


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
        pace.observe(0, 0, 1, plain)
    left, steps = 0, []
    for streams, prompt in phases:
        left += prompt
        for _ in range(25):
            counts = [*[1] * streams, *[left] * (left > 1)]
            chunks = plan_step(counts, BATCH, pace.limit(BATCH, max(1, left), 0, streams))
            assert chunks[:streams] == [1] * streams
            chunk = chunks[streams] if left > 1 else 0
            left -= chunk
            if chunk or streams:
                spent, seconds = chunk * each, chunk * each + plain * (streams > 0)
                pace.observe(chunk, 0, streams, seconds)
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


@settings(max_examples=50)
@given(st.floats(0.2, 1.0), st.floats(0.00001, 0.05), st.floats(0.01, 2.0), st.integers(1, 60))
def test_a_step_with_a_chunk_is_short_or_at_most_twice_as_long_as_one_without(
    share: float, each: float, plain: float, streams: int
) -> None:
    """On any machine of constant rates, from the first step on whose cost is known."""
    pace = PrefillPace(share)
    pace.observe(0, 0, streams, plain)
    pace.observe(FIRST_CHUNK_TOKENS, 0, 0, FIRST_CHUNK_TOKENS * each)
    bound = max(STALL_SECONDS, SLOWED_FACTOR * plain + each, plain + LEAST_CHUNK_TOKENS * each)
    for _, seconds in compute(pace, 500, constant(each), plain=plain, streams=streams):
        assert seconds <= bound + 1e-9


@settings(max_examples=50)
@given(st.floats(0.00001, 0.2), st.floats(0.0001, 0.5), st.integers(1, 60))
def test_a_prompt_beside_streams_is_slowed_to_half_its_pace_at_most_where_all_time_may_be_its(
    each: float, plain: float, streams: int
) -> None:
    pace = PrefillPace(1.0)
    pace.observe(0, 0, streams, plain)
    pace.observe(BATCH, 0, 0, BATCH * each)
    steps = compute(pace, 3000, constant(each), plain=plain, streams=streams)
    # A batch of many small tokens may not be long enough for that; the last chunk is what is left.
    fullest = plain / (BATCH - streams) + each
    # Sizes that were never seen are tried once.
    usual = mode(chunk for chunk, _ in steps)
    tried = [step for step in steps if step[0] < usual]
    assert len(tried) <= len(SIZES)
    assert last_of(steps) <= 3000 * max(SLOWED_FACTOR * each, fullest) * 1.01 + 2 * plain + last_of(tried)


@settings(max_examples=50)
@given(st.floats(0.2, 1.0), st.floats(0.01, 0.5), st.floats(0.00001, 0.05))
def test_a_prompt_beside_streams_is_never_left_alone(share: float, plain: float, each: float) -> None:
    pace = PrefillPace(share)
    pace.observe(0, 0, 4, plain)
    waited = 0.0
    for chunk, seconds in compute(pace, 500, constant(each), plain=plain, streams=4):
        waited = 0.0 if chunk else waited + seconds
        # Until the streams have had their share of time for the longest step that there may be.
        longest = max(STALL_SECONDS, SLOWED_FACTOR * plain + each, plain + FIRST_CHUNK_TOKENS * each)
        assert waited <= longest * (1 - share) / share + plain + 1e-9


def test_chunks_become_smaller_towards_the_end_of_a_long_prompt_and_larger_again_in_the_next() -> None:
    pace = PrefillPace(0.9)
    pace.observe(0, 0, 1, 0.02)
    compute(pace, 2000, growing)
    for _ in range(2):
        steps = [step for step in compute(pace, 30_000, growing, plain=0.02, streams=1) if step[0]]
        assert all(seconds <= STALL_SECONDS * 1.05 for _, seconds in steps)
        assert steps[2][0] > 5 * steps[-2][0]
    # What begins deep, since a cache knows the beginning, is known to be slow too.
    steps = compute(pace, 30_000, growing, plain=0.02, streams=1, begin=25_000)
    assert all(seconds <= STALL_SECONDS * 1.05 for _, seconds in steps)


@pytest.mark.parametrize("streams", [0, 1])
def test_the_time_that_a_long_prompt_still_takes_is_known_when_little_of_it_is_computed(streams: int) -> None:
    pace = PrefillPace(0.9)
    pace.observe(0, 0, 1, 0.02)
    compute(pace, 4000, growing, plain=0.02, streams=streams)
    said = pace.estimate_seconds(4000, 26_000, BATCH, streams)
    took = last_of(compute(pace, 30_000, growing, plain=0.02, streams=streams, begin=4000))
    assert said == pytest.approx(took, rel=0.1)


def test_nothing_is_said_of_the_time_before_anything_was_computed() -> None:
    pace = PrefillPace(0.5)
    assert pace.estimate_seconds(0, 1000, BATCH, 0) is None
    pace.observe(500, 250, 0, 1.0)
    assert pace.estimate_seconds(0, 1000, BATCH, 0) == pytest.approx(2.0)


@pytest.mark.parametrize("known", [False, True])
def test_where_short_steps_are_slow_longer_ones_are_tried_and_kept_to(known: bool) -> None:
    pace = PrefillPace(0.9)
    pace.observe(30, 15, 0, in_tiles(30, 15))
    alone = last_of(compute(PrefillPace(0.9), 3000, in_tiles))
    if known:
        compute(pace, 3000, in_tiles)
    pace.observe(0, 0, 1, 0.04)
    steps = compute(pace, 3000, in_tiles, plain=0.04, streams=1)
    assert last_of(steps) < 1.5 * alone
    # Twice the smallest step that gets on: at the end what is left goes with the last.
    assert max(seconds for _, seconds in steps) < max(LONGEST_TRIAL_SECONDS, 0.04 + in_tiles(128, 3000)) + 0.01


def test_nothing_is_owed_to_streams_that_have_ended() -> None:
    pace = PrefillPace(0.1)
    pace.observe(32, 16, 1, 1.0)
    assert pace.limit(BATCH, 1000, 32, 1) == 0
    pace.observe(BATCH, 300, 0, 0.5)
    assert pace.limit(BATCH, 1000, 600, 1) > 0


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
