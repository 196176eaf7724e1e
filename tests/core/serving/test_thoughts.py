"""Thoughts are ended for a model: by a budget, by whoever has heard enough, by a template that knows no other way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from core.chat.chatml import CHATML_WITH_TOOLS
from core.contract.options import LoadOptions
from core.decoding.speculate import GuessWish, Proposer
from core.engines.echo import TURN_END, EchoModel, Script
from core.events import FinishReason, ReasoningDelta, Reply
from core.requests import Constraint, Conversation, JsonObject, Message, ReasoningWish, RegexPattern, Role
from core.serving.host import Host
from core.serving.loaded import LoadedModel
from core.serving.stream import Stream
from core.serving.thoughts import ThoughtEnding, ThoughtWatch
from tests.fakes.guessing import GuessingStub, guess_always
from tests.fakes.support import GatedEcho, asks, said

THOUGHT = "one two three four five six seven"
REPLY = f"<think>\n{THOUGHT}\n</think>\n\n42"
NO_SWITCH = CHATML_WITH_TOOLS.replace("enable_thinking is defined and not enable_thinking", "false")
INSIDE = NO_SWITCH.replace("<|im_start|>assistant\n{% if false", "<|im_start|>assistant\n<think>\n{% if false")


def script(_: str) -> str:
    return REPLY


@asynccontextmanager
async def serving(
    template: str = CHATML_WITH_TOOLS,
    model: EchoModel | None = None,
    reply: Script = script,
    wish: ReasoningWish = ReasoningWish(),
    proposer: Proposer | None = None,
) -> AsyncIterator[Host]:
    model = model or EchoModel(LoadOptions(), reply)
    model.spec = replace(model.spec, template=template)
    loaded = LoadedModel(model, "echo", proposer=proposer)
    host = Host("m", lambda *_: loaded, max_queue=32, queue_timeout=60.0, slots=None, reasoning=wish)
    host.start()
    await host.ready()
    try:
        yield host
    finally:
        await host.stop()


async def answer(host: Host, **fields: object) -> Reply:
    return await (await host.submit(asks("x", "m", **fields))).reply()


async def test_a_thought_ends_when_its_budget_is_used_up_and_the_answer_follows() -> None:
    async with serving() as host:
        reply = await answer(host, reasoning=ReasoningWish(budget=10, message=" Enough."))
        (choice,) = reply.choices
        assert (choice.reasoning.strip(), choice.text) == ("one two t Enough.", "42")
        assert choice.reason is FinishReason.STOP
        free = await answer(host)
        assert (free.choices[0].reasoning.strip(), free.choices[0].text) == (THOUGHT, "42")


async def test_what_is_written_for_the_model_is_counted_and_kept_in_the_prefix_cache() -> None:
    async with serving() as host:
        reply = await answer(host, reasoning=ReasoningWish(budget=10))
        written = "<think>\none two t\n</think>\n\n42"
        assert reply.usage.completion_tokens == len(written) + 1
        # With a token for each letter, those of a mark count from where it is whole.
        assert reply.usage.reasoning_tokens == len(written) - len("42") - len("<think")
        begun = Message(Role.ASSISTANT, (), reasoning="one two t")
        prompt = Conversation((said("x"), replace(begun, parts=said("42").parts), said("y")))
        again = await answer(host, prompt=prompt)
        assert again.usage.cached_tokens >= len("user\nx\nassistant\n") + len(written)


async def test_a_budget_that_is_larger_than_the_thought_changes_nothing() -> None:
    async with serving() as host:
        reply = await answer(host, reasoning=ReasoningWish(budget=len(THOUGHT) + 2))
        assert (reply.choices[0].reasoning.strip(), reply.choices[0].text) == (THOUGHT, "42")


async def test_an_answer_without_a_thought_has_no_budget_to_use_up() -> None:
    async with serving(reply=lambda _: "just an answer, no thought") as host:
        reply = await answer(host, reasoning=ReasoningWish(budget=3))
        assert (reply.choices[0].reasoning, reply.choices[0].text) == ("", "just an answer, no thought")


async def test_each_choice_has_the_budget_for_itself() -> None:
    async with serving() as host:
        reply = await answer(host, n=3, reasoning=ReasoningWish(budget=10))
        assert {(choice.reasoning.strip(), choice.text) for choice in reply.choices} == {("one two t", "42")}


async def test_a_limit_counts_what_is_written_for_the_model_too() -> None:
    async with serving() as host:
        reply = await answer(host, max_tokens=22, reasoning=ReasoningWish(budget=10, message="abcdefghij"))
        (choice,) = reply.choices
        assert choice.reason is FinishReason.LENGTH
        assert reply.usage.completion_tokens == 22
        assert choice.text == ""


async def test_a_form_begins_behind_a_thought_that_was_ended() -> None:
    json = REPLY.replace("42", '{"a": 1}')
    async with serving(reply=lambda _: json) as host:
        constraint = Constraint(JsonObject(), "response_format")
        reply = await answer(host, constraint=constraint, reasoning=ReasoningWish(budget=10))
        assert (reply.choices[0].reasoning.strip(), reply.choices[0].text) == ("one two t", '{"a": 1}')
    async with serving() as host:
        constraint = Constraint(RegexPattern("[0-9]{2}"), "regex")
        reply = await answer(host, constraint=constraint, reasoning=ReasoningWish(budget=4))
        assert reply.choices[0].text == "42"


async def test_a_model_whose_prompt_begins_a_thought_is_held_to_the_budget_too() -> None:
    async with serving(INSIDE, reply=lambda _: f"{THOUGHT}\n</think>\n\n42") as host:
        reply = await answer(host, reasoning=ReasoningWish(budget=7))
        assert (reply.choices[0].reasoning.strip(), reply.choices[0].text) == ("one two", "42")


@pytest.mark.parametrize("wish", [ReasoningWish(think=False), ReasoningWish(effort="none"), ReasoningWish(budget=0)])
@pytest.mark.parametrize("template", [CHATML_WITH_TOOLS, NO_SWITCH, INSIDE], ids=["switch", "none", "begun"])
async def test_thinking_is_switched_off_or_an_empty_thought_is_written(template: str, wish: ReasoningWish) -> None:
    async with serving(template) as host:
        written = await (await host.reader()).write(asks("x", reasoning=wish))
        assert written.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


async def test_the_users_settings_say_what_requests_leave_open() -> None:
    async with serving(wish=ReasoningWish(budget=10, message=" So.")) as host:
        assert (await answer(host)).choices[0].reasoning.strip() == "one two t So."
        longer = await answer(host, reasoning=ReasoningWish(budget=1000))
        assert longer.choices[0].reasoning.strip() == THOUGHT
    async with serving(wish=ReasoningWish(effort="none")) as host:
        assert "</think>" in await (await host.reader()).write(asks("x"))
        asked = asks("x", reasoning=ReasoningWish(think=True))
        assert "</think>" not in await (await host.reader()).write(asked)


async def test_what_a_model_does_not_hear_is_told() -> None:
    async with serving() as host:
        voice = host.traits.voice
        assert voice is not None
        assert voice.list_ignored(ReasoningWish(think=False, budget=9)) == ()
        assert voice.list_ignored(ReasoningWish(effort="low")) == ()
    async with serving(INSIDE) as host:
        voice = host.traits.voice
        assert voice is not None
        assert voice.list_ignored(ReasoningWish(think=True, budget=9)) == ()
        assert voice.list_ignored(ReasoningWish(effort="low")) == ("effort",)
    async with serving(EchoModel().spec.template or "") as host:
        voice = host.traits.voice
        assert voice is not None
        assert voice.list_ignored(ReasoningWish(think=True, effort="low", budget=9)) == ("think", "effort", "budget")


async def test_a_word_that_a_template_takes_for_a_switch_is_said_for_the_user() -> None:
    """As Nemotron's does."""
    template = (
        "{% set ns = namespace(on=true) %}{% for m in messages %}{% if '/no_think' in m.content %}"
        "{% set ns.on = false %}{% endif %}<{{ m.role }}>{{ m.content.replace('/no_think', '').strip() }}{% endfor %}"
        "<assistant>{% if ns.on %}<think>\n{% else %}<think></think>{% endif %}"
    )
    async with serving(template) as host:
        reader = await host.reader()
        assert (
            await reader.write(asks("x", reasoning=ReasoningWish(think=False))) == "<user>x<assistant><think></think>"
        )
        assert (await reader.write(asks("x"))).endswith("<think>\n")


@pytest.mark.parametrize(
    ("template", "ignored"),
    [
        ("{{ reasoning_effort }}", ()),
        ("{% if reasoning_effort == 'velvet' %}x{% endif %}", ()),
        ("{% if reasoning_effort == 'high' %}x{% endif %}", ("effort",)),
    ],
)
async def test_a_word_for_the_effort_that_a_template_does_not_know_is_told(
    template: str, ignored: tuple[str, ...]
) -> None:
    async with serving(template + CHATML_WITH_TOOLS) as host:
        voice = host.traits.voice
        assert voice is not None
        assert voice.list_ignored(ReasoningWish(effort="velvet")) == ignored
        assert voice.list_ignored(ReasoningWish(effort="medium")) == ()


@pytest.mark.parametrize("template", [CHATML_WITH_TOOLS, INSIDE])
async def test_what_stops_an_answer_stops_no_thought(template: str) -> None:
    inside = template is INSIDE
    said = f"{'' if inside else '<think>'}\n{THOUGHT}\n\n42!\n</think>\n\nIt is 42\n\nor so."
    async with serving(template, reply=lambda _: said) as host:
        (choice,) = (await answer(host, stop=("\n\n", "two"))).choices
        assert choice.reasoning.strip() == f"{THOUGHT}\n\n42!"
        assert (choice.text, choice.reason, choice.stop) == ("It is 42", FinishReason.STOP_SEQUENCE, "\n\n")
        (ended,) = (await answer(host, stop=("42",), reasoning=ReasoningWish(budget=8))).choices
        assert (ended.text, ended.stop) == ("It is ", "42")


async def test_an_answer_without_a_thought_is_stopped_at_its_first_letters() -> None:
    async with serving(reply=lambda _: "<thin air>") as host:
        (choice,) = (await answer(host, stop=("<th",))).choices
        assert (choice.text, choice.reason) == ("", FinishReason.STOP_SEQUENCE)
        (whole,) = (await answer(host, stop=("x",), max_tokens=4)).choices
        assert whole.text == "<thi"


async def until(stream: Stream, done: Callable[[str], bool]) -> AsyncIterator[str]:
    thought = ""
    async for batch in stream:
        thought += "".join(event.text for event in batch if isinstance(event, ReasoningDelta))
        if done(thought):
            yield thought


async def test_a_thought_ends_when_somebody_has_heard_enough() -> None:
    model = GatedEcho(LoadOptions(), script)
    async with serving(model=model) as host:
        stream = await host.submit(asks("x", request_id="r"))
        model.allow(12)
        async for thought in until(stream, lambda heard: "one" in heard):
            assert thought.strip() in THOUGHT
            break
        assert not host.end_thinking("none")
        # Leaving the stream cancels; another one shows the end.
        other = await host.submit(asks("x", request_id="s"))
        assert host.end_thinking("s")
        model.open_gate()
        reply = await other.reply()
        assert reply.choices[0].text == "42"
        assert len(reply.choices[0].reasoning) < 12


async def test_a_thought_that_is_under_way_ends_with_the_next_token() -> None:
    model = GatedEcho(LoadOptions(), script)
    async with serving(model=model) as host:
        stream = await host.submit(asks("x", request_id="r"))
        model.allow(1 + len("<think>\none two"))
        while host.row("r") is None or host.snapshot().requests[0].completion_tokens < len("<think>\none two"):
            await asyncio.sleep(0.005)
        assert host.end_thinking("r")
        model.open_gate()
        reply = await stream.reply()
        assert reply.choices[0].text == "42"
        assert reply.choices[0].reasoning.strip().startswith("one two")
        assert len(reply.choices[0].reasoning.strip()) < len(THOUGHT) - 5


async def test_an_answer_without_thoughts_cannot_be_hurried() -> None:
    model = GatedEcho()
    async with serving(EchoModel().spec.template or "", model) as host:
        await host.submit(asks("x", request_id="r"))
        assert not host.end_thinking("r")
        model.open_gate()


class Foresight(GuessingStub):
    """Knows the script, and so guesses on amid a thought that is to end."""

    name = "foresight"

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        return [[*REPLY.encode(), TURN_END][len(wish.tokens) - wish.prompt :][: wish.most] for wish in wishes]


async def test_what_was_guessed_behind_the_end_of_a_thought_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    guess_always(monkeypatch)
    async with serving(proposer=Foresight()) as host:
        for budget in range(1, len(THOUGHT)):
            reply = await answer(host, reasoning=ReasoningWish(budget=budget, message=" ."), cache=False)
            (choice,) = reply.choices
            assert choice.text == "42"
            assert choice.reasoning.strip() == f"{THOUGHT[: budget - 1]} .".strip()
        stats = host.snapshot().draft
        assert stats is not None
        assert stats.kept > 0


async def test_thoughts_end_where_requests_are_put_aside_for_want_of_memory() -> None:
    model = EchoModel(LoadOptions(ctx_size=256, slots=2), script)
    model.spec = replace(model.spec, cells=150)
    async with serving(model=model) as host:
        wish = ReasoningWish(budget=10, message=" " + "." * 60)
        replies = await asyncio.gather(*(answer(host, reasoning=wish, cache=False) for _ in range(6)))
        assert {reply.choices[0].text for reply in replies} == {"42"}
        assert {reply.choices[0].reasoning.strip() for reply in replies} == {"one two t " + "." * 60}


MARKED = ThoughtEnding(b"<think>", b"</think>", inside=True, written=(1,))


def test_half_a_mark_and_half_a_character_are_waited_for() -> None:
    watch = ThoughtWatch(MARKED, 1)
    assert [watch.take(piece) for piece in (b"a</th", b"ink>", b"b")] == [False, False, False]
    watch = ThoughtWatch(MARKED, 1)
    assert [watch.take(piece) for piece in ("é".encode()[:1], "é".encode()[1:], b"x")] == [False, True, False]


def test_a_text_that_always_looks_like_half_a_mark_is_not_waited_for() -> None:
    watch = ThoughtWatch(MARKED, 1)
    assert sum(watch.take(b"<") for _ in range(40)) == 1
