"""From the events of a model's raw text to those of thoughts, words and calls: one reader for every dialect."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.chat.parsers.family import ChatFamily, ThinkingPhase
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
from core.chat.parsers.unread import UnreadText
from core.events import (
    CallArguments,
    CallBegun,
    CallEnded,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    SoFar,
    TextDelta,
    TokenLogprob,
)
from core.requests import Conversation, Generation, Tool
from core.telemetry.log import get_logger

MOST_NOTES: Final = 8
"""Notes on one request."""
CALL_ID_BYTES: Final = 12
WORDS: Final = (SaidPiece, RejectedPiece)
FAULTY: Final = "The answer could not be read any further; the rest is as the model wrote it."

log = get_logger(__name__)


def make_call_id() -> str:
    return f"call_{secrets.token_hex(CALL_ID_BYTES)}"


class AnswerPlan(Struct, frozen=True):
    """How the answers to one request are to be read."""

    family: ChatFamily
    phase: ThinkingPhase
    tools: Mapping[str, Tool]
    """Those that may be called."""
    parallel: bool = True
    inline: bool = False
    """Thoughts are left in the text."""


def plan_answer(family: ChatFamily | None, request: Generation, prompt: str) -> AnswerPlan | None:
    """How to read the answer to a prompt's text; None where it is all words."""
    conversation = request.prompt
    if family is None or not isinstance(conversation, Conversation):
        return None
    told = request.callable_tools if family.calls is not None else ()
    tools = {tool.name: tool for tool in told} if request.parse_calls else {}
    thoughts = family.thought is not None and not request.reasoning.inline
    # Calls that stay in the text need its letters too.
    if not (told or thoughts or family.always):
        return None
    return AnswerPlan(family, family.find_phase(prompt), tools, request.parallel_calls, request.reasoning.inline)


class AnswerReader:
    """Reads the answers to one request, as their events come. Belongs to the event loop.

    An event that is words and nothing else goes through as it is.
    """

    def __init__(self, plan: AnswerPlan, choices: int, note: Callable[[str], None], request_id: str = "") -> None:
        """`note` is given sentences for whoever watches the request."""
        schemas = ToolSchemas(plan.tools)
        self._choices = [_ChoiceReader(plan, schemas, index, self._note) for index in range(choices)]
        self._tell = note
        self._told: set[str] = set()
        self._request_id = request_id

    def read(self, events: Sequence[Event]) -> list[Event]:
        """What these events tell."""
        out: list[Event] = []
        for event in events:
            if isinstance(event, TextDelta):
                choice = self._choices[event.index]
                plain = choice.plain
                if plain is not None and plain.search(event.text) is None and event.so_far is None:
                    out.append(event)
                else:
                    self._read_of(choice, event, out)
            elif isinstance(event, Finished):
                self._read_of(self._choices[event.index], event, out)
            else:
                out.append(event)
        return out

    def _read_of(self, choice: _ChoiceReader, event: TextDelta | Finished, out: list[Event]) -> None:
        try:
            if isinstance(event, Finished):
                choice.finish(event, out)
            else:
                choice.read(event, out)
        except Exception:
            # The edge of a parser: what a model wrote must reach its client, whatever it was.
            log.exception("an answer could not be read", request_id=self._request_id)
            self._note(FAULTY)
            choice.give_up(event, out)
        choice.settle()

    def _note(self, sentence: str) -> None:
        if sentence not in self._told and len(self._told) < MOST_NOTES:
            self._told.add(sentence)
            self._tell(sentence)


class _ChoiceReader:
    """One choice's answer."""

    def __init__(self, plan: AnswerPlan, schemas: ToolSchemas, index: int, note: Callable[[str], None]) -> None:
        self._index = index
        self._note = note
        gate = ToolGate(schemas, parallel=plan.parallel)
        self._unread = UnreadText(tidy=bool(plan.tools), inline=plan.inline, gate=gate)
        self._parser = plan.family.parse(self._unread, plan.phase, calls=bool(plan.tools))
        # A thought that the prompt has begun is under way before the first text.
        self._advance()
        self._failed = False
        self.plain: re.Pattern[str] | None = None
        """Where this finds nothing in an event's text, the event goes through as it is."""
        self._calls = 0
        self._reasoned = 0
        """Tokens of thoughts."""
        self._tokens = 0
        """That no event has told of."""
        self._logprobs: list[TokenLogprob] = []
        """Of words that are held back."""
        self._ids: list[int] = []
        """Of the same."""
        self._so_far: SoFar | None = None

    def read(self, event: TextDelta, out: list[Event]) -> None:
        unread = self._unread
        if self._failed:
            out.append(event)
            return
        plain = unread.plain
        if plain is not None and not self._tokens and unread.thinking and plain.search(event.text) is None:
            self._reasoned += event.tokens
            if unread.inline:
                out.append(event)
            elif event.text:
                out.append(ReasoningDelta(self._index, event.text, event.tokens, self._counted(event.so_far)))
            return
        more = unread.push(event.text)
        if unread.calling and not more:
            # More of a text within a call's arguments.
            self._tokens += event.tokens
            self._so_far = self._counted(event.so_far)
            self._tell(out)
            return
        thought = unread.thinking
        # Whatever becomes of reading it: its tokens are told.
        logprobs, ids = len(self._logprobs), len(self._ids)
        self._logprobs += event.logprobs
        self._ids += event.ids
        self._tokens += event.tokens
        if more:
            self._advance()
        kinds = {type(piece) for piece in unread.pieces}
        thought = thought or unread.thinking or ThoughtPiece in kinds
        if thought:
            self._reasoned += event.tokens
        silent = thought or unread.calling or (unread.dropped and unread.all_told)
        if silent and kinds.isdisjoint(WORDS):
            self._forget_words()
        elif unread.dropped:
            del self._logprobs[:logprobs]
            del self._ids[:ids]
        unread.dropped = False
        self._so_far = self._counted(event.so_far)
        self._tell(out)

    def settle(self) -> None:
        """Between two events."""
        unread = self._unread
        self.plain = None if unread.thinking or self._tokens or self._failed else unread.plain

    def finish(self, event: Finished, out: list[Event]) -> None:
        if not self._failed:
            self._unread.close(cut=event.reason not in (FinishReason.STOP, FinishReason.STOP_SEQUENCE))
            self._advance()
            self._tell(out)
            if self._logprobs or self._ids:
                self._say("", out)
        calls = event.reason is FinishReason.STOP and self._calls
        reason = FinishReason.TOOL_CALLS if calls else event.reason
        out.append(replace(event, reason=reason, usage=replace(event.usage, reasoning_tokens=self._reasoned)))

    def give_up(self, event: TextDelta | Finished, out: list[Event]) -> None:
        """From now on everything is words."""
        self._failed = True
        self._unread.give_up()
        self._tell(out)
        text = self._unread.rest()
        if text or self._tokens:
            self._say(text, out)
        if isinstance(event, Finished):
            self.finish(event, out)

    def _advance(self) -> None:
        """Let the parser read what there is."""
        for _ in self._parser:
            if not self._unread.closed:
                return

    def _tell(self, out: list[Event]) -> None:
        pieces = self._unread.pieces
        arguments: list[str] = []
        while pieces:
            piece = pieces[0]
            if isinstance(piece, ArgumentsPiece):
                arguments.append(piece.text)
            else:
                self._tell_arguments(arguments, out)
                self._tell_piece(piece, out)
            del pieces[0]
        self._tell_arguments(arguments, out)

    def _tell_piece(self, piece: AnswerPiece, out: list[Event]) -> None:
        match piece:
            case SaidPiece(text=text):
                self._say(text, out)
            case ThoughtPiece(text=text):
                self._forget_words()
                out.append(ReasoningDelta(self._index, text, self._take_tokens(), self._so_far))
            case RejectedPiece(text=text, why=why):
                if why:
                    self._note(why)
                self._say(text, out)
            case CallBegunPiece(name=name):
                self._forget_words()
                out.append(CallBegun(self._index, self._calls, make_call_id(), name))
                self._calls += 1
            case CallEndedPiece(why=why, whole=whole):
                if why:
                    self._note(why)
                out.append(CallEnded(self._index, self._calls - 1, whole))

    def _tell_arguments(self, texts: list[str], out: list[Event]) -> None:
        """All that came at once, of one call."""
        if texts:
            self._forget_words()
            told = CallArguments(self._index, self._calls - 1, "".join(texts), self._take_tokens(), self._so_far)
            out.append(told)
            texts.clear()

    def _say(self, text: str, out: list[Event]) -> None:
        logprobs, ids = tuple(self._logprobs), tuple(self._ids)
        self._forget_words()
        out.append(TextDelta(self._index, text, logprobs, self._take_tokens(), self._so_far, ids))

    def _forget_words(self) -> None:
        self._logprobs.clear()
        self._ids.clear()

    def _take_tokens(self) -> int:
        tokens, self._tokens = self._tokens, 0
        return tokens

    def _counted(self, so_far: SoFar | None) -> SoFar | None:
        if so_far is None:
            return None
        return replace(so_far, usage=replace(so_far.usage, reasoning_tokens=self._reasoned))
