"""Items of a response that are being written: how each begins, grows and ends in the stream."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET

from api.openai.custom_input import CustomInput
from api.openai.responses.frames import SPLIT, EventWriter
from api.openai.responses.items import make_id
from api.openai.responses.resource import (
    ArgumentsDone,
    CallDelta,
    CustomInputDone,
    CustomToolCallItem,
    FunctionCallItem,
    ItemEvent,
    ItemStatus,
    OutputItem,
    OutputTextPart,
    PartEvent,
    SaidDelta,
    SaidDone,
    SaidItem,
    SummaryDelta,
    SummaryDone,
    SummaryPart,
    SummaryPartEvent,
    TextLogprob,
    ThoughtDelta,
    ThoughtDone,
    ThoughtItem,
    ThoughtPart,
    TokenLogprobs,
)
from api.openai.responses.tools import KnownTool, ToolKind
from api.sealing import seal_text
from core.events import TokenLogprob

LEAST_LOGPROB = -9999.0
"""JSON has no infinity; OpenAI's own floor stands for it."""


class OpenMessage:
    def __init__(self, item_id: str, index: int, events: EventWriter) -> None:
        self._id = item_id
        self._index = index
        self._text: list[str] = []
        self._logprobs: list[TokenLogprobs] = []
        events.write(_added(index, SaidItem(id=item_id, status="in_progress", content=[])))
        part = OutputTextPart("")
        events.write(PartEvent(type="response.content_part.added", item_id=item_id, output_index=index, part=part))
        self._frame = events.prepare(self._delta(SPLIT, []))

    def add(self, text: str, logprobs: tuple[TokenLogprob, ...], events: EventWriter) -> None:
        self._text.append(text)
        if not logprobs:
            events.write_delta(self._frame, text)
            return
        told = list(map(_logprobs, logprobs))
        self._logprobs += told
        events.write(self._delta(text, told))

    @property
    def ends_line(self) -> bool:
        return bool(self._text) and self._text[-1].endswith("\n")

    def end(self, status: ItemStatus, events: EventWriter) -> OutputItem:
        item_id, index, text = self._id, self._index, "".join(self._text)
        done = SaidDone(
            type="response.output_text.done", item_id=item_id, output_index=index, text=text, logprobs=self._logprobs
        )
        events.write(done)
        part = OutputTextPart(text, logprobs=self._logprobs)
        events.write(PartEvent(type="response.content_part.done", item_id=item_id, output_index=index, part=part))
        item = SaidItem(id=item_id, status=status, content=[part])
        events.write(_done(index, item))
        return item

    def _delta(self, text: str, logprobs: list[TokenLogprobs]) -> SaidDelta:
        return SaidDelta(
            type="response.output_text.delta",
            item_id=self._id,
            output_index=self._index,
            logprobs=logprobs,
            delta=text,
        )


class OpenThought:
    """What the model thinks: as it is, or where a summary is wanted as that, since nothing else sums it up."""

    def __init__(self, item_id: str, index: int, events: EventWriter, *, summary: bool, sealed: bool) -> None:
        self._id = item_id
        self._index = index
        self._summary = summary
        self._sealed = sealed
        self._text: list[str] = []
        events.write(_added(index, self._item("", "in_progress", begun=False)))
        self._tell_part("added", "", events)
        self._frame = events.prepare(
            SummaryDelta(type="response.reasoning_summary_text.delta", item_id=item_id, output_index=index, delta=SPLIT)
            if summary
            else ThoughtDelta(type="response.reasoning_text.delta", item_id=item_id, output_index=index, delta=SPLIT)
        )

    def add(self, text: str, events: EventWriter) -> None:
        self._text.append(text)
        events.write_delta(self._frame, text)

    def end(self, status: ItemStatus, events: EventWriter) -> OutputItem:
        item_id, index, text = self._id, self._index, "".join(self._text)
        events.write(
            SummaryDone(type="response.reasoning_summary_text.done", item_id=item_id, output_index=index, text=text)
            if self._summary
            else ThoughtDone(type="response.reasoning_text.done", item_id=item_id, output_index=index, text=text)
        )
        self._tell_part("done", text, events)
        item = self._item(text, status, begun=True)
        events.write(_done(index, item))
        return item

    def _tell_part(self, what: str, text: str, events: EventWriter) -> None:
        item_id, index = self._id, self._index
        events.write(
            SummaryPartEvent(
                type=f"response.reasoning_summary_part.{what}",
                item_id=item_id,
                output_index=index,
                part=SummaryPart(text),
            )
            if self._summary
            else PartEvent(
                type=f"response.content_part.{what}", item_id=item_id, output_index=index, part=ThoughtPart(text)
            )
        )

    def _item(self, text: str, status: ItemStatus, *, begun: bool) -> ThoughtItem:
        return ThoughtItem(
            id=self._id,
            summary=[SummaryPart(text)] if self._summary and begun else [],
            content=UNSET if self._summary else [ThoughtPart(text)] if begun else [],
            encrypted_content=seal_text(text) if self._sealed and begun else UNSET,
            status=status,
        )


class OpenCall:
    """A custom tool's input is taken out of the function's only argument that it is wrapped as."""

    def __init__(self, call_id: str, tool: KnownTool, index: int, events: EventWriter) -> None:
        self._custom = tool.kind is ToolKind.CUSTOM
        self._id = make_id("ctc" if self._custom else "fc")
        self._call_id = call_id
        self._tool = tool
        self._index = index
        self._text: list[str] = []
        self._input = CustomInput()
        events.write(_added(index, self._item("", "in_progress")))
        kind = "custom_tool_call_input" if self._custom else "function_call_arguments"
        self._frame = events.prepare(
            CallDelta(type=f"response.{kind}.delta", item_id=self._id, output_index=index, delta=SPLIT)
        )

    def add(self, text: str, events: EventWriter) -> None:
        if self._custom:
            text = self._input.add(text)
        else:
            self._text.append(text)
        if text:
            events.write_delta(self._frame, text)

    def end(self, status: ItemStatus, events: EventWriter) -> OutputItem:
        item_id, index, text = self._id, self._index, "".join(self._text)
        if self._custom:
            rest, text = self._input.end()
            if rest:
                events.write_delta(self._frame, rest)
            done = CustomInputDone(
                type="response.custom_tool_call_input.done", item_id=item_id, output_index=index, input=text
            )
            events.write(done)
        else:
            events.write(
                ArgumentsDone(
                    type="response.function_call_arguments.done",
                    item_id=item_id,
                    output_index=index,
                    name=self._tool.name,
                    arguments=text,
                )
            )
        item = self._item(text, status)
        events.write(_done(index, item))
        return item

    def _item(self, text: str, status: ItemStatus) -> OutputItem:
        name, space = self._tool.name, self._tool.namespace or UNSET
        if self._custom:
            return CustomToolCallItem(
                id=self._id, call_id=self._call_id, name=name, input=text, namespace=space, status=status
            )
        return FunctionCallItem(
            id=self._id, call_id=self._call_id, name=name, arguments=text, namespace=space, status=status
        )


OpenItem = OpenMessage | OpenThought | OpenCall


def _added(index: int, item: OutputItem) -> ItemEvent:
    return ItemEvent(type="response.output_item.added", output_index=index, item=item)


def _done(index: int, item: OutputItem) -> ItemEvent:
    return ItemEvent(type="response.output_item.done", output_index=index, item=item)


def _logprobs(token: TokenLogprob) -> TokenLogprobs:
    tops: Iterable[TokenLogprob] = token.top
    return TokenLogprobs(
        token.token,
        max(token.logprob, LEAST_LOGPROB),
        list(token.data),
        [TextLogprob(top.token, max(top.logprob, LEAST_LOGPROB), list(top.data)) for top in tops],
    )
