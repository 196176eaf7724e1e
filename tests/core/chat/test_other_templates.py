"""Templates of other projects render as the library renders them that their authors wrote them for.

They may not be copied into this repository, so their folder is named by BENCHTOP_TEST_TEMPLATES. With `-s` a table is
printed: how each conversation had to be written for a template to take it with nobody's words lost.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.chat.plain import (
    GUIDING,
    NoTools,
    TemplateForm,
    ThoughtPlace,
    Writing,
    fold_system,
    pair_calls,
    write_messages,
    write_tools,
)
from core.chat.sandbox import mend_lists
from core.chat.template import ChatTemplate
from core.errors import RequestError, TemplateFailed
from core.requests import Message, ReasoningWish, Role, Scalar, TextPart, Tool, ToolCall
from tests.fakes.support import said

FOLDER = os.environ.get("BENCHTOP_TEST_TEMPLATES", "")
PATHS = sorted(Path(FOLDER).glob("*.jinja")) if FOLDER else []
if not PATHS:
    pytest.skip("BENCHTOP_TEST_TEMPLATES names no folder with .jinja files", allow_module_level=True)
library = pytest.importorskip("transformers.utils.chat_template_utils", reason="transformers comes with the mlx extra")

BOS, EOS = "<bos>", "<eos>"
WEATHER = Tool(
    "get_weather",
    "Tells the weather.",
    '{"type":"object","properties":{"city":{"type":"string","description":"Where."},"days":{"type":"integer"}},'
    '"required":["city"]}',
)
CALLED = Message(Role.ASSISTANT, (), tool_calls=(ToolCall("abcdef123", "get_weather", '{"city":"Oslo","days":2}'),))
THINKING = "Rain is likely, so look."
THOUGHT = replace(CALLED, reasoning=THINKING)
BOTH = Message(
    Role.ASSISTANT,
    (),
    tool_calls=(*CALLED.tool_calls, ToolCall("abcdef124", "get_weather", '{"city":"Oslo","days":5}')),
)
SECOND = Message(Role.TOOL, (TextPart('{"degrees": 9}'),), tool_call_id="abcdef124")
RESULT = Message(Role.TOOL, (TextPart('{"degrees": 7}'),), name="get_weather", tool_call_id="abcdef123")
SYSTEM = said("Answer in one word.", Role.SYSTEM)
TURNS = (said("What is 1 + 1?"), said("Two.", Role.ASSISTANT), said("And in Norwegian? Dønn æ?"))
CONVERSATIONS: dict[str, tuple[tuple[Message, ...], tuple[Tool, ...]]] = {
    "user": (TURNS[:1], ()),
    "system": ((SYSTEM, *TURNS[:1]), ()),
    "turns": (TURNS, ()),
    "system, turns": ((SYSTEM, *TURNS), ()),
    "developer": ((said("Be kind.", Role.DEVELOPER), *TURNS[:1]), ()),
    "tools": (TURNS[:1], (WEATHER,)),
    "result": ((TURNS[0], CALLED, RESULT), (WEATHER,)),
    "system, result": ((SYSTEM, TURNS[0], CALLED, RESULT), (WEATHER,)),
    "result, turns": ((TURNS[0], CALLED, RESULT, said("Cold.", Role.ASSISTANT), TURNS[2]), (WEATHER,)),
    "results": ((TURNS[0], BOTH, RESULT, SECOND), (WEATHER,)),
    "thought, result": ((TURNS[0], THOUGHT, RESULT), (WEATHER,)),
    "thought, turns": ((TURNS[0], replace(TURNS[1], reasoning=THINKING), TURNS[2]), ()),
}
ALL, NONE = frozenset(Role), frozenset[Role]()
OBJECT, JSON, PARTS, MERGED, NULL = "", "JSON arguments", "parts", "merged", "null"


def render(
    source: str,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    form: TemplateForm,
    *,
    prompt: bool,
    **arguments: Scalar,
) -> str | None:
    """What the library makes of it; None where the template fails or refuses."""
    try:
        (text,), _ = library.render_jinja_template(
            [write_messages(messages, form, Writing())],
            chat_template=mend_lists(source),
            add_generation_prompt=prompt,
            bos_token=BOS,
            eos_token=EOS,
            **write_tools(tools, form, Writing()),
            **arguments,
        )
    except Exception:  # noqa: BLE001 -- whatever a template of others raises in the library
        return None
    raw = ("'text': '", "{'city': 'Oslo'", "'thinking': '", '"thinking": "')
    return None if any(each in text for each in raw) else str(text)


def spellings(source: str) -> Iterator[tuple[str, TemplateForm]]:
    """Ways to write a conversation, the usual one first."""
    knows = {False, '"developer"' in source or "'developer'" in source}
    # As the library has it: a thought is written wherever the template might look for it.
    places = [place for place in ThoughtPlace if place.value and place.value in source]
    places += [ThoughtPlace.PART, ThoughtPlace.NOWHERE]
    for no_tools, null, objects, parts, developer, thought in product(
        NoTools, (False, True), (True, False), (NONE, ALL), sorted(knows, reverse=True), places
    ):
        words = (
            *(no_tools.name if no_tools is not NoTools.NONE else "", "" if objects else JSON, PARTS if parts else ""),
            *(NULL if null else "", thought.value),
        )
        yield (
            ", ".join(filter(None, words)),
            TemplateForm(
                parts, parts, developer=developer, objects=objects, null=null, thought=thought, no_tools=no_tools
            ),
        )


def best(
    source: str, messages: Sequence[Message], tools: Sequence[Tool], *, prompt: bool, **arguments: Scalar
) -> tuple[str, str] | None:
    """The first spelling in which the most words are kept: nobody's are lost before those of a tool."""
    users = [part.text for message in messages if message.role is Role.USER for part in message.parts]
    guiding = [message.text for message in messages if message.role in GUIDING]
    called, results = (["Oslo"], ["degrees"]) if any(each.tool_calls for each in messages) else ([], [])
    thoughts = [each.reasoning for each in messages if each.reasoning]
    kept = ([*users, *guiding, *called, *results], [*users, *guiding, *results], [*users, *guiding], users)
    for words in (*([*each, *thoughts] for each in kept if thoughts), *kept):
        for how, form in spellings(source):
            text = render(source, messages, tools, form, prompt=prompt, **arguments)
            if text is not None and all(word in text for word in words):
                return how, text
    return None


def expected(source: str, name: str, *, prompt: bool) -> tuple[str, str] | None:
    """How the library renders the conversation, with the system's words among the user's where the template takes
    no system message. None where it takes the conversation in no way."""
    messages, tools = CONVERSATIONS[name]
    taken = best(source, CONVERSATIONS["system"][0], (), prompt=prompt)
    if taken is None or SYSTEM.text not in taken[1]:
        merged = best(source, fold_system(messages), tools, prompt=prompt)
        return merged and (
            MERGED if merged[0] == OBJECT and GUIDING & {each.role for each in messages} else merged[0],
            merged[1],
        )
    return best(source, messages, tools, prompt=prompt) or best(source, pair_calls(messages), tools, prompt=prompt)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_template_of_others_renders_as_transformers_renders_it(path: Path) -> None:
    source = path.read_text()
    template = ChatTemplate(source, BOS, EOS)
    told = {}
    wrong = []
    try:
        for name, prompt in product(CONVERSATIONS, (True, False)):
            messages, tools = CONVERSATIONS[name]
            wanted = expected(source, name, prompt=prompt)
            try:
                got = template.render(messages, tools=tools, add_generation_prompt=prompt).text
            except (RequestError, TemplateFailed) as error:
                got = f"{type(error).__name__}: {error}"
                same = wanted is None
            else:
                same = wanted is not None and got == wanted[1]
            told[name] = ("refused" if wanted is None else wanted[0] or "as it is") if same else "DIFFERENT"
            if not same:
                wrong.append((name, prompt, wanted, got))
    finally:
        template.close()
    print(f"\n{path.stem}: " + "; ".join(f"{name}: {how}" for name, how in told.items() if how != "as it is"))
    assert not wrong


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_last_message_is_continued_as_transformers_continues_it(path: Path) -> None:
    source = path.read_text()
    begun = said("It is  seven", Role.ASSISTANT)
    template = ChatTemplate(source, BOS, EOS)
    try:
        wanted = continue_last(source, (TURNS[0], begun))
        if wanted is not None:
            assert template.render((TURNS[0], begun), continued=True).text == wanted
            trailing = said("It is  seven. ", Role.ASSISTANT)
            assert template.render((TURNS[0], trailing), continued=True).text == f"{wanted}. "
    finally:
        template.close()


def continue_last(source: str, messages: Sequence[Message]) -> str | None:
    """What the library makes of it in the form in which that is most usual; None where it has none."""
    for _, form in spellings(source):
        try:
            (text,), _ = library.render_jinja_template(
                [write_messages(messages, form, Writing())],
                chat_template=mend_lists(source),
                continue_final_message=True,
                bos_token=BOS,
                eos_token=EOS,
                **write_tools((), form, Writing()),
            )
        except Exception:  # noqa: BLE001 -- as above
            continue
        if all(message.text in text for message in messages) and "'text': '" not in text:
            return str(text)
    return None


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_thinking_is_switched_as_transformers_switches_it(path: Path) -> None:
    source = path.read_text()
    template = ChatTemplate(source, BOS, EOS)
    control = template.control
    try:
        for wish in (ReasoningWish(think=True), ReasoningWish(think=False), ReasoningWish(effort="high")):
            arguments = control.write_arguments(wish)
            wanted = best(source, TURNS[:1], (), prompt=True, **arguments)
            assert wanted is None or template.render(TURNS[:1], arguments).text == wanted[1]
    finally:
        template.close()
    print(f"\n{path.stem}: off {dict(control.off)}, {control.effort} {control.efforts}, ends {control.end!r}")
