"""A conversation as a tree: each question has answers in versions, and behind each answer further questions may branch.

One way through the tree is the one that is read and gone on with: `path`. What is not on it is kept. Ids are random, so
that trees which two programs added to are merged by putting them together.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple, TypeVar

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from core.conversations.attachments import Attachment
from core.events import CallArguments, CallBegun, CallEnded, Event, Finished, ReasoningDelta, TextDelta

ID_BYTES: Final = 8
TITLE_CHARACTERS: Final = 60
"""Of a question, that make a title."""
MOST_TITLE_CHARACTERS: Final = 200
ROOT: Final = ""
"""What the first questions stand behind."""


class Outcome(Enum):
    WRITING = "writing"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    CUT_OFF = "cut_off"
    """The program ended, or was killed, before the answer did."""


class AnswerWriter(Struct, frozen=True):
    """What wrote an answer."""

    model: str = ""
    """As it is served, without folders and owners."""
    quant: str = ""
    engine: str = ""
    settings: str = "{}"
    """JSON: those of the chat at that time, where they differ from the model's own."""


class AnswerCall(Struct):
    """A tool that the model asked for."""

    id: str
    name: str
    arguments: str = ""
    """A JSON object, as far as it is written."""
    whole: bool | None = None
    """Whether the arguments are one; None while they are written."""


class AnswerVersion(Struct):
    """One answer to a question. Whoever writes it appends; widgets read it meanwhile."""

    id: str
    writer: AnswerWriter = AnswerWriter()
    begun: float = 0.0
    """Unix time."""
    pieces: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    """What the model thought before the answer, piece by piece."""
    calls: list[AnswerCall] = field(default_factory=list)
    outcome: Outcome = Outcome.WRITING
    end: Finished | None = None
    """Reason, usage and timings; None where it did not come to its end."""
    tokens_so_far: int = 0
    """Of the context, while the answer was written."""
    error: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def thought(self) -> str:
        return "".join(self.thoughts)

    @property
    def says_something(self) -> bool:
        return any(not piece.isspace() for piece in self.pieces if piece)

    @property
    def thinking(self) -> bool:
        """Whether a thought is what is being written."""
        return self.outcome is Outcome.WRITING and bool(self.thoughts) and not self.pieces and not self.calls

    @property
    def tokens(self) -> int:
        """Tokens of the context that the conversation fills with this answer; 0 where nobody counted them."""
        if self.end is None:
            return self.tokens_so_far
        return self.end.usage.prompt_tokens + self.end.usage.completion_tokens

    def take(self, event: Event) -> None:
        """More of the answer."""
        match event:
            case TextDelta(text=text):
                self.pieces.append(text)
            case ReasoningDelta(text=text):
                self.thoughts.append(text)
            case CallBegun(id=call, name=name):
                self.calls.append(AnswerCall(call, name))
            case CallArguments(text=text):
                self.calls[-1].arguments += text
            case CallEnded(whole=whole):
                self.calls[-1].whole = whole
            case Finished():
                self.end = event


class ConversationTurn(Struct):
    """A question, with its answers."""

    id: str
    parent: str
    """The answer that it stands behind; empty for a first question."""
    question: str
    asked: float = 0.0
    """Unix time."""
    attachments: tuple[Attachment, ...] = ()
    """Texts that went with it."""
    answers: list[AnswerVersion] = field(default_factory=list)
    """The newest last. There is one at least."""


_Part = TypeVar("_Part", ConversationTurn, AnswerVersion)


class PathStep(NamedTuple):
    """One turn on the way, and the answer that is taken there."""

    turn: ConversationTurn
    answer: AnswerVersion


class ConversationTree(Struct):
    """Belongs to one thread. Nothing in it is written anywhere until a store is told."""

    id: str
    title: str = ""
    """Empty until the first question."""
    renamed: bool = False
    """Whether the user has given the title."""
    created: float = 0.0
    """Unix time, as `changed` is."""
    changed: float = 0.0
    settings: str = "{}"
    """JSON: system prompt, sampling and all else that the chat has of its own."""
    turns: dict[str, ConversationTurn] = field(default_factory=dict)
    """By id, in the order in which they were asked."""
    chosen: dict[str, str] = field(default_factory=dict)
    """Which way was taken: behind an answer (or `ROOT`) the turn, in a turn the answer; the newest where nothing
    is said."""

    def path(self) -> list[PathStep]:
        """The turns that are read and gone on with, the first question first."""
        answers = {answer.id for turn in self.turns.values() for answer in turn.answers}
        branches: dict[str, list[ConversationTurn]] = {}
        for turn in self.turns.values():
            # What stood behind an answer that is gone must not be lost.
            branches.setdefault(turn.parent if turn.parent in answers else ROOT, []).append(turn)
        steps: list[PathStep] = []
        at = ROOT
        while following := branches.pop(at, None):
            turn = _find_chosen(following, self.chosen.get(at))
            answer = _find_chosen(turn.answers, self.chosen.get(turn.id))
            steps.append(PathStep(turn, answer))
            at = answer.id
        return steps

    def ask(
        self,
        question: str,
        now: float,
        writer: AnswerWriter = AnswerWriter(),
        attachments: tuple[Attachment, ...] = (),
    ) -> ConversationTurn:
        """A new turn at the end of the path, whose answer is to be written. `now`: Unix time."""
        path = self.path()
        return self._add(path[-1].answer.id if path else ROOT, question, now, writer, attachments)

    def take_answers(
        self,
        question: str,
        now: float,
        answers: Sequence[AnswerVersion],
        attachments: tuple[Attachment, ...] = (),
    ) -> ConversationTurn:
        """A new turn at the end of the path that has answers already; the last of them is gone on with."""
        turn = self.ask(question, now, attachments=attachments)
        turn.answers = [*answers]
        self.chosen[turn.id] = answers[-1].id
        return turn

    def ask_instead(
        self,
        turn: ConversationTurn,
        question: str,
        now: float,
        writer: AnswerWriter = AnswerWriter(),
        attachments: tuple[Attachment, ...] = (),
    ) -> ConversationTurn:
        """Another question in a turn's place: a branch, behind which the conversation goes on anew."""
        return self._add(turn.parent, question, now, writer, attachments)

    def _add(
        self, parent: str, question: str, now: float, writer: AnswerWriter, attachments: tuple[Attachment, ...]
    ) -> ConversationTurn:
        turn = ConversationTurn(make_id(), parent, question, now, attachments)
        self.turns[turn.id] = turn
        self.chosen[parent] = turn.id
        self._begin_answer(turn, now, writer)
        if not self.title:
            self.title = make_title(question or next((each.name or each.text[:1000] for each in attachments), ""))
        self.created = self.created or now
        return turn

    def answer_again(self, turn: ConversationTurn, now: float, writer: AnswerWriter = AnswerWriter()) -> AnswerVersion:
        """A further answer to a turn, to be written. Answers without words that nothing stands behind are dropped."""
        self._drop_wordless(turn)
        return self._begin_answer(turn, now, writer)

    def _begin_answer(self, turn: ConversationTurn, now: float, writer: AnswerWriter) -> AnswerVersion:
        answer = AnswerVersion(make_id(), writer, now)
        turn.answers.append(answer)
        self.chosen[turn.id] = answer.id
        self.changed = max(self.changed, now)
        return answer

    def choose_answer(self, turn: ConversationTurn, answer: AnswerVersion) -> None:
        """Read and go on with this answer to the turn. Others without words are dropped as in `answer_again`."""
        self._drop_wordless(turn, answer)
        self.chosen[turn.id] = answer.id

    def _drop_wordless(self, turn: ConversationTurn, spared: AnswerVersion | None = None) -> None:
        used = {each.parent for each in self.turns.values()}
        turn.answers = [
            each for each in turn.answers if each.says_something or each.calls or each.id in used or each is spared
        ]

    def list_branches(self, turn: ConversationTurn) -> list[ConversationTurn]:
        """The turns that stand in the same place, this one among them, in the order in which they were asked."""
        return [each for each in self.turns.values() if each.parent == turn.parent]

    def choose_turn(self, turn: ConversationTurn) -> None:
        """Read and go on with this turn, of those in its place."""
        self.chosen[turn.parent] = turn.id

    def copy_until(self, turn: ConversationTurn, now: float) -> ConversationTree:
        """A conversation of its own that goes as this one up to a turn of the path, with its answer."""
        copy = ConversationTree(make_id(), self.title, self.renamed, now, now, self.settings)
        at = ROOT
        for step in self.path():
            answer = replace(
                step.answer,
                id=make_id(),
                pieces=[*step.answer.pieces],
                thoughts=[*step.answer.thoughts],
                calls=[replace(call) for call in step.answer.calls],
            )
            copied = ConversationTurn(
                make_id(), at, step.turn.question, step.turn.asked, step.turn.attachments, [answer]
            )
            copy.turns[copied.id] = copied
            at = answer.id
            if step.turn is turn:
                break
        return copy

    def merge(self, other: ConversationTree) -> bool:
        """Take over the turns that another program added to the same conversation; whether there are any. The path
        stays, and goes on with questions that were asked behind its end."""
        news = False
        self.changed = max(self.changed, other.changed)
        for turn in other.turns.values():
            known = self.turns.get(turn.id)
            if known is None:
                self.turns[turn.id] = turn
                self.chosen.setdefault(turn.parent, turn.id)
                news = True
            else:
                news = _merge_answers(known, turn) or news
        if news:
            self.turns = {each.id: each for each in sorted(self.turns.values(), key=lambda each: each.asked)}
        return news


def _merge_answers(turn: ConversationTurn, other: ConversationTurn) -> bool:
    known = {each.id: each for each in turn.answers}
    news = False
    for answer in other.answers:
        mine = known.get(answer.id)
        if mine is None:
            turn.answers.append(answer)
            news = True
        elif mine.outcome is Outcome.CUT_OFF and (answer.outcome, answer.text) != (mine.outcome, mine.text):
            # It was taken for cut off, and the other program is writing it still.
            for name, value in asdict(answer).items():
                setattr(mine, name, value)
            news = True
    return news


def make_id() -> str:
    """A new id, which no other one has."""
    return secrets.token_hex(ID_BYTES)


def make_title(question: str) -> str:
    """The first words of a question, on one line."""
    words = question.split()
    title = ""
    for word in words:
        longer = f"{title} {word}".strip()
        if len(longer) > TITLE_CHARACTERS:
            break
        title = longer
    return title or "".join(words)[:TITLE_CHARACTERS]


def clip_title(text: str) -> str:
    """A title that somebody wrote, on one line that a list can hold."""
    return " ".join(text.split())[:MOST_TITLE_CHARACTERS]


def _find_chosen(found: Sequence[_Part], wanted: str | None) -> _Part:
    """The one that is wanted, or the newest."""
    return next((each for each in found if each.id == wanted), found[-1])
