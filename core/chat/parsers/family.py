"""A family of models: how they think, and how they call tools."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct

from core.chat.parsers.pieces import CallCut, NotACall
from core.chat.parsers.unread import MarkSet, Reading, UnreadText
from core.requests import Tool


class ThoughtMarks(Struct, frozen=True):
    """What stands before and after a thought."""

    begin: str
    end: str
    turn: str = ""
    """What comes between a thought and what follows it."""
    lead: str = ""
    """What comes before an answer, thought or none."""


class ThinkingPhase(Enum):
    """What a prompt leaves to the model."""

    BEFORE = "before"
    """It may think or answer."""
    INSIDE = "inside"
    """It thinks already."""
    BEHIND = "behind"
    """An empty thought is written: it is to answer."""


class GrammarTerms(Protocol):
    """What grammars of calls are made of, as the masks of one request write it in Lark, in llguidance's dialect."""

    def mark(self, text: str) -> str:
        """A term for a text, its control tokens by number."""
        ...

    def blanks(self, usual: str = "") -> str:
        """A term for blanks between two tokens of JSON: `usual`, where a call is held from its beginning."""
        ...

    def closing(self, text: str, usual: str, ends: Sequence[str]) -> str:
        """A term for a text and what stands behind a call: `usual`, where a call is held from its beginning;
        else nothing or any of the ends."""
        ...

    def until(self, text: str, pattern: str = "") -> str:
        """A rule for anything up to the first such text, or for what a regular expression matches, and the text."""
        ...

    def arguments(self, tool: Tool) -> str:
        """A rule for the JSON object of a tool's arguments."""
        ...

    def value(self, tool: Tool, schema: object) -> str:
        """A rule for the JSON of a value under a schema, which is a decoded part of the tool's parameters."""
        ...


class CallOpening(Struct, frozen=True):
    """How it shows that a tool is called, where no mark says so: by what stands up to the tool's name, as a rule."""

    pattern: str
    """A regular expression, with a group `name`."""
    written: str
    """What the grammar of calls has by then; the name stands for `NAME`."""
    anywhere: bool = True
    """Whether it counts wherever it stands; else at the beginning of an answer and behind thoughts."""


class CallSyntax(ABC):
    """How calls are written."""

    begins: tuple[str, ...] = ()
    """What a call begins with, or several of them do, wherever it stands in an answer."""
    starts: tuple[str, ...] = ()
    """The same, where it counts only at the beginning of an answer, and behind thoughts and calls."""
    fences: tuple[str, ...] = ()
    """What may begin a call wherever it stands, and begins other things as well."""
    ends: tuple[str, ...] = ()
    """What a call ends with."""
    openings: tuple[CallOpening, ...] = ()
    """How calls show that begin with none of `begins`, behind which there is nothing but a call."""
    turns: tuple[str, ...] = ()
    """What something else begins with, wherever it stands."""
    marks: tuple[str, ...] = ()
    """All texts it looks for that may be control tokens, those above among them."""

    @abstractmethod
    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        """Read one call or several, whose beginning `mark` was read, and hand each out as it grows.

        Raises NotACall where what stands here is none: what was read and not told is words then, or in a call that has
        begun its arguments, up to what ends it. Raises CallCut where the text ends in the midst of one.
        """

    @abstractmethod
    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        """Lark rules of a call of one of the tools, or of several calls; the first is named `calls`, and begins with
        one of `begins` or `starts`."""


class ChatFamily(Struct, frozen=True):
    """Reads answers as an ordered run of words, thoughts and calls."""

    name: str
    thought: ThoughtMarks | None = None
    calls: CallSyntax | None = None
    frames: tuple[str, ...] = ()
    """Texts around words, which nobody is told."""

    @property
    def marks(self) -> frozenset[str]:
        """Texts that a parser must see, where they are control tokens, too."""
        thought = {self.thought.begin, self.thought.end} if self.thought is not None else set()
        return frozenset({*thought, *self.frames, *(self.calls.marks if self.calls is not None else ())})

    @property
    def always(self) -> bool:
        """Whether its answers are read even where there are neither thoughts nor tools."""
        return bool(self.frames)

    @property
    def sees_all(self) -> bool:
        """Whether its parser is to see all control tokens."""
        return False

    def find_phase(self, prompt: str) -> ThinkingPhase:
        """What a prompt's text leaves to the model."""
        written = prompt.rstrip()
        if self.thought is None or written.endswith(self.thought.end):
            return ThinkingPhase.BEHIND
        return ThinkingPhase.INSIDE if written.endswith(self.thought.begin) else ThinkingPhase.BEFORE

    def parse(self, unread: UnreadText, phase: ThinkingPhase, *, calls: bool) -> Reading[None]:
        """The whole answer. `calls`: whether tools may be called."""
        syntax = self.calls if calls else None
        anywhere = MarkSet((*self.frames, *((*syntax.begins, *syntax.fences) if syntax is not None else ())))
        here = (*anywhere.marks, *(syntax.starts if syntax is not None else ()))
        if self.thought is not None:
            here = (self.thought.begin, self.thought.end, *here)
        inside = phase is ThinkingPhase.INSIDE and self.thought is not None
        if inside:
            yield from self._think(unread)
        first, fresh = not inside, True
        while True:
            mark: str | None = None
            if fresh:
                yield from unread.skip_blanks()
                mark = yield from unread.literal(*here)
                if mark is None and first:
                    unread.say_read()
                elif mark is None:
                    unread.part()
            mark = mark or (yield from unread.say_until(anywhere))
            if not mark:
                break
            if self.thought is not None and mark in (self.thought.begin, self.thought.end):
                yield from self._think(unread, mark)
                fresh = True
            elif mark in self.frames:
                unread.drop()
                fresh = True
            else:
                assert syntax is not None
                fresh = yield from read_calls(syntax, mark, unread)
            first = False
        unread.end()

    def _think(self, unread: UnreadText, mark: str = "") -> Reading[None]:
        """Read the thought behind its mark; some models say by the mark of its end alone that they do not think."""
        assert self.thought is not None
        if mark != self.thought.end:
            unread.begin_thought()
            yield from unread.think_until(MarkSet((self.thought.end,)))
        unread.end_thought()


def read_calls(syntax: CallSyntax, mark: str, unread: UnreadText) -> Reading[bool]:
    """Whether calls stand here; else what was read has been told as words."""
    try:
        yield from syntax.read(mark, unread)
    except CallCut as problem:
        unread.reject(str(problem))
        return False
    except NotACall as problem:
        if unread.calling:
            yield from _read_broken(syntax, unread)
            unread.reject(str(problem))
            return True
        unread.reject(str(problem))
        return False
    unread.end_calls()
    return True


def _read_broken(syntax: CallSyntax, unread: UnreadText) -> Reading[None]:
    """The rest of a call whose arguments go on as nothing that can be read. They are handed out as they were written:
    a client that is told of them can tell the model."""
    unread.tell_read_arguments()
    mark = yield from unread.write_until(MarkSet((*syntax.ends, *syntax.begins, *syntax.turns)), unread.tell_arguments)
    if mark not in syntax.ends:
        unread.put_back()
        return
    yield from unread.skip_blanks()
    yield from unread.closing(*syntax.ends)
