"""From the bytes of a request to a typed body, or to a RequestError that names the field in words."""

from __future__ import annotations

import codecs
import difflib
import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec
from litestar.types import Receive

from api.http.body_faults import explain_body
from api.http.errors import BodyTooLarge
from core.errors import Cancelled, RequestError
from core.wrong_values import explain_value, find_type, list_choices, list_structs

Body = TypeVar("Body", bound=msgspec.Struct)

_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`$", re.DOTALL)
_MOST_NAME_BYTES = 64
_READING: msgspec.json.Decoder[object] = msgspec.json.Decoder()
_SKIMMING: msgspec.json.Decoder[object] = msgspec.json.Decoder(msgspec.Raw)


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as it has more than `limit` bytes, Cancelled when the client left."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Cancelled("The client left before its request was complete.")
        parts.append(message["body"])
        size += len(parts[-1])
        if size > limit:
            raise BodyTooLarge(limit)
        if not message["more_body"]:
            return b"".join(parts)


def decode_body(raw: bytes, decoder: msgspec.json.Decoder[Body], at: str = "") -> Body:
    """`at`: where in a body this part of it stands. Raises RequestError; nothing that a client sends can raise anything
    else. Of two keys of one name, the last one counts, as with all who read JSON."""
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _wrong_field(str(error), decoder.type, at) from None
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise _no_json(raw, error) from None


def find_fault(raw: bytes, *, skim: bool = False) -> RequestError | None:
    """Why a body is no JSON, also where no route would read it; None where it is JSON. To `skim` one of very many
    values makes no objects of them, and does not look at the letters of its texts."""
    try:
        (_SKIMMING if skim else _READING).decode(raw)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        return _no_json(raw, error)
    return None


def _no_json(raw: bytes, error: UnicodeDecodeError | msgspec.DecodeError | RecursionError) -> RequestError:
    if isinstance(error, RecursionError):
        return RequestError("The body is nested too deeply.")
    if told := explain_body(raw, str(error)):
        return RequestError(told.words, told.field)
    if isinstance(error, UnicodeDecodeError):
        return RequestError("The body is not UTF-8.")
    return RequestError(f"The body is not JSON: {_lower_first(str(error))}.")


def _wrong_field(message: str, kind: type[msgspec.Struct], at: str) -> RequestError:
    """Turn msgspec's "Expected `int` >= 1 - at `$.n`" into a sentence about the field `n`."""
    found = _PATH.search(message)
    inner = found["path"].replace("[...]", "") if found else ""
    path = _join_path(at, inner) if at and inner else at or inner
    what = message[: found.start()] if found else message
    known = kind.__struct_fields__ if not inner else ()
    if unknown := _UNKNOWN.match(what):
        return refuse_unknown_field(_join_path(path, unknown["name"]), known)
    if missing := _MISSING.match(what):
        name = _join_path(path, missing["name"])
        return RequestError(f"The field `{name}` is missing.", name)
    if not path:
        return RequestError(f"The body is wrong: {explain_value(what, 'it')}.")
    choices = tuple(_list_allowed(kind, inner.split("."))) if inner else ()
    return RequestError(f"The field `{path}` is wrong: {explain_value(what, 'it', choices)}.", path)


def _list_allowed(kind: type[msgspec.Struct], parts: list[str]) -> Iterator[object]:
    """The values there are at a path of names, where only some are valid; a tag is one of those that are not refused
    anyway."""
    yield from list_choices(find_type(kind, parts))
    for struct in list_structs(find_type(kind, parts[:-1])) if parts[1:] else ():
        config = struct.__struct_config__
        if config.tag_field == parts[-1] and not getattr(struct, "refused", False):
            yield config.tag


def refuse_unknown_field(name: str, known: Sequence[str]) -> RequestError:
    """A refusal of a field by name, with the `known` one that was perhaps meant."""
    shown = name[:_MOST_NAME_BYTES]
    near = difflib.get_close_matches(shown, known, 1)
    hint = f"; did you mean `{near[0]}`?" if near else "."
    return RequestError(f"The field `{shown}` is not one this server knows{hint}", shown)


def _join_path(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _lower_first(text: str) -> str:
    """To go on in the middle of a sentence; an abbreviation keeps its capitals."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
