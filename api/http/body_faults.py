"""Why a body is no JSON, told as what it is rather than by the byte at which a parser gave up."""

from __future__ import annotations

import codecs
import re

_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_OFFSET = re.compile(r"\(byte (\d+)\)")
_WORD = re.compile(rb"-?(?:NaN|Infinity|nan|inf|None|True|False|undefined)\b")
_FORM = re.compile(rb"[A-Za-z0-9_.%+\[\]-]{1,64}=[^\r\n]*")


def explain_body(raw: bytes, said: str) -> str | None:
    """A sentence about `raw`, of which msgspec has `said` why it is no JSON; None where its own words are as good.

    Looks at the beginning and at the offset of the fault alone, however long the body is.
    """
    found = _OFFSET.search(said)
    offset = int(found[1]) if found else len(raw)
    return _by_its_look(raw) or _by_its_halves(raw, offset, said) or _by_its_words(raw, offset)


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


def _by_its_halves(raw: bytes, offset: int, said: str) -> str | None:
    """A half at the end of the body is one after which msgspec misses the other, and so says "truncated"."""
    if "surrogate" not in said and "truncated" not in said:
        return None
    for found in _HALF.finditer(raw, max(0, offset - 16), offset + 6):
        before = raw[: found.start()]
        escaped = (len(before) - len(before.rstrip(b"\\"))) % 2
        if not escaped and not _other_half(raw, found):
            escape = found[0].decode("ascii")
            return (
                f"The escape {escape} at byte {found.start()} of the body is half a surrogate pair, which is no "
                "character; send both halves, or the character itself."
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


def _by_its_words(raw: bytes, offset: int) -> str | None:
    start = offset - 1 if offset and raw[offset - 1 : offset] == b"-" else offset
    found = _WORD.match(raw, max(0, start))
    return (
        f"The body has {found[0].decode('ascii')} at byte {max(0, start)}, which JSON does not know." if found else None
    )
