"""What the workbench and the process that renders a chat template say to each other: see `core.confined`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct

MOST_CHARACTERS: Final = 16_000_000
"""What a template may write at most."""
MOST_SOURCE_CHARACTERS: Final = 1_000_000
"""Characters that a template may have; the longest in use have some twenty thousand."""
REPORT_BYTES: Final = 4 * MOST_CHARACTERS + 1024
"""More than any report that keeps to MOST_CHARACTERS."""
MOST_VARIABLES: Final = 500
"""Of a template that are told."""
MOST_WORDS_CHARACTERS: Final = 600
"""Characters of a template's complaint that are passed on."""


class Compile(Struct, frozen=True, tag="compile"):
    """Take this Jinja source for all that follow."""

    source: str
    words: tuple[str, ...] = ()
    """To look for among its texts."""


class Render(Struct, frozen=True, tag="render"):
    """Render with these variables, which are plain JSON, or parts that `pack_variable` made."""

    variables: Mapping[str, object]


def pack_variable(value: object) -> object:
    """A part of a variable as it is sent. Raises UnicodeEncodeError for a text with half a surrogate."""
    return Raw(msgspec.msgpack.encode(value))


class Compiled(Struct, frozen=True, tag="compiled"):
    """The source is Jinja. What is told of it was read, not run."""

    replaced: tuple[tuple[str, str], ...] = ()
    """What it replaces or splits texts at, with what it puts there."""
    folds: bool = False
    """It writes some text in other cases."""
    words: tuple[str, ...] = ()
    """Of the words that were to be looked for, those that it names."""
    variables: tuple[str, ...] = ()
    """Names that it reads and that are no names of its own, or not everywhere."""


class Rendered(Struct, frozen=True, tag="rendered"):
    text: str


class TemplateRefused(Struct, frozen=True, tag="refused"):
    """The template itself said no, by `raise_exception`."""

    words: str


class TemplateBroken(Struct, frozen=True, tag="broken"):
    """The template does not compile, fails at this conversation, or went beyond a limit."""

    words: str


Order = Compile | Render
Report = Compiled | Rendered | TemplateRefused | TemplateBroken
TemplateReply = Rendered | TemplateRefused | TemplateBroken
"""What an order to render may come to."""
