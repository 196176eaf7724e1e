"""A conversation, apart from how it is drawn: what was said, what the model is sent, what is exported."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct, field
from msgspec.structs import replace

from core.events import CallArguments, CallBegun, Event, Finished, FinishReason, ReasoningDelta, TextDelta
from core.requests import Conversation, Generation, Message, Priority, Role, TextPart
from tui import format as fmt

WARN_SHARE = 0.75
"""Share of the context in use at which the gauge begins to warn."""
FULL_SHARE = 0.92


class Outcome(Enum):
    WRITING = "writing"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


class Exchange(Struct):
    """One question with its answer."""

    question: str
    model: str = ""
    pieces: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    """What the model thought before the answer, piece by piece."""
    calls: list[str] = field(default_factory=list)
    """Tools that it asked for: a name and arguments each."""
    outcome: Outcome = Outcome.WRITING
    end: Finished | None = None
    tokens_so_far: int = 0
    """Of the context, while the answer was written."""
    error: str = ""
    others: tuple[Exchange, ...] = ()
    """The same question with other answers, the newest last; these have no others of their own."""

    @property
    def answer(self) -> str:
        return "".join(self.pieces)

    @property
    def thought(self) -> str:
        return "".join(self.thoughts)

    @property
    def thinking(self) -> bool:
        """Whether a thought is what is being written."""
        return self.outcome is Outcome.WRITING and bool(self.thoughts) and not self.pieces and not self.calls

    def take(self, event: Event) -> None:
        """More of the answer."""
        match event:
            case TextDelta(text=text):
                self.pieces.append(text)
            case ReasoningDelta(text=text):
                self.thoughts.append(text)
            case CallBegun(name=name):
                self.calls.append(f"{name} ")
            case CallArguments(text=text):
                self.calls[-1] += text
            case Finished():
                self.end = event

    @property
    def tokens(self) -> int:
        """Tokens of the context that the conversation fills with this exchange; 0 where nobody counted them."""
        if self.end is None:
            return self.tokens_so_far
        return self.end.usage.prompt_tokens + self.end.usage.completion_tokens


class Chat(Struct):
    """The exchanges of one conversation, oldest first."""

    exchanges: list[Exchange] = field(default_factory=list)

    def ask(self, question: str) -> Exchange:
        """A new exchange at the end."""
        exchange = Exchange(question)
        self.exchanges.append(exchange)
        return exchange

    def again(self) -> Exchange | None:
        """Replace the last exchange by a new one of the same question, which keeps its answers; None when there is
        none."""
        if not self.exchanges:
            return None
        last = self.exchanges.pop()
        exchange = self.ask(last.question)
        exchange.others, last.others = (*last.others, *([last] if last.answer.strip() else [])), ()
        return exchange

    def other_answer(self) -> Exchange | None:
        """Put the last question's answer before in place of the one there, which goes behind all others, so that doing
        this again goes round; None when there is no other."""
        if not self.exchanges or not self.exchanges[-1].others:
            return None
        last = self.exchanges.pop()
        *others, exchange = last.others
        exchange.others, last.others = (*([last] if last.answer.strip() else []), *others), ()
        self.exchanges.append(exchange)
        return exchange

    def request(self, model: str) -> Generation:
        """What to send for the last question, sampling still open. Exchanges without an answer are left out: templates
        want turns."""
        messages: list[Message] = []
        for exchange in self.exchanges[:-1]:
            if exchange.answer.strip():
                answer = replace(_message(Role.ASSISTANT, exchange.answer), reasoning=exchange.thought)
                messages += [_message(Role.USER, exchange.question), answer]
        messages.append(_message(Role.USER, self.exchanges[-1].question))
        return Generation(model=model, prompt=Conversation(tuple(messages)), priority=Priority.INTERACTIVE)

    @property
    def tokens(self) -> int:
        """Tokens of context in use after the last exchange that was counted."""
        return next((exchange.tokens for exchange in reversed(self.exchanges) if exchange.tokens), 0)

    @property
    def last_answer(self) -> str:
        """The newest answer that says anything, or an empty text."""
        return next((one.answer for one in reversed(self.exchanges) if one.answer.strip()), "")

    def to_markdown(self) -> str:
        """The conversation as a Markdown document, answers as the model wrote them."""
        parts = ["# Chat"]
        for exchange in self.exchanges:
            parts += ["## You", exchange.question, f"## {exchange.model or 'Answer'}", exchange.answer.strip()]
            if line := summarize_exchange(exchange):
                parts.append(f"*{line}*")
        return "\n\n".join(part for part in parts if part) + "\n"


def summarize_exchange(exchange: Exchange, dot: str = "·") -> str:
    """One line on how an answer went: speed, time to first token, prompt, cache, and why it ended."""
    if exchange.outcome is Outcome.FAILED:
        return exchange.error
    end = exchange.end
    if end is None:
        return "stopped" if exchange.outcome is Outcome.STOPPED else ""
    usage, timings = end.usage, end.timings
    first = timings.queued + timings.prefill
    parts = [f"{fmt.format_count(usage.completion_tokens)} tok"]
    if speed := timings.decode_rate(usage.completion_tokens):
        parts.append(f"{fmt.format_rate(speed)} tok/s")
    parts.append(f"first {fmt.format_seconds(first)}")
    parts.append(f"prompt {fmt.format_count(usage.prompt_tokens)} ({fmt.format_count(usage.cached_tokens)} cached)")
    parts.append("stopped" if exchange.outcome is Outcome.STOPPED else REASONS[end.reason])
    return f" {dot} ".join(parts)


REASONS = {
    FinishReason.STOP: "finished",
    FinishReason.STOP_SEQUENCE: "stop sequence",
    FinishReason.LENGTH: "token limit reached",
    FinishReason.CONTEXT: "cut: the context is full",
    FinishReason.TOOL_CALLS: "tools asked for",
    FinishReason.LOOP: "cut: it went round in a circle",
}


def _message(role: Role, text: str) -> Message:
    return Message(role, (TextPart(text),))
