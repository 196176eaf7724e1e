"""Where conversations are kept, from their first message on, and found again.

Several programs may share it: what each adds is put together, and each sees that the others have changed something.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from msgspec.structs import replace

from core.conversations import schema
from core.conversations.attachments import MessageDraft
from core.conversations.keeper import ConversationKeeper
from core.conversations.listing import ConversationLine, FoundConversation, list_lines, list_questions, search_words
from core.conversations.reading import encode_text, fold_pieces, read_tree
from core.conversations.tree import ConversationTree
from core.errors import BenchtopError
from core.foreign_text import make_encodable
from core.kept import decode_kept
from core.kept_database import KeptDatabase, Write
from core.settings.conversations import ConversationSettings

FILE_NAME: Final = "conversations.sqlite3"
UNDO_SECONDS: Final = 86_400.0
"""That a deleted conversation can be had back; then the next start forgets it."""
MOST_FOUND_CONVERSATIONS: Final = 100
FOLD_SECONDS: Final = 60.0
"""Without a piece, after which an answer that did not end counts as one that was cut off."""
FIRST_WAIT_SECONDS: Final = 1.0
"""That an answer waits for its question to be on disk."""

Found = TypeVar("Found")


class ConversationsUnreadable(BenchtopError):
    """The file of conversations cannot be read."""


class ConversationStore:
    """What reads waits for the disk, and is for any thread; what writes does not wait."""

    def __init__(self, state: Path, settings: ConversationSettings = ConversationSettings()) -> None:
        """Kept in the folder that the settings name, or in `state`. Nothing is opened yet."""
        folder = Path(settings.folder).expanduser() if settings.folder else state
        self._file = KeptDatabase(folder / FILE_NAME, schema.VERSIONS)
        self._stamps: tuple[tuple[int, int, int], ...] = ()

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def trouble(self) -> str | None:
        """A sentence on why nothing can be kept for the time being."""
        if (why := self._file.trouble) is None:
            return None
        return f"{self.path} cannot be written ({why}). The chat goes on, and is kept as soon as that is possible."

    @property
    def damaged(self) -> str | None:
        """A sentence on a damaged file that was met."""
        if (aside := self._file.set_aside) is None:
            return None
        return f"The file of conversations was damaged; it is now {aside}, and a new one was begun."

    def begin(self, tree: ConversationTree) -> ConversationKeeper:
        """Keep a conversation that is not known yet, once it has a first message."""
        return ConversationKeeper(tree, self._put)

    def open(self, conversation: str) -> ConversationKeeper | None:
        """A conversation as it was kept, to be gone on with; None where it is not there any more. Raises
        ConversationsUnreadable."""
        if (tree := self.read(conversation)) is None:
            return None
        return ConversationKeeper(tree, self._put, known=True)

    def read(self, conversation: str) -> ConversationTree | None:
        """As `open`, to be looked at."""
        return self._look(partial(read_tree, conversation), None)

    def is_deleted(self, conversation: str) -> bool:
        """Whether it can be had back. Raises ConversationsUnreadable."""
        return self._look(partial(schema.is_deleted, conversation), False)

    def take_in(self, trees: Sequence[ConversationTree]) -> None:
        """Keep conversations that come from elsewhere; what is known of them already stays. Raises
        ConversationsUnreadable."""
        for tree in trees:
            if (known := self.open(tree.id)) is None:
                self.begin(tree).keep()
            else:
                known.tree.merge(tree)
                known.keep()

    def list_lines(self) -> list[ConversationLine]:
        """All, the ones that were changed last first. Raises ConversationsUnreadable."""
        return self._look(list_lines, [])

    def list_questions(self, most: int) -> list[str]:
        """What was asked lately in any of them, the newest last. Raises ConversationsUnreadable."""
        return self._look(partial(list_questions, most), [])

    def search(self, query: str, most: int = MOST_FOUND_CONVERSATIONS) -> list[FoundConversation]:
        """Those in which all words of the query stand, the ones that were changed last first. The last word may go on,
        unless a blank follows it. Raises ConversationsUnreadable."""
        return self._look(partial(search_words, query, most), [])

    def keep_draft(self, draft: MessageDraft) -> None:
        """Keep the message that this program has and did not send, in place of the one before."""
        body = encode_text(replace(draft, text=make_encodable(draft.text))) if draft.says_something else ""
        self._put(partial(schema.write_draft, os.getpid(), body, time.time()), len(body))

    def take_draft(self) -> MessageDraft:
        """The newest message that a program which runs no more did not send; it is this program's now. Raises
        ConversationsUnreadable."""
        # Here, since the first frame of the app does not wait for it.
        import psutil

        drafts: list[tuple[int, str]] = self._look(schema.list_drafts, [])
        for process, body in drafts:
            if process == os.getpid() or not psutil.pid_exists(process):
                self._put(partial(schema.move_draft, process, os.getpid()))
                return decode_kept(body.encode(), MessageDraft) or MessageDraft()
        return MessageDraft()

    def rename(self, conversation: str, title: str) -> None:
        """Give a conversation another title, which its questions do not change any more."""
        self._put(partial(schema.rename_conversation, conversation, title), len(title))

    def delete(self, conversations: Sequence[str]) -> None:
        """Have them in no list any more; `bring_back` can undo that for a day."""
        self._put(partial(schema.mark_deleted, tuple(conversations), time.time()))

    def forget(self, conversations: Sequence[str]) -> None:
        """Delete them for good; others that were deleted can be had back as before."""
        self._put(partial(schema.forget_conversations, tuple(conversations), time.time()))

    def bring_back(self, conversations: Sequence[str]) -> None:
        """Undo `delete`."""
        self._put(partial(schema.mark_deleted, tuple(conversations), None))

    def purge(self, *, deleted_seconds: float = UNDO_SECONDS) -> None:
        """Forget those that were deleted so long ago, and put the answers together whose programs were killed."""
        self._put(partial(_tend, time.time() - deleted_seconds))

    def flush(self, seconds: float = FIRST_WAIT_SECONDS) -> bool:
        """Wait until what is known is on disk; False where it is not yet."""
        return self._file.flush(seconds)

    def has_moved(self) -> bool:
        """Whether the file was written since this was asked last, by whomever. Costs a few microseconds."""
        stamps = tuple(_stamp_file(Path(f"{self.path}{suffix}")) for suffix in ("", "-wal"))
        moved, self._stamps = stamps != self._stamps, stamps
        return moved

    def read_revision(self) -> int:
        """A number that is another one when the list may be. Raises ConversationsUnreadable."""
        return self._look(schema.read_revision, 0)

    def close(self) -> None:
        """Write what waits; nothing is kept any more."""
        self._file.close()

    def _put(self, write: Write, size: int = 100) -> None:
        self._file.put(write, size)

    def _look(self, read: Callable[[sqlite3.Connection], Found], nothing: Found) -> Found:
        """With what was put before in it, where that can be written."""
        self._file.flush()
        try:
            return self._file.look(read, nothing)
        except (sqlite3.Error, OSError) as error:
            raise ConversationsUnreadable(f"The conversations in {self.path} cannot be read: {error}.") from error


def _tend(before: float, database: sqlite3.Connection) -> None:
    schema.purge_deleted(before, database)
    fold_pieces(time.time() - FOLD_SECONDS, database)


def _stamp_file(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns
