"""What goes into a message beside the words that are typed: text files, and pastes too long to be read in a field."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from core.errors import BenchtopError
from core.files import read_regular
from core.foreign_text import make_printable
from core.sizes import format_size
from core.text_files import decode_text

MOST_ATTACHED_BYTES: Final = 1 << 20
"""Of one file: some three hundred thousand tokens, more than nearly all contexts hold."""
_CONTROLS: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Which texts do not hold, save for an escape in the output of a program."""
_TICKS: Final = re.compile("`{3,}")


class AttachmentError(BenchtopError):
    """A file cannot go into a message; its words tell the user why."""


class Attachment(Struct, frozen=True):
    """A text that goes into a message whole."""

    text: str
    name: str = ""
    """Of the file, as the user chose it; empty for what was pasted."""
    tokens: int | None = None
    """By the tokenizer of the model that was in use; None where nobody counted them."""

    @property
    def lines(self) -> int:
        return self.text.count("\n") + (not self.text.endswith("\n"))


class MessageDraft(Struct, frozen=True):
    """A message that is not sent yet."""

    text: str = ""
    attachments: tuple[Attachment, ...] = ()

    @property
    def says_something(self) -> bool:
        return bool(self.text.strip() or self.attachments)


def read_attachment(path: Path, name: str = "") -> Attachment:
    """A file of text, called `name` or by its path. Touches the disk. Raises AttachmentError, for what is no text or
    too large as well."""
    called = make_printable(name or str(path))
    try:
        data = read_regular(path, MOST_ATTACHED_BYTES)
    except OSError as error:
        raise AttachmentError(f"{called} cannot go into a message: {_explain(error)}.") from error
    try:
        text = decode_text(data)
    except ValueError as error:
        if b"\0" in data[:8192] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise AttachmentError(f"{called} is no text but a binary file; choose a text file.") from error
        raise AttachmentError(f"{called} {error}.") from error
    if _CONTROLS.search(text):
        raise AttachmentError(f"{called} is no text but a binary file; choose a text file.")
    if not text.strip():
        raise AttachmentError(f"{called} is empty.")
    return Attachment(text.replace("\r\n", "\n"), called)


def join_message(text: str, attachments: Sequence[Attachment]) -> str:
    """The message as the model sees it: what is attached first, each in a fence with its name above, then the words."""
    return "\n\n".join([*map(_fence, attachments), *([text] if text else [])])


def _fence(attachment: Attachment) -> str:
    """The fence is longer than any in the text, so that the text cannot end it."""
    longest = max((len(found[0]) for found in _TICKS.finditer(attachment.text)), default=2)
    ticks = "`" * (longest + 1)
    suffix = Path(attachment.name).suffix[1:]
    kind = suffix if suffix.isalnum() else ""
    above = f"{attachment.name}:\n" if attachment.name else ""
    body = attachment.text.removesuffix("\n")
    return f"{above}{ticks}{kind}\n{body}\n{ticks}"


def _explain(error: OSError) -> str:
    match error.errno:
        case errno.EFBIG:
            return f"it is larger than {format_size(MOST_ATTACHED_BYTES)}"
        case errno.EISDIR:
            return "it is a folder"
        case errno.ENOENT:
            return "it is not there any more"
        case errno.EACCES | errno.EPERM:
            return "you may not read it"
        case errno.EINVAL:
            return "it is no regular file"
    return error.strerror or os.strerror(error.errno or errno.EIO)
