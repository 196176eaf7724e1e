"""Conversations as chat templates take them: plain dictionaries, in the form that one template wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum, auto
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.errors import RequestError
from core.requests import Message, Role, TextPart, Tool, ToolCall

GUIDING: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})
"""Roles whose messages say how to answer."""


class NoTools(Enum):
    """What a template is told where there are no tools."""

    NONE = auto()
    EMPTY = auto()
    """An empty list: it goes through them without a look."""
    FUNCTIONS = auto()
    """It has tools as JSON under the name `functions`, and wants to know the day; older ones of Fireworks do."""


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
    no_tools: NoTools = NoTools.NONE


class Writing(Struct, frozen=True):
    """How texts of a client are made safe; see `core.chat.marks`. The default leaves them as they are."""

    text: Callable[[str], str] = str
    name: Callable[[str], str] = str
    value: Callable[[object], object] = lambda value: value


def write_messages(messages: Sequence[Message], form: TemplateForm, writing: Writing) -> list[dict[str, object]]:
    """Raises RequestError for a tool call whose arguments are no JSON object."""
    return [_write_message(message, form, writing) for message in messages]


def write_tools(tools: Sequence[Tool], form: TemplateForm, writing: Writing) -> dict[str, object]:
    """The variables that tell of tools, which are listed as OpenAI lists them. Raises RequestError for parameters
    that are no JSON object."""
    written = [_tool(tool, writing) for tool in tools]
    if form.no_tools is NoTools.FUNCTIONS:
        functions = msgspec.json.format(msgspec.json.encode(written), indent=2).decode()
        return {"tools": written, "functions": functions, "datetime": datetime.now().strftime("%b %d %Y")}
    return {"tools": written or (None if form.no_tools is NoTools.NONE else [])}


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
    if message.tool_calls:
        written["tool_calls"] = [_call(call, form, writing) for call in message.tool_calls]
    if message.tool_call_id is not None:
        written["tool_call_id"] = writing.name(message.tool_call_id)
    return written


def _content(message: Message, role: Role, form: TemplateForm, writing: Writing) -> str | list[dict[str, str]]:
    if role in form.lists and (len(message.parts) > 1 or role in form.parts):
        return [{"type": "text", "text": writing.text(part.text)} for part in message.parts]
    text = writing.text(message.text)
    return [{"type": "text", "text": text}] if role in form.parts else text


def _call(call: ToolCall, form: TemplateForm, writing: Writing) -> dict[str, object]:
    arguments: object = writing.text(call.arguments)
    if form.objects:
        try:
            arguments = writing.value(msgspec.json.decode(call.arguments or "{}", type=dict[str, object]))
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise RequestError("A tool call's arguments are no JSON object.", "messages") from error
    function = {"name": writing.name(call.name), "arguments": arguments}
    return {"id": writing.name(call.id), "type": "function", "function": function}


def _tool(tool: Tool, writing: Writing) -> dict[str, object]:
    try:
        parameters = msgspec.json.decode(tool.parameters, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise RequestError("A tool's parameters are no JSON Schema.", "tools") from error
    function = {
        "name": writing.name(tool.name),
        "description": writing.text(tool.description),
        "parameters": writing.value(parameters),
    }
    return {"type": "function", "function": function}
