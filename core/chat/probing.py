"""Finding out what a chat template wants, by rendering small conversations when the model is loaded.

Words that no template has of its own are looked for in what comes out: a template that is given content in a form it
does not know may fail, or write Python's idea of a list, or silently leave the user's words out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.chat.plain import NoTools, TemplateForm, ThoughtPlace
from core.chat.reasoning import WATCHED_WORDS, Sample, ThinkingControl, Try, find_switches_on, study_thinking
from core.chat.wire import Compiled, Rendered, TemplateBroken, TemplateRefused, TemplateReply
from core.requests import Message, Role, TextPart, Tool, ToolCall

SYSTEM_WORDS, USER_WORDS, MORE_WORDS = "quietharbour", "copperlantern", "velvetorchard"
ASSISTANT_WORDS, RESULT_WORDS, ARGUMENT_WORDS = "marblefalcon", "saffronglacier", "amberwillow"
THOUGHT_WORDS = "emberthicket"
LOOKED_FOR: Final = tuple(sorted({*WATCHED_WORDS, Role.DEVELOPER.value}))
"""Words that are looked for among a template's texts."""
RAW: Final = re.compile(
    rf"""["']text["']\s*:\s*["'](?:{SYSTEM_WORDS}|{USER_WORDS}|{MORE_WORDS}|{ASSISTANT_WORDS}|{RESULT_WORDS})"""
    rf"""|["']thinking["']\s*:\s*["']{THOUGHT_WORDS}"""
)
"""How a list of parts looks where a template writes the list itself and not its texts."""
GO: Final = re.compile(r"\{\{-?\s*(?:(?:range|if|with|template|block|define)\s+[.$\"]|else\b|end\b|[.$]\w)")
"""How templates for Ollama look, which are Go's."""

TOOL: Final = Tool(
    "look_up",
    "Looks something up.",
    '{"type":"object","properties":{"topic":{"type":"string","description":"What to look up."}},"required":["topic"]}',
)
CALL: Final = ToolCall("call00001", "look_up", f'{{"topic":"{ARGUMENT_WORDS}"}}')
OTHER_CALL: Final = replace(CALL, id="call00002")
LONG_CALL: Final = replace(CALL, id="call_0123456789abcdef")


class Study(Struct, frozen=True):
    """What was found out. Sentences are to be read behind the model's name."""

    form: TemplateForm = TemplateForm()
    problem: str = ""
    """Why the template cannot be used at all."""
    loses: bool = False
    """It renders, and nothing of what the user said is in it."""
    control: ThinkingControl = ThinkingControl()


def study_template(source: str, attempt: Try, compiled: Compiled = Compiled()) -> Study:
    """`compiled` is what was read of the template."""
    said: list[TemplateReply] = []
    for no_tools in NoTools:
        form, replies = _content(
            attempt, TemplateForm(no_tools=no_tools), Role.USER, (_build_message(Role.USER, USER_WORDS),)
        )
        if form is not None:
            break
        said += replies
    else:
        return _build_unheard(source, said)
    form = _with_system(attempt, form)
    turns = (
        _build_message(Role.USER, USER_WORDS),
        _build_message(Role.ASSISTANT, ASSISTANT_WORDS),
        _build_message(Role.USER, MORE_WORDS),
    )
    form = _content(attempt, form, Role.ASSISTANT, turns)[0] or form
    form = _with_tools(attempt, form)
    if Role.DEVELOPER.value in compiled.words:
        knowing = replace(form, developer=True)
        asked = (_build_message(Role.DEVELOPER, SYSTEM_WORDS), _build_message(Role.USER, USER_WORDS))
        if _keeps_words(attempt(Sample(asked), knowing), SYSTEM_WORDS, USER_WORDS):
            form = knowing
    form = _with_thoughts(attempt, form, compiled)
    return Study(form, control=study_thinking(attempt, form, compiled))


def _build_unheard(source: str, replies: Sequence[TemplateReply]) -> Study:
    """No form of a single user's message brings its words into the prompt."""
    if GO.search(source):
        return Study(problem="it is written in the language of Go's templates, as Ollama's are, and not in Jinja")
    if any(isinstance(reply, Rendered) for reply in replies):
        return Study(loses=True)
    refusals = [reply for reply in replies if isinstance(reply, TemplateRefused)]
    broken = [reply for reply in replies if isinstance(reply, TemplateBroken)]
    # One that says no in its own words may want arguments, or another kind of conversation, that clients know of.
    return Study() if refusals or not broken else Study(problem=broken[0].words)


def _content(
    attempt: Try, form: TemplateForm, role: Role, messages: Sequence[Message], tools: Sequence[Tool] = ()
) -> tuple[TemplateForm | None, tuple[TemplateReply, ...]]:
    """The form with what was found for the content of `role`; None where its words were lost in both forms."""
    words = [message.text for message in messages if message.role is role]
    listed = replace(form, parts=form.parts | {role}, lists=form.lists - {role})
    several = replace(form, lists=form.lists | {role})
    as_text = attempt(Sample(messages, tools), form)
    as_several = attempt(Sample([_double_message(message, role) for message in messages], tools), several)
    takes_several = _keeps_words(as_several, *words, *(f"{word}too" for word in words))
    if _keeps_words(as_text, *words):
        return (several if takes_several else form), ()
    as_list = attempt(Sample(messages, tools), listed)
    if _keeps_words(as_list, *words):
        return (replace(several, parts=listed.parts) if takes_several else listed), ()
    return None, (as_text, as_list)


def _with_system(attempt: Try, form: TemplateForm) -> TemplateForm:
    asked = (_build_message(Role.SYSTEM, SYSTEM_WORDS), _build_message(Role.USER, USER_WORDS))
    found, _ = _content(attempt, form, Role.SYSTEM, asked)
    return found or replace(form, system=False)


def _with_tools(attempt: Try, form: TemplateForm) -> TemplateForm:
    asked = _call_tool(CALL)
    for null, objects in product((False, True), (True, False)):
        written = replace(form, null=null, objects=objects)
        reply = attempt(Sample(asked, (TOOL,)), written)
        if _keeps_words(reply, ARGUMENT_WORDS, USER_WORDS) and not _is_python(reply):
            form = written
            break
    if isinstance(attempt(Sample(asked, (TOOL,)), form), Rendered):
        long = attempt(Sample(_call_tool(LONG_CALL), (TOOL,)), form)
        form = replace(form, short_ids=not isinstance(long, Rendered))
        several = Sample(_call_tool(CALL, OTHER_CALL), (TOOL,))
        single = replace(form, single_calls=True)
        if not isinstance(attempt(several, form), Rendered) and isinstance(attempt(several, single), Rendered):
            form = single
    return _content(attempt, form, Role.TOOL, asked, (TOOL,))[0] or form


def _with_thoughts(attempt: Try, form: TemplateForm, compiled: Compiled) -> TemplateForm:
    """The form with the place where thoughts are looked for: before a call, where most templates keep them, or in the
    last message."""
    on = find_switches_on(compiled)
    said = replace(_build_message(Role.ASSISTANT, ASSISTANT_WORDS), reasoning=THOUGHT_WORDS)
    samples = (
        Sample(_call_tool(CALL, thought=THOUGHT_WORDS), (TOOL,), on),
        Sample((_build_message(Role.USER, USER_WORDS), said), arguments=on, prompt=False),
    )
    for place in ThoughtPlace:
        placed = replace(form, thought=place)
        if place is not ThoughtPlace.NOWHERE and any(
            _keeps_words(attempt(sample, placed), THOUGHT_WORDS, USER_WORDS) for sample in samples
        ):
            return placed
    return form


def _call_tool(*calls: ToolCall, thought: str = "") -> tuple[Message, ...]:
    """A question, calls, and their results."""
    calling = Message(Role.ASSISTANT, (), tool_calls=calls, reasoning=thought)
    result = _build_message(Role.TOOL, RESULT_WORDS)
    results = (replace(result, name=call.name, tool_call_id=call.id) for call in calls)
    return _build_message(Role.USER, USER_WORDS), calling, *results


def _is_python(reply: TemplateReply) -> bool:
    """Whether the arguments were written as Python writes a dictionary, which no model was trained on."""
    return isinstance(reply, Rendered) and f"{{'topic': '{ARGUMENT_WORDS}'}}" in reply.text


def _keeps_words(reply: TemplateReply, *words: str) -> bool:
    if not isinstance(reply, Rendered) or RAW.search(reply.text) is not None:
        return False
    text = reply.text.lower()
    return all(word in text for word in words)


def _build_message(role: Role, words: str) -> Message:
    return Message(role, (TextPart(words),))


def _double_message(message: Message, role: Role) -> Message:
    if message.role is not role or not message.parts:
        return message
    return replace(message, parts=(*message.parts, TextPart(f"{message.text}too")))
