"""Calls whose name and arguments stand between tags, texts as they are: `<function=f><parameter=a>...</parameter>`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from core.chat.parsers.family import CallSyntax, GrammarTerms
from core.chat.parsers.grammar import CallTags, write_tagged_calls
from core.chat.parsers.json_text import NAMELESS
from core.chat.parsers.open_call import MemberWriter
from core.chat.parsers.pieces import CallCut, NotACall
from core.chat.parsers.unread import MarkSet, Reading, UnreadText
from core.requests import Tool

CDATA, QUOTE_ENDS = "<![CDATA[", MarkSet(("]]>",))
UNTAGGED = "A call is not written in the tags that belong around its arguments."


class TaggedCalls(CallSyntax):
    """Values are texts until the tool's schema says more. One that is a text for certain is handed out as it grows."""

    def __init__(self, tags: CallTags, *, within_frame: bool = False, bare: bool = False) -> None:
        """`within_frame`: one frame holds all calls. `bare`: a call may come without its frame."""
        self._tags = tags
        self._within_frame = within_frame
        self.begins = tuple(filter(None, (tags.frame, tags.call if bare or not tags.frame else "")))
        self.ends = tuple(filter(None, (tags.call_end, tags.frame_end)))
        self.marks = (*self.begins, *self.ends, tags.argument_end)
        end = tags.argument_end
        self._values = MarkSet((end, f"\n{end}") if tags.lines else (end,))
        self._names = MarkSet((tags.name_end, *(text for text, _ in tags.typed), "\n", "<"))

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        tags = self._tags
        inside, begun = mark == tags.call, False
        while True:
            if not inside:
                yield from unread.skip_blanks()
                inside = (yield from unread.literal(tags.call)) is not None
            if not inside:
                break
            begun = True
            name, _ = yield from self._read_name(unread)
            members = MemberWriter(unread, name, typed=bool(tags.typed))
            yield from self._read_members(unread, members)
            members.end()
            yield from unread.skip_blanks()
            if tags.frame_end and not self._within_frame:
                yield from unread.closing(tags.frame_end)
            unread.drop()
            inside = False
            if not self._within_frame:
                return
        if not begun:
            raise NotACall(UNTAGGED)
        yield from unread.closing(tags.frame_end)

    def _read_name(self, unread: UnreadText) -> Reading[tuple[str, str]]:
        """A name, and what ended it."""
        name, mark = yield from unread.text_until(self._names)
        if mark in ("\n", "<", "") or not name.strip():
            raise NotACall(NAMELESS) if mark else CallCut()
        return name.strip(), mark

    def _read_members(self, unread: UnreadText, members: MemberWriter) -> Reading[None]:
        tags = self._tags
        while True:
            yield from unread.skip_blanks()
            found = yield from unread.literal(tags.argument, tags.call_end)
            if found is None:
                raise CallCut() if (yield from unread.at_end()) else NotACall(UNTAGGED)
            if found == tags.call_end:
                return
            name, kind = yield from self._read_name(unread)
            written = dict(tags.typed).get(kind)
            if written or (written is None and members.is_text(name)):
                members.begin_text(name)
                whole = yield from self._read_value(unread, members.add_text)
                if whole:
                    members.end_text()
            else:
                parts: list[str] = []
                whole = yield from self._read_value(unread, parts.append)
                members.add(name, self._decode("".join(parts), is_text=written is None))
            if not whole:
                raise CallCut

    def _read_value(self, unread: UnreadText, write: Callable[[str], None]) -> Reading[bool]:
        """Whether the value has an end."""
        if self._tags.lines:
            yield from unread.literal("\n")
        if not self._tags.quoted or (yield from unread.literal(CDATA)) is None:
            return bool((yield from unread.write_until(self._values, write)))
        if not (yield from unread.write_until(QUOTE_ENDS, write)):
            return False
        yield from unread.skip_blanks()
        if (yield from unread.literal(self._tags.argument_end)) is None:
            raise CallCut if (yield from unread.at_end()) else NotACall(UNTAGGED)
        return True

    def _decode(self, value: str, *, is_text: bool) -> Any:
        if is_text:
            return value
        try:
            return msgspec.json.decode(value)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return value

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        return write_tagged_calls(tools, terms, self._tags, within_frame=self._within_frame, several=several)
