"""The message with all that belongs to it: its words, the texts attached to it, the files that `@` offers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from msgspec.structs import replace
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message

from core.conversations.attachments import Attachment, AttachmentError, MessageDraft, read_attachment
from core.errors import BenchtopError
from core.tasks.bounds import PromptTooLarge
from tui.screens.chat.composer import Composer
from tui.screens.chat.writing.chips import Chip
from tui.screens.chat.writing.files import FileFinder, FoundPath
from tui.widgets.plain import make_drawable
from tui.widgets.row_list import Field, RowList

MOST_OFFERED_FILES = 6
CountTokens = Callable[[str], Awaitable[int]]
"""By the tokenizer of the model in use. Raises BenchtopError where nobody can count."""


class MessageField(Vertical):
    """Posts `Sent` with what was written; it keeps all of that until the screen clears it."""

    class Sent(Message):
        """Words, attachments or both; the words are stripped."""

        def __init__(self, text: str, attachments: tuple[Attachment, ...]) -> None:
            super().__init__()
            self.text = text
            self.attachments = attachments

    def __init__(self, count: CountTokens, root: Path) -> None:
        """Files are looked for below `root`."""
        super().__init__(id="message")
        self._count = count
        self._finder = FileFinder(root)
        self._reading = 0
        """Files that are being read."""
        self._entered = False
        """The message is to be sent once they are."""
        self._dropped: str | None = None
        """The fragment whose offer was closed."""
        self._early: str | None = None
        """A key for files that are still looked for."""

    def compose(self) -> ComposeResult:
        yield Horizontal(id="chips")
        yield RowList(
            (Field("", 0),), lambda found: found.text, lambda found: (found.text,), head=False, dom_id="files"
        )
        yield Composer(placeholder="Write a message; enter sends it", dom_id="composer")

    def on_mount(self) -> None:
        self._offers.can_focus = False
        self._offers.display = False
        self.query_one("#chips").display = False

    @property
    def composer(self) -> Composer:
        return self.query_one(Composer)

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        return tuple(chip.attachment for chip in self.query(Chip))

    @property
    def draft(self) -> MessageDraft:
        """All that is written and not sent."""
        return MessageDraft(self.composer.text, self.attachments)

    @property
    def _offers(self) -> RowList[FoundPath]:
        return self.query_one("#files", RowList)

    def tell(self, words: str) -> None:
        """What holds for the answer, in the line below the field."""
        self.composer.border_subtitle = make_drawable(words, lines=False)

    def head(self, words: str) -> None:
        """What the message is for, on the line above the field."""
        self.composer.border_title = make_drawable(words, lines=False)

    async def clear(self) -> None:
        """Nothing is written, and nothing attached."""
        self.composer.clear()
        await self.query(Chip).remove()
        self._arrange()

    async def fill(self, text: str, attachments: Sequence[Attachment] = ()) -> None:
        """Show a message as if it had been written just now."""
        await self.clear()
        self.composer.set_text(text)
        for attachment in attachments:
            self.attach(attachment)
        self.composer.focus()

    def attach(self, attachment: Attachment) -> None:
        """Add a chip, and have its tokens counted."""
        chip = Chip(attachment)
        row = self.query_one("#chips")
        row.mount(chip)
        self._arrange()
        row.call_after_refresh(row.scroll_end, animate=False)
        self.count(chip)

    def recount(self) -> None:
        """Another model is in use."""
        for chip in self.query(Chip):
            self.count(chip)

    @work(group="count")
    async def count(self, chip: Chip) -> None:
        """Tell a chip how many tokens it has; where nobody can count, it tells its size."""
        chip.note, tokens = "", None
        try:
            tokens = await self._count(chip.attachment.text)
        except PromptTooLarge:
            chip.note = "more than the context holds"
        except BenchtopError:
            # Nobody can count where a server reads the prompts; that there is no model is told elsewhere.
            pass
        chip.attachment = replace(chip.attachment, tokens=tokens)
        if chip.is_mounted:
            chip.draw()

    def _arrange(self) -> None:
        self.query_one("#chips").display = bool(self.query(Chip))

    @on(Chip.Removed)
    async def remove_chip(self, event: Chip.Removed) -> None:
        event.stop()
        await event.chip.remove()
        self._arrange()
        self.composer.focus()

    @on(Composer.Backed)
    async def remove_last(self, event: Composer.Backed) -> None:
        """Backspace before the first letter takes the last chip away."""
        event.stop()
        if chips := self.query(Chip):
            await chips.last().remove()
            self._arrange()

    @on(Composer.PastedLong)
    def take_paste(self, event: Composer.PastedLong) -> None:
        event.stop()
        self.attach(Attachment(event.text.replace("\r\n", "\n").replace("\r", "\n")))

    @on(Composer.Entered)
    def enter(self, event: Composer.Entered) -> None:
        event.stop()
        if self._reading:
            self._entered = True
            return
        text = self.composer.text.strip()
        if text or self.attachments:
            self.post_message(self.Sent(text, self.attachments))

    # Files.

    @on(Composer.Mentioning)
    def look_for_files(self, event: Composer.Mentioning) -> None:
        event.stop()
        self._early = None
        if event.fragment is None or event.fragment == self._dropped:
            self._close_offer()
            return
        self._dropped = None
        self.composer.offering = True
        self.find_files(event.fragment)

    @work(group="files", exclusive=True)
    async def find_files(self, fragment: str) -> None:
        """Offer what may be meant; keys that came meanwhile are obeyed then."""
        found = await asyncio.to_thread(self._finder.find, fragment, MOST_OFFERED_FILES)
        self._offers.show(found, fresh=True)
        self._offers.styles.height = len(found)
        self._offers.display = bool(found)
        self.composer.offering = bool(found)
        early, self._early = self._early, None
        if early is not None:
            self._obey(early)

    @on(Composer.Steered)
    def steer(self, event: Composer.Steered) -> None:
        event.stop()
        if self._offers.display or event.key == "escape":
            self._obey(event.key)
        else:
            self._early = event.key

    def _obey(self, key: str) -> None:
        found = self._offers.row if self._offers.display else None
        match key:
            case "escape":
                self._dropped = self.composer.mentioned
                self._close_offer()
            case "up" | "down":
                self._offers.action_move(-1 if key == "up" else 1)
            case _ if found is not None:
                self._choose(found)
            case "enter":
                self.post_message(Composer.Entered())

    @on(RowList.Chosen)
    def choose_clicked(self, event: RowList.Chosen) -> None:
        event.stop()
        if (found := self._offers.row) is not None:
            self._choose(found)

    def _choose(self, found: FoundPath) -> None:
        if found.is_folder:
            self.composer.complete(found.text)
            return
        self._close_offer()
        self.composer.take_mention()
        self._reading += 1
        self.read_file(found)

    @work(group="read")
    async def read_file(self, found: FoundPath) -> None:
        """Attach a file; why it cannot be is told."""
        try:
            self.attach(await asyncio.to_thread(read_attachment, found.path, found.text))
        except AttachmentError as error:
            self._entered = False
            self.notify(str(error), severity="warning", timeout=8, markup=False)
        finally:
            self._reading -= 1
        if self._entered and not self._reading:
            self._entered = False
            self.post_message(Composer.Entered())

    def _close_offer(self) -> None:
        self.workers.cancel_group(self, "files")
        self._offers.display = False
        self.composer.offering = False
