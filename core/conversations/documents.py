"""Conversations as files: JSON, which has all of them, and Markdown, which has the way through one that is read.

Both can be read back. In Markdown comments say where a question and an answer begins, with a sign that stands nowhere
in the text, so that headings of an answer are no questions.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from core.conversations.attachments import join_message
from core.conversations.tree import (
    ROOT,
    AnswerVersion,
    AnswerWriter,
    ConversationTree,
    ConversationTurn,
    Outcome,
    PathStep,
    clip_title,
    make_id,
    make_title,
)
from core.errors import UsageError
from core.files import read_regular
from core.foreign_text import make_encodable, make_json_printable
from core.text_files import decode_text

FORMAT: Final = "benchtop.conversations"
FORMAT_VERSION: Final = 1
MOST_IMPORTED_BYTES: Final = 1 << 30
SIGN_BYTES: Final = 4
_BEGINNING: Final = re.compile(r"<!-- benchtop conversation ([0-9a-f]{8}) (\{.*\}) -->")
_HEADING: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_Said = TypeVar("_Said")
_USERS: Final = frozenset({"you", "user", "human"})


class ConversationDocument(Struct, frozen=True):
    """The JSON file."""

    conversations: tuple[ConversationTree, ...]
    version: Annotated[int, Meta(ge=1, le=FORMAT_VERSION)] = FORMAT_VERSION
    format: str = FORMAT


class _Head(Struct, frozen=True, omit_defaults=True):
    """What a Markdown file says of a conversation beside its title."""

    renamed: bool = False
    created: float = 0.0
    changed: float = 0.0
    settings: str = "{}"


def export_json(trees: Sequence[ConversationTree]) -> str:
    """All of them with all their branches, indented."""
    whole = ConversationDocument(tuple(map(_join_pieces, trees)))
    document = msgspec.json.format(msgspec.json.encode(whole), indent=2).decode()
    return make_json_printable(document) + "\n"


def export_markdown(
    tree: ConversationTree, describe: Callable[[PathStep], str] = lambda _: "", *, commented: bool = True
) -> str:
    """The way through it that is read; `describe` tells in a line how an answer went. `commented`: with the comments
    that it is read back by."""
    steps = tree.path()
    sign = _choose_sign(steps)

    def comment(words: str) -> str:
        return f"<!-- {sign} {words} -->\n" if commented else ""

    head = _Head(tree.renamed, tree.created, tree.changed, tree.settings)
    parts = [f"<!-- benchtop conversation {sign} {_encode_comment(head)} -->"] if commented else []
    parts.append(f"# {tree.title or 'Chat'}")
    for step in steps:
        turn, answer = step
        # What was attached stands in the text as the model sees it.
        asked = join_message(turn.question, turn.attachments)
        told = replace(turn, answers=[], question=turn.question if turn.attachments else "")
        parts += [f"{comment(f'question {_encode_comment(told)}')}## You", asked]
        known = replace(answer, pieces=[], thoughts=[answer.thought] if answer.thought else [])
        writer = answer.writer.model or "Answer"
        parts += [f"{comment(f'answer {_encode_comment(known)}')}## {writer}", answer.text]
        if line := describe(step):
            parts.append(f"{comment('note')}*{line}*")
    return make_encodable("\n\n".join(parts)) + "\n"


def _choose_sign(steps: Sequence[PathStep]) -> str:
    """One that stands in none of the texts."""
    texts = [text for step in steps for text in (step.turn.question, step.answer.text)]
    texts += [each.text for step in steps for each in step.turn.attachments]
    sign = secrets.token_hex(SIGN_BYTES)
    while any(sign in text for text in texts):
        sign = secrets.token_hex(SIGN_BYTES)
    return sign


def read_document(path: Path) -> list[ConversationTree]:
    """The conversations of a JSON or Markdown file. Touches the disk. Raises UsageError."""
    try:
        text = decode_text(read_regular(path, MOST_IMPORTED_BYTES))
    except OSError as error:
        raise UsageError(f"The file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"The file {path} {error}.") from error
    try:
        return import_document(text)
    except UsageError as error:
        raise UsageError(f"The file {path} cannot be imported: {error}.") from error


def import_document(text: str) -> list[ConversationTree]:
    """The same of its text. Raises UsageError, whose words go on a sentence."""
    if text.lstrip().startswith(("{", "[")):
        trees = _import_json(text)
    elif (beginning := _BEGINNING.match(text)) is not None:
        trees = [_import_markdown(text, beginning)]
    else:
        trees = [_import_headings(text)]
    for answer in (answer for tree in trees for turn in tree.turns.values() for answer in turn.answers):
        if answer.outcome is Outcome.WRITING:
            # It was, when the file was written.
            answer.outcome = Outcome.CUT_OFF
    return trees


def _import_json(text: str) -> list[ConversationTree]:
    try:
        document = msgspec.json.decode(text, type=ConversationDocument)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise UsageError(f"it holds no conversations of this program: {error}") from error
    if document.format != FORMAT:
        raise UsageError(f"its format is {document.format!r}, and {FORMAT!r} is read")
    for tree in document.conversations:
        tree.title = clip_title(tree.title)
        tree.turns = {turn.id: turn for turn in tree.turns.values() if turn.answers}
    return [tree for tree in document.conversations if tree.turns]


def _import_markdown(text: str, beginning: re.Match[str]) -> ConversationTree:
    sign, head = beginning[1], _decode_comment(beginning[2], _Head)
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    tree = ConversationTree(
        make_id(), clip_title(title[1]) if title else "", head.renamed, head.created, head.changed, head.settings
    )
    turn: ConversationTurn | None = None
    for kind, said, body in _split_parts(text, sign):
        if kind == "question":
            told = _decode_comment(said, ConversationTurn)
            turn = _add_turn(tree, told.question or body, told.asked)
            turn.attachments = told.attachments
        elif kind == "answer" and turn is not None:
            answer = _decode_comment(said, AnswerVersion)
            answer.id, answer.pieces = make_id(), [body] if body else []
            turn.answers.append(answer)
    return _finish(tree)


def _split_parts(text: str, sign: str) -> Iterator[tuple[str, str, str]]:
    """Kind, what the comment says besides, and the text below its heading."""
    parts = re.split(rf"^<!-- {sign} (question|answer|note)(.*) -->\n", text, flags=re.MULTILINE)
    for kind, said, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        _, _, below = body.partition("\n\n")
        # A blank line and the next comment follow, or the end of the file.
        below = below.removesuffix("\n\n") if kind != "note" else ""
        yield kind, said.strip(), below.removesuffix("\n") if body is parts[-1] else below


def _import_headings(text: str) -> ConversationTree:
    """A file of another program: headings of the second level say who speaks, in turns."""
    parts = _HEADING.split(text)
    tree = ConversationTree(make_id(), created=time.time())
    title = re.search(r"^# (.+)$", parts[0], re.MULTILINE)
    tree.title, tree.renamed = (clip_title(title[1]), True) if title else ("", False)
    turn: ConversationTurn | None = None
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name.strip().lower() in _USERS:
            turn = _add_turn(tree, body.strip(), tree.created)
        elif turn is not None:
            writer = AnswerWriter(name.strip())
            pieces = [body.strip()] if body.strip() else []
            turn.answers.append(AnswerVersion(make_id(), writer, tree.created, pieces, outcome=Outcome.DONE))
    if not tree.turns:
        raise UsageError("it has no heading `## You`, which questions stand below")
    return _finish(tree)


def _add_turn(tree: ConversationTree, question: str, asked: float) -> ConversationTurn:
    before = next(reversed(tree.turns.values()), None)
    parent = before.answers[-1].id if before is not None and before.answers else ROOT
    if before is not None and not before.answers:
        before.answers.append(AnswerVersion(make_id(), outcome=Outcome.STOPPED))
        parent = before.answers[-1].id
    turn = ConversationTurn(make_id(), parent, question, asked)
    tree.turns[turn.id] = turn
    return turn


def _finish(tree: ConversationTree) -> ConversationTree:
    turns = list(tree.turns.values())
    if turns and not turns[-1].answers:
        turns[-1].answers.append(AnswerVersion(make_id(), outcome=Outcome.STOPPED))
    if not tree.title and turns:
        tree.title = make_title(turns[0].question)
    tree.changed = tree.changed or tree.created
    return tree


def _join_pieces(tree: ConversationTree) -> ConversationTree:
    turns = {
        turn.id: replace(turn, answers=[_join_answer(answer) for answer in turn.answers])
        for turn in tree.turns.values()
    }
    return replace(tree, turns=turns)


def _join_answer(answer: AnswerVersion) -> AnswerVersion:
    text, thought = answer.text, answer.thought
    return replace(answer, pieces=[text] if text else [], thoughts=[thought] if thought else [])


def _encode_comment(value: Struct) -> str:
    """JSON that cannot end the comment it stands in."""
    return make_json_printable(msgspec.json.encode(value).decode()).replace(">", "\\u003e").replace("--", "-\\u002d")


def _decode_comment(text: str, kind: type[_Said]) -> _Said:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UsageError(f"a comment in it is damaged: {error}") from error
