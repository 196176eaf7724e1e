"""From events to a response, and to the events of its stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from api.http.answer import DONE
from api.http.errors import CLIENT, translate_error
from api.openai.accounts import translate_timings
from api.openai.responses.frames import EventWriter, Framing
from api.openai.responses.items import make_id
from api.openai.responses.open_items import OpenCall, OpenItem, OpenMessage, OpenThought
from api.openai.responses.resource import (
    ENCODER,
    IncompleteDetails,
    InputDetails,
    OutputDetails,
    OutputItem,
    ResponseError,
    ResponseEvent,
    ResponseResource,
    ResponseUsage,
    StreamEvent,
)
from api.openai.responses.tools import KnownTool, ToolKind
from core.errors import BenchtopError, Cancelled
from core.events import (
    CallArguments,
    CallBegun,
    CallEnded,
    CallEvent,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    Usage,
)

CUT_SHORT: Final[Mapping[FinishReason, IncompleteDetails]] = {
    FinishReason.LENGTH: IncompleteDetails("max_output_tokens"),
    FinishReason.CONTEXT: IncompleteDetails("max_output_tokens", "context"),
    FinishReason.LOOP: IncompleteDetails("max_output_tokens", "loop"),
}
STEERED: Final = IncompleteDetails("steered")
KNOWN_CODES: Final = frozenset({"context_length_exceeded"})
"""Codes of a failed response by which clients know what to do."""


class WantedDetails(Struct, frozen=True):
    """What a request wants to be told beside the answer."""

    answer: bool = True
    """Else nothing but the end is told: the prompt was to be read, and no more."""
    logprobs: bool = False
    thoughts: bool = True
    summary: bool = False
    """Thoughts as a summary, instead of as what they are."""
    sealed: bool = False
    """Thoughts in the form that a client carries to the next request."""


class ResponseWriter:
    """Writes one request's events. Holds the state of that request alone."""

    def __init__(
        self,
        draft: ResponseResource,
        tools: Mapping[str, KnownTool],
        details: WantedDetails,
        framing: Framing | None,
        done: Callable[[ResponseResource], None] = lambda _: None,
    ) -> None:
        """`draft` is the response before anything was answered; `done` is told of it when it has ended."""
        self.resource = draft
        self.over = False
        self._tools = tools
        self._details = details
        self._events = EventWriter(framing)
        self._done = done
        self.begun = False
        """Whether anything was written."""
        self._items: list[OutputItem] = []
        self._open: OpenItem | None = None

    def amend(self, change: Callable[[ResponseResource], ResponseResource]) -> None:
        """Before anything was written."""
        self.resource = change(self.resource)

    def begin(self) -> list[bytes]:
        """The events that come before all others, where they were not written yet."""
        if not self.begun:
            self.begun = True
            self._tell("response.created")
            self._tell("response.in_progress")
        return self._events.take()

    def queue(self) -> list[bytes]:
        """The same for a response that waits for its turn."""
        self.begun = True
        self.resource = replace(self.resource, status="queued")
        self._tell("response.created")
        self._tell("response.queued")
        return self._events.take()

    def start(self) -> list[bytes]:
        """Behind `queue`, when its turn has come."""
        self.resource = replace(self.resource, status="in_progress")
        self._tell("response.in_progress")
        return self._events.take()

    def write(self, events: Sequence[Event]) -> list[bytes]:
        """The frames of a batch of events, one for each event of the wire."""
        frames = self.begin()
        for event in events if self._details.answer else _drop_answer(events):
            match event:
                case TextDelta():
                    self._say(event)
                case ReasoningDelta(text=text):
                    self._think(text)
                case Finished():
                    self._finish(event)
                case Failed(error=error):
                    self._fail(error)
                case CallBegun() | CallArguments() | CallEnded():
                    self._call(event)
        return frames + self._events.take()

    def tell(self, events: Iterable[StreamEvent]) -> list[bytes]:
        """The frames of further events about the response, also when it is over."""
        for event in events:
            self._events.write(event)
        return self._events.take()

    @property
    def at_line_end(self) -> bool:
        """Whether what was said last is a whole line of a message, so that an answer may be left there."""
        return not self.over and isinstance(self._open, OpenMessage) and self._open.ends_line

    def steer(self, usage: Usage) -> list[bytes]:
        """The events with which it ends where it is, to be gone on with by another; `usage` is what it has taken."""
        self._close(cut=True)
        self._end(
            replace(
                self.resource,
                status="incomplete",
                incomplete_details=STEERED,
                usage=translate_response_usage(usage),
            )
        )
        return self._events.take()

    def snapshot(self) -> ResponseResource:
        """As far as it has come: items that are whole."""
        return self.resource if self.over else replace(self.resource, output=list(self._items))

    def _say(self, event: TextDelta) -> None:
        logprobs = event.logprobs if self._details.logprobs else ()
        if event.text or logprobs:
            self._open_message().add(event.text, logprobs, self._events)

    def _open_message(self) -> OpenMessage:
        if not isinstance(self._open, OpenMessage):
            self._close()
            self._open = OpenMessage(make_id("msg"), len(self._items), self._events)
        return self._open

    def _open_thought(self) -> OpenThought:
        if not isinstance(self._open, OpenThought):
            self._close()
            details = self._details
            self._open = OpenThought(
                make_id("rs"), len(self._items), self._events, summary=details.summary, sealed=details.sealed
            )
        return self._open

    def _think(self, text: str) -> None:
        if text and self._details.thoughts:
            self._open_thought().add(text, self._events)

    def _call(self, event: CallEvent) -> None:
        match event:
            case CallBegun(id=call_id, name=name):
                self._close()
                tool = self._tools.get(name) or KnownTool(ToolKind.FUNCTION, name)
                self._open = OpenCall(call_id, tool, len(self._items), self._events)
            case CallArguments(text=text):
                assert isinstance(self._open, OpenCall), "arguments come between a call's beginning and its end"
                self._open.add(text, self._events)
            case CallEnded(whole=whole):
                self._close(cut=not whole)

    def _close(self, *, cut: bool = False) -> None:
        if self._open is not None:
            self._items.append(self._open.end("incomplete" if cut else "completed", self._events))
            self._open = None

    def _finish(self, event: Finished) -> None:
        cut = CUT_SHORT.get(event.reason)
        if self._open is None and not self._items and self._details.answer:
            # Whoever reads messages alone finds one, though nothing was said.
            self._open_message()
        self._close(cut=cut is not None)
        self._end(
            replace(
                self.resource,
                status="completed" if cut is None else "incomplete",
                completed_at=int(time.time()) if cut is None else None,
                incomplete_details=cut,
                usage=translate_response_usage(event.usage),
                timings=translate_timings(event.usage, event.timings),
            )
        )

    def _fail(self, error: BenchtopError) -> None:
        self._close(cut=True)
        if isinstance(error, Cancelled):
            self._end(replace(self.resource, status="cancelled"))
            return
        told = translate_error(error).error
        if told.code in KNOWN_CODES:
            code = str(told.code)
        else:
            code = "invalid_prompt" if told.type == CLIENT else "server_error"
        self._end(replace(self.resource, status="failed", error=ResponseError(code, told.message)))

    def _end(self, resource: ResponseResource) -> None:
        self.over = True
        self.resource = replace(resource, output=list(self._items))
        # There is no event of its own for what was cancelled.
        kind = "failed" if self.resource.status == "cancelled" else self.resource.status
        self._tell(f"response.{kind}")
        self._done(self.resource)

    def _tell(self, kind: str) -> None:
        self._events.write(ResponseEvent(type=kind, response=self.resource))


class ResponseDialect:
    """A response as server-sent events, or as one document."""

    def __init__(self, writer: ResponseWriter) -> None:
        self._writer = writer

    @property
    def over(self) -> bool:
        return self._writer.over

    def write(self, events: Sequence[Event]) -> bytes:
        frames = self._writer.write(events)
        if self._writer.over:
            frames.append(DONE)
        return b"".join(frames)

    def reply(self, events: Sequence[Event]) -> bytes:
        failed = next((event.error for event in events if isinstance(event, Failed)), None)
        if failed is not None:
            raise failed
        self._writer.write(events)
        return ENCODER.encode(self._writer.resource)


def _drop_answer(events: Sequence[Event]) -> Iterator[Event]:
    """The ends alone, as if nothing had been drawn."""
    for event in events:
        match event:
            case Finished(usage=usage):
                usage = replace(usage, completion_tokens=0, reasoning_tokens=0)
                yield replace(event, reason=FinishReason.STOP, usage=usage)
            case Failed():
                yield event


def translate_response_usage(usage: Usage) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputDetails(usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputDetails(usage.reasoning_tokens),
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )
