"""Responses and the events of their streams as they stand on the wire."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from api.openai.wire import WireTimings

ENCODER: Final = msgspec.json.Encoder()

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class TextLogprob(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TextLogprob]


class OutputTextPart(Struct, frozen=True, tag="output_text"):
    text: str
    annotations: list[Raw] = []
    logprobs: list[TokenLogprobs] = []


class InputTextPart(Struct, frozen=True, tag="input_text"):
    text: str


class SummaryPart(Struct, frozen=True, tag="summary_text"):
    text: str


class ThoughtPart(Struct, frozen=True, tag="reasoning_text"):
    text: str


class SaidItem(Struct, frozen=True, kw_only=True, tag="message"):
    id: str
    status: ItemStatus
    role: str = "assistant"
    content: list[OutputTextPart | InputTextPart]


class ThoughtItem(Struct, frozen=True, kw_only=True, tag="reasoning"):
    id: str
    summary: list[SummaryPart]
    content: list[ThoughtPart] | UnsetType = UNSET
    encrypted_content: str | UnsetType = UNSET
    status: ItemStatus


class ToolCallItem(Struct, frozen=True, kw_only=True):
    id: str
    call_id: str
    name: str
    namespace: str | UnsetType = UNSET
    status: ItemStatus


class FunctionCallItem(ToolCallItem, frozen=True, kw_only=True, tag="function_call"):
    arguments: str


class CustomToolCallItem(ToolCallItem, frozen=True, kw_only=True, tag="custom_tool_call"):
    input: str


class ToolResultItem(Struct, frozen=True, kw_only=True):
    id: str
    call_id: str
    output: str
    status: ItemStatus = "completed"


class FunctionResultItem(ToolResultItem, frozen=True, tag="function_call_output"):
    pass


class CustomResultItem(ToolResultItem, frozen=True, tag="custom_tool_call_output"):
    pass


class CompactedItem(Struct, frozen=True, kw_only=True, tag="compaction"):
    id: str
    encrypted_content: str


OutputItem = SaidItem | ThoughtItem | FunctionCallItem | CustomToolCallItem
ListedItem = OutputItem | FunctionResultItem | CustomResultItem | CompactedItem


class InputDetails(Struct, frozen=True):
    cached_tokens: int
    cache_write_tokens: int = 0
    """Nothing is charged for what the prefix cache keeps."""


class OutputDetails(Struct, frozen=True):
    reasoning_tokens: int


class ResponseUsage(Struct, frozen=True):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class CompactedResponse(Struct, frozen=True, kw_only=True):
    """What a client is to send from now on in place of a long conversation."""

    id: str
    object: str = "response.compaction"
    created_at: int
    output: list[SaidItem | CompactedItem]
    """What the user has said, and all else in the last item."""
    usage: ResponseUsage


class ResponseError(Struct, frozen=True):
    code: str
    message: str


class IncompleteDetails(Struct, frozen=True):
    reason: str
    stop_reason: str | UnsetType = UNSET
    """`context` or `loop`, for which `reason` has no word of its own."""


class ReasoningEcho(Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None


class TextEcho(Struct, frozen=True):
    format: Raw
    verbosity: str = "medium"


class ResponseResource(Struct, frozen=True, kw_only=True):
    id: str
    object: str = "response"
    created_at: int
    """Seconds since 1970."""
    completed_at: int | None = None
    status: ResponseStatus
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    model: str
    previous_response_id: str | None = None
    instructions: str | None = None
    output: list[OutputItem] = []
    usage: ResponseUsage | None = None
    background: bool = False
    store: bool = True
    metadata: dict[str, str] = {}
    tools: Raw
    """As the request has them."""
    tool_choice: Raw
    parallel_tool_calls: bool = True
    max_tool_calls: int | None = None
    text: TextEcho
    reasoning: ReasoningEcho = ReasoningEcho()
    truncation: str = "disabled"
    """Nothing is ever cut."""
    max_output_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    top_logprobs: int = 0
    service_tier: str = "default"
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    timings: WireTimings | UnsetType = UNSET
    """llama.cpp's, when the response has ended."""
    ignored: list[str] | UnsetType = UNSET
    """Names of what was dropped of the request, once its model is known: where no headers come that could tell it."""


class DeletedResponse(Struct, frozen=True):
    id: str
    object: str = "response"
    deleted: bool = True


class ItemList(Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: list[ListedItem]
    first_id: str | None
    last_id: str | None
    has_more: bool


class StreamEvent(Struct, kw_only=True):
    type: str
    sequence_number: int = 0
    """Set when the event is written."""


class ResponseEvent(StreamEvent, kw_only=True):
    response: ResponseResource


class ItemEvent(StreamEvent, kw_only=True):
    output_index: int
    item: OutputItem


class PlacedEvent(StreamEvent, kw_only=True):
    """About an item that is being written."""

    item_id: str
    output_index: int


class ContentEvent(PlacedEvent, kw_only=True):
    content_index: int = 0


class SummaryEvent(PlacedEvent, kw_only=True):
    summary_index: int = 0


class PartEvent(ContentEvent, kw_only=True):
    part: OutputTextPart | ThoughtPart


class SummaryPartEvent(SummaryEvent, kw_only=True):
    part: SummaryPart


class SaidDelta(ContentEvent, kw_only=True):
    delta: str
    logprobs: list[TokenLogprobs] = []


class SaidDone(ContentEvent, kw_only=True):
    text: str
    logprobs: list[TokenLogprobs] = []


class ThoughtDelta(ContentEvent, kw_only=True):
    delta: str


class ThoughtDone(ContentEvent, kw_only=True):
    text: str


class SummaryDelta(SummaryEvent, kw_only=True):
    delta: str


class SummaryDone(SummaryEvent, kw_only=True):
    text: str


class CallDelta(PlacedEvent, kw_only=True):
    """More of a function's arguments, or of a custom tool's input."""

    delta: str


class ArgumentsDone(PlacedEvent, kw_only=True):
    name: str
    arguments: str


class CustomInputDone(PlacedEvent, kw_only=True):
    input: str
