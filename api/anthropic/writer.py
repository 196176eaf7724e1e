"""From events to a message of Anthropic's Messages: a whole one, or the events of its stream."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from api.anthropic.errors import ANTHROPIC_ERRORS
from api.anthropic.replies import (
    BlockDelta,
    BlockStart,
    BlockStop,
    DeltaUsage,
    InputPiece,
    MessageDelta,
    MessageEnd,
    MessageReply,
    MessageStart,
    MessageStop,
    MessagesUsage,
    Piece,
    ReplyBlock,
    SignaturePiece,
    StreamEvent,
    TextPiece,
    TextReply,
    ThinkingCount,
    ThinkingPiece,
    ThinkingReply,
    ToolUseReply,
)
from api.anthropic.thoughts import sign_thought
from api.http.answer import frame_named_event
from core.events import (
    CallArguments,
    CallBegun,
    CallEnded,
    Event,
    Failed,
    Finished,
    FinishReason,
    Prefilled,
    ReasoningDelta,
    TextDelta,
    Usage,
)

PING: Final = frame_named_event(b"ping", b'{"type":"ping"}')
STOP_REASONS: Final = {
    FinishReason.STOP: "end_turn",
    FinishReason.STOP_SEQUENCE: "stop_sequence",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.CONTEXT: "model_context_window_exceeded",
    FinishReason.LOOP: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
}
NO_INPUT: Final = Raw(b"{}")
BROKEN_INPUT: Final = "INVALID_JSON"
"""The member that holds arguments that are no JSON object."""
ENCODER: Final = msgspec.json.Encoder()
UsageReply = TypeVar("UsageReply", bound=DeltaUsage)


class BlockKind(Enum):
    TEXT = auto()
    THINKING = auto()
    CALL = auto()


class OpenBlock(Struct):
    """The content block that is being written; `before` and `after` are the bytes around each piece of it."""

    kind: BlockKind
    before: bytes
    after: bytes
    thought: list[str]
    """What was thought in it, where that is omitted."""


class MessagesDialect:
    """Writes one request's events as the events of a stream, or its reply as one message.

    A piece of a block is the hot path: all of it but its text is encoded once for each block.
    """

    def __init__(
        self, model: str, name_request: Callable[[], str], *, omits_thoughts: bool = False, silent: bool = False
    ) -> None:
        """`model`: what the reply calls it; `name_request` tells the request's id, which errors have in them;
        `silent`: the prompt alone was asked for, and nothing is said."""
        self.id = f"msg_{secrets.token_hex(12)}"
        self.over = False
        self._model = model
        self._name_request = name_request
        self._omits_thoughts = omits_thoughts
        self._silent = silent
        self._begun = False
        self._block: OpenBlock | None = None
        self._index = -1
        """Of the block that was opened last."""

    def write(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        for event in _drop_answer(events) if self._silent else events:
            if isinstance(event, TextDelta):
                if event.text:
                    block = self._block
                    if block is None or block.kind is not BlockKind.TEXT:
                        block = self._open(BlockKind.TEXT, out)
                    out += (block.before, ENCODER.encode(event.text), block.after)
            else:
                self._write_other(event, out)
        return b"".join(out)

    def _write_other(self, event: Event, out: list[bytes]) -> None:
        match event:
            case ReasoningDelta(text=text):
                self._write_thought(text, out)
            case CallBegun():
                self._open(BlockKind.CALL, out, event)
            case CallArguments(text=text):
                if text and (block := self._block) is not None:
                    out += (block.before, ENCODER.encode(text), block.after)
            case CallEnded():
                self._close(out)
            case Prefilled(total=total, cached=cached):
                self._begin(out, Usage(prompt_tokens=total, cached_tokens=cached))
            case Finished():
                self._finish(event, out)
            case Failed(error=error):
                self.over = True
                written = ANTHROPIC_ERRORS.write(error, self._name_request())
                out.append(frame_named_event(b"error", written.body))

    def reply(self, events: Sequence[Event]) -> bytes:
        blocks: list[ReplyFold] = []
        end: Finished | None = None
        for event in _drop_answer(events) if self._silent else events:
            match event:
                case TextDelta(text=text):
                    _fold_into(blocks, BlockKind.TEXT, text)
                case ReasoningDelta(text=text):
                    _fold_into(blocks, BlockKind.THINKING, text)
                case CallBegun():
                    blocks.append(ReplyFold(BlockKind.CALL, [], event))
                case CallArguments(text=text):
                    _fold_into(blocks, BlockKind.CALL, text)
                case Finished():
                    end = event
                case Failed(error=error):
                    raise error
        assert end is not None, "a stream ends with an end or a failure"
        content = [block.close(omits_thoughts=self._omits_thoughts) for block in blocks]
        return ENCODER.encode(self._message(content, self._settle(end)))

    def _begin(self, out: list[bytes], usage: Usage) -> None:
        """The event that opens the stream, if it was not written yet."""
        if not self._begun:
            self._begun = True
            out.append(frame_stream_event(MessageStart(self._message([], None, usage))))

    def _open(self, kind: BlockKind, out: list[bytes], call: CallBegun | None = None) -> OpenBlock:
        """The next block; the one before ends."""
        self._begin(out, Usage())
        self._close(out)
        self._index += 1
        out.append(frame_stream_event(BlockStart(self._index, ReplyFold(kind, [], call).close(omits_thoughts=False))))
        before, after = self._split_frame(kind)
        self._block = OpenBlock(kind, before, after, [])
        return self._block

    def _split_frame(self, kind: BlockKind) -> tuple[bytes, bytes]:
        """The bytes around the text of a block's pieces."""
        mark = "\N{SYMBOL FOR NULL}"
        piece: Piece = InputPiece(mark)
        if kind is not BlockKind.CALL:
            piece = TextPiece(mark) if kind is BlockKind.TEXT else ThinkingPiece(mark)
        before, after = frame_stream_event(BlockDelta(self._index, piece)).rsplit(ENCODER.encode(mark), 1)
        return before, after

    def _write_thought(self, text: str, out: list[bytes]) -> None:
        if not text:
            return
        block = self._block
        if block is None or block.kind is not BlockKind.THINKING:
            block = self._open(BlockKind.THINKING, out)
        if self._omits_thoughts:
            block.thought.append(text)
        else:
            out += (block.before, ENCODER.encode(text), block.after)

    def _close(self, out: list[bytes]) -> None:
        """The end of the block that is open, if one is."""
        if self._block is None:
            return
        if self._block.kind is BlockKind.THINKING:
            signature = sign_thought("".join(self._block.thought), omitted=self._omits_thoughts)
            out.append(frame_stream_event(BlockDelta(self._index, SignaturePiece(signature))))
        out.append(frame_stream_event(BlockStop(self._index)))
        self._block = None

    def _finish(self, event: Finished, out: list[bytes]) -> None:
        self.over = True
        end = self._settle(event)
        self._begin(out, end.usage)
        self._close(out)
        delta = MessageDelta(MessageEnd(STOP_REASONS[end.reason], end.stop), translate_usage(end.usage, DeltaUsage))
        out += (frame_stream_event(delta), frame_stream_event(MessageStop()))

    def _settle(self, end: Finished) -> Finished:
        """The end as it is told: where nothing was asked for, the token that was drawn all the same is none."""
        if not self._silent:
            return end
        usage = replace(end.usage, completion_tokens=0, reasoning_tokens=0)
        return replace(end, reason=FinishReason.LENGTH, stop=None, usage=usage)

    def _message(self, content: list[ReplyBlock], end: Finished | None, usage: Usage = Usage()) -> MessageReply:
        """`usage`: as far as is known, of a message that goes on."""
        return MessageReply(
            id=self.id,
            model=self._model,
            content=content,
            stop_reason=STOP_REASONS[end.reason] if end else None,
            stop_sequence=end.stop if end else None,
            usage=translate_usage(end.usage if end else usage, MessagesUsage),
        )


class ReplyFold(Struct):
    """A block of a whole message, as far as its events have come."""

    kind: BlockKind
    texts: list[str]
    call: CallBegun | None = None

    def close(self, *, omits_thoughts: bool) -> ReplyBlock:
        text = "".join(self.texts)
        if self.call is not None:
            return ToolUseReply(name_call(self.call.id), self.call.name, read_input(text))
        if self.kind is BlockKind.TEXT:
            return TextReply(text)
        # In a stream the signature comes with the block's end.
        signature = sign_thought(text, omitted=omits_thoughts) if self.texts else ""
        return ThinkingReply("" if omits_thoughts else text, signature)


def _fold_into(blocks: list[ReplyFold], kind: BlockKind, text: str) -> None:
    if not text:
        return
    if not blocks or blocks[-1].kind is not kind:
        blocks.append(ReplyFold(kind, []))
    blocks[-1].texts.append(text)


def _drop_answer(events: Sequence[Event]) -> Sequence[Event]:
    return [event for event in events if isinstance(event, Prefilled | Finished | Failed)]


def name_call(identity: str) -> str:
    """A call's id, as this API writes them."""
    return f"toolu_{identity.removeprefix('call_')}"


def read_input(arguments: str) -> Raw:
    """A call's arguments. Those that are no JSON object, since they were cut off as a rule, stand in one as a text, in
    the way that Anthropic tells clients to write them."""
    if not arguments:
        return NO_INPUT
    try:
        msgspec.json.decode(arguments, type=dict[str, Raw])
    except (msgspec.MsgspecError, UnicodeError):
        return Raw(ENCODER.encode({BROKEN_INPUT: arguments}))
    return Raw(arguments.encode())


def frame_stream_event(event: StreamEvent) -> bytes:
    return frame_named_event(str(event.__struct_config__.tag).encode(), ENCODER.encode(event))


def translate_usage(usage: Usage, kind: type[UsageReply]) -> UsageReply:
    return kind(
        input_tokens=usage.prompt_tokens - usage.cached_tokens,
        cache_read_input_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
        output_tokens_details=ThinkingCount(usage.reasoning_tokens),
    )
