"""The conversation that a chat shows, apart from how it is drawn: the way through its tree, what the model is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from core.conversations.attachments import Attachment, join_message
from core.conversations.tree import (
    AnswerCall,
    AnswerVersion,
    ConversationTree,
    ConversationTurn,
    Outcome,
    make_id,
)
from core.events import Event, Finished, FinishReason
from core.requests import Conversation, Generation, Message, Priority, Role, TextPart
from tui import format as fmt

WARN_SHARE = 0.75
"""Share of the context in use at which the gauge begins to warn."""
FULL_SHARE = 0.92


class Exchange:
    """A question with the answer that is shown of those it was given. The same object for the same two, as long as a
    chat is shown."""

    def __init__(self, turn: ConversationTurn, version: AnswerVersion) -> None:
        self.turn = turn
        self.version = version
        self.branching = 1, 1
        """Which of the questions that were asked in this place it is, from one, and how many there are."""

    @property
    def question(self) -> str:
        return self.turn.question

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        return self.turn.attachments

    @property
    def asked(self) -> str:
        """The question as the model sees it, with all that is attached to it."""
        return join_message(self.question, self.attachments)

    @property
    def model(self) -> str:
        return self.version.writer.model

    @model.setter
    def model(self, name: str) -> None:
        self.version.writer = replace(self.version.writer, model=name)

    @property
    def pieces(self) -> list[str]:
        return self.version.pieces

    @property
    def thoughts(self) -> list[str]:
        return self.version.thoughts

    @property
    def calls(self) -> list[AnswerCall]:
        return self.version.calls

    @property
    def answer(self) -> str:
        return self.version.text

    @property
    def thought(self) -> str:
        return self.version.thought

    @property
    def thinking(self) -> bool:
        """Whether a thought is what is being written."""
        return self.version.thinking

    @property
    def outcome(self) -> Outcome:
        return self.version.outcome

    @outcome.setter
    def outcome(self, outcome: Outcome) -> None:
        self.version.outcome = outcome

    @property
    def end(self) -> Finished | None:
        """How it came to its end; None where it did not."""
        return self.version.end

    @property
    def error(self) -> str:
        return self.version.error

    @error.setter
    def error(self, sentence: str) -> None:
        self.version.error = sentence

    @property
    def tokens_so_far(self) -> int:
        return self.version.tokens_so_far

    @tokens_so_far.setter
    def tokens_so_far(self, tokens: int) -> None:
        self.version.tokens_so_far = tokens

    @property
    def tokens(self) -> int:
        """Tokens of the context that the conversation fills with this exchange; 0 where nobody counted them."""
        return self.version.tokens

    @property
    def numbering(self) -> tuple[int, int]:
        """Which of the question's answers this is, from one, and how many there are."""
        versions = self.turn.answers
        return next(number for number, each in enumerate(versions, 1) if each is self.version), len(versions)

    def take(self, event: Event) -> None:
        """More of the answer."""
        self.version.take(event)


class Chat:
    """A view on a tree of turns: the exchanges on its path, oldest first."""

    def __init__(self, tree: ConversationTree | None = None, clock: Callable[[], float] = time.time) -> None:
        self.tree = tree if tree is not None else ConversationTree(make_id())
        self._clock = clock
        self.exchanges: list[Exchange] = []
        """The same list, whatever the path."""
        self.read_path()

    def read_path(self) -> None:
        """See the exchanges that are on the tree's path now."""
        known = {each.version.id: each for each in self.exchanges}
        self.exchanges[:] = [known.get(answer.id) or Exchange(turn, answer) for turn, answer in self.tree.path()]
        branches: dict[str, list[str]] = {}
        for turn in self.tree.turns.values():
            branches.setdefault(turn.parent, []).append(turn.id)
        for exchange in self.exchanges:
            here = branches[exchange.turn.parent]
            exchange.branching = here.index(exchange.turn.id) + 1, len(here)

    def ask(self, question: str, attachments: tuple[Attachment, ...] = ()) -> Exchange:
        """A new exchange at the end."""
        self.tree.ask(question, self._clock(), attachments=attachments)
        self.read_path()
        return self.exchanges[-1]

    def ask_instead(self, exchange: Exchange, question: str, attachments: tuple[Attachment, ...] = ()) -> Exchange:
        """A new exchange in the place of one, which is kept with all that came behind it."""
        self.tree.ask_instead(exchange.turn, question, self._clock(), attachments=attachments)
        self.read_path()
        return self.exchanges[-1]

    def answer_again(self, exchange: Exchange | None = None) -> Exchange | None:
        """Another answer to a question, the last one where none is said, in place of the one there, which is kept; None
        where there is no question. What came behind it is kept too, behind the answer before."""
        if exchange is None and not self.exchanges:
            return None
        turn = (exchange or self.exchanges[-1]).turn
        self.tree.answer_again(turn, self._clock())
        self.read_path()
        return self.exchanges[-1]

    def choose_answer(self, exchange: Exchange, by: int) -> Exchange | None:
        """The answer so many before or behind this one to the same question, going round, in its place; None where the
        question has no other."""
        number, count = exchange.numbering
        if count < 2:
            return None
        at = self.exchanges.index(exchange)
        self.tree.choose_answer(exchange.turn, exchange.turn.answers[(number - 1 + by) % count])
        self.read_path()
        return self.exchanges[at]

    def choose_branch(self, exchange: Exchange, by: int) -> Exchange | None:
        """The question so many before or behind this one that was asked in the same place, going round; None where
        there is no other."""
        turns = self.tree.list_branches(exchange.turn)
        if len(turns) < 2:
            return None
        at = self.exchanges.index(exchange)
        self.tree.choose_turn(turns[(turns.index(exchange.turn) + by) % len(turns)])
        self.read_path()
        return self.exchanges[at]

    def take_answers(
        self, question: str, attachments: tuple[Attachment, ...], answers: Sequence[AnswerVersion]
    ) -> Exchange:
        """A new exchange at the end with the last of these answers; the others can be had in its place."""
        self.tree.take_answers(question, self._clock(), answers, attachments)
        self.read_path()
        return self.exchanges[-1]

    def request(self, model: str, *, continued: bool = False) -> Generation:
        """What to send for the last question, settings still open; `continued`: for what its answer lacks. Exchanges
        without an answer are left out: templates want turns."""
        *before, last = self.exchanges
        request = _build_request(before, last.asked, model)
        if not continued or not isinstance(request.prompt, Conversation):
            return request
        messages = (*request.prompt.messages, _answer_message(last))
        return replace(request, prompt=replace(request.prompt, messages=messages, continued=True))

    def request_next(self, asked: str, model: str) -> Generation:
        """The same for a question behind the last exchange, as the model is to see it."""
        return _build_request(self.exchanges, asked, model)

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
        from core.conversations.documents import export_markdown

        return export_markdown(self.tree, lambda step: summarize_exchange(Exchange(*step)))


def _build_request(exchanges: Sequence[Exchange], asked: str, model: str) -> Generation:
    messages: list[Message] = []
    for exchange in exchanges:
        if exchange.answer.strip():
            messages += [_message(Role.USER, exchange.asked), _answer_message(exchange)]
    messages.append(_message(Role.USER, asked))
    return Generation(model=model, prompt=Conversation(tuple(messages)), priority=Priority.INTERACTIVE)


def summarize_exchange(exchange: Exchange, dot: str = "·") -> str:
    """One line on how an answer went: speed, time to first token, prompt, cache, and why it ended."""
    if exchange.outcome is Outcome.FAILED:
        return exchange.error
    end = exchange.end
    if end is None:
        return UNENDED.get(exchange.outcome, "")
    usage, timings = end.usage, end.timings
    first = timings.queued + timings.prefill
    parts = [f"{fmt.format_count(usage.completion_tokens)} tok"]
    if speed := timings.decode_rate(usage.completion_tokens):
        parts.append(f"{fmt.format_rate(speed)} tok/s")
    parts.append(f"first {fmt.format_seconds(first)}")
    parts.append(f"prompt {fmt.format_count(usage.prompt_tokens)} ({fmt.format_count(usage.cached_tokens)} cached)")
    parts.append("stopped" if exchange.outcome is Outcome.STOPPED else REASONS[end.reason])
    return f" {dot} ".join(parts)


UNENDED = {
    Outcome.STOPPED: "stopped",
    Outcome.CUT_OFF: "cut off: the program ended before the answer did",
}
"""What is said of answers that came to no end."""
REASONS = {
    FinishReason.STOP: "finished",
    FinishReason.STOP_SEQUENCE: "stop sequence",
    FinishReason.LENGTH: "token limit reached",
    FinishReason.CONTEXT: "cut: the context is full",
    FinishReason.TOOL_CALLS: "tools asked for",
    FinishReason.LOOP: "cut: it went round in a circle",
}


def _answer_message(exchange: Exchange) -> Message:
    return replace(_message(Role.ASSISTANT, exchange.answer), reasoning=exchange.thought)


def _message(role: Role, text: str) -> Message:
    return Message(role, (TextPart(text),))
