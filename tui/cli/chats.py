"""`tui chats` and its like: the conversations of the chat listed, searched, shown, exported, imported, deleted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table

from core.conversations.documents import export_json, export_markdown, read_document
from core.conversations.listing import ConversationLine
from core.conversations.store import ConversationStore
from core.conversations.tree import ConversationTree, PathStep
from core.errors import BenchtopError, UsageError
from core.files import write_atomically
from core.foreign_text import make_printable
from core.settings.load import load_settings
from core.settings.schema import find_folders
from tui import format as fmt
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.output import DECLINED_STATUS, ask_deletion, check_target, write_json, write_text
from tui.screens.chat.conversation import Exchange, summarize_exchange

WRITE_SECONDS: Final = 30.0
SHOWN_ID_CHARACTERS: Final = 8


def list_chats(given: Arguments) -> int:
    """Print the conversations, the ones that were changed last first. Raises BenchtopError."""
    store = open_store(given)
    lines = store.list_lines()
    if given.last is not None:
        lines = lines[: given.last]
    if given.json:
        write_json(lines)
    elif not lines:
        write_text(f"No conversation is kept; they would stand in {store.path}.")
    else:
        Paper().print(_build_table(lines))
    return 0


def search_chats(given: Arguments) -> int:
    """Print the conversations that have all the words; 1 where none has. Raises BenchtopError."""
    query = " ".join(given.query)
    found = open_store(given).search(f"{query} " if given.whole else query, given.last or sys.maxsize)
    if given.json:
        write_json(found)
        return 0 if found else 1
    if not found:
        write_text(f"No conversation has {query}.")
        return 1
    for each in found:
        write_text(f"{each.line.id[:SHOWN_ID_CHARACTERS]}  {each.line.title}")
        if each.snippet.text:
            write_text(f"{'':{SHOWN_ID_CHARACTERS}}  {each.snippet.text}")
    return 0


def show_chat(given: Arguments) -> int:
    """Print a conversation as Markdown. Raises BenchtopError."""
    store = open_store(given)
    tree = _read_tree(store, find_line(store, given.name))
    if given.json:
        write_json(tree)
        return 0
    write_text(export_markdown(tree, _describe, commented=False), end="")
    return 0


def export_chats(given: Arguments) -> int:
    """Write conversations to a file, or to stdout. Raises BenchtopError."""
    if given.to is not None:
        check_target(given.to)
    store = open_store(given)
    lines = [find_line(store, name) for name in given.names] or store.list_lines()
    named = str(given.to or "").lower().endswith((".md", ".markdown"))
    markdown = given.format == "markdown" or (given.format is None and named)
    if markdown and len(lines) != 1:
        raise UsageError(f"A Markdown file holds one conversation, and {len(lines)} are asked for; write them as JSON.")
    trees = [_read_tree(store, line) for line in lines]
    text = export_markdown(trees[0], _describe) if markdown else export_json(trees)
    if given.to is None:
        write_text(text, end="")
        return 0
    path: Path = given.to
    try:
        write_atomically(path, make_printable(text, lines=True).encode())
    except OSError as error:
        raise BenchtopError(f"The file {path} cannot be written: {error.strerror}.") from error
    write_text(f"{fmt.format_plural(len(trees), 'conversation')} in {path}.")
    return 0


def import_chats(given: Arguments) -> int:
    """Take in the conversations of files; what is known already stays. Raises BenchtopError."""
    store = open_store(given)
    trees = [tree for path in given.names for tree in read_document(path)]
    store.take_in(trees)
    _settle(store)
    write_text(f"{fmt.format_plural(len(trees), 'conversation')} imported.")
    return 0


def remove_chats(given: Arguments) -> int:
    """Ask, then forget conversations for good; 1 when the answer is no. Raises BenchtopError."""
    if bool(given.names) == given.all:
        raise UsageError("Say which conversations are to be deleted, or --all.")
    store = open_store(given)
    lines = [find_line(store, name) for name in given.names] or store.list_lines()
    if not lines:
        write_text("No conversation is kept, so none is deleted.")
        return 0
    what = lines[0].title if len(lines) == 1 else fmt.format_plural(len(lines), "conversation")
    if not given.yes and not ask_deletion(what, f"Delete {what}? It cannot be had back."):
        return DECLINED_STATUS
    store.forget([line.id for line in lines])
    _settle(store)
    write_text(f"{fmt.format_plural(len(lines), 'conversation')} deleted.")
    return 0


def open_store(given: Arguments) -> ConversationStore:
    """That of the settings."""
    settings = load_settings(config_file=given.config)
    return ConversationStore(find_folders().state, settings.conversations)


def find_line(store: ConversationStore, name: str) -> ConversationLine:
    """The conversation whose id begins so, or the only one of that title. Raises UsageError."""
    lines = store.list_lines()
    found = [line for line in lines if line.id.startswith(name)] or [line for line in lines if line.title == name]
    if not found:
        raise UsageError(f"There is no conversation {name!r}; `tui chats ls` lists them.")
    if len(found) > 1:
        raise UsageError(f"Several conversations go by {name!r}; write more of an id that `tui chats ls` shows.")
    return found[0]


def _read_tree(store: ConversationStore, line: ConversationLine) -> ConversationTree:
    if (tree := store.read(line.id)) is None:
        raise UsageError(f"The conversation {line.title!r} was deleted just now.")
    return tree


def _settle(store: ConversationStore) -> None:
    """Raises BenchtopError where what was put is not written."""
    written = store.flush(WRITE_SECONDS)
    if not written:
        raise BenchtopError(store.trouble or f"{store.path} is held by another process; try again.")
    store.close()


def _build_table(lines: Sequence[ConversationLine]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("id", "changed"):
        table.add_column(heading, no_wrap=True)
    table.add_column("turns", justify="right")
    table.add_column("model", no_wrap=True)
    table.add_column("title", overflow="fold")
    for line in lines:
        when = datetime.fromtimestamp(line.changed, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(line.id[:SHOWN_ID_CHARACTERS], when, str(line.turns), line.model, line.title)
    return table


def _describe(step: PathStep) -> str:
    return summarize_exchange(Exchange(*step))
