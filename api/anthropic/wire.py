"""Requests of Anthropic's Messages as they stand on the wire, with the bounds of every field.

Fields that change nothing here are not among them, save those that clients send with every request;
`api.anthropic.fields` says what becomes of each.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from api.anthropic import fields
from api.anthropic.known_tools import find_known_tool
from api.http.settle import Wire
from api.openai.generation_fields import ModelName, Penalty, Share, StopText
from api.openai.template_arguments import TemplateArguments
from core.requests import Priority, Tool

ToolName = Annotated[str, Meta(min_length=1, max_length=256)]
CallId = Annotated[str, Meta(min_length=1, max_length=256)]
JsonObjectValue = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
Anything = Annotated[Raw, Meta(extra_json_schema={})]
_CALLED: Final = {"type": ["string", "null"], "maxLength": 128}


class CacheControl(Wire, frozen=True):
    """Every prompt's prefix is cached here as it is, and so from one mark to the next."""

    rules = fields.CACHE_CONTROL

    type: Literal["ephemeral"] = "ephemeral"
    ttl: Literal["5m", "1h"] | None = None


class MarkedBlock(Wire, frozen=True, kw_only=True):
    """A block at which a client may mark the end of a prefix."""

    rules = fields.BLOCK

    cache_control: CacheControl | None = None


class TextBlock(MarkedBlock, frozen=True, tag="text"):
    text: str
    citations: Anything | UnsetType = UNSET


class ImageBlock(Wire, frozen=True, tag="image"):
    """An image, which the model cannot take."""

    refused = True

    source: Anything | UnsetType = UNSET
    cache_control: CacheControl | None = None


class TextSource(Wire, frozen=True, tag="text"):
    data: str
    media_type: str = "text/plain"


class BlockSource(Wire, frozen=True, tag="content"):
    content: str | Annotated[list[TextBlock | ImageBlock], Meta(max_length=4096)]


class Base64Source(Wire, frozen=True, tag="base64"):
    """A PDF file, which the model cannot take; nor can it take the sources below."""

    refused = True

    media_type: Anything | UnsetType = UNSET
    data: Anything | UnsetType = UNSET


class UrlSource(Wire, frozen=True, tag="url"):
    refused = True

    url: Anything | UnsetType = UNSET


class UploadedSource(Wire, frozen=True, tag="file"):
    refused = True

    file_id: Anything | UnsetType = UNSET


class DocumentBlock(MarkedBlock, frozen=True, tag="document"):
    source: TextSource | BlockSource | Base64Source | UrlSource | UploadedSource
    title: str | None = None
    context: str | None = None
    citations: Anything | UnsetType = UNSET


class SearchResultBlock(MarkedBlock, frozen=True, tag="search_result"):
    content: Annotated[list[TextBlock], Meta(max_length=4096)]
    source: str
    title: str
    citations: Anything | UnsetType = UNSET


class ToolReferenceBlock(MarkedBlock, frozen=True, tag="tool_reference"):
    tool_name: ToolName


class ThinkingBlock(Wire, frozen=True, tag="thinking"):
    rules = fields.BLOCK

    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(Wire, frozen=True, tag="redacted_thinking"):
    """Thoughts of another service's model, which nobody else can read."""

    rules = fields.BLOCK

    data: str


class ToolUseBlock(MarkedBlock, frozen=True, tag="tool_use"):
    id: CallId
    name: ToolName
    input: JsonObjectValue
    caller: Anything | UnsetType = UNSET


ResultPart = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock


class ToolResultBlock(MarkedBlock, frozen=True, tag="tool_result"):
    tool_use_id: CallId
    content: str | Annotated[list[ResultPart], Meta(max_length=4096)] | None = None
    is_error: bool | None = None


class HostedBlock(Struct, frozen=True):
    """What a tool that another service runs has left in a conversation. It is left out; so are the blocks below."""


class ServerToolUseBlock(HostedBlock, frozen=True, tag="server_tool_use"):
    pass


class WebSearchResultBlock(HostedBlock, frozen=True, tag="web_search_tool_result"):
    pass


class WebFetchResultBlock(HostedBlock, frozen=True, tag="web_fetch_tool_result"):
    pass


class CodeResultBlock(HostedBlock, frozen=True, tag="code_execution_tool_result"):
    pass


class BashCodeResultBlock(HostedBlock, frozen=True, tag="bash_code_execution_tool_result"):
    pass


class EditorCodeResultBlock(HostedBlock, frozen=True, tag="text_editor_code_execution_tool_result"):
    pass


class ToolSearchResultBlock(HostedBlock, frozen=True, tag="tool_search_tool_result"):
    pass


class McpToolUseBlock(HostedBlock, frozen=True, tag="mcp_tool_use"):
    pass


class McpToolResultBlock(HostedBlock, frozen=True, tag="mcp_tool_result"):
    pass


class ContainerUploadBlock(HostedBlock, frozen=True, tag="container_upload"):
    pass


MessageBlock = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ServerToolUseBlock
    | WebSearchResultBlock
    | WebFetchResultBlock
    | CodeResultBlock
    | BashCodeResultBlock
    | EditorCodeResultBlock
    | ToolSearchResultBlock
    | McpToolUseBlock
    | McpToolResultBlock
    | ContainerUploadBlock
)


class MessageParam(Wire, frozen=True):
    rules = fields.MESSAGE

    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[MessageBlock], Meta(max_length=65_536)]


class ToolParam(Wire, frozen=True):
    """A tool that the client runs; with a `type` other than `custom`, one that the service would know or run."""

    rules = fields.TOOL

    name: ToolName | None = None
    type: Annotated[str, Meta(max_length=128, extra_json_schema=_CALLED)] | None = None
    description: str | None = None
    input_schema: JsonObjectValue | UnsetType = UNSET
    strict: bool | None = None
    cache_control: CacheControl | None = None
    input_examples: Anything | UnsetType = UNSET
    defer_loading: bool | None = None
    allowed_callers: Anything | UnsetType = UNSET

    @property
    def known(self) -> Tool | None:
        """What it is, where its type says that."""
        return find_known_tool(self.type or "")

    @property
    def hosted(self) -> bool:
        """Whether it is not the client that runs it."""
        return self.type not in (None, "custom") and self.known is None


class ChoiceFields(Wire, frozen=True, kw_only=True):
    disable_parallel_tool_use: bool | None = None


class ChoiceAuto(ChoiceFields, frozen=True, tag="auto"):
    pass


class ChoiceAny(ChoiceFields, frozen=True, tag="any"):
    pass


class ChoiceTool(ChoiceFields, frozen=True, tag="tool"):
    name: ToolName


class ChoiceNone(ChoiceFields, frozen=True, tag="none"):
    pass


class ThinkingFields(Wire, frozen=True, kw_only=True):
    display: Literal["summarized", "omitted"] | None = None


class ThinkingEnabled(ThinkingFields, frozen=True, tag="enabled"):
    budget_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)]


class ThinkingAdaptive(ThinkingFields, frozen=True, tag="adaptive"):
    pass


class ThinkingBetweenTools(ThinkingFields, frozen=True, tag="between_tools"):
    pass


class ThinkingDisabled(ThinkingFields, frozen=True, tag="disabled"):
    pass


ThinkingConfig = ThinkingEnabled | ThinkingAdaptive | ThinkingBetweenTools | ThinkingDisabled


class OutputFormat(Wire, frozen=True):
    rules = fields.OUTPUT_FORMAT

    type: Literal["json_schema"]
    schema: JsonObjectValue


class OutputConfig(Wire, frozen=True):
    rules = fields.OUTPUT_CONFIG

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountRequest(Wire, frozen=True):
    """The body of POST /v1/messages/count_tokens: what a prompt is made of."""

    rules = fields.COUNT
    bulky = ("tools",)

    messages: Annotated[list[MessageParam], Meta(min_length=1, max_length=100_000)]
    model: ModelName | None = None
    system: str | Annotated[list[TextBlock], Meta(max_length=4096)] | None = None
    tools: Annotated[list[ToolParam], Meta(max_length=10_000)] | None = None
    tool_choice: ChoiceAuto | ChoiceAny | ChoiceTool | ChoiceNone | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    """The same as `output_config.format` in the beta's form."""
    cache_control: CacheControl | None = None
    context_management: Anything | UnsetType = UNSET
    """What a service would leave out of a prompt that is too long; nothing is left out here."""
    chat_template_kwargs: TemplateArguments | None = None
    metadata: Anything | UnsetType = UNSET


class MessagesRequest(CountRequest, frozen=True, kw_only=True):
    """The body of POST /v1/messages."""

    rules = fields.MESSAGES

    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    """With none, the prompt is computed and cached, and nothing is said."""
    stream: bool | None = None
    stop_sequences: Annotated[list[StopText], Meta(max_length=64)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None

    # Extensions, as those of chat
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    min_p: Share | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    ignore_eos: bool | None = None
    cache_prompt: bool | None = None
    cache_salt: Annotated[str, Meta(max_length=256)] | None = None
    reproducible: bool | None = None
    priority: Priority | None = None
