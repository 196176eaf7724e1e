"""From the messages of a chat request to the core's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw, UnsetType

from api.openai.custom_input import wrap_custom_input
from api.openai.message_wire import ChatMessage, RefusalPart, WireCall, WireTextPart
from core.errors import RequestError
from core.requests import Message, Role, TextPart, ToolCall


def read_messages(messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """Raises RequestError, which names what no model here takes."""
    last_call = ""
    read: list[Message] = []
    for at, message in enumerate(messages):
        path = f"messages[{at}]"
        if message.function_call is not None:
            # Calls had no ids then: their results come next.
            last_call = f"call_{at}"
        read.append(_read_message(message, path, last_call))
    return tuple(read)


def is_continued(messages: Sequence[ChatMessage]) -> bool:
    """Whether the last message is one that can be gone on with."""
    last = messages[-1]
    return last.role == "assistant" and not last.tool_calls and last.function_call is None


def _read_message(message: ChatMessage, path: str, last_call: str) -> Message:
    old = message.role == "function"
    return Message(
        role=Role.TOOL if old else Role(message.role),
        parts=tuple(_read_parts(message, path)),
        name=message.name,
        tool_calls=tuple(_read_calls(message, path, last_call)),
        tool_call_id=message.tool_call_id or (last_call if old and last_call else None),
        reasoning=message.reasoning_content or message.reasoning or "",
    )


def _read_parts(message: ChatMessage, path: str) -> Iterator[TextPart]:
    if message.content is None:
        if message.refusal:
            yield TextPart(message.refusal)
        return
    if isinstance(message.content, str):
        yield TextPart(message.content)
        return
    for at, part in enumerate(message.content):
        match part:
            case WireTextPart(text=text) | RefusalPart(refusal=text):
                yield TextPart(text)
            case _:
                kind = str(part.__struct_config__.tag)
                raise RequestError(
                    f"The model takes text alone, so a content part of type `{kind}` cannot be used.",
                    f"{path}.content[{at}]",
                )


def _read_calls(message: ChatMessage, path: str, last_call: str) -> Iterator[ToolCall]:
    if message.role != "assistant":
        if message.tool_calls or message.function_call is not None:
            name = "tool_calls" if message.tool_calls else "function_call"
            raise RequestError(f"Messages of the assistant alone have `{name}`.", f"{path}.{name}")
        return
    for at, call in enumerate(message.tool_calls or ()):
        yield _read_call(call, f"{path}.tool_calls[{at}]", at)
    if message.function_call is not None:
        arguments = read_arguments(message.function_call.arguments, f"{path}.function_call")
        yield ToolCall(last_call, message.function_call.name, arguments)


def _read_call(call: WireCall, path: str, at: int) -> ToolCall:
    id_ = call.id or f"call_{at}"
    if call.custom is not None:
        return ToolCall(id_, call.custom.name, wrap_custom_input(call.custom.input))
    if call.function is None:
        missing = f"{path}.{call.type or 'function'}"
        raise RequestError(f"The field `{missing}` is missing.", missing)
    return ToolCall(id_, call.function.name, read_arguments(call.function.arguments, f"{path}.function"))


def read_arguments(raw: Raw | UnsetType, path: str) -> str:
    """A call's arguments as JSON, of the function at `path`. What another model wrote there wrongly is the template's
    to judge. Raises RequestError."""
    if isinstance(raw, UnsetType) or (data := bytes(raw).strip()) == b"null":
        return "{}"
    try:
        text = data.decode()
        if text.startswith('"'):
            text = msgspec.json.decode(data, type=str)
        elif not text.startswith("{"):
            raise RequestError(
                f"The field `{path}.arguments` is wrong: expected a text or an object.", f"{path}.arguments"
            )
    except (UnicodeDecodeError, msgspec.DecodeError):
        raise RequestError(f"The field `{path}.arguments` is no text that can be read.", f"{path}.arguments") from None
    return text if text.strip() else "{}"
