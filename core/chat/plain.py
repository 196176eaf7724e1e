"""Conversations as chat templates take them: plain dictionaries, in the form that one template wants."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum, auto
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.errors import RequestError
from core.requests import Message, Role, TextPart, Tool, ToolCall

GUIDING: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})
"""Roles whose messages say how to answer."""


SHORT_ID_CHARACTERS: Final = 9
ALPHABET: Final = string.digits + string.ascii_letters


class NoTools(Enum):
    """What a template is told where there are no tools."""

    NONE = auto()
    EMPTY = auto()
    """An empty list: it goes through them without a look."""
    FUNCTIONS = auto()
    """It has tools as JSON under the name `functions`, and wants to know the day; older ones of Fireworks do."""


class ThoughtPlace(Enum):
    """Where a template looks for what the assistant thought before it said something."""

    NOWHERE = ""
    """It writes no thoughts, or only those that stand in a message's own text."""
    REASONING_CONTENT = "reasoning_content"
    REASONING = "reasoning"
    THINKING = "thinking"
    THOUGHT = "thought"
    PART = "part"
    """A part of the content, of type `thinking`."""


class TemplateForm(Struct, frozen=True):
    """What a template was found to want. Roles are as the template knows them."""

    parts: frozenset[Role] = frozenset()
    """Roles whose content must be a list of parts; text otherwise."""
    lists: frozenset[Role] = frozenset()
    """Roles whose content may be a list of several parts, which is used where a message has them."""
    system: bool = True
    """Whether it takes a system message."""
    developer: bool = False
    """Whether it knows that role; system otherwise, of which it is a newer name."""
    objects: bool = True
    """Whether a tool call's arguments are an object; their JSON otherwise."""
    null: bool = False
    """Whether the content beside tool calls must be null: it takes a message for words or for calls. An empty text
    stands there otherwise."""
    short_ids: bool = False
    """Whether the ids of calls must be of SHORT_ID_CHARACTERS letters and digits, as Mistral's are."""
    single_calls: bool = False
    """Whether a message may hold one call at most, and its result must follow."""
    thought: ThoughtPlace = ThoughtPlace.NOWHERE
    no_tools: NoTools = NoTools.NONE


class Writing(Struct, frozen=True):
    """How texts of a client are made safe; see `core.chat.marks`. The default leaves them as they are."""

    text: Callable[[str], str] = str
    name: Callable[[str], str] = str
    value: Callable[[str, object], object] = lambda _, value: value
    """Is given the value's JSON, too."""


def write_messages(messages: Sequence[Message], form: TemplateForm, writing: Writing) -> list[dict[str, object]]:
    """Raises RequestError for a tool call whose arguments are no JSON object."""
    whole = name_results(messages)
    if form.single_calls:
        whole = pair_calls(whole)
    divided = (part for message in whole for part in _divide_message(message)) if form.null else whole
    return [_write_message(message, form, writing) for message in divided]


def name_results(messages: Sequence[Message]) -> Sequence[Message]:
    """The same messages with the tools' names at their results, which some templates want and few clients send."""
    names: dict[str, str] = {}
    named: list[Message] = []
    for message in messages:
        names |= {call.id: call.name for call in message.tool_calls}
        if message.role is Role.TOOL and message.name is None and message.tool_call_id in names:
            named.append(replace(message, name=names[message.tool_call_id]))
        else:
            named.append(message)
    return named


def pair_calls(messages: Sequence[Message]) -> Sequence[Message]:
    """The same messages with each of several calls in a message of its own, and its result behind it."""
    paired: list[Message] = []
    waiting = list(messages)
    while waiting:
        message = waiting.pop(0)
        first, *others = message.tool_calls or (None,)
        if first is None or not others:
            paired.append(message)
            continue
        end = next((at for at, each in enumerate(waiting) if each.role is not Role.TOOL), len(waiting))
        results, waiting = waiting[:end], waiting[end:]
        for call in message.tool_calls:
            paired.append(replace(message if call is first else Message(Role.ASSISTANT, ()), tool_calls=(call,)))
            paired += [result for result in results if result.tool_call_id == call.id]
        known = {call.id for call in message.tool_calls}
        paired += [result for result in results if result.tool_call_id not in known]
    return paired


def shorten_id(given: str) -> str:
    """An id of SHORT_ID_CHARACTERS letters and digits: the id itself where it is one, else always the same for it."""
    if len(given) == SHORT_ID_CHARACTERS and given.isascii() and given.isalnum():
        return given
    number = int.from_bytes(blake2b(given.encode("utf-8", "replace"), digest_size=8).digest(), "little")
    digits = []
    for _ in range(SHORT_ID_CHARACTERS):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(digits)


def _divide_message(message: Message) -> tuple[Message, ...]:
    """Words and calls in messages of their own."""
    if not message.tool_calls or not message.text:
        return (message,)
    return replace(message, tool_calls=()), replace(message, parts=(), reasoning="")


def write_tools(
    tools: Sequence[Tool], form: TemplateForm, writing: Writing, pack: Callable[[object], object] = lambda tool: tool
) -> dict[str, object]:
    """The variables that tell of tools, which are listed as OpenAI lists them, each as `pack` makes it: thousands of
    them need not be there as objects at the same time. Raises RequestError for parameters that are no JSON object."""
    packed = [pack(_tool(tool, writing)) for tool in tools]
    if form.no_tools is NoTools.FUNCTIONS:
        written = msgspec.json.encode([_tool(tool, writing) for tool in tools])
        functions = msgspec.json.format(written, indent=2).decode()
        return {"tools": packed, "functions": functions, "datetime": datetime.now().strftime("%b %d %Y")}
    return {"tools": packed or (None if form.no_tools is NoTools.NONE else [])}


def fold_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """What is said to the model goes before the words of the user that come next, each on a line of its own.

    After the last user's words it goes behind them; where there are none it becomes the user's.
    """
    kept: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.role in GUIDING:
            waiting.append(message.text)
        elif message.role is Role.USER and waiting:
            kept.append(_precede_message(message, "\n".join(waiting)))
            waiting = []
        else:
            kept.append(message)
    if waiting and kept and kept[-1].role is Role.USER:
        kept[-1] = replace(kept[-1], parts=(TextPart("\n".join((kept[-1].text, *waiting))),))
    elif waiting:
        kept.append(Message(Role.USER, (TextPart("\n".join(waiting)),)))
    return tuple(kept)


def _precede_message(message: Message, words: str) -> Message:
    first, *rest = message.parts or (TextPart(""),)
    return replace(message, parts=(TextPart(f"{words}\n{first.text}"), *rest))


def _write_message(message: Message, form: TemplateForm, writing: Writing) -> dict[str, object]:
    role = Role.SYSTEM if message.role is Role.DEVELOPER and not form.developer else message.role
    written: dict[str, object] = {"role": role.value, "content": _content(message, role, form, writing)}
    if message.name is not None:
        written["name"] = writing.name(message.name)
    if message.reasoning and form.thought not in (ThoughtPlace.NOWHERE, ThoughtPlace.PART):
        written[form.thought.value] = writing.text(message.reasoning)
    if message.tool_calls:
        written["tool_calls"] = [_call(call, form, writing) for call in message.tool_calls]
    if message.tool_call_id is not None:
        written["tool_call_id"] = _write_id(message.tool_call_id, form, writing)
    return written


def _content(message: Message, role: Role, form: TemplateForm, writing: Writing) -> str | list[dict[str, str]] | None:
    if message.reasoning and form.thought is ThoughtPlace.PART:
        thought = {"type": "thinking", "thinking": writing.text(message.reasoning)}
        return [thought, *({"type": "text", "text": writing.text(part.text)} for part in message.parts)]
    if message.tool_calls and not message.parts and form.null:
        return None
    if role in form.lists and (len(message.parts) > 1 or role in form.parts):
        return [{"type": "text", "text": writing.text(part.text)} for part in message.parts]
    text = writing.text(message.text)
    return [{"type": "text", "text": text}] if role in form.parts else text


def _call(call: ToolCall, form: TemplateForm, writing: Writing) -> dict[str, object]:
    arguments: object = writing.text(call.arguments)
    if form.objects:
        try:
            arguments = _read_object(call.arguments or "{}", writing)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise RequestError("A tool call's arguments are no JSON object.", "messages") from error
        except RecursionError as error:
            raise RequestError("A tool call's arguments are nested too deeply.", "messages") from error
    function = {"name": writing.name(call.name), "arguments": arguments}
    return {"id": _write_id(call.id, form, writing), "type": "function", "function": function}


def _read_object(text: str, writing: Writing) -> object:
    return writing.value(text, msgspec.json.decode(text, type=dict[str, object]))


def _write_id(given: str, form: TemplateForm, writing: Writing) -> str:
    return shorten_id(given) if form.short_ids else writing.name(given)


def _tool(tool: Tool, writing: Writing) -> dict[str, object]:
    try:
        parameters = _read_object(tool.parameters, writing)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise RequestError("A tool's parameters are no JSON Schema.", "tools") from error
    except RecursionError as error:
        raise RequestError("A tool's parameters are nested too deeply.", "tools") from error
    function = {
        "name": writing.name(tool.name),
        "description": writing.text(tool.description),
        "parameters": parameters,
    }
    return {"type": "function", "function": function}
