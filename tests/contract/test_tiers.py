"""The prefix cache with every engine whose states can be kept: the same greedy tokens from each tier as without."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.cache.disk import DiskTier, list_stored_files
from core.cache.store import PrefixStore
from core.contract.abilities import KeepsStates
from core.contract.artifact import Artifact
from core.engines.registry import Engines
from core.requests import Caller
from core.reuse import Cause, Reuse, Tier
from core.snapshots import RequestState
from tests.contract.conftest import Subject, artifact_of
from tests.fakes.hosting import HostDesk, answer

WAIT = 30.0
SYSTEM = (
    "<|im_start|>system\nYou answer questions about benchtop, briefly and only with what is true of it.<|im_end|>\n"
    "<|im_start|>user\nWhich engines are there, and which of them runs a GGUF file?<|im_end|>\n<|im_start|>assistant\n"
)
ENDS = ["What is a KV cache?", "How do I quit?", "Which engines are there?", "x"]


@pytest.fixture(scope="module")
def artifact(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    if not isinstance(Engines().get(subject.engine), KeepsStates):
        pytest.skip(f"what {subject.engine} computed cannot be kept")
    return artifact_of(subject.kind, tmp_path_factory.mktemp("weights"))


def desk_of(subject: Subject, artifact: Artifact) -> HostDesk:
    return HostDesk(Engines().get(subject.engine), artifact, subject.options)


def conversations(desk: HostDesk) -> list[list[int]]:
    """A prompt, and prompts that leave it at many places, one of them right at its end."""
    first = desk.encode(SYSTEM * 2)
    others = [[*first[: len(first) * part // 4], *desk.encode(end)] for part in (4, 3, 2) for end in ENDS[:2]]
    return [first, *others]


async def test_every_tier_gives_the_tokens_that_no_cache_gives(
    subject: Subject, artifact: Artifact, tmp_path: Path
) -> None:
    desk = desk_of(subject, artifact)
    async with desk.hosting(None) as plain:
        prompts = conversations(desk)
        expected = [(await answer(plain, prompt))[0] for prompt in prompts]
    store = PrefixStore(100_000_000, DiskTier(tmp_path, 100_000_000), min_tokens=1, settle=3600.0)
    async with desk.hosting(store) as host:
        # The KV cache alone.
        for _ in range(2):
            resident = [(await answer(host, prompt))[0] for prompt in prompts]
            # Kernels for quantized weights round differently in passes of other sizes, with what is reused and without.
            assert resident == expected or subject.kind == "q8_0"
        assert host.snapshot().cache.reused[Tier.RESIDENT] > 0
    expected = resident
    for prompt, text in zip(prompts, expected, strict=True):
        # Loaded anew each time: the KV cache is empty, the memory is not.
        async with desk.hosting(store) as host:
            assert (await answer(host, prompt))[0] == text
            assert host.snapshot().cache.reused == {Tier.MEMORY: len(prompt) - 1}
    store.close(WAIT)
    for prompt, text in zip(prompts, expected, strict=True):
        # Another process: only the files are left.
        store = PrefixStore(100_000_000, DiskTier(tmp_path, 100_000_000), min_tokens=1, settle=3600.0)
        async with desk.hosting(store) as host:
            assert (await answer(host, prompt))[0] == text
            assert host.snapshot().cache.reused == {Tier.DISK: len(prompt) - 1}
        store.close(WAIT)


@pytest.mark.parametrize("harm", ["flipped", "cut", "emptied", "foreign"])
async def test_a_harmed_file_is_computed_again_with_one_line_and_the_same_tokens(
    subject: Subject, artifact: Artifact, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    desk = desk_of(subject, artifact)
    store = PrefixStore(100_000_000, DiskTier(tmp_path, 100_000_000), min_tokens=1)
    async with desk.hosting(store) as host:
        prompt = desk.encode(SYSTEM)
        expected, _ = await answer(host, prompt)
    store.close(WAIT)
    (file,) = list_stored_files(tmp_path)
    whole = bytearray(file.path.read_bytes())
    whole[-1] ^= 1
    harms = {"flipped": bytes(whole), "cut": bytes(whole[:-100]), "emptied": b"", "foreign": b"GGUF" * 1000}
    file.path.write_bytes(harms[harm])
    store = PrefixStore(100_000_000, DiskTier(tmp_path, 100_000_000), min_tokens=1)
    caplog.clear()
    async with desk.hosting(store) as host:
        text, usage = await answer(host, prompt)
    store.close(WAIT)
    assert (text, usage.cached_tokens) == (expected, 0)
    told = [record.message for record in caplog.records if "prefix" in record.message]
    assert told == ["a stored prefix cannot be used, and is computed again"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    harm=st.sampled_from(["flip", "cut", "insert", "blank"]),
    place=st.floats(0, 1, exclude_max=True),
    size=st.integers(0, 4000),
)
def test_whatever_is_done_to_a_file_the_tokens_are_the_same(
    subject: Subject, artifact: Artifact, tmp_path: Path, harm: str, place: float, size: int
) -> None:
    if subject.engine != "llamacpp" or subject.kind != "f16":
        pytest.skip("one engine for many examples")

    async def check() -> None:
        desk = desk_of(subject, artifact)
        store = PrefixStore(100_000_000, DiskTier(tmp_path, 100_000_000), min_tokens=1)
        async with desk.hosting(store) as host:
            prompt = desk.encode(SYSTEM)
            expected, _ = await answer(host, prompt)
        store.close(WAIT)
        (file,) = list_stored_files(tmp_path)
        whole = file.path.read_bytes()
        at = int(place * len(whole))
        match harm:
            case "flip":
                harmed = whole[:at] + bytes((whole[at] ^ 1 << size % 8,)) + whole[at + 1 :]
            case "cut":
                harmed = whole[:at] + whole[at + 1 + size :]
            case "insert":
                harmed = whole[:at] + bytes(1 + size) + whole[at:]
            case _:
                harmed = whole[:at] + bytes(len(whole[at : at + size])) + whole[at + size :]
        file.path.write_bytes(harmed)
        store = PrefixStore(100_000_000, DiskTier(tmp_path, 100_000_000), min_tokens=1)
        async with desk.hosting(store) as host:
            text, usage = await answer(host, prompt)
        store.close(WAIT)
        assert text == expected
        assert usage.cached_tokens == (len(prompt) - 1 if harmed == whole else 0)

    asyncio.run(check())


async def test_tenants_and_salts_share_nothing_in_any_tier(
    subject: Subject, artifact: Artifact, tmp_path: Path
) -> None:
    desk = desk_of(subject, artifact)
    store = PrefixStore(100_000_000, DiskTier(tmp_path, 100_000_000), min_tokens=1)
    async with desk.hosting(store) as host:
        prompt = desk.encode(SYSTEM)
        await answer(host, prompt, caller=Caller(tenant="one"))
    async with desk.hosting(store) as host:
        assert (await answer(host, prompt, caller=Caller(tenant="two")))[1].cached_tokens == 0
        assert (await answer(host, prompt, caller=Caller(tenant="one"), cache_salt="salt"))[1].cached_tokens == 0
        assert (await answer(host, prompt, caller=Caller(tenant="one")))[1].cached_tokens == len(prompt) - 1
    store.close(WAIT)


async def test_a_prefill_that_was_cut_short_is_gone_on_with_after_a_reload(
    subject: Subject, artifact: Artifact
) -> None:
    desk = desk_of(subject, artifact)
    store = PrefixStore(100_000_000)
    async with desk.hosting(None) as plain:
        prompt = desk.encode(SYSTEM * 3)
        expected, _ = await answer(plain, prompt)
    async with desk.hosting(store) as host:
        asked = asyncio.create_task(answer(host, prompt))
        while not any(row.prefilled >= 64 for row in host.snapshot().requests) and not asked.done():
            await asyncio.sleep(0)
    await asyncio.wait({asked})
    async with desk.hosting(store) as host:
        text, usage = await answer(host, prompt)
    assert text == expected
    assert usage.cached_tokens >= 64


@pytest.mark.parametrize("tier", [Tier.RESIDENT, Tier.MEMORY])
async def test_a_client_that_leaves_in_prefill_leaves_what_is_computed_to_its_next_try(
    subject: Subject, artifact: Artifact, tier: Tier
) -> None:
    desk = desk_of(subject, artifact)
    store = PrefixStore(100_000_000)
    async with desk.hosting(None) as plain:
        prompt = desk.encode(SYSTEM * 9)[:400]
        expected, _ = await answer(plain, prompt)
        batch = plain.spec.batch
    async with desk.hosting(store) as host:
        await desk.leave(host, prompt, 2)
        if tier is Tier.RESIDENT:
            text, usage = await answer(host, prompt)
    if tier is Tier.MEMORY:
        async with desk.hosting(store) as host:
            text, usage = await answer(host, prompt)
    # Kernels for quantized weights round differently in passes of other sizes.
    assert text == expected or subject.kind == "q8_0"
    assert usage.cached_tokens == 2 * batch
    assert host.snapshot().cache.reused == {tier: 2 * batch}


async def test_a_request_tells_where_its_prefix_came_from(subject: Subject, artifact: Artifact) -> None:
    desk = desk_of(subject, artifact)
    store = PrefixStore(100_000_000)
    async with desk.hosting(store) as host:
        prompt = desk.encode(SYSTEM)
        await answer(host, prompt, request_id="first")
        first = host.row("first")
        assert first is not None
        assert (first.state, first.reuse) == (RequestState.ENDED, Reuse(cause=Cause.FIRST_SEEN, lost=len(prompt)))
        assert host.snapshot().cache.lost == {Cause.FIRST_SEEN: len(prompt)}
    async with desk.hosting(store) as host:
        await answer(host, prompt, request_id="second")
        second = host.row("second")
        assert second is not None
        assert second.reuse == Reuse(len(prompt) - 1, Tier.MEMORY)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 120)), min_size=1, max_size=6))
def test_any_order_of_requests_gives_the_same_tokens_from_a_small_memory(
    subject: Subject, artifact: Artifact, tmp_path: Path, asked: list[tuple[int, int]]
) -> None:
    if subject.engine != "llamacpp" or subject.kind != "f16":
        pytest.skip("one engine for many examples")

    async def check() -> None:
        desk = desk_of(subject, artifact)
        store = PrefixStore(300_000, DiskTier(tmp_path, 2_000_000), min_tokens=1, settle=0.0)
        async with desk.hosting(None) as plain:
            whole = desk.encode(SYSTEM)
            prompts = [[*whole[:at], *desk.encode(ENDS[end])] for end, at in asked]
            expected = [(await answer(plain, prompt))[0] for prompt in prompts]
        for prompt, text in zip(prompts, expected, strict=True):
            async with desk.hosting(store) as host:
                assert (await answer(host, prompt))[0] == text
        store.close(WAIT)

    asyncio.run(check())
