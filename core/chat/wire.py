"""What the workbench and the process that renders a chat template say to each other: msgpack, each with its length.

The workbench writes an order and waits for its report, so there is never more than one under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Final

import msgspec
from msgspec import Struct

LENGTH_BYTES: Final = 4
"""Bytes that tell how many follow."""
MOST_CHARACTERS: Final = 16_000_000
"""What a template may write at most."""
MOST_SOURCE_CHARACTERS: Final = 1_000_000
"""Characters that a template may have; the longest in use have some twenty thousand."""
REPORT_BYTES: Final = 4 * MOST_CHARACTERS + 1024
"""More than any report that keeps to MOST_CHARACTERS."""
MOST_WORDS_CHARACTERS: Final = 600
"""Characters of a template's complaint that are passed on."""


class Compile(Struct, frozen=True, tag="compile"):
    """Take this Jinja source for all that follow."""

    source: str


class Render(Struct, frozen=True, tag="render"):
    """Render with these variables, which are plain JSON."""

    variables: Mapping[str, object]


class RendererReady(Struct, frozen=True, tag="ready"):
    """The process has started; it says so once, unasked."""


class Compiled(Struct, frozen=True, tag="compiled"):
    """The source is Jinja. What is told of it was read, not run."""

    replaced: tuple[tuple[str, str], ...] = ()
    """What it replaces or splits texts at, with what it puts there."""
    folds: bool = False
    """It writes some text in other cases."""
    developer: bool = False
    """It names the role of that name."""


class Rendered(Struct, frozen=True, tag="rendered"):
    text: str


class TemplateRefused(Struct, frozen=True, tag="refused"):
    """The template itself said no, by `raise_exception`."""

    words: str


class TemplateBroken(Struct, frozen=True, tag="broken"):
    """The template does not compile, fails at this conversation, or went beyond a limit."""

    words: str


Order = Compile | Render
Report = RendererReady | Compiled | Rendered | TemplateRefused | TemplateBroken
TemplateReply = Rendered | TemplateRefused | TemplateBroken
"""What an order to render may come to."""


def send_message(pipe: IO[bytes], message: Order | Report) -> None:
    """Raises UnicodeEncodeError for a text with half a surrogate, before anything is written."""
    data = msgspec.msgpack.encode(message)
    pipe.write(len(data).to_bytes(LENGTH_BYTES, "big"))
    pipe.write(data)
    pipe.flush()


def receive_message(pipe: IO[bytes], limit: int) -> bytes:
    """The next message as it came. Raises EOFError where there is none, ValueError for one of more than `limit`
    bytes, of which nothing is read."""
    size = int.from_bytes(_read(pipe, LENGTH_BYTES), "big")
    if size > limit:
        raise ValueError(f"a message of {size} bytes")
    return _read(pipe, size)


def _read(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data
