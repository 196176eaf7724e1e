"""Whatever fails: clients are told, bystanders get the right tokens, and the model comes back with what it knew."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import llama_cpp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cache.store import PrefixStore
from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import BenchtopError, EngineError, EngineFailed, LoadFailed, ModelNotReady
from core.events import Reply
from core.guide import WEIGHTS
from core.requests import Generation, RawText, Sampling
from core.reuse import Tier
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.snapshots import ModelState
from tests.core.serving.loops.test_relay import flowing
from tests.fakes.faults import Faults, RustPanic
from tests.fakes.prefixes import IDENTITY

WAIT = 20.0
ARTIFACT = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
OPTIONS = LoadOptions(ctx_size=256, slots=3, batch=64, threads=1, batch_threads=1, extra_buffers=False)
LONG = "Which engines are there, and which of them runs a GGUF file? " * 5
PROMPTS = [LONG, LONG + "And which is the fastest?", "What is a KV cache?", "How do I quit?", LONG[:90], "Hello"]


class FaultyDesk:
    """Hosts of the built-in model in llama.cpp, whose calls fail as planned."""

    def __init__(self, faults: Faults, store: PrefixStore | None = None) -> None:
        self.faults = faults
        self.store = store
        self.loading: Callable[[], None] = lambda: None
        """Called before the model is loaded."""

    def _load(self) -> LoadedModel:
        self.loading()
        model = LlamaCppEngine().load(ARTIFACT, OPTIONS)
        assert isinstance(model, TokenModel)
        self.faults.spread(model)
        return LoadedModel(model, "llamacpp", identity=IDENTITY)

    @asynccontextmanager
    async def hosting(self) -> AsyncIterator[Host]:
        host = Host("guide", lambda *_: self._load(), max_queue=32, queue_timeout=60.0, slots=None, store=self.store)
        host.start()
        await host.ready()
        try:
            yield host
        finally:
            await host.stop()


def asked(text: str, **fields: object) -> Generation:
    fields = {"max_tokens": 12, "ignore_eos": True, "sampling": Sampling(temperature=0.0)} | fields
    return Generation("guide", RawText(text), **fields)  # type: ignore[arg-type]


async def answer(host: Host, text: str, **fields: object) -> Reply:
    async with asyncio.timeout(WAIT):
        return await (await host.submit(asked(text, **fields))).reply()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture(scope="module")
def expected() -> list[str]:
    """What the model says to each of PROMPTS when nothing fails."""

    async def ask() -> list[str]:
        async with FaultyDesk(Faults()).hosting() as host:
            return [(await answer(host, text)).choices[0].text for text in PROMPTS]

    return asyncio.run(ask())


def unused(host: Host) -> bool:
    now = host.snapshot()
    return now.slots_used == 0 and now.queue.pending == 0


FAULTS = st.tuples(
    st.sampled_from(["open", "step", "fork", "trim", "save", "close", "shutdown"]),
    st.integers(0, 14),
    st.sampled_from([EngineError, RuntimeError, MemoryError]),
)


@settings(max_examples=25, deadline=None)
@given(plan=st.lists(FAULTS, max_size=3))
def test_whatever_fails_each_answer_is_right_or_says_why_and_the_model_serves_on(
    expected: list[str], plan: list[tuple[str, int, type[Exception]]]
) -> None:
    async def check() -> None:
        faults = Faults({(method, index): error("It broke.") for method, index, error in plan})
        async with FaultyDesk(faults, PrefixStore(10_000_000)).hosting() as host:
            found = await asyncio.gather(*(answer(host, text) for text in PROMPTS), return_exceptions=True)
            told = [each for each in found if isinstance(each, BaseException)]
            assert all(isinstance(error, BenchtopError) for error in told)
            assert len(told) <= 3 * len(faults.struck)
            for reply, text in zip(found, expected, strict=True):
                assert isinstance(reply, BaseException) or reply.choices[0].text == text
            faults.plan.clear()
            assert (await answer(host, PROMPTS[0])).choices[0].text == expected[0]
            await until(lambda: unused(host))
            assert host.state is ModelState.READY

    asyncio.run(check())


@pytest.mark.parametrize(("method", "text"), [("open", "Something else."), ("fork", PROMPTS[1]), ("close", "Bye.")])
async def test_what_fails_for_one_request_outside_of_a_step_fails_that_one_alone(
    expected: list[str], method: str, text: str
) -> None:
    faults = Faults()
    async with FaultyDesk(faults).hosting() as host:
        await answer(host, PROMPTS[0])
        bystander = asyncio.create_task(answer(host, PROMPTS[2], max_tokens=60))
        await until(lambda: any(row.completion_tokens > 3 for row in host.snapshot().requests))
        faults.next(method, RuntimeError("a fault in native code"))
        if method == "close":
            # It has its whole answer by then.
            assert (await answer(host, text, cache=False)).choices[0].text
        else:
            with pytest.raises(EngineFailed, match="a fault in native code"):
                await answer(host, text)
        reply = await bystander
        assert reply.choices[0].text.startswith(expected[2])
        assert reply.usage.completion_tokens == 60
        assert faults.struck == [method]
        assert host.state is ModelState.READY


@pytest.mark.parametrize(
    ("code", "why"), [(1, "no room in the KV cache"), (-1, "refused"), (-2, "not enough memory"), (-3, "computation")]
)
async def test_a_decode_error_is_told_in_words_and_those_that_wait_are_answered(
    expected: list[str], code: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter([code])
    decode = llama_cpp.llama_decode
    store = PrefixStore(10_000_000)
    async with FaultyDesk(Faults(), store).hosting() as host:
        assert (await answer(host, PROMPTS[0])).choices[0].text == expected[0]
        # Put aside at rest, so that the model is warm when it comes back.
        await until(lambda: store.stats()[0].entries == 1)
        monkeypatch.setattr(llama_cpp, "llama_decode", lambda *given: next(codes, None) or decode(*given))
        found = await asyncio.gather(*(answer(host, text) for text in PROMPTS[2:]), return_exceptions=True)
        told = [str(each) for each in found if isinstance(each, EngineFailed)]
        assert 1 <= len(told) <= OPTIONS.slots if OPTIONS.slots else 0
        assert all(why in words for words in told)
        for reply, text in zip(found, expected[2:], strict=True):
            assert isinstance(reply, EngineFailed) or reply.choices[0].text == text  # type: ignore[union-attr]
        again = await answer(host, PROMPTS[1])
        assert again.choices[0].text == expected[1]
        assert again.usage.cached_tokens > 32
        assert host.snapshot().cache.reused[Tier.MEMORY] > 32


async def test_a_step_without_memory_is_told_as_that() -> None:
    faults = Faults()
    async with FaultyDesk(faults).hosting() as host:
        faults.next("step", MemoryError())
        with pytest.raises(EngineFailed, match="not enough memory"):
            await answer(host, PROMPTS[0])


async def test_a_state_that_there_is_no_memory_to_copy_costs_no_request(expected: list[str]) -> None:
    """States of preempted answers and of finished ones."""
    faults = Faults({("save", index): MemoryError() for index in range(100)})
    store = PrefixStore(10_000_000)
    async with FaultyDesk(faults, store).hosting() as host:
        # More than the KV cache holds at once, so that some make room for others.
        texts = [*PROMPTS[2:5]] * 2
        long = await asyncio.gather(
            *(answer(host, text, max_tokens=None, request_id=str(i)) for i, text in enumerate(texts))
        )
        for reply, text in zip(long, expected[2:5] * 2, strict=True):
            assert reply.choices[0].text.startswith(text)
        await until(lambda: "save" in faults.struck)
        assert store.stats()[0].entries == 0
        assert host.state is ModelState.READY


@pytest.mark.parametrize("method", ["open", "step"])
async def test_a_panic_costs_what_it_was_done_for_and_no_more(expected: list[str], method: str) -> None:
    faults = Faults()
    async with FaultyDesk(faults).hosting() as host:
        faults.next(method, RustPanic("index out of range"))
        found = await asyncio.gather(*(answer(host, text) for text in PROMPTS), return_exceptions=True)
        told = [error for error in found if isinstance(error, EngineFailed)]
        assert told
        assert all("index out of range" in str(error) for error in told)
        for reply, text in zip(found, expected, strict=True):
            assert isinstance(reply, EngineFailed) or reply.choices[0].text == text  # type: ignore[union-attr]
        assert len(told) < len(found)
        assert host.state is ModelState.READY


async def test_a_model_that_fails_in_every_step_is_given_up_and_everybody_told() -> None:
    faults = Faults({("step", index): RustPanic("index out of range") for index in range(100)})
    async with FaultyDesk(faults).hosting() as host:
        found = await asyncio.gather(*(answer(host, text) for text in PROMPTS), return_exceptions=True)
        assert all(isinstance(error, EngineFailed | ModelNotReady) for error in found)
        assert any("index out of range" in str(error) for error in found)
        await until(lambda: host.state is ModelState.BROKEN)
        assert "index out of range" in host.snapshot().detail
        await until(lambda: unused(host))


async def test_a_panic_while_loading_is_told_to_those_that_wait() -> None:
    def load(*_: object) -> LoadedModel:
        raise RustPanic("index out of range")

    host = Host("guide", load, max_queue=2, queue_timeout=60.0, slots=1)
    host.start()
    async with asyncio.timeout(WAIT):
        with pytest.raises(LoadFailed, match="index out of range"):
            await host.ready()
    assert host.state is ModelState.FAILED


async def test_a_model_of_another_kind_in_its_place_is_freed_and_told_of() -> None:
    faults, other = Faults(), flowing()
    desk = FaultyDesk(faults)
    loaders: list[Callable[[], LoadedModel]] = [desk._load, lambda: LoadedModel(other, "scripted")]
    host = Host("guide", lambda *_: loaders.pop(0)(), max_queue=2, queue_timeout=60.0, slots=None)
    host.start()
    await host.ready()
    faults.next("step", RuntimeError("a fault in native code"))
    with pytest.raises(BenchtopError):
        await answer(host, "Hello")
    await until(lambda: host.state is ModelState.FAILED)
    assert "another kind of engine" in host.snapshot().detail
    assert other.closed.is_set()
    await host.stop()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (LoadFailed("guide", "The file is gone."), "The file is gone"),
        (OSError(5, "Input/output error"), "Loading again guide failed"),
        (MemoryError(), "there is not enough memory; choose a smaller model"),
    ],
)
async def test_a_model_that_cannot_be_loaded_again_says_why_to_all_and_is_down(error: Exception, says: str) -> None:
    faults = Faults()
    desk = FaultyDesk(faults)
    async with desk.hosting() as host:

        def fail() -> None:
            raise error

        desk.loading = fail
        faults.next("step", RuntimeError("a fault in native code"))
        found = await asyncio.gather(*(answer(host, text) for text in PROMPTS), return_exceptions=True)
        told = {str(each) for each in found}
        assert any("a fault in native code" in words for words in told)
        assert any(says in words for words in told)
        assert all(isinstance(each, BenchtopError) for each in found)
        await until(lambda: host.state is ModelState.FAILED)
        assert says in host.snapshot().detail


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of address space that is kept is Linux's")
def test_a_model_for_which_there_is_no_memory_is_told_while_it_is_loaded() -> None:
    """In a process of its own, whose address space is bounded just before."""
    program = """
import resource
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import LoadFailed
from tests.core.serving.test_faults import ARTIFACT, OPTIONS
from msgspec.structs import replace
LlamaCppEngine().load(ARTIFACT, OPTIONS).shutdown()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000, resource.RLIM_INFINITY))
try:
    LlamaCppEngine().load(ARTIFACT, replace(OPTIONS, ctx_size=4_000_000))
except LoadFailed as error:
    print(error)
LlamaCppEngine().load(ARTIFACT, OPTIONS).shutdown()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "insufficient memory" in done.stdout


FULL = """
import asyncio, resource, sys
from pathlib import Path
from core.cache.disk import DiskTier, list_stored_files
from core.cache.store import PrefixStore
from tests.core.serving.test_faults import LONG, PROMPTS, WAIT, FaultyDesk, answer, until
from tests.fakes.faults import Faults

folder = Path(sys.argv[1])
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)

async def main():
    store = PrefixStore(10_000_000, DiskTier(folder, 50_000_000, retry=0.0), min_tokens=1, settle=0.0)
    async with FaultyDesk(Faults(), store).hosting() as host:
        texts = [(await answer(host, PROMPTS[1])).choices[0].text]
        await until(lambda: store.stats()[1].entries == 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
        texts += [(await answer(host, text)).choices[0].text for text in (*PROMPTS[2:], LONG[9:])]
        await until(lambda: bool(store.stats()[1].problem))
        assert store.wait_written(WAIT)
        assert len(list(list_stored_files(folder))) == 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        texts.append((await answer(host, PROMPTS[0])).choices[0].text)
        await until(lambda: store.stats()[1].entries == store.stats()[0].entries > 2)
        assert store.stats()[1].problem == ""
    store.close(WAIT)
    del texts[-2]
    print(texts)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX's")
def test_a_disk_that_is_full_while_serving_costs_no_answer_and_is_used_again_when_there_is_room(
    expected: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repr([*expected[1:], expected[0]])
    assert [file.name for file in tmp_path.rglob("*.*") if file.name.startswith(".")] == []
