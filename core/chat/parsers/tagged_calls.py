"""Calls whose name and arguments stand between tags, texts as they are: `<function=f><parameter=a>...</parameter>`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from core.chat.parsers.family import CallSyntax, GrammarTerms
from core.chat.parsers.grammar import CallTags, write_tagged_calls
from core.chat.parsers.json_text import MIDST, NAMELESS, encode_arguments
from core.chat.parsers.pieces import NotACall
from core.chat.parsers.unread import MarkSet, Reading, UnreadText
from core.requests import Tool

CDATA, QUOTE_ENDS = "<![CDATA[", MarkSet(("]]>",))
UNTAGGED = "A call is not written in the tags that belong around its arguments."


class TaggedCalls(CallSyntax):
    """Values are texts until the tool's schema says more."""

    def __init__(self, tags: CallTags, *, within_frame: bool = False, bare: bool = False) -> None:
        """`within_frame`: one frame holds all calls. `bare`: a call may come without its frame."""
        self._tags = tags
        self._within_frame = within_frame
        self.begins = tuple(filter(None, (tags.frame, tags.call if bare or not tags.frame else "")))
        self.marks = tuple(filter(None, (*self.begins, tags.frame_end, tags.call_end, tags.argument_end)))
        self._values = MarkSet((tags.argument_end,))
        self._names = MarkSet((tags.name_end, *(text for text, _ in tags.typed), "\n", "<"))

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        tags = self._tags
        inside = mark == tags.call
        while True:
            if not inside:
                yield from unread.skip_blanks()
                inside = (yield from unread.literal(tags.call)) is not None
            if not inside:
                break
            name, _ = yield from self._read_name(unread)
            arguments = yield from self._read_arguments(unread)
            yield from unread.skip_blanks()
            if tags.frame_end and not self._within_frame:
                yield from unread.literal(tags.frame_end)
            unread.call(name, encode_arguments(arguments), typed=bool(tags.typed))
            inside = False
            if not self._within_frame:
                return
        if mark == tags.frame and (yield from unread.literal(tags.frame_end)) is None:
            raise NotACall(UNTAGGED)

    def _read_name(self, unread: UnreadText) -> Reading[tuple[str, str]]:
        """A name, and what ended it."""
        name, mark = yield from unread.text_until(self._names)
        if mark in ("\n", "<", "") or not name.strip():
            raise NotACall(NAMELESS)
        return name.strip(), mark

    def _read_arguments(self, unread: UnreadText) -> Reading[dict[str, Any]]:
        tags = self._tags
        arguments: dict[str, Any] = {}
        while True:
            yield from unread.skip_blanks()
            found = yield from unread.literal(tags.argument, tags.call_end)
            if found is None:
                raise NotACall(MIDST if (yield from unread.at_end()) else UNTAGGED)
            if found == tags.call_end:
                return arguments
            name, kind = yield from self._read_name(unread)
            arguments[name] = self._decode((yield from self._read_value(unread)), kind)

    def _read_value(self, unread: UnreadText) -> Reading[str]:
        quoted = self._tags.quoted and (yield from unread.literal(CDATA)) is not None
        value, mark = yield from unread.text_until(QUOTE_ENDS if quoted else self._values)
        if quoted and mark:
            yield from unread.skip_blanks()
            mark = (yield from unread.literal(self._tags.argument_end)) or ""
        if not mark:
            raise NotACall(MIDST)
        return value

    def _decode(self, value: str, kind: str) -> Any:
        if self._tags.lines:
            value = value.removeprefix("\n").removesuffix("\n")
        if dict(self._tags.typed).get(kind, True):
            return value
        try:
            return msgspec.json.decode(value)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return value

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        return write_tagged_calls(tools, terms, self._tags, within_frame=self._within_frame, several=several)
