"""Models whose state cannot be cut: a recurrent one and a hybrid of llama.cpp's go on from states of before."""

from pathlib import Path

import pytest

from core.cache.disk import DiskTier
from core.cache.store import PrefixStore
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.requests import Priority
from core.reuse import Tier
from core.serving.kv_backup import CHECKPOINT_TOKENS, TAIL_TOKENS, choose_checkpoint, is_checkpoint
from tests.fakes.architectures import write_random
from tests.fakes.hosting import HostDesk, answer, ask

WAIT = 20.0


@pytest.fixture(scope="module", params=["mamba", "granitehybrid"])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HostDesk:
    path = write_random(request.param, tmp_path_factory.mktemp("weights"))
    artifact = Artifact(request.param, "gguf", path, path.stat().st_size)
    return HostDesk(LlamaCppEngine(), artifact, LoadOptions(ctx_size=4096, slots=2, batch=256))


def prompt_of(count: int, seed: int = 1) -> list[int]:
    return [300 + (place * 31 * seed) % 1500 for place in range(count)]


async def test_the_next_turn_computes_only_what_is_new(desk: HostDesk) -> None:
    first = prompt_of(200)
    async with desk.hosting(None) as plain:
        drawn, _ = await answer(plain, first)
        second = [*first, *prompt_of(30, 7)]
        expected, _ = await answer(plain, second)
    store = PrefixStore(200_000_000)
    async with desk.hosting(store) as host:
        assert (await answer(host, first))[0] == drawn
        text, usage = await answer(host, second)
        assert (text, usage.cached_tokens) == (expected, len(first) - TAIL_TOKENS)
        assert host.snapshot().cache.reused == {Tier.MEMORY: usage.cached_tokens}


async def test_the_same_prompt_again_computes_its_end_alone(desk: HostDesk) -> None:
    prompt = prompt_of(150, 3)
    async with desk.hosting(None) as plain:
        expected, _ = await answer(plain, prompt)
    async with desk.hosting(PrefixStore(200_000_000)) as host:
        for cached in (0, len(prompt) - TAIL_TOKENS):
            text, usage = await answer(host, prompt)
            assert (text, usage.cached_tokens) == (expected, cached)


async def test_a_conversation_of_many_turns_is_kept_once_and_cut_where_a_prompt_ended(desk: HostDesk) -> None:
    turns = [prompt_of(200 + 60 * turn, 19) for turn in range(5)]
    store = PrefixStore(400_000_000)
    async with desk.hosting(store) as host:
        found = [await answer(host, turn) for turn in turns]
        assert [usage.cached_tokens for _, usage in found] == [
            0,
            *(len(turn) - TAIL_TOKENS for turn in turns[:-1]),
        ]
        assert store.stats()[0].entries == 1
        # Back to an earlier turn, and on from there.
        text, usage = await answer(host, [*turns[2], *prompt_of(20, 23)])
        assert usage.cached_tokens == len(turns[2]) - TAIL_TOKENS
    async with desk.hosting(None) as plain:
        assert [text for text, _ in found] == [(await answer(plain, turn))[0] for turn in turns]
        assert (await answer(plain, [*turns[2], *prompt_of(20, 23)]))[0] == text


async def test_a_turn_behind_an_answer_that_is_written_as_it_was_drawn_begins_behind_it(desk: HostDesk) -> None:
    store = PrefixStore(200_000_000)
    async with desk.hosting(store) as host:
        first = prompt_of(150, 29)
        desk.drawn.clear()
        await answer(host, first)
        drawn = list(desk.drawn)
        second = [*first, *drawn, *prompt_of(20, 31)]
        text, usage = await answer(host, second)
        # The last token that was drawn is not computed yet.
        assert usage.cached_tokens == len(first) + len(drawn) - 1
        assert store.stats()[0].entries == 1
    async with desk.hosting(None) as plain:
        assert (await answer(plain, second))[0] == text


async def test_a_request_begins_with_what_a_running_one_has_marked(desk: HostDesk) -> None:
    common = prompt_of(CHECKPOINT_TOKENS, 37)
    prompts = [[*common, *prompt_of(40, seed)] for seed in (41, 43)]
    async with desk.hosting(None) as plain:
        expected = [(await answer(plain, prompt))[0] for prompt in prompts]
    async with desk.hosting(PrefixStore(400_000_000)) as host:
        running = await host.submit(ask(prompts[0], max_tokens=200))
        events = aiter(running)
        await anext(events)
        text, usage = await answer(host, prompts[1])
        assert (text, usage.cached_tokens) == (expected[1], CHECKPOINT_TOKENS)
        assert host.snapshot().cache.reused == {Tier.RESIDENT: CHECKPOINT_TOKENS}
        running.cancel()


async def test_a_restart_goes_on_from_the_disk(desk: HostDesk, tmp_path: Path) -> None:
    first = prompt_of(200, 5)
    second = [*first, *prompt_of(20, 9)]
    async with desk.hosting(None) as plain:
        expected, _ = await answer(plain, second)
    store = PrefixStore(200_000_000, DiskTier(tmp_path, 200_000_000))
    async with desk.hosting(store) as host:
        await answer(host, first)
    store.close(WAIT)
    store = PrefixStore(200_000_000, DiskTier(tmp_path, 200_000_000))
    async with desk.hosting(store) as host:
        text, usage = await answer(host, second)
        assert (text, usage.cached_tokens) == (expected, len(first) - TAIL_TOKENS)
        assert host.snapshot().cache.reused == {Tier.DISK: usage.cached_tokens}
    store.close(WAIT)


async def test_a_conversation_that_leaves_a_long_prompt_goes_on_from_within_it(desk: HostDesk) -> None:
    long = prompt_of(CHECKPOINT_TOKENS + 300, 11)
    other = [*long[: CHECKPOINT_TOKENS + 100], *prompt_of(40, 13)]
    async with desk.hosting(None) as plain:
        expected, _ = await answer(plain, other)
    async with desk.hosting(PrefixStore(400_000_000)) as host:
        await answer(host, long)
        text, usage = await answer(host, other)
        assert (text, usage.cached_tokens) == (expected, CHECKPOINT_TOKENS)


async def test_a_client_that_leaves_in_prefill_leaves_what_is_computed_to_its_next_try(desk: HostDesk) -> None:
    prompt = prompt_of(1000, 17)
    async with desk.hosting(None) as plain:
        expected, _ = await answer(plain, prompt)
    async with desk.hosting(PrefixStore(200_000_000)) as host:
        await desk.leave(host, prompt, 1)
        text, usage = await answer(host, prompt)
        # The step in which it left was not interrupted, since its state could not be taken back.
        assert (text, usage.cached_tokens) == (expected, 2 * host.spec.batch)


async def test_what_was_computed_of_a_long_prompt_outlives_a_failure_of_the_engine(desk: HostDesk) -> None:
    prompt = prompt_of(CHECKPOINT_TOKENS + 600, 47)
    async with desk.hosting(None) as plain:
        expected, _ = await answer(plain, prompt)
    store = PrefixStore(400_000_000)
    async with desk.hosting(store) as host:
        await desk.fail(host, prompt, CHECKPOINT_TOKENS // 256 + 1)
        text, usage = await answer(host, prompt)
        assert (text, usage.cached_tokens) == (expected, CHECKPOINT_TOKENS)
        assert store.stats()[0].entries == 1


async def test_urgent_requests_take_all_slots_of_batch_ones_also_where_no_sequence_is_to_spare(desk: HostDesk) -> None:
    async with desk.hosting(None) as host:
        desk.slow_down(0.005)
        batch = [
            await host.submit(ask(prompt_of(40, seed), max_tokens=900, priority=Priority.BATCH)) for seed in (51, 53)
        ]
        reading = [aiter(running) for running in batch]
        for events in reading:
            await anext(events)
        urgent = Priority.INTERACTIVE
        long = await host.submit(ask(prompt_of(40, 57), max_tokens=900, priority=urgent, request_id="long"))
        reading.append(aiter(long))
        await anext(reading[-1])
        await answer(host, prompt_of(40, 59), priority=urgent)
        assert host.knows("long")
        for running in (*batch, long):
            running.cancel()
    desk.slow_down(0.0)


def test_chunks_end_where_a_state_is_to_be_stored() -> None:
    prompt = 2 * CHECKPOINT_TOKENS + 500
    computed, ends = 0, []
    while computed < prompt:
        computed += min(700, choose_checkpoint(prompt, computed, prompt - computed))
        if is_checkpoint(prompt, computed):
            ends.append(computed)
    assert ends == [CHECKPOINT_TOKENS, 2 * CHECKPOINT_TOKENS, prompt - TAIL_TOKENS]
