"""Text that a model has written and nobody has read yet.

A family's parser is a generator over it, which yields where it needs more text, and so reads an answer as if it were
whole. Everything here costs time linear in the text, however it is cut, and comes to the same pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from enum import Enum, auto
from typing import Final, TypeVar

from core.chat.parsers.pieces import (
    AnswerPiece,
    ArgumentsPiece,
    CallBegunPiece,
    CallEndedPiece,
    RejectedPiece,
    SaidPiece,
    ThoughtPiece,
)
from core.chat.parsers.tool_gate import ToolGate, ToolSchemas

Value = TypeVar("Value")
Reading = Generator[None, None, Value]
"""Yields where more text is needed."""
BLANKS: Final = " \t\r\n"
BLANK_RUN: Final = re.compile(r"[ \t\r\n]*")


class MarkSet:
    """Texts to look for, the longest first where several begin alike."""

    def __init__(self, marks: Iterable[str]) -> None:
        """None of them is empty."""
        self.marks = tuple(sorted(set(marks), key=lambda mark: (-len(mark), mark)))
        self._found = re.compile("|".join(map(re.escape, self.marks)) or "(?!)")
        self._beginnings = frozenset(mark[:end] for mark in self.marks for end in range(1, len(mark)))
        self._firsts = frozenset(mark[0] for mark in self.marks)
        self._reach = max(map(len, self.marks), default=1) - 1
        firsts = f"[{''.join(map(re.escape, sorted(self._firsts)))}]" if self._firsts else "(?!)"
        self.plain = re.compile(firsts)
        """Finds nothing in a text that holds no beginning of a mark."""
        self.tidy_plain = re.compile(rf"{firsts}|[ \t\r\n]\Z")
        """The same of a text that does not end in a blank either."""

    def find(self, text: str, at: int, *, whole: bool) -> tuple[int, str]:
        """Where the first mark begins, and the mark. Where there is none, or text to come may decide which it is: an
        empty one, and up to where there is none for certain. `whole` says that no more text will come."""
        found = self._found.search(text, at)
        end = len(text) if whole else self._half(text, at)
        if found is not None and found.start() < end:
            return found.start(), found[0]
        return end, ""

    def _half(self, text: str, at: int) -> int:
        """Where something begins that reaches to the end, and may become a mark or a longer one."""
        start = max(at, len(text) - self._reach)
        return next(
            (
                index
                for index in range(start, len(text))
                if text[index] in self._firsts and text[index:] in self._beginnings
            ),
            len(text),
        )


class Waiting(Enum):
    """What a parser does with the text that it waits for."""

    SAYING = auto()
    """Tells it, as words or as a thought."""
    WRITING = auto()
    """Hands it out within a call's arguments."""
    READING = auto()
    """Keeps it until there is all of it."""


class UnreadText:
    """One answer. `push` and `close` belong to its front end, all else to the parser.

    What was read and not told yet is remembered as it was written, so that it can be told as text in the end.
    """

    def __init__(self, *, tidy: bool, inline: bool = False, gate: ToolGate | None = None) -> None:
        """`tidy`: blanks before a call are left out of what is said. `inline`: thoughts are said, with their marks.
        `gate`: which calls are handed out; none are without it."""
        self.gate = gate or ToolGate(ToolSchemas({}))
        self.pieces: list[AnswerPiece] = []
        """Made of what was read so far; whoever takes them clears the list."""
        self.closed = False
        """No more text will come."""
        self.cut = False
        """Where it is closed: it was not the model that ended it."""
        self.plain: re.Pattern[str] | None = None
        """While the parser waits amid words or a thought: text in which this finds nothing is more of the same."""
        self.thinking = False
        self.calling = False
        """Whether a call has begun and not ended."""
        self.dropped = False
        """Something was told to nobody; whoever takes note of it sets it back."""
        self.inline = inline
        self.tidy = tidy
        self._thought_of = False
        """Whether some of the thought under way was told."""
        self._refused = False
        """Whether the last call was refused, so that what stands behind it is words as well."""
        self._more: tuple[MarkSet, Callable[[str], None], Waiting] | None = None
        """While the parser waits amid words, a thought or a text of a call's arguments with nothing half read: what
        ends them, and where more of them goes."""
        self._text = ""
        self._at = 0
        self._read: list[str] = []
        self._blanks: list[str] = []
        """The end of what is said or thought; told when something follows it."""
        self._parting = ""
        """Blanks around a call, to stand between the words before and behind it."""
        self._said = False

    def push(self, text: str) -> bool:
        """Whether the parser has something to read in what came; else it was more of the same, which was told."""
        if self._more is not None and self._more[0].plain.search(text) is None:
            marks, take, waiting = self._more
            take(text)
            self._await_more(marks, take, waiting)
            return False
        self._text = self._text[self._at :] + text
        self._at = 0
        return True

    def close(self, *, cut: bool) -> None:
        self.closed, self.cut = True, cut

    @property
    def all_told(self) -> bool:
        """Whether nothing that came is still to be told or dropped."""
        return self._at == len(self._text) and not self._read and not self._blanks

    def rest(self) -> str:
        """All that was not told yet, as it was written; for when the parser is of no use any more."""
        rest, self._text, self._at = self._text[self._at :], "", 0
        return self._take_blanks() + self._written() + rest

    # Reading.

    def at_end(self) -> Reading[bool]:
        """Whether nothing is left, and nothing will come."""
        while self._at == len(self._text) and not self.closed:
            yield
        return self._at == len(self._text)

    def skip_blanks(self) -> Reading[None]:
        while True:
            end = BLANK_RUN.match(self._text, self._at).end()  # type: ignore[union-attr]
            self._advance(end)
            if self._at < len(self._text) or self.closed:
                return
            yield

    def literal(self, *options: str) -> Reading[str | None]:
        """The longest of the options that stands here, which is read; None where none does."""
        longest = max(map(len, options), default=0)
        while True:
            rest = self._text[self._at : self._at + longest]
            if self.closed or not any(len(rest) < len(option) and option.startswith(rest) for option in options):
                break
            yield
        found = max((option for option in options if rest.startswith(option)), key=len, default=None)
        if found is not None:
            self._advance(self._at + len(found))
        return found

    def closing(self, *options: str) -> Reading[None]:
        """Reads the longest of the options that stands here, or the beginning of one, where a limit cut it."""
        if (yield from self.literal(*options)) is None and self.cut:
            rest = self._text[self._at :]
            if any(option.startswith(rest) for option in options):
                self._advance(len(self._text))

    def take_while(self, run: re.Pattern[str], most: int) -> Reading[str]:
        """The longest run here of a pattern that matches each of its own beginnings; `most` characters of it."""
        taken: list[str] = []
        left = most
        while left:
            found = run.match(self._text, self._at, min(len(self._text), self._at + left))
            end = found.end() if found is not None else self._at
            taken.append(self._advance(end))
            left -= len(taken[-1])
            if self._at < len(self._text) or self.closed:
                break
            yield
        return "".join(taken)

    def say_until(self, marks: MarkSet) -> Reading[str]:
        """Says the text up to the next mark, which is read and returned; empty at the end of the text."""
        return (yield from self._until(marks, self.say, Waiting.SAYING))

    def think_until(self, marks: MarkSet) -> Reading[str]:
        """The same of a thought."""
        return (yield from self._until(marks, self.think, Waiting.SAYING))

    def write_until(self, marks: MarkSet, write: Callable[[str], None]) -> Reading[str]:
        """Gives `write` a text of a call's arguments, in parts, up to the next mark, which is read and returned."""

        def take(text: str) -> None:
            self._read.append(text)
            write(text)

        return (yield from self._until(marks, take, Waiting.WRITING))

    def text_until(self, marks: MarkSet) -> Reading[tuple[str, str]]:
        """The text up to the next mark, and the mark, both read; an empty mark at the end of the text."""
        taken: list[str] = []

        def take(text: str) -> None:
            taken.append(text)
            self._read.append(text)

        mark = yield from self._until(marks, take, Waiting.READING)
        return "".join(taken), mark

    def _until(self, marks: MarkSet, take: Callable[[str], None], waiting: Waiting) -> Reading[str]:
        while True:
            # Of a call's arguments that a limit cut, the beginning of a mark behind them is no part.
            end, mark = marks.find(self._text, self._at, whole=self.closed and not (self.cut and self.calling))
            if end > self._at:
                text, self._at = self._text[self._at : end], end
                take(text)
            if mark:
                self._advance(end + len(mark))
                return mark
            if self.closed:
                self._advance(len(self._text))
                return ""
            if end == len(self._text) and waiting is not Waiting.READING:
                self._await_more(marks, take, waiting)
            yield
            self.plain = self._more = None

    def _await_more(self, marks: MarkSet, take: Callable[[str], None], waiting: Waiting) -> None:
        self._more = marks, take, waiting
        begun = self._thought_of if self.thinking else self._said and not self._parting
        held = self._blanks or not begun or waiting is Waiting.WRITING
        self.plain = None if held else marks.tidy_plain if self.tidy or self.thinking else marks.plain

    def more(self, characters: int) -> Reading[str]:
        """So many characters that come next, which are not read; fewer where the text ends."""
        while len(self._text) - self._at < characters and not self.closed:
            yield
        return self._text[self._at : self._at + characters]

    def take(self, characters: int) -> str:
        """Reads so many characters, which are there."""
        return self._advance(self._at + characters)

    def put_back(self) -> None:
        """What was read and not told is still to be read."""
        self._text, self._at = self._written() + self._text[self._at :], 0

    def lexeme(self, pattern: re.Pattern[str]) -> str:
        """What the pattern matches here, which is read; empty where it matches nothing. Never waits."""
        found = pattern.match(self._text, self._at)
        return self._advance(found.end()) if found is not None else ""

    def _advance(self, end: int) -> str:
        read, self._at = self._text[self._at : end], end
        if read:
            self._read.append(read)
        return read

    def pretend(self, text: str) -> None:
        """Take a text as read."""
        self._read.append(text)

    # Telling.

    def say(self, text: str) -> None:
        """Words. Where they are kept tidy, blanks at their end are told when more words follow."""
        if self.tidy:
            text = self._hold_blanks(text)
        if text:
            if self._parting and self._said:
                text = self._parting + text
            self._parting, self._said = "", True
            self.pieces.append(SaidPiece(text))

    def begin_thought(self) -> None:
        """What was read is the mark before a thought, or nothing where the prompt has the mark."""
        self._end_blanks()
        if self.inline:
            self.say_read()
        else:
            self._read.clear()
        self.thinking, self._thought_of = True, False

    def think(self, text: str) -> None:
        """A thought goes without the blanks around it."""
        if self.inline:
            self.pieces.append(SaidPiece(text))
            return
        if not self._thought_of:
            text = text.lstrip(BLANKS)
        if text := self._hold_blanks(text):
            self._thought_of = True
            self.pieces.append(ThoughtPiece(text))

    def end_thought(self) -> None:
        """What was read is the mark behind it, or nothing at the text's end."""
        self.thinking = False
        if self.inline:
            self.say_read()
        else:
            self.drop()

    def say_read(self) -> None:
        """What was read is words after all."""
        self.say(self._written())

    def drop(self) -> None:
        """What was read, and blanks before it, are told to nobody; behind a call that was refused it is words."""
        if self._refused:
            self.say_read()
            return
        self.dropped = self.dropped or bool(self._read or self._blanks)
        self._read.clear()
        self._blanks.clear()

    def part(self) -> None:
        """What was read is the blanks behind a call, or behind a thought: words that follow go without them, but for
        those that part them from words before the call."""
        if self.tidy and not self._parting and not self._refused:
            self._parting = "".join(self._read)
        self.drop()

    def end_calls(self) -> None:
        """What was read is the end of one call or several."""
        self.drop()
        self._refused = False

    def begin_call(self, name: str) -> None:
        """What was read is the beginning of a call of one of the tools."""
        self._refused = False
        if self.tidy and not self._parting:
            self._parting = "".join(self._blanks)
        self.drop()
        self.gate.count_call()
        self.calling = True
        self.pieces.append(CallBegunPiece(name))

    def tell_arguments(self, text: str) -> None:
        """What was read is more of its arguments, whose JSON is `text`."""
        self._read.clear()
        self.pieces.append(ArgumentsPiece(text))

    def end_call(self, why: str) -> None:
        """Its arguments are whole; `why`: what is wrong with them, if anything is."""
        self.calling = False
        self.pieces.append(CallEndedPiece(why))

    def refuse(self, why: str) -> None:
        """What was read is a call that is not handed out."""
        self.reject(why)
        self._refused = True

    def tell_read_arguments(self) -> None:
        """What was read is arguments as well, such as they are."""
        if text := self._written():
            self.pieces.append(ArgumentsPiece(text))

    def reject(self, why: str) -> None:
        """What was read began as a call does. Where one is open it ends, and nothing that it can be told by is left."""
        self._refused = False
        if self.calling:
            self.calling = False
            self.pieces.append(CallEndedPiece(why, whole=False))
            self.drop()
        elif text := self._take_blanks() + self._written():
            self.pieces.append(RejectedPiece(text, why))

    def give_up(self) -> None:
        """The parser is of no use any more: a call that is open ends."""
        if self.calling:
            self.calling = False
            self.pieces.append(CallEndedPiece(whole=False))

    def end(self) -> None:
        """The text is over: blanks at its end are told."""
        self._end_blanks()

    def _end_blanks(self) -> None:
        if blanks := self._take_blanks():
            self.pieces.append(SaidPiece(blanks))

    def _take_blanks(self) -> str:
        blanks = "".join(self._blanks)
        self._blanks.clear()
        return blanks

    def _written(self) -> str:
        written = "".join(self._read)
        self._read.clear()
        return written

    def _hold_blanks(self, text: str) -> str:
        """The text with the blanks that were held, without those at its own end, which are held now."""
        body = text.rstrip(BLANKS)
        if not body:
            if text:
                self._blanks.append(text)
            return ""
        told = self._take_blanks() + body
        if len(body) < len(text):
            self._blanks.append(text[len(body) :])
        return told
