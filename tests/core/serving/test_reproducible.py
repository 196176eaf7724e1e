"""A model that is loaded to be reproducible gives a request the same tokens, and the very same numbers, in any company.

Log-probabilities are compared as they are, to the last bit: equal tokens may come of different numbers.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.cache.disk import DiskTier
from core.cache.store import PrefixStore
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.contract.step import SequenceId, Step, Work
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.llamacpp.reproducible import ReproducibleLlamaModel
from core.errors import EngineFailed, LoadFailed, RequestError
from core.events import Usage
from core.guide import WEIGHTS
from core.models.fit.sizing import GRAIN_TOKENS
from core.requests import Generation, RawText, RawTokens, Sampling, SamplingWish
from core.reuse import Tier
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, ProbeSettings, Settings
from core.workbench import Workbench
from tests.fakes.architectures import write
from tests.fakes.hosting import HostDesk
from tests.fakes.real_weights import SMOLLM2, real_weights
from tests.fakes.support import folders_in

OPTIONS = LoadOptions(ctx_size=512, slots=3, batch=128, reproducible=True)
NEW_TOKENS = 10
SYSTEM = (
    "You answer questions about machines that run language models, briefly, politely and only with what is true. "
    "Where you do not know something, you say so, and you name a book or a person that may know it. "
) * 3
QUESTIONS = ("Why is the sky blue?", "Write a poem about a dog.", "def fibonacci(n):\n    return")

Answer = tuple[str, tuple[float, ...]]


def artifact_at(path: Path) -> Artifact:
    return Artifact("guide", "gguf", path, path.stat().st_size)


@pytest.fixture(params=["guide", SMOLLM2])
def path(request: pytest.FixtureRequest) -> Path:
    return WEIGHTS if request.param == "guide" else real_weights(request.param)


async def ask(host: Host, tokens: Sequence[int], **fields: object) -> tuple[Answer, Usage]:
    usual = Generation(
        host.name,
        RawTokens(tuple(tokens)),
        sampling=SamplingWish(temperature=0.0, logprobs=2),
        max_tokens=NEW_TOKENS,
        ignore_eos=True,
        reproducible=True,
    )
    wanted = replace(usual, **fields)
    reply = await (await host.submit(wanted)).reply()
    numbers = [each for told in reply.choices[0].logprobs for each in (told, *told.top)]
    return (reply.choices[0].text, tuple(each.logprob for each in numbers)), reply.usage


def prompts_of(desk: HostDesk) -> list[list[int]]:
    """Of a few tokens, and of several passes with a beginning in common."""
    short, system = [desk.encode(question) for question in QUESTIONS], desk.encode(SYSTEM)
    return [short[0], [*system, *short[0]], [*system, *short[1]], [*system[:GRAIN_TOKENS], *short[2]]]


async def test_answers_are_the_same_alone_in_company_and_from_every_tier(path: Path) -> None:
    desk = HostDesk(LlamaCppEngine(), artifact_at(path), OPTIONS)
    async with desk.hosting(None) as host:
        prompts = prompts_of(desk)
        alone = [(await ask(host, prompt))[0] for prompt in prompts]
        assert all(len(numbers) == 3 * NEW_TOKENS for _, numbers in alone)
        for turned in (list(range(4)), [3, 1, 0, 2]):
            told = await asyncio.gather(*(ask(host, prompts[index]) for index in turned))
            assert [answer for answer, _ in told] == [alone[index] for index in turned]
    store = PrefixStore(100_000_000, min_tokens=1)
    async with desk.hosting(store) as host:
        told = await asyncio.gather(*(ask(host, prompt) for prompt in prompts))
        assert [answer for answer, _ in told] == alone
        again = [await ask(host, prompt) for prompt in (*prompts, prompts[1])]
        assert [answer for answer, _ in again] == [*alone, alone[1]]
        assert again[-1][1].cached_tokens == len(prompts[1][:-1]) // GRAIN_TOKENS * GRAIN_TOKENS > GRAIN_TOKENS
        # What was written is told back in the next turn, and is computed as any prompt then.
        turn = [*prompts[1], *desk.encode(alone[1][0]), *desk.encode(QUESTIONS[1])]
        warm, usage = await ask(host, turn)
        assert usage.cached_tokens >= GRAIN_TOKENS
        assert (await ask(host, turn, cache=False))[0] == warm
    async with desk.hosting(store) as host:
        assert (await ask(host, prompts[1]))[0] == alone[1]
        assert host.snapshot().cache.reused[Tier.MEMORY] == len(prompts[1][:-1]) // GRAIN_TOKENS * GRAIN_TOKENS
    store.close(30.0)


async def test_choices_of_one_request_are_as_if_each_were_asked_for_alone() -> None:
    desk = HostDesk(LlamaCppEngine(), artifact_at(WEIGHTS), OPTIONS)
    async with desk.hosting(PrefixStore(100_000_000)) as host:
        prompt = RawTokens(tuple(desk.encode(SYSTEM)))
        wanted = Generation("guide", prompt, SamplingWish(seed=7, temperature=1.5), max_tokens=NEW_TOKENS)

        async def texts(n: int, seed: int) -> list[str]:
            asked = Generation("guide", prompt, SamplingWish(seed=seed, temperature=1.5), wanted.max_tokens, n=n)
            return [choice.text for choice in (await (await host.submit(asked)).reply()).choices]

        assert await texts(3, 7) == [*await texts(1, 7), *await texts(1, 8), *await texts(1, 9)]


async def test_requests_that_wait_for_one_slot_get_the_numbers_of_each_alone() -> None:
    desk = HostDesk(LlamaCppEngine(), artifact_at(WEIGHTS), LoadOptions(ctx_size=256, slots=1, reproducible=True))
    async with desk.hosting(PrefixStore(100_000_000)) as host:
        prompts = [[*desk.encode(SYSTEM)[:150], *desk.encode(question)] for question in QUESTIONS]
        alone = [(await ask(host, prompt, cache=False))[0] for prompt in prompts]
        told = await asyncio.gather(*(ask(host, prompt) for prompt in prompts * 3))
        assert [answer for answer, _ in told] == alone * 3


def settings(**model: object) -> Settings:
    return Settings(
        model=ModelSettings(ctx_size=256, slots=2, threads=1, batch_threads=1, **model),  # type: ignore[arg-type]
        probe=ProbeSettings(enabled=False),
        bench=BenchSettings(enabled=False),
    )


async def test_nothing_is_guessed_ahead_and_the_model_says_so(tmp_path: Path) -> None:
    wanted = Generation("guide", RawText("one two one two one two"), Sampling(temperature=0.0), max_tokens=20)
    texts = []
    for draft in (None, "prompt-lookup"):
        workbench = Workbench(settings(engine="llamacpp", reproducible=True, draft=draft), folders_in(tmp_path))
        try:
            await workbench.models.load("guide")
            reply = await (await workbench.requests.submit(wanted)).reply()
            texts.append(reply.choices[0].text)
            (snapshot,) = workbench.snapshot().models
            assert snapshot.draft is None
            assert any("token by token" in note for note in snapshot.notes) is (draft is not None)
        finally:
            await workbench.close()
    assert texts[0] == texts[1]


async def test_a_request_for_it_is_refused_by_a_model_that_is_loaded_otherwise() -> None:
    desk = HostDesk(LlamaCppEngine(), artifact_at(WEIGHTS), LoadOptions(ctx_size=256, slots=1))
    async with desk.hosting(None) as host:
        with pytest.raises(RequestError, match="--reproducible") as refused:
            await ask(host, [1, 2, 3])
        assert refused.value.field == "reproducible"


async def test_an_engine_that_cannot_promise_it_says_so(tmp_path: Path) -> None:
    workbench = Workbench(settings(engine="echo", reproducible=True), folders_in(tmp_path))
    try:
        with pytest.raises(LoadFailed, match="The echo engine cannot promise"):
            await workbench.models.load("echo")
    finally:
        await workbench.close()


def test_a_model_whose_state_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="cannot be cut"):
        LlamaCppEngine().load(artifact_at(write("mamba", tmp_path)), OPTIONS)


class TightDesk(HostDesk):
    """Its models have cells for one whole context and a little more, so that two long answers cannot both go on."""

    def __init__(self, way_back: str) -> None:
        super().__init__(LlamaCppEngine(), artifact_at(WEIGHTS), LoadOptions(ctx_size=256, slots=2, reproducible=True))
        self._way_back = way_back
        self.preempted = 0

    def _load(self) -> LoadedModel:
        loaded = super()._load()
        model = loaded.model
        assert isinstance(model, ReproducibleLlamaModel)
        model.spec = replace(model.spec, cells=320)
        save, step = model.save, model.step

        def counted(sequence: SequenceId) -> bytes:
            self.preempted += 1
            state = save(sequence)
            return state if self._way_back != "refused by the engine" else b"damaged"

        def failing(work: Sequence[Work]) -> Sequence[Step]:
            if self.preempted and self._way_back == "after a restart of the engine":
                self._way_back = ""
                raise EngineFailed("It failed, as it was told to.")
            return step(work)

        model.save, model.step = counted, failing  # type: ignore[method-assign]
        return loaded


@pytest.mark.parametrize("sampling", [SamplingWish(temperature=0.0), SamplingWish(temperature=1.5, seed=7)])
@pytest.mark.parametrize("way_back", ["as it was saved", "refused by the engine", "after a restart of the engine"])
async def test_an_answer_that_had_to_make_room_goes_on_with_the_numbers_of_one_that_ran_through(
    way_back: str, sampling: SamplingWish
) -> None:
    desk = TightDesk(way_back)
    wish = replace(sampling, logprobs=2, repeat_penalty=1.2)
    async with desk.hosting(None) as host:
        prompts = [desk.encode(question) for question in QUESTIONS[:2]]
        alone = [(await ask(host, prompt, sampling=wish, max_tokens=None))[0] for prompt in prompts]
        assert not desk.preempted
        answers = [ask(host, prompt, sampling=wish, max_tokens=None) for prompt in prompts]
        first, second = await asyncio.gather(*answers, return_exceptions=True)
        assert desk.preempted
    assert not isinstance(second, BaseException)
    assert second[0] == alone[1]
    if way_back == "after a restart of the engine":
        assert isinstance(first, EngineFailed)
    else:
        assert not isinstance(first, BaseException)
        assert first[0] == alone[0]


async def test_a_prompt_from_disk_is_answered_with_the_numbers_of_one_computed_here(tmp_path: Path) -> None:
    desk = HostDesk(LlamaCppEngine(), artifact_at(WEIGHTS), OPTIONS)
    answers = []
    for _ in range(2):
        store = PrefixStore(100_000_000, DiskTier(tmp_path, 100_000_000), min_tokens=1)
        async with desk.hosting(store) as host:
            prompt = prompts_of(desk)[1]
            answers.append((await ask(host, prompt))[0])
            reused = host.snapshot().cache.reused.get(Tier.DISK, 0)
        store.close(30.0)
    assert reused == len(prompt[:-1]) // GRAIN_TOKENS * GRAIN_TOKENS > 0
    assert answers[0] == answers[1]
