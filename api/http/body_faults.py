"""Why a body is no JSON, told as what it is rather than by the byte at which a parser gave up."""

from __future__ import annotations

import codecs
import math
import re
from typing import Final

from msgspec import Struct

from core.foreign_text import make_printable

_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_OFFSET = re.compile(r"\(byte (\d+)\)")
_WORD = re.compile(rb"-?(?:NaN|Infinity|nan|inf|None|True|False|undefined)\b")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|[{}\[\],]', re.DOTALL)
_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"?|(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)', re.DOTALL)
_FORM = re.compile(rb"[A-Za-z0-9_.%+\[\]-]{1,64}=[^\r\n]*")


MOST_LOOKED_THROUGH_BYTES: Final = 64 * 1024
"""Before a fault, to find the field that it stands in."""
MOST_PATH_CHARACTERS: Final = 128


class BodyFault(Struct, frozen=True):
    words: str
    """A sentence."""
    field: str | None = None
    """The path of the value that is none, where it stands near enough to the beginning."""


def explain_body(raw: bytes, said: str) -> BodyFault | None:
    """What is wrong with `raw`, of which msgspec has `said` why it is no JSON; None where its own words are as good.

    Looks at the beginning and at the offset of the fault alone, however long the body is.
    """
    found = _OFFSET.search(said)
    offset = int(found[1]) if found else len(raw)
    if look := _by_its_look(raw):
        return BodyFault(look)
    return _by_its_halves(raw, offset, said) or _by_its_numbers(raw, said) or _by_its_words(raw, offset)


def find_field(raw: bytes, offset: int) -> str | None:
    """The path of what stands at an offset of JSON that is sound up to there, as `messages[0].content`."""
    if offset > MOST_LOOKED_THROUGH_BYTES:
        return None
    # Of each box that is open: the name that was read last of an object, the number of a list's member.
    places: list[str | int | None] = []
    named = False
    for token in _TOKEN.finditer(raw, 0, offset):
        match token[0]:
            case b"{" | b"[" as begin:
                places.append(None if begin == b"{" else 0)
                named = False
            case b"}" | b"]":
                if places:
                    places.pop()
                named = True
            case b",":
                if places and isinstance(places[-1], int):
                    places[-1] += 1
                named = False
            case text:
                if places and not isinstance(places[-1], int) and not named and text.endswith(b'"'):
                    places[-1] = text[1:-1].decode("utf-8", "replace")
                    named = True
    path = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in places if each is not None)
    return make_printable(path.lstrip(".")[:MOST_PATH_CHARACTERS]) or None


def _by_its_look(raw: bytes) -> str | None:
    start = raw[:4096].lstrip(b" \t\r\n")
    if not start:
        return "The body is empty; this path takes a JSON object."
    if wide := _detect_wide_encoding(raw):
        return f"The body is {wide}; JSON is sent as UTF-8."
    if raw.startswith(b"\x1f\x8b"):
        return "The body is compressed with gzip; say so in a Content-Encoding header."
    if start.startswith(b"--") and b"content-disposition" in start.lower():
        return "The body is a multipart form; this path takes a JSON object."
    if _FORM.fullmatch(start.partition(b"\n")[0].rstrip(b"\r")):
        return "The body is a form; this path takes a JSON object, such as curl sends with --json."
    if start.startswith(b"<"):
        return "The body is XML or HTML; this path takes a JSON object."
    if start.startswith((b"{'", b"[{'")):
        return "The body has single quotes; JSON wants double ones."
    return None


def _detect_wide_encoding(raw: bytes) -> str | None:
    """UTF-16 or UTF-32, by its mark or by where the zeros of its first characters stand (RFC 4627, section 3)."""
    # The mark of UTF-32 begins as that of UTF-16 does.
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    zeros = tuple(byte == 0 for byte in raw[:4])
    if zeros in ((True, True, True, False), (False, True, True, True)):
        return "UTF-32"
    if zeros[:2] in ((True, False), (False, True)):
        return "UTF-16"
    return None


def _by_its_halves(raw: bytes, offset: int, said: str) -> BodyFault | None:
    """A half at the end of the body is one after which msgspec misses the other, and so says "truncated"."""
    if "surrogate" not in said and "truncated" not in said:
        return None
    for found in _HALF.finditer(raw, max(0, offset - 16), offset + 6):
        before = raw[: found.start()]
        escaped = (len(before) - len(before.rstrip(b"\\"))) % 2
        if not escaped and not _other_half(raw, found):
            escape = found[0].decode("ascii")
            return BodyFault(
                f"The escape {escape} at byte {found.start()} of the body is half a surrogate pair, which is no "
                "character; send both halves, or the character itself.",
                find_field(raw, found.start()),
            )
    return None


def _other_half(raw: bytes, found: re.Match[bytes]) -> bool:
    if _is_first(found[0]):
        other = _HALF.match(raw, found.end())
        return other is not None and not _is_first(other[0])
    before = _HALF.fullmatch(raw, max(0, found.start() - len(found[0])), found.start())
    return before is not None and _is_first(before[0])


def _is_first(half: bytes) -> bool:
    return half[3:4] in b"89abAB"


def _by_its_numbers(raw: bytes, said: str) -> BodyFault | None:
    if "out of range" not in said:
        return None
    for found in _NUMBER.finditer(raw, 0, MOST_LOOKED_THROUGH_BYTES):
        if found["number"] and math.isinf(float(found["number"])):
            field = find_field(raw, found.start())
            where = f" in `{field}`" if field else ""
            return BodyFault(
                f"The number at byte {found.start()} of the body{where} is beyond all that are read.", field
            )
    return None


def _by_its_words(raw: bytes, offset: int) -> BodyFault | None:
    start = offset - 1 if offset and raw[offset - 1 : offset] == b"-" else offset
    found = _WORD.match(raw, max(0, start))
    if found is None:
        return None
    field = find_field(raw, found.start())
    where = f" in `{field}`" if field else ""
    return BodyFault(
        f"The body has {found[0].decode('ascii')} at byte {found.start()}{where}, which JSON does not know.", field
    )
