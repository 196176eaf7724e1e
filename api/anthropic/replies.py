"""What Anthropic's Messages answer: a message, or the events of its stream."""

from __future__ import annotations

from msgspec import Raw, Struct


class TextReply(Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class ThinkingReply(Struct, frozen=True, tag_field="type", tag="thinking"):
    thinking: str
    signature: str


class ToolUseReply(Struct, frozen=True, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: Raw
    """A JSON object."""


ReplyBlock = TextReply | ThinkingReply | ToolUseReply


class ThinkingCount(Struct, frozen=True):
    thinking_tokens: int


class DeltaUsage(Struct, frozen=True, kw_only=True):
    """At the end of a stream. The prompt's tokens are the sum of the first three."""

    input_tokens: int
    """That were computed."""
    cache_creation_input_tokens: int = 0
    """All that is computed is cached, and costs nothing more."""
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: ThinkingCount


class MessagesUsage(DeltaUsage, frozen=True, kw_only=True):
    """The same with a message."""

    service_tier: str = "standard"


class MessageReply(Struct, frozen=True, tag_field="type", tag="message", kw_only=True):
    id: str
    role: str = "assistant"
    model: str
    content: list[ReplyBlock]
    stop_reason: str | None
    """Null as long as the message goes on."""
    stop_sequence: str | None = None
    usage: MessagesUsage


class TokenCount(Struct, frozen=True):
    input_tokens: int


class MessageStart(Struct, frozen=True, tag_field="type", tag="message_start"):
    message: MessageReply


class BlockStart(Struct, frozen=True, tag_field="type", tag="content_block_start"):
    index: int
    content_block: ReplyBlock


class TextPiece(Struct, frozen=True, tag_field="type", tag="text_delta"):
    text: str


class ThinkingPiece(Struct, frozen=True, tag_field="type", tag="thinking_delta"):
    thinking: str


class SignaturePiece(Struct, frozen=True, tag_field="type", tag="signature_delta"):
    signature: str


class InputPiece(Struct, frozen=True, tag_field="type", tag="input_json_delta"):
    partial_json: str


Piece = TextPiece | ThinkingPiece | SignaturePiece | InputPiece


class BlockDelta(Struct, frozen=True, tag_field="type", tag="content_block_delta"):
    index: int
    delta: Piece


class BlockStop(Struct, frozen=True, tag_field="type", tag="content_block_stop"):
    index: int


class MessageEnd(Struct, frozen=True):
    stop_reason: str
    stop_sequence: str | None


class MessageDelta(Struct, frozen=True, tag_field="type", tag="message_delta"):
    delta: MessageEnd
    usage: DeltaUsage


class MessageStop(Struct, frozen=True, tag_field="type", tag="message_stop"):
    pass


StreamEvent = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop
