"""Requests for responses as they stand on the wire, with the bounds of every field.

Items of the input and tools are of many types, of which some are left out here; so they stay raw until
`api.openai.responses.items` and `api.openai.responses.tools` have looked at their `type`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Raw, UnsetType

from api.http.field_rules import Json
from api.http.settle import Wire
from api.openai.constraints import SchemaValue
from api.openai.generation_fields import Room
from api.openai.reasoning_fields import ReasoningBox, ReasoningFields
from api.openai.responses import fields

ItemId = Annotated[str, Meta(max_length=256)]
CallId = Annotated[str, Meta(min_length=1, max_length=256)]
ToolName = Annotated[str, Meta(min_length=1, max_length=256)]
Status = Annotated[str, Meta(max_length=32)]
Metadata = Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
Objects = Annotated[list[Raw], Meta(max_length=65_536, extra_json_schema={"items": {"type": "object"}})]

_CHOICE: Final[Json] = {"anyOf": [{"enum": [None, "none", "auto", "required"]}, {"type": "object"}]}


class TextOfPart(Wire, frozen=True):
    """A part that is text, whatever it is called."""

    rules = fields.PART

    text: str


class InputText(TextOfPart, frozen=True, tag="input_text"):
    pass


class OutputText(TextOfPart, frozen=True, tag="output_text"):
    pass


class PlainText(TextOfPart, frozen=True, tag="text"):
    pass


class OutputRefusal(Wire, frozen=True, tag="refusal"):
    rules = fields.PART

    refusal: str


class SummaryText(TextOfPart, frozen=True, tag="summary_text"):
    pass


class ReasoningText(TextOfPart, frozen=True, tag="reasoning_text"):
    pass


class InputImage(Wire, frozen=True, tag="input_image"):
    """An image, which the model cannot take; nor can it take the parts below."""

    refused = True

    image_url: Raw | UnsetType = UNSET
    file_id: Raw | UnsetType = UNSET
    detail: Raw | UnsetType = UNSET


class InputFile(Wire, frozen=True, tag="input_file"):
    refused = True

    file_data: Raw | UnsetType = UNSET
    file_id: Raw | UnsetType = UNSET
    file_url: Raw | UnsetType = UNSET
    filename: Raw | UnsetType = UNSET
    detail: Raw | UnsetType = UNSET


class InputAudio(Wire, frozen=True, tag="input_audio"):
    refused = True

    input_audio: Raw | UnsetType = UNSET


MessagePart = InputText | OutputText | PlainText | OutputRefusal | SummaryText | ReasoningText
MediaPart = InputImage | InputFile | InputAudio
Parts = Annotated[list[MessagePart | MediaPart], Meta(max_length=4096)]


class MessageItem(Wire, frozen=True, tag="message"):
    rules = fields.MESSAGE

    role: Literal["user", "assistant", "system", "developer"]
    content: str | Parts
    id: ItemId | None = None
    status: Status | None = None


class ReasoningItem(Wire, frozen=True, tag="reasoning"):
    rules = fields.REASONING

    summary: Annotated[list[SummaryText], Meta(max_length=4096)] = []
    content: Annotated[list[ReasoningText | PlainText], Meta(max_length=4096)] | None = None
    encrypted_content: str | None = None
    """Of this server's making, see `api.sealing`; another's cannot be read, and is left out."""
    id: ItemId | None = None
    status: Status | None = None


class CallFields(Wire, frozen=True, kw_only=True):
    rules = fields.CALL

    call_id: CallId
    name: ToolName
    namespace: ToolName | None = None
    id: ItemId | None = None
    status: Status | None = None


class CallItem(CallFields, frozen=True, tag="function_call"):
    arguments: str


class OutputFields(Wire, frozen=True):
    rules = fields.OUTPUT

    call_id: CallId
    output: str | Parts
    id: ItemId | None = None
    status: Status | None = None


class CallOutputItem(OutputFields, frozen=True, tag="function_call_output"):
    pass


class CustomCallItem(CallFields, frozen=True, tag="custom_tool_call"):
    input: str


class CustomOutputItem(OutputFields, frozen=True, tag="custom_tool_call_output"):
    pass


class CompactionItem(Wire, frozen=True, tag="compaction"):
    """What took the place of a conversation that had become too long."""

    rules = fields.REASONING

    encrypted_content: Annotated[str, Meta(max_length=10_485_760)]
    """Of this server's making, see `api.sealing`."""
    id: ItemId | None = None


class ReferenceItem(Wire, frozen=True, tag="item_reference"):
    """An item of an earlier response, by its id."""

    id: ItemId


InputItem = MessageItem | ReasoningItem | CallItem | CallOutputItem | CustomCallItem | CustomOutputItem | CompactionItem
"""What a conversation is made of."""


class FunctionTool(Wire, frozen=True, tag="function"):
    rules = fields.TOOL

    name: ToolName
    description: str | None = None
    parameters: SchemaValue | UnsetType = UNSET
    strict: bool | None = None


class CustomFormat(Wire, frozen=True):
    """What a custom tool's input must be."""

    type: Literal["text", "grammar"]
    syntax: Literal["lark", "regex"] | None = None
    definition: str | None = None


class CustomTool(Wire, frozen=True, tag="custom"):
    rules = fields.TOOL

    name: ToolName
    description: str | None = None
    format: CustomFormat | None = None


class ToolNamespace(Wire, frozen=True, tag="namespace"):
    """Tools under a common name."""

    name: ToolName
    tools: Objects
    description: str | None = None


class NamedTool(Wire, frozen=True):
    """A tool of the request, chosen by its name."""

    type: Literal["function", "custom"]
    name: ToolName
    namespace: ToolName | None = None


class AllowedTools(Wire, frozen=True):
    """Only some of the request's tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Objects


class TextFormat(Wire, frozen=True):
    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Meta(max_length=256)] | None = None
    description: str | None = None
    schema: SchemaValue | UnsetType = UNSET
    strict: bool | None = None
    """Whether or not, the schema is enforced."""


class TextWish(Wire, frozen=True):
    rules = fields.TEXT

    format: TextFormat | None = None


class EffortWish(ReasoningBox, frozen=True):
    rules = fields.REASONING_WISH

    summary: Literal["auto", "concise", "detailed", "none"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    """The same by its older name."""


class ResponseRequest(ReasoningFields, frozen=True, kw_only=True):
    """The body of POST /v1/responses, and of `response.create` over a WebSocket."""

    rules = fields.RESPONSE
    bulky = ("tools",)
    extra_neutral = {**ReasoningFields.extra_neutral, "tool_choice": ("",), "text": ({},), "reasoning": ({},)}

    input: str | Objects | None = None
    instructions: str | None = None
    previous_response_id: ItemId | None = None
    store: bool | None = None
    background: bool | None = None
    include: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=64)] | None = None
    tools: Objects | None = None
    tool_choice: Annotated[Raw, Meta(extra_json_schema=_CHOICE)] | UnsetType = UNSET
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    """Of tools that a hosted service runs; there are none here."""
    text: TextWish | None = None
    reasoning: EffortWish | None = None
    max_output_tokens: Room | None = None
    metadata: Metadata | None = None
    prompt_cache_key: Annotated[str, Meta(max_length=1024)] | None = None
    safety_identifier: Annotated[str, Meta(max_length=1024)] | None = None
    user: Annotated[str, Meta(max_length=1024)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


class SocketRequest(ResponseRequest, frozen=True):
    """A message of a WebSocket that asks for a response."""

    type: Literal["response.create"] = "response.create"
    stream_id: Annotated[str, Meta(min_length=1, max_length=256, pattern="^[A-Za-z0-9_.-]+$")] | None = None
    """Which of several streams of answers this is a part of; answers of one stream come one after the other."""
    generate: bool | None = None
