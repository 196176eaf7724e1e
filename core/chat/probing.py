"""Finding out what a chat template wants, by rendering small conversations when the model is loaded.

Words that no template has of its own are looked for in what comes out: a template that is given content in a form it
does not know may fail, or write Python's idea of a list, or silently leave the user's words out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.chat.plain import NoTools, TemplateForm
from core.chat.wire import Rendered, TemplateBroken, TemplateRefused, TemplateReply
from core.requests import Message, Role, TextPart, Tool, ToolCall

SYSTEM_WORDS, USER_WORDS, MORE_WORDS = "quietharbour", "copperlantern", "velvetorchard"
ASSISTANT_WORDS, RESULT_WORDS, ARGUMENT_WORDS = "marblefalcon", "saffronglacier", "amberwillow"
RAW: Final = re.compile(
    rf"""["']text["']\s*:\s*["'](?:{SYSTEM_WORDS}|{USER_WORDS}|{MORE_WORDS}|{ASSISTANT_WORDS}|{RESULT_WORDS})"""
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

Try = Callable[[Sequence[Message], TemplateForm, Sequence[Tool]], TemplateReply]
"""Renders a conversation in a form, with tools; may raise what the process raises."""


class Study(Struct, frozen=True):
    """What was found out. Sentences are to be read behind the model's name."""

    form: TemplateForm = TemplateForm()
    problem: str = ""
    """Why the template cannot be used at all."""
    loses: bool = False
    """It renders, and nothing of what the user said is in it."""


def study_template(source: str, attempt: Try, *, developer: bool) -> Study:
    """`developer` tells that the template names that role."""
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
    if developer:
        knowing = replace(form, developer=True)
        asked = (_build_message(Role.DEVELOPER, SYSTEM_WORDS), _build_message(Role.USER, USER_WORDS))
        if _keeps_words(attempt(asked, knowing, ()), SYSTEM_WORDS, USER_WORDS):
            form = knowing
    return Study(form)


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
    as_text = attempt(messages, form, tools)
    as_several = attempt([_double_message(message, role) for message in messages], several, tools)
    takes_several = _keeps_words(as_several, *words, *(f"{word}too" for word in words))
    if _keeps_words(as_text, *words):
        return (several if takes_several else form), ()
    as_list = attempt(messages, listed, tools)
    if _keeps_words(as_list, *words):
        return (replace(several, parts=listed.parts) if takes_several else listed), ()
    return None, (as_text, as_list)


def _with_system(attempt: Try, form: TemplateForm) -> TemplateForm:
    asked = (_build_message(Role.SYSTEM, SYSTEM_WORDS), _build_message(Role.USER, USER_WORDS))
    found, _ = _content(attempt, form, Role.SYSTEM, asked)
    return found or replace(form, system=False)


def _with_tools(attempt: Try, form: TemplateForm) -> TemplateForm:
    calling = Message(Role.ASSISTANT, (), tool_calls=(CALL,))
    result = replace(_build_message(Role.TOOL, RESULT_WORDS), name=CALL.name, tool_call_id=CALL.id)
    asked = (_build_message(Role.USER, USER_WORDS), calling, result)
    written = replace(form, objects=False)
    as_object = attempt(asked, form, (TOOL,))
    if not _keeps_words(as_object, ARGUMENT_WORDS, USER_WORDS) or _is_python(as_object):
        as_json = attempt(asked, written, (TOOL,))
        if _keeps_words(as_json, ARGUMENT_WORDS, USER_WORDS):
            form = written
    return _content(attempt, form, Role.TOOL, asked, (TOOL,))[0] or form


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
