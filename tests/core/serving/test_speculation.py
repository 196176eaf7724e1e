"""Speculation in the serving loop: the answers are the same, with fewer passes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.models import ModelSpec, Tokenizer, TokenModel, Trims
from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.decoding.drafting import DraftModel
from core.decoding.lookup import PromptLookup
from core.decoding.speculate import GuessWish, Proposer
from core.engines.echo import TURN_END, EchoModel
from core.errors import EngineFailed
from core.events import FinishReason, Reply
from core.guide import WEIGHTS
from core.requests import Caller, Constraint, Generation, RawText, RegexPattern, Sampling
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.snapshots import ModelState
from tests.fakes.guessing import GuessingStub, guess_always
from tests.fakes.loading import load_decoder
from tests.fakes.real_weights import SMOLLM2, real_weights
from tests.fakes.support import asks
from tests.fakes.weights import quantized

SAID = "the quick brown fox jumps over the lazy dog and runs away"
GREEDY = Sampling(temperature=0.0)


@pytest.fixture(autouse=True)
def guesses_whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`test_speculate.py` has when guessing rests."""
    guess_always(monkeypatch)


class Oracle(GuessingStub):
    """Knows what an echo will say, and errs as often as it is told to."""

    name = "oracle"

    def __init__(self, text: str, errs: float = 0.0) -> None:
        self._reply = [*text.encode(), TURN_END]
        self._errs = errs
        self._random = Random(1)
        self.following: set[Hashable] = set()
        self.freed = False

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        self.following.update(wish.key for wish in wishes)
        return [self._guess(wish) for wish in wishes]

    def forget(self, wish: GuessWish) -> None:
        self.following.discard(wish.key)

    def shutdown(self) -> None:
        self.freed = True

    def _guess(self, wish: GuessWish) -> list[int]:
        written = len(wish.tokens) - max(index for index, token in enumerate(wish.tokens) if token == 10) - 1
        right = (self._reply[written:] + [TURN_END] * wish.most)[: wish.most]
        return [token if self._random.random() >= self._errs else 33 for token in right]


class BrokenOracle(Oracle):
    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        raise EngineFailed("It is broken.")


class Counting(EchoModel):
    """An echo that counts its steps."""

    def __init__(self, options: LoadOptions) -> None:
        super().__init__(options)
        self.steps = 0

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        self.steps += 1
        return super().step(work)


@asynccontextmanager
async def hosting(model: TokenModel, proposer: Proposer | None) -> AsyncIterator[Host]:
    loaded = LoadedModel(model, "echo", proposer=proposer)
    host = Host("echo", lambda *_: loaded, max_queue=32, queue_timeout=60.0, slots=None)
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


def guessed_in(host: Host) -> int:
    """Tokens that were guessed."""
    stats = host.snapshot().draft
    return stats.guessed if stats is not None else 0


def counting(context: int = 256, slots: int = 4, batch: int = 64) -> Counting:
    return Counting(LoadOptions(ctx_size=context, slots=slots, batch=batch))


async def ask(host: Host, request: Generation = asks(SAID)) -> Reply:
    return await (await host.submit(request)).reply()


async def test_right_guesses_save_steps() -> None:
    plain, guessed = counting(), counting()
    async with hosting(plain, None) as host:
        expected = await ask(host)
    async with hosting(guessed, Oracle(SAID)) as host:
        request = asks(SAID)
        reply = await ask(host, request)
        stats = host.snapshot().draft
        row = host.row(request.request_id)
    assert reply.choices[0].text == expected.choices[0].text == SAID
    assert reply.usage == expected.usage
    assert stats is not None
    assert (stats.by, stats.kept) == ("oracle", stats.guessed)
    assert stats.kept > len(SAID) // 2
    assert row is not None
    assert (row.guessed_tokens, row.kept_tokens) == (stats.guessed, stats.kept)
    assert guessed.steps < plain.steps // 4


@pytest.mark.parametrize("errs", [0.2, 0.5, 1.0])
@pytest.mark.parametrize(
    "request_",
    [asks(SAID), asks(SAID, max_tokens=30), asks(SAID, stop=("lazy d",)), asks(SAID, n=2)],
    ids=["whole", "cut", "stopped", "twice"],
)
async def test_whatever_is_guessed_the_answer_is_the_same(errs: float, request_: Generation) -> None:
    async with hosting(counting(), None) as host:
        expected = await ask(host, request_)
    async with hosting(counting(), Oracle(SAID, errs)) as host:
        reply = await ask(host, request_)
        assert guessed_in(host) > 0
    assert (reply.choices, reply.usage) == (expected.choices, expected.usage)


async def test_guesses_beyond_the_end_leave_nothing_in_the_kv_cache() -> None:
    model = counting()
    async with hosting(model, Oracle(SAID)) as host:
        await ask(host, asks(SAID, stop=("brown",)))
        used = host.snapshot().kv_cells_used
        held = sum(len(state.tokens) for state in model._sequences.values())
        assert guessed_in(host) > 0
    assert used == held


class Twenties(Oracle):
    """Guesses nineteen, so that a step is to draw twenty."""

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        return super().propose([replace(wish, most=min(wish.most, 19)) for wish in wishes])


async def test_an_answer_without_a_limit_is_guessed_as_far_ahead_as_one_with_a_limit() -> None:
    """Its cells are claimed a few at a time."""
    said = SAID * 6
    model = counting(context=2048, slots=4)
    async with hosting(model, Twenties(said)) as host:
        assert (await ask(host, asks(said))).choices[0].text == said
    prompt_steps = len(said) // 64 + 2
    assert model.steps <= prompt_steps + len(said) // 20 + 1


async def test_answers_that_fill_the_kv_cache_to_the_last_cell_find_room_for_guesses() -> None:
    model = counting(context=100, slots=1)
    async with hosting(model, Oracle(SAID)) as host:
        reply = await ask(host, asks("a" * 10, ignore_eos=True))
        again = await ask(host, asks("b" * 10, ignore_eos=True))
        assert guessed_in(host) > 0
    assert {each.choices[0].reason for each in (reply, again)} == {FinishReason.CONTEXT}
    assert reply.usage.prompt_tokens + reply.usage.completion_tokens == 100


async def test_many_streams_with_guesses_do_not_mix() -> None:
    texts = [f"{number} times {SAID}" for number in range(12)]
    async with hosting(counting(slots=4, batch=16), PromptLookup()) as host:
        replies = await asyncio.gather(*(ask(host, asks(text)) for text in texts))
        assert guessed_in(host) > 0
    assert [reply.choices[0].text for reply in replies] == texts


async def test_log_probabilities_come_for_each_guessed_token() -> None:
    async with hosting(counting(), Oracle(SAID)) as host:
        reply = await ask(host, asks(SAID, sampling=Sampling(temperature=0.0, logprobs=1)))
        assert guessed_in(host) > 0
    assert "".join(each.token for each in reply.choices[0].logprobs) == SAID


async def test_a_sequence_that_has_ended_is_forgotten() -> None:
    proposer = Oracle(SAID)
    async with hosting(counting(), proposer) as host:
        await ask(host)
        assert proposer.following == set()
    assert proposer.freed


async def test_a_draft_that_fails_costs_no_request_and_is_told() -> None:
    proposer = BrokenOracle(SAID)
    async with hosting(counting(), proposer) as host:
        reply = await ask(host)
        stats = host.snapshot().draft
    assert reply.choices[0].text == SAID
    assert stats is not None
    assert stats.problem == "it failed: It is broken."
    assert proposer.freed


class Patient(Oracle):
    """Guesses when the client has heard of what was drawn before."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.heard = threading.Event()
        self.in_time: list[bool] = []

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        self.in_time.append(self.heard.wait(10))
        return super().propose(wishes)


async def test_what_was_drawn_does_not_wait_for_guesses() -> None:
    proposer = Patient(SAID)
    async with hosting(counting(), proposer) as host:
        async for _ in await host.submit(asks(SAID)):
            proposer.heard.set()
    assert proposer.in_time[0]


class BreaksInTheEnd(Oracle):
    def forget(self, wish: GuessWish) -> None:
        raise EngineFailed("It forgets nothing.")

    def shutdown(self) -> None:
        super().shutdown()
        raise EngineFailed("It does not end.")


async def test_a_draft_that_fails_in_ending_takes_nobody_along() -> None:
    model, proposer = counting(), BreaksInTheEnd(SAID)
    async with hosting(model, proposer) as host:
        for _ in range(2):
            assert (await ask(host)).choices[0].text == SAID
        stats = host.snapshot().draft
        assert host.state is ModelState.READY
    assert stats is not None
    assert stats.problem == "it failed: It forgets nothing."
    assert proposer.freed
    assert model._sequences == {}


class Recurrent:
    """An echo of which nothing can be taken back."""

    def __init__(self, model: EchoModel) -> None:
        self.spec: ModelSpec = model.spec
        self.tokenizer: Tokenizer = model.tokenizer
        self.open, self.step, self.save, self.restore = model.open, model.step, model.save, model.restore
        self.close, self.interrupt, self.shutdown = model.close, model.interrupt, model.shutdown


async def test_a_model_that_takes_nothing_back_is_served_without_guesses() -> None:
    model = Recurrent(counting())
    assert not isinstance(model, Trims)
    async with hosting(model, Oracle(SAID)) as host:
        assert (await ask(host)).choices[0].text == SAID
        stats = host.snapshot().draft
    assert stats is not None
    assert stats.guessed == 0
    assert "could not be taken back" in stats.problem


async def test_nothing_is_told_of_guesses_where_there_are_none() -> None:
    async with hosting(counting(), None) as host:
        assert host.snapshot().draft is None


def drafted(model: TokenModel) -> DraftModel:
    assert isinstance(model, Trims)
    return DraftModel("small", model, model.tokenizer.size)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.9, seed=7)], ids=["greedy", "sampled"])
async def test_a_real_draft_model_changes_no_word_of_a_real_model(tmp_path: Path, sampling: Sampling) -> None:
    path = quantized(WEIGHTS, tmp_path)
    options = LoadOptions(ctx_size=512, slots=2, threads=1, batch_threads=1, extra_buffers=False)

    def load(path: Path) -> TokenModel:
        return load_decoder(Artifact("guide", "gguf", path, path.stat().st_size), options)

    prompts = ["What is a KV cache?", "How do I start the server?"]
    answers: list[list[str]] = []
    for drafting in (False, True):
        async with hosting(load(WEIGHTS), drafted(load(path)) if drafting else None) as host:
            replies = [await ask(host, asks(text, sampling=sampling, max_tokens=60)) for text in prompts]
            answers.append([reply.choices[0].text for reply in replies])
            stats = host.snapshot().draft
    assert answers[0] == answers[1]
    assert stats is not None
    assert stats.problem == ""
    assert stats.kept > 0


async def test_prompt_lookup_guesses_what_a_prompt_repeats() -> None:
    text = "one two three four five six. " * 4
    async with hosting(counting(context=512), PromptLookup()) as host:
        reply = await ask(host, asks(text, prompt=RawText(text)))
        stats = host.snapshot().draft
    assert reply.choices[0].text == text
    assert stats is not None
    assert stats.kept >= 31


LISTED = "red, green, blue, yellow, orange, purple, brown, black, white, grey"
COPIES = [f"Repeat this list word for word: {LISTED}.", f"Repeat this list twice: {LISTED}. Begin now."]


def real(path: Path) -> TokenModel:
    options = LoadOptions(ctx_size=1024, slots=2, threads=1, batch_threads=1, extra_buffers=False)
    return load_decoder(Artifact(path.stem, "gguf", path, path.stat().st_size), options)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
@pytest.mark.parametrize(
    ("weights", "form"),
    [("guide", None), (SMOLLM2, None), (SMOLLM2, RegexPattern("[a-zA-Z ,.:]{10,200}"))],
    ids=["guide", "smollm2", "smollm2, masked"],
)
async def test_real_models_say_greedily_the_same_with_guesses_and_without(
    weights: str, form: RegexPattern | None, together: bool
) -> None:
    """Copies, in which no two tokens come close: other shapes of passes may decide close calls otherwise."""
    path = WEIGHTS if weights == "guide" else real_weights(weights)
    constraint = Constraint(form) if form is not None else None
    requests = [asks(text, sampling=GREEDY, max_tokens=40, constraint=constraint) for text in COPIES]
    answers: list[list[str]] = []
    guessed = 0
    for proposer in (None, PromptLookup()):
        async with hosting(real(path), proposer) as host:
            if together:
                replies = await asyncio.gather(*(ask(host, request) for request in requests))
            else:
                replies = [await ask(host, request) for request in requests]
            answers.append([reply.choices[0].text for reply in replies])
            guessed = guessed_in(host)
    assert answers[0] == answers[1]
    assert guessed > 0


@pytest.mark.parametrize(
    ("later", "known"),
    [
        (asks("again", caller=Caller(tenant="me"), cache_salt="mine"), True),
        (asks("again", caller=Caller(tenant="another"), cache_salt="mine"), False),
        (asks("again", caller=Caller(tenant="me"), cache_salt="other"), False),
        (asks("again", caller=Caller(tenant="me"), cache_salt="mine", cache=False), False),
    ],
    ids=["the same", "another key", "another salt", "without cache"],
)
async def test_what_a_request_wrote_is_guessed_for_later_ones_of_its_owner(later: Generation, known: bool) -> None:
    """The reply repeats nothing in itself, so that only what was written before can foretell it."""
    reply = "abcdefghijklmnopqrstuvwxyz0123456789"
    model = EchoModel(LoadOptions(ctx_size=512, slots=1), lambda _: reply)
    async with hosting(model, PromptLookup()) as host:
        await ask(host, asks("now", caller=Caller(tenant="me"), cache_salt="mine"))
        assert guessed_in(host) == 0
        assert (await ask(host, later)).choices[0].text == reply
        assert (guessed_in(host) > 0) == known
