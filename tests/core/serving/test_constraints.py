"""Answers that must be of a form: under every way of serving they are, and nobody else notices."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import jsonschema
import pytest
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.decoding.lookup import PromptLookup
from core.decoding.masks.trials import FormTrials
from core.decoding.speculate import GuessWish, Proposer
from core.engines.echo import EchoModel
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import RequestError
from core.events import Event, FinishReason, TextDelta, fold_events
from core.guide import WEIGHTS
from core.requests import (
    AnswerForm,
    Constraint,
    Generation,
    JsonObject,
    JsonSchema,
    RegexPattern,
    SamplingWish,
    TextChoice,
)
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.settings.schema import AnswerSettings
from tests.fakes.guessing import GuessingStub, guess_always
from tests.fakes.support import GatedEcho, asks

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "tags": {"type": "array", "items": {"enum": ["sun", "rain"]}, "maxItems": 3},
    },
    "required": ["city", "days", "tags"],
    "additionalProperties": False,
}
HOT = SamplingWish(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=7)


@pytest.fixture(scope="module")
def trials() -> Iterator[FormTrials]:
    made = FormTrials()
    yield made
    made.close()


Hosting = Callable[..., Any]


@pytest.fixture
def hosting(trials: FormTrials) -> Hosting:
    @asynccontextmanager
    async def hosted(model: TokenModel, proposer: Proposer | None = None) -> AsyncIterator[Host]:
        loaded = LoadedModel(model, "test", proposer=proposer)
        host = Host("m", lambda *_: loaded, max_queue=32, queue_timeout=60.0, slots=None, trials=trials)
        host.start()
        await host.ready()
        try:
            yield host
        finally:
            await host.stop()

    return hosted


def echo(script: str | None = None, **options: int) -> EchoModel:
    loading = LoadOptions(**{"ctx_size": 512, "slots": 4, **options})  # type: ignore[arg-type]
    return EchoModel(loading) if script is None else EchoModel(loading, lambda _: script)


def guide() -> TokenModel:
    artifact = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
    loaded = LlamaCppEngine().load(artifact, LoadOptions(ctx_size=512, slots=4, threads=1))
    assert isinstance(loaded, TokenModel)
    return loaded


def bound(text: str, form: AnswerForm, **fields: object) -> Generation:
    return asks(text, constraint=Constraint(form, "response_format"), **fields)  # type: ignore[arg-type]


def schema(of: dict[str, Any] = SCHEMA) -> JsonSchema:
    return JsonSchema(json.dumps(of))


def is_valid(text: str, of: dict[str, Any] = SCHEMA) -> bool:
    jsonschema.validate(json.loads(text), of)
    return True


async def ask(host: Host, request: Generation) -> tuple[str, FinishReason]:
    (choice,) = (await (await host.submit(request)).reply()).choices
    return choice.text, choice.reason


async def test_an_answer_that_is_of_the_form_anyway_is_let_be_and_ends_with_it(hosting: Hosting) -> None:
    async with hosting(echo()) as host:
        said = '{"a": [1, 2]} and more'
        assert await ask(host, bound(said, JsonObject())) == ('{"a": [1, 2]}', FinishReason.STOP)
        assert await ask(host, asks(said)) == (said, FinishReason.STOP)


async def test_an_answer_that_is_not_is_made_to_be(hosting: Hosting) -> None:
    async with hosting(echo()) as host:
        text, reason = await ask(host, bound("I'd rather not.", JsonObject()))
        assert isinstance(json.loads(text), dict)
        assert reason is FinishReason.STOP
        assert (await ask(host, bound("maybe", TextChoice(("yes", "no"))))) == ("no", FinishReason.STOP)
        assert (await ask(host, bound("12x", RegexPattern("[0-9]+")))) == ("12", FinishReason.STOP)


async def test_a_hot_model_writes_what_the_schema_says_in_every_choice(hosting: Hosting) -> None:
    async with hosting(guide()) as host:
        reply = await (await host.submit(bound("Weather?", schema(), n=4, sampling=HOT, max_tokens=200))).reply()
    whole = [choice for choice in reply.choices if choice.reason is FinishReason.STOP]
    assert len(whole) >= 3
    assert all(is_valid(choice.text) for choice in whole)
    assert len({choice.text for choice in whole}) > 1


async def test_a_stream_tells_the_same_as_the_whole(hosting: Hosting) -> None:
    request = bound("Weather?", schema(), sampling=replace(HOT, logprobs=2), max_tokens=200)
    async with hosting(guide()) as host:
        events: list[Event] = [event async for batch in await host.submit(request) for event in batch]
        reply = await (await host.submit(request)).reply()
    assert fold_events(events).choices == reply.choices
    assert is_valid(reply.choices[0].text)
    told = [each for event in events if isinstance(event, TextDelta) for each in event.logprobs]
    assert b"".join(each.data for each in told).decode() == reply.choices[0].text


async def test_constrained_and_free_requests_share_a_batch_and_do_not_mix(hosting: Hosting) -> None:
    greedy = SamplingWish(temperature=0.0)
    free = asks("What is a KV cache?", sampling=greedy, max_tokens=24)
    other = bound("Yes or no?", TextChoice(("yes", "no")), sampling=greedy)
    async with hosting(guide()) as host:
        alone = await ask(host, free)
        streams = [await host.submit(each) for each in (free, bound("Weather?", schema(), sampling=HOT), other, free)]
        first, weather, answer, last = [(await stream.reply()).choices[0].text for stream in streams]
    assert first == last == alone[0]
    assert is_valid(weather)
    assert answer in ("yes", "no")


async def test_the_limit_ends_a_constrained_answer_as_any_other(hosting: Hosting) -> None:
    async with hosting(guide()) as host:
        text, reason = await ask(host, bound("Weather?", schema(), sampling=HOT, max_tokens=3))
    assert reason is FinishReason.LENGTH
    assert text.startswith("{")


async def test_a_stop_string_ends_a_constrained_answer_as_any_other(hosting: Hosting) -> None:
    async with hosting(echo()) as host:
        reply = await (await host.submit(bound('{"a": 1, "b": 2}', JsonObject(), stop=("b",)))).reply()
    assert reply.choices[0].text == '{"a": 1, "'
    assert (reply.choices[0].reason, reply.choices[0].stop) == (FinishReason.STOP_SEQUENCE, "b")


async def test_going_on_past_the_end_ends_where_the_form_does(hosting: Hosting) -> None:
    async with hosting(echo()) as host:
        assert (await ask(host, bound("yes", TextChoice(("yes",)), ignore_eos=True)))[0] == "yes"


class Wrong(GuessingStub):
    """Guesses what no JSON has in it, and now and then what comes."""

    def __init__(self, reply: str) -> None:
        self._reply = reply.encode()

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        return [[*self._reply[:2], *b"\x01\x02"][: wish.most] for wish in wishes]


@pytest.mark.parametrize(
    "form", [JsonObject(), schema(), RegexPattern("[a-z ]{5,40}")], ids=lambda form: type(form).__name__
)
async def test_guesses_change_no_constrained_answer(
    form: AnswerForm, hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    guess_always(monkeypatch)
    request = bound("red sun, red sun, red sun", form, sampling=SamplingWish(temperature=0.0), max_tokens=60)
    async with hosting(guide()) as host:
        plain = await ask(host, request)
    for proposer in (PromptLookup(), Wrong(plain[0])):
        async with hosting(guide(), proposer) as host:
            assert await ask(host, request) == plain
            stats = host.snapshot().draft
            assert stats is not None
            assert stats.problem == ""


async def test_right_guesses_are_kept_under_a_mask(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    guess_always(monkeypatch)
    said = json.dumps({"a": ["the same again and again"] * 8})
    async with hosting(echo(), PromptLookup()) as host:
        assert (await ask(host, bound(said, JsonObject())))[0] == said
        stats = host.snapshot().draft
    assert stats is not None
    assert stats.kept > 50


async def test_a_preempted_answer_goes_on_where_its_mask_was(hosting: Hosting) -> None:
    """Four answers of which two fit."""
    said = json.dumps({"a": "x" * 150})
    model = GatedEcho(LoadOptions(ctx_size=512, slots=4))
    model.spec = replace(model.spec, cells=900)
    saved: list[int] = []
    save = model.save
    model.save = lambda sequence: saved.append(sequence) or save(sequence)  # type: ignore[method-assign,func-returns-value]
    async with hosting(model) as host:
        streams = [await host.submit(bound(said, JsonObject(), cache=False)) for _ in range(4)]
        model.open_gate()
        texts = [(await stream.reply()).choices[0].text for stream in streams]
    assert texts == [said] * 4
    assert saved


class Defiant(EchoModel):
    """Draws whatever it likes."""

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        return super().step([replace(item, masks=()) for item in work])


async def test_a_token_against_the_mask_fails_its_request_alone(hosting: Hosting) -> None:
    async with hosting(Defiant()) as host:
        bystander = await host.submit(asks("a longer text for somebody else"))
        with pytest.raises(RequestError, match="No token that `response_format` allows could be drawn") as error:
            await (await host.submit(bound("no", JsonObject(), n=2))).reply()
        assert (await bystander.reply()).choices[0].text == "a longer text for somebody else"
        assert (await ask(host, asks("again")))[0] == "again"
    assert error.value.field == "response_format"


async def test_a_form_that_grows_too_complex_fails_its_request_alone(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosting(echo()) as host:
        await ask(host, bound("ab", RegexPattern("[ab]+")))
        monkeypatch.setattr(
            "core.decoding.masks.token_mask.TokenMask._next",
            lambda mask: (_ for _ in ()).throw(RequestError("It is too complex.", "response_format")),
        )
        bystander = await host.submit(asks("a longer text for somebody else"))
        with pytest.raises(RequestError, match="too complex"):
            await (await host.submit(bound("ab", RegexPattern("[ab]+"), n=3))).reply()
        assert (await bystander.reply()).choices[0].text == "a longer text for somebody else"


async def test_what_cannot_be_enforced_is_refused_before_it_is_queued(hosting: Hosting) -> None:
    async with hosting(echo()) as host:
        with pytest.raises(RequestError, match="keyword `uniqueItems` cannot be enforced here") as error:
            await host.submit(bound("x", schema({"type": "array", "uniqueItems": True})))
        assert not host.snapshot().requests
    assert error.value.field == "response_format"


THINKS = (
    "{% for m in messages %}<|im_start|>user\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>a\nOPEN{# </think> #}"
)


@pytest.mark.parametrize(
    ("opened", "reply"),
    [
        ("<think>", 'it is {"warm"}</think>\n\n{"a": 1}'),
        ("{# <think> #}", '<think>it is {"warm"}</think>{"a": 1}'),
        ("{# <think> #}", '{"a": 1}'),
        ("<think></think>", '{"a": 1}'),
    ],
)
async def test_a_thinking_model_is_free_until_it_has_thought(opened: str, reply: str, hosting: Hosting) -> None:
    model = echo(reply)
    model.spec = replace(model.spec, template=THINKS.replace("OPEN", opened))
    async with hosting(model) as host:
        answer = reply.rpartition("</think>")[2].strip()
        assert await ask(host, bound("hm", JsonObject())) == (answer, FinishReason.STOP)


async def test_answers_are_json_where_that_is_the_servers_default(trials: FormTrials) -> None:
    answers = AnswerSettings(json_mode=True)
    loaded = LoadedModel(echo(), "test")
    host = Host("m", lambda *_: loaded, max_queue=4, queue_timeout=9, slots=None, answers=answers, trials=trials)
    host.start()
    try:
        assert (await ask(host, asks('{"a": 1} and more')))[0] == '{"a": 1}'
        assert (await ask(host, bound("yes", TextChoice(("yes", "no")))))[0] == "yes"
    finally:
        await host.stop()


async def test_an_answer_that_goes_round_in_a_circle_ends_and_is_counted(trials: FormTrials) -> None:
    said = "on and on " * 40
    for bound_tokens, reason in ((64, FinishReason.LOOP), (0, FinishReason.STOP)):
        loaded = LoadedModel(echo(said), "test")
        answers = AnswerSettings(loop_guard=bound_tokens)
        host = Host("m", lambda *_, it=loaded: it, max_queue=4, queue_timeout=9, slots=None, answers=answers)
        host.start()
        try:
            text, told = await ask(host, asks("go"))
            stats = host.snapshot().queue
        finally:
            await host.stop()
        assert told is reason
        assert said.startswith(text)
        assert (len(text) < 100) is (reason is FinishReason.LOOP)
        assert (stats.total_looped, stats.total_processed) == (int(reason is FinishReason.LOOP), 1)
