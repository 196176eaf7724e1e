"""The planner is a pure function: these are its promises."""

from hypothesis import given
from hypothesis import strategies as st

from core.serving.loops.plan import SMALLEST_CHUNK_TOKENS, limit_prefill, plan_step, plan_whole_passes

pending = st.lists(st.integers(1, 3000), max_size=40)


@given(pending, st.integers(40, 2048), st.integers(1, 512))
def test_every_decoding_sequence_gets_its_token_and_the_batch_is_never_overrun(
    counts: list[int], batch: int, limit: int
) -> None:
    chunks = plan_step(counts, batch, limit)
    assert len(chunks) == len(counts)
    assert all(chunk <= count for chunk, count in zip(chunks, counts, strict=True))
    assert all(chunk == 1 for chunk, count in zip(chunks, counts, strict=True) if count == 1)
    assert sum(chunks) <= batch


@given(pending, st.integers(40, 2048), st.integers(1, 512))
def test_prefill_beside_streams_keeps_to_its_limit(counts: list[int], batch: int, limit: int) -> None:
    chunks = plan_step(counts, batch, limit)
    prefill = sum(chunk for chunk, count in zip(chunks, counts, strict=True) if count > 1)
    if 1 in counts:
        assert prefill <= limit
    elif counts:
        assert prefill == min(batch, sum(counts))


def test_the_oldest_prompt_is_served_first() -> None:
    assert plan_step([900, 1, 300], batch=512, prefill_limit=100) == [100, 1, 0]
    assert plan_step([100, 300, 900], batch=512, prefill_limit=100) == [100, 300, 112]


def test_nothing_running_plans_nothing() -> None:
    assert plan_step([], batch=512, prefill_limit=32) == []


def test_the_prefill_limit_follows_the_measured_rate_within_bounds() -> None:
    assert limit_prefill(0.0, 512) == SMALLEST_CHUNK_TOKENS
    assert limit_prefill(1000.0, 512) == 100
    assert limit_prefill(1e9, 512) == 512


@given(st.lists(st.integers(1, 64), min_size=1, max_size=40))
def test_a_pass_that_must_not_be_divided_is_computed_whole_and_somebody_gets_on(due: list[int]) -> None:
    chunks = plan_whole_passes(due, batch=len(due) + 64)
    assert all(chunk in (0, count) for chunk, count in zip(chunks, due, strict=True))
    assert all(chunk == 1 for chunk, count in zip(chunks, due, strict=True) if count == 1)
    assert sum(chunks) <= len(due) + 64
    prefilled = [index for index, count in enumerate(due) if count > 1 and chunks[index]]
    assert prefilled[:1] == [index for index, count in enumerate(due) if count > 1][:1]
    assert len(prefilled) <= 1 or 1 not in due
