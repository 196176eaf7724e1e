r"""The one door for text that this program did not write, on its way to a terminal, a log, a toast or the clipboard.

Answers of models, names of files and of models on servers, what servers reply and what libraries say in exceptions
are data. Written as they are they could move the cursor, rename the window, fill the clipboard, hide words or turn
their order round. Here whatever a terminal would obey, or a reader could not see, becomes an escape that is seen:
`\x1b`, `\u202e`. Ordinary text of any language stays as it is: joiners inside words and emoji, combining marks, and
the marks that right-to-left text is written with.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Final

MOST_MARKS: Final = 8
"""Combining marks on one character: no language stacks more, and more of them cover the lines around."""

_ALWAYS: Final = (
    # C0 but tab and newline, DEL, C1; the soft hyphen, which terminals measure differently
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad"
    # joiners and fillers without a look of their own
    "\u034f\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0"
    # separators of lines, embeddings and overrides of direction, invisible operators, isolates, what Unicode gave up
    "\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb"
    # halves of surrogates: a byte of a name that is not UTF-8, or what no encoding can write
    "\ud800-\udfff"
    # what stands for no character
    "\ufdd0-\ufdef"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
    # invisible shorthand and music, tags and whatever else is ignored by default
    + "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_MARK: Final = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_JOINER: Final = "\u200b-\u200d"
_DIRECTION: Final = "\u200e\u200f\u061c"
_VARIANT: Final = "\ufe00-\ufe0f"
_MONGOLIAN: Final = "\u180b-\u180d\u180f"

_SUSPECT: Final = f"[{_ALWAYS}{_JOINER}{_DIRECTION}{_VARIANT}{_MONGOLIAN}]"
_PILE: Final = f"[{_MARK}]{{{MOST_MARKS + 1}}}"
"""Both are quick to search, as one pattern would not be: a text without a match stays as it is."""
_SCRIPT: Final = f"[^\x00-\u02ff\u2000-\u200c\u200e-\u206f\ufe00-\ufe0e{_MONGOLIAN}]"
"""Letters and signs beyond Latin, where joiners have a use; the emoji variant and the emoji joiner count too."""
_IDEOGRAPH: Final = "[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003fffd]"
_HIDDEN: Final = (
    # the flags of England, Scotland and Wales are spelled in tags
    "(?P<kept>\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f"
    f"|(?<={_IDEOGRAPH})[\U000e0100-\U000e01ef])"
    f"|(?P<joiner>(?<={_SCRIPT})[{_JOINER}])"
    f"|(?P<variant>(?<=[^\x00-\xa8\u2000-\u206f{_VARIANT}{_MARK}])[{_VARIANT}]|(?<=[0-9#*])\ufe0f(?=\u20e3))"
    f"|(?P<mongolian>(?<=[\u1820-\u18aa])[{_MONGOLIAN}])"
    f"|(?P<direction>[{_DIRECTION}])"
    f"|[{_ALWAYS}{_JOINER}{_VARIANT}{_MONGOLIAN}]"
    f"|(?<=[{_MARK}]{{{MOST_MARKS}}})[{_MARK}]"
)
_RIGHT_TO_LEFT: Final = "[\u0590-\u08ff\ufb1d-\ufdcf\ufdf0-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
_HALVES: Final = "[\ud800-\udfff]"
_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BREAKS: Final = r"[\n\r\t]"
_UNSEEN_IN_JSON: Final = f"[{_ALWAYS}{_JOINER}{_DIRECTION}]"


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    """At first use: these take a tenth of the time of `tui --help`, which shows nothing but ASCII."""
    return re.compile(pattern)


def make_printable(text: str, *, lines: bool = False) -> str:
    r"""`text` as it may be shown: what a terminal would obey or a reader not see stands there as an escape.

    For one line, as a name or an error is, newlines and tabs are escapes too, and so is what joins nothing; with
    `lines` they stay, and `\r\n` counts as a newline. Half a surrogate, which is how the system tells a byte of a
    name that is not UTF-8, is told as that byte, so the result can be encoded. Doing it twice changes nothing.
    """
    if text.isascii() and (text.replace("\n", "").replace("\t", "") if lines else text).isprintable():
        return text
    text = text.replace("\r\n", "\n") if lines else _compile(_BREAKS).sub(_escaped, text)
    return _each_hidden(text, _escaped, lines=lines)


def drop_hidden(text: str) -> str:
    """`text` without what `make_printable` would escape in lines; for drawn lines, where there is no room for
    escapes."""
    return text if text.isprintable() else _each_hidden(text, lambda _: "", lines=True)


def make_encodable(text: str) -> str:
    r"""`text` as any encoding of Unicode can write it: a byte of a name that is not UTF-8, which the system tells as
    half a surrogate, becomes `\xff`, and any other half `\ud800`. All else stays, however it looks."""
    return text if text.isascii() else _compile(_HALVES).sub(_escaped, text)


def make_json_printable(document: str, *, pairs: bool = True) -> str:
    r"""A JSON `document` that says the same, with escapes of JSON for what a terminal would obey or a reader not see.

    JSON demands that of the characters below the blank alone; DEL, C1 and the marks of direction pass its encoders.
    Without `pairs` a character beyond the first plane is one escape, as TOML wants it.
    """
    if document.isascii() and "\x7f" not in document:
        return document

    def seen(found: re.Match[str]) -> str:
        sign = found[0]
        if sign in "\r\n":
            return sign
        return f"\\U{ord(sign):08x}" if sign > "\uffff" and not pairs else _json_escape(sign)

    return _compile(_UNSEEN_IN_JSON).sub(seen, document)


def _each_hidden(text: str, replaced: Callable[[re.Match[str]], str], *, lines: bool) -> str:
    """`text` with whatever is obeyed or not seen `replaced`; what its neighbours give a use stays."""
    if _compile(_SUSPECT).search(text) is None and (text.isascii() or _compile(_PILE).search(text) is None):
        return text
    directed = lines and _compile(_RIGHT_TO_LEFT).search(text) is not None

    def seen(found: re.Match[str]) -> str:
        match found.lastgroup:
            case None:
                kept = False
            case "direction":
                kept = directed
            case "joiner":
                kept = lines or _joins(text, found)
            case _:
                kept = True
        return found[0] if kept else replaced(found)

    return _compile(_HIDDEN).sub(seen, text)


def _joins(text: str, found: re.Match[str]) -> bool:
    """Whether a joiner has letters on both sides; a name that ends in one looks like the name without."""
    after = text[found.end() : found.end() + 1]
    return found[0] != "\u200b" and re.match(_SCRIPT, after) is not None


def _escaped(found: re.Match[str]) -> str:
    sign = found[0]
    if short := _SHORT.get(sign):
        return short
    number = ord(sign)
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def _json_escape(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
