"""Items of a response's input: read from the wire, and put together to the messages of a conversation."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from api.http.settle import JsonBody, SettledBody, Wire
from api.openai.custom_input import wrap_custom_input
from api.openai.responses.kinds import KIND
from api.openai.responses.resource import (
    CompactedItem,
    CustomResultItem,
    CustomToolCallItem,
    FunctionCallItem,
    FunctionResultItem,
    InputTextPart,
    ListedItem,
    OutputItem,
    OutputTextPart,
    SaidItem,
    SummaryPart,
    ThoughtItem,
    ThoughtPart,
)
from api.openai.responses.tools import name_model_tool
from api.openai.responses.wire import (
    CallItem,
    CallOutputItem,
    CompactionItem,
    CustomCallItem,
    CustomOutputItem,
    InputItem,
    MessageItem,
    OutputFields,
    OutputRefusal,
    OutputText,
    Parts,
    ReasoningItem,
    ReasoningText,
    ReferenceItem,
    SummaryText,
    TextOfPart,
)
from api.sealing import open_text
from core.errors import RequestError
from core.requests import Message, Role, TextPart, ToolCall

KINDS: Final[Mapping[str, JsonBody[Wire]]] = {
    "message": JsonBody(MessageItem),
    "reasoning": JsonBody(ReasoningItem),
    "function_call": JsonBody(CallItem),
    "function_call_output": JsonBody(CallOutputItem),
    "custom_tool_call": JsonBody(CustomCallItem),
    "custom_tool_call_output": JsonBody(CustomOutputItem),
    "compaction": JsonBody(CompactionItem),
    "item_reference": JsonBody(ReferenceItem),
}
HOSTED: Final = frozenset(
    {
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_list_tools"),
        *("mcp_approval_request", "mcp_approval_response", "tool_search_call", "tool_search_output"),
        *("additional_tools", "configuration_update", "compaction_trigger"),
    }
)
"""What a hosted service has done or is to do, of which no model here would make anything: left out, and told."""
PREFIXES: Final[Mapping[type[InputItem], str]] = {
    MessageItem: "msg",
    ReasoningItem: "rs",
    CallItem: "fc",
    CallOutputItem: "fco",
    CustomCallItem: "ctc",
    CustomOutputItem: "cto",
    CompactionItem: "cmp",
}


class ReadItems(Struct, frozen=True):
    """What a request brings, in order; references are not looked up yet."""

    items: tuple[InputItem | ReferenceItem, ...]
    ignored: tuple[str, ...] = ()


def make_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def read_items(given: str | Sequence[Raw] | None) -> ReadItems:
    """Raises RequestError, which names the item."""
    if given is None:
        return ReadItems(())
    if isinstance(given, str):
        return ReadItems((MessageItem(role="user", content=given, id=make_id("msg")),))
    items: list[InputItem | ReferenceItem] = []
    ignored: list[str] = []
    for at, raw in enumerate(given):
        settled = _read_item(raw, f"input[{at}]")
        if settled is None:
            ignored.append("input")
            continue
        ignored.extend(settled.ignored)
        item = settled.body
        assert isinstance(item, InputItem | ReferenceItem)
        items.append(item if isinstance(item, ReferenceItem) else _with_id(item))
    return ReadItems(tuple(items), tuple(dict.fromkeys(ignored)))


def _read_item(raw: Raw, path: str) -> SettledBody[Wire] | None:
    """None for what is left out."""
    looked_at = KIND.decode(bytes(raw), path).body
    kind = looked_at.type
    if kind is None:
        kind = "message" if looked_at.role is not None or looked_at.id is None else "item_reference"
    if kind in HOSTED:
        return None
    if kind not in KINDS:
        raise RequestError(
            f"An input item of type {kind[:64]!r} cannot be used here; leave it out, or send one of "
            f"{', '.join(KINDS)}.",
            f"{path}.type",
        )
    return KINDS[kind].decode(bytes(raw), path, "input")


def _with_id(item: InputItem) -> InputItem:
    return item if item.id else replace(item, id=make_id(PREFIXES[type(item)]))


def build_messages(items: Iterable[InputItem], instructions: str | None, before: int = 0) -> tuple[Message, ...]:
    """The conversation. What the assistant thought, said and called in one turn becomes one message. `before`: how many
    of the items do not come from the request itself.

    Raises RequestError for the result of a call that is not there, and for content that is no text.
    """
    building = _Conversation()
    if instructions:
        building.messages.append(Message(Role.SYSTEM, (TextPart(instructions),)))
    for at, item in enumerate(items):
        building.take(item, f"input[{at - before}]")
    building.end_turn()
    return tuple(building.messages)


class _Conversation:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._called: dict[str, str] = {}
        """Names of tools by the ids of their calls."""
        self._thoughts: list[str] = []
        self._said: list[TextPart] = []
        self._calls: list[ToolCall] = []

    def take(self, item: InputItem, path: str) -> None:
        match item:
            case MessageItem(role="assistant"):
                self._said.extend(_read_parts(item.content, f"{path}.content"))
            case MessageItem(role=role):
                self.end_turn()
                self.messages.append(Message(Role(role), tuple(_read_parts(item.content, f"{path}.content"))))
            case ReasoningItem():
                if thought := read_thought(item):
                    self._thoughts.append(thought)
            case CallItem(call_id=id, name=name, namespace=space, arguments=arguments):
                self._call(ToolCall(id, name_model_tool(name, space), arguments))
            case CustomCallItem(call_id=id, name=name, namespace=space, input=text):
                self._call(ToolCall(id, name_model_tool(name, space), wrap_custom_input(text)))
            case OutputFields(call_id=id, output=output):
                self._answer_call(id, tuple(_read_parts(output, f"{path}.output")), path)
            case CompactionItem(encrypted_content=sealed):
                self._sum_up(sealed, f"{path}.encrypted_content")

    def end_turn(self) -> None:
        """Write down what the assistant did."""
        if self._thoughts or self._said or self._calls:
            self.messages.append(
                Message(
                    Role.ASSISTANT,
                    tuple(self._said),
                    tool_calls=tuple(self._calls),
                    reasoning="\n\n".join(self._thoughts),
                )
            )
        self._thoughts, self._said, self._calls = [], [], []

    def _sum_up(self, sealed: str, path: str) -> None:
        """What the user had said before is one turn then, and the summary is the assistant's: many templates want turns
        to alternate."""
        if not (summary := open_text(sealed)):
            raise RequestError(
                "This compaction was not made here, so nobody here can read what it stands for; send the conversation, "
                "or have it compacted by this server.",
                path,
            )
        self.end_turn()
        said: list[Message] = []
        while self.messages and self.messages[-1].role is Role.USER:
            said.insert(0, self.messages.pop())
        if said:
            self.messages.append(Message(Role.USER, tuple(part for message in said for part in message.parts)))
        self._said.append(TextPart(summary))

    def _call(self, call: ToolCall) -> None:
        self._called[call.id] = call.name
        self._calls.append(call)

    def _answer_call(self, call_id: str, parts: tuple[TextPart, ...], path: str) -> None:
        if call_id not in self._called:
            raise RequestError(
                f"There is no tool call {call_id[:64]!r} before its output; send it too, or `previous_response_id`.",
                f"{path}.call_id",
            )
        self.end_turn()
        self.messages.append(Message(Role.TOOL, parts, name=self._called[call_id], tool_call_id=call_id))


def read_thought(item: ReasoningItem) -> str:
    """The thought itself where it is there, else what was sealed of it, else its summary."""
    if item.content:
        return "".join(part.text for part in item.content)
    sealed = open_text(item.encrypted_content or "")
    return sealed or "\n\n".join(part.text for part in item.summary)


def _read_parts(content: str | Parts, path: str) -> Iterator[TextPart]:
    if isinstance(content, str):
        yield TextPart(content)
        return
    for at, part in enumerate(content):
        match part:
            case TextOfPart(text=text) | OutputRefusal(refusal=text):
                yield TextPart(text)
            case _:
                kind = str(part.__struct_config__.tag)
                raise RequestError(
                    f"The model takes text alone, so a content part of type `{kind}` cannot be used.", f"{path}[{at}]"
                )


def keep_output(item: OutputItem) -> InputItem:
    """What was answered, as the next request would bring it."""
    match item:
        case SaidItem(id=id, content=content):
            return MessageItem(role="assistant", content=[OutputText(text=part.text) for part in content], id=id)
        case ThoughtItem(id=id, summary=summary, content=thoughts):
            return ReasoningItem(
                id=id,
                summary=[SummaryText(text=part.text) for part in summary],
                content=[ReasoningText(text=part.text) for part in thoughts] if isinstance(thoughts, list) else None,
            )
        case FunctionCallItem(id=id, call_id=call, name=name, arguments=arguments, namespace=space):
            namespace = space if isinstance(space, str) else None
            return CallItem(call_id=call, name=name, arguments=arguments, namespace=namespace, id=id)
        case CustomToolCallItem(id=id, call_id=call, name=name, input=text, namespace=space):
            namespace = space if isinstance(space, str) else None
            return CustomCallItem(call_id=call, name=name, input=text, namespace=namespace, id=id)


def list_item(item: InputItem) -> ListedItem:
    """An item as it is listed to a client."""
    known = item.id or ""
    match item:
        case MessageItem(role=role, content=content):
            part = OutputTextPart if role == "assistant" else InputTextPart
            said: list[OutputTextPart | InputTextPart] = [part(each.text) for each in _read_parts(content, "")]
            return SaidItem(id=known, status="completed", role=role, content=said)
        case ReasoningItem(summary=summary, content=thoughts):
            return ThoughtItem(
                id=known,
                summary=[SummaryPart(part.text) for part in summary],
                content=[ThoughtPart(part.text) for part in thoughts or ()],
                status="completed",
            )
        case CallItem(call_id=call, name=name, namespace=space, arguments=arguments):
            return FunctionCallItem(
                id=known, call_id=call, name=name, namespace=space or UNSET, arguments=arguments, status="completed"
            )
        case CustomCallItem(call_id=call, name=name, namespace=space, input=text):
            return CustomToolCallItem(
                id=known, call_id=call, name=name, namespace=space or UNSET, input=text, status="completed"
            )
        case CallOutputItem(call_id=call, output=output):
            return FunctionResultItem(id=known, call_id=call, output=_join_parts(output))
        case CustomOutputItem(call_id=call, output=output):
            return CustomResultItem(id=known, call_id=call, output=_join_parts(output))
        case CompactionItem(encrypted_content=sealed):
            return CompactedItem(id=known, encrypted_content=sealed)


def _join_parts(output: str | Parts) -> str:
    return "\n".join(part.text for part in _read_parts(output, ""))
