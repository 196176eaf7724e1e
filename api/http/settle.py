"""From what a client wrote to what its route reads: the rules of `api.http.field_rules`, at every depth of a body.

A body that says nothing but what its route knows is decoded at once. Only one that does not is looked at field by
field, still as raw JSON, so that what nobody reads is never made into objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Final, Generic, TypeVar

import msgspec
from litestar.types import Receive
from msgspec import Meta, Raw, Struct, inspect
from msgspec.structs import asdict

from api.http.bodies import decode_body, find_fault, read_body, refuse_unknown_field
from api.http.body_values import ValueCount, bound_values, count_values
from api.http.field_rules import Json, Rule, Rules, is_neutral
from core.errors import RequestError
from core.lanes import WorkLane

MOST_NEUTRAL_BYTES: Final = 1024
"""Bytes of a value that may be neutral; nothing longer is."""
MOST_NUMBER_BYTES: Final = 40
"""Bytes."""
LONG_BODY_BYTES: Final = 64 * 1024
"""Bytes from which a body is read off the event loop."""
MOST_PARTS: Final = 500_000
"""Values of a body that is looked at field by field, each of which costs some hundred bytes meanwhile."""
MOST_VALUES: Final = 2_000_000
"""Values of any body: a million token ids are made into objects in some hundredths of a second."""
MOST_CONTAINERS: Final = 50_000
"""Objects and lists of any body; each is looked at again and again by Python's collector of garbage."""
MOST_BULK_CONTAINERS: Final = 500_000
"""The same of fields that stay raw JSON inside, which makes no objects: 10,000 tools with fifty in each."""
MOST_BULK_PARTS: Final = 10_000
"""Outermost parts of such a field."""
_WHOLE: Final = re.compile(rb"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_POINT_NOUGHT: Final = re.compile(rb"(?<=\d)\.0+(?![\d.eE])")
_BOM: Final = b"\xef\xbb\xbf"
_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
_BulkField = Annotated[list[Raw], Meta(max_length=MOST_BULK_PARTS)] | None
_LIST: Final = msgspec.json.Decoder(list[Raw])
_VALUE: Final[msgspec.json.Decoder[Json]] = msgspec.json.Decoder()


class Wire(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a request. Unknown fields are judged by `rules`, and refused where those do not know them either."""

    rules: ClassVar[Rules] = {}
    extra_neutral: ClassVar[Mapping[str, tuple[Json, ...]]] = {}
    """Values beyond null with which a field of this part is as good as left out."""
    bulky: ClassVar[tuple[str, ...]] = ()
    """Fields of a whole body in which all but the outermost parts stay raw JSON, so that they may have many."""
    refused: ClassVar[bool] = False
    """Known, so that it can be refused in plain words."""
    others_dropped: ClassVar[bool] = False
    """Of a list's members, those whose tag nobody here knows are dropped and told; where this is false, refused."""
    field_schemas: ClassVar[Mapping[str, Json]] = {}
    """The JSON Schemas of fields whose types say too little."""
    further_schema: ClassVar[Mapping[str, Json]] = {}
    """What a JSON Schema says of several fields together."""


Body = TypeVar("Body", bound=Struct, covariant=True)


class SettledBody(Struct, Generic[Body], frozen=True):
    """A body as its route reads it, and the names of what was dropped of it."""

    body: Body
    ignored: tuple[str, ...]


class JsonBody(Generic[Body]):
    """What one kind of route takes as its body: it decodes requests, and the OpenAPI document is made of it."""

    def __init__(self, kind: type[Body]) -> None:
        self.kind = kind
        self._decoder = msgspec.json.Decoder(kind)
        self._type = inspect.type_info(kind)
        self._bulky = kind.bulky if issubclass(kind, Wire) else ()
        self._bulk = msgspec.json.Decoder(
            msgspec.defstruct(f"{kind.__name__}Bulk", [(name, _BulkField, None) for name in self._bulky])
        )

    async def read(self, receive: Receive, limit: int, lane: WorkLane | None = None) -> SettledBody[Body]:
        """`limit`: bytes; `lane` takes what is long to read. Raises RequestError, BodyTooLarge, Busy, and Cancelled
        when the client left."""
        raw = await read_body(receive, limit)
        return self.decode(raw) if lane is None or len(raw) <= LONG_BODY_BYTES else await lane.run(self.decode, raw)

    def decode(self, raw: bytes, path: str = "", name: str = "") -> SettledBody[Body]:
        """A body, or a part of one that stands at `path`, and is called `name` in the header of what was dropped.

        Raises RequestError; nothing that a client sends can raise anything else.
        """
        # A part of a body was counted with it.
        many = not path and len(raw) > LONG_BODY_BYTES and self._has_many_values(raw)
        try:
            return SettledBody(decode_body(raw, self._decoder, path), ())
        except RequestError as error:
            if _has_too_many_parts(raw):
                raise
            ignored: list[str] = []
            try:
                settled = _Settling(ignored).settle(raw.removeprefix(_BOM), self._type, path, name)
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                # Decoding may have ended at a name before it came to what is no JSON.
                raise find_fault(raw.removeprefix(_BOM), skim=many) or error from None
        return SettledBody(decode_body(settled, self._decoder, path), tuple(dict.fromkeys(ignored)))

    def _has_many_values(self, raw: bytes) -> bool:
        """Whether it has so many that only a bulky field can hold them. Raises RequestError for more than that."""
        if _keeps_to(bound_values(raw), MOST_CONTAINERS):
            return False
        count = count_values(raw)
        if _keeps_to(count, MOST_CONTAINERS):
            return False
        if self._bulky and _keeps_to(count, MOST_BULK_CONTAINERS):
            fields = asdict(decode_body(raw, self._bulk)).values()
            inside = sum(count_values(bytes(part)).containers for field in fields for part in field or ())
            if count.containers - inside <= MOST_CONTAINERS:
                return True
        bulk = f"{MOST_BULK_CONTAINERS:,} objects and lists in {' and '.join(self._bulky)}, " if self._bulky else ""
        elsewhere = " elsewhere" if self._bulky else " objects and lists"
        raise RequestError(
            f"The body has too many values: at most {bulk}{MOST_CONTAINERS:,}{elsewhere}, and {MOST_VALUES:,} others; "
            "send less at once."
        )


class _Settling:
    """One pass over one body. A `path` tells a field in an error, as `messages[0].name`; a `name` in the header."""

    def __init__(self, ignored: list[str]) -> None:
        self._ignored = ignored

    def settle(self, raw: bytes, kind: inspect.Type, path: str, name: str) -> bytes:
        """`raw` in the form that `kind` is decoded from. Raises RequestError for what is refused, MsgspecError."""
        raw = raw.strip()
        match raw[:1]:
            case b"{":
                return self._settle_object(raw, kind, path, name)
            case b"[":
                return self._settle_list(raw, kind, path, name)
            case _:
                return _as_integer(raw) if _wants_integer(kind) else raw

    def _settle_object(self, raw: bytes, kind: inspect.Type, path: str, name: str) -> bytes:
        known = [each for each in _members(kind) if isinstance(each, inspect.StructType)]
        if not known:
            return raw
        given = _OBJECT.decode(raw)
        chosen = _choose_struct(known, given)
        if chosen is None or not issubclass(chosen.cls, Wire):
            return raw
        fields = {field.encode_name: field for field in chosen.fields}
        kept: list[bytes] = []
        for key, value in given.items():
            inner, below = bytes(value), f"{path}.{key}" if path else key
            if key in fields:
                if not self._is_absent(chosen.cls, key, inner):
                    called = f"{name}.{key}" if name else key
                    kept.append(_write_pair(key, self.settle(inner, fields[key].type, below, called)))
            elif key == chosen.tag_field:
                kept.append(_write_pair(key, inner))
            else:
                self._judge(chosen.cls, key, inner, below, name)
        return b"{" + b",".join(kept) + b"}"

    def _settle_list(self, raw: bytes, kind: inspect.Type, path: str, name: str) -> bytes:
        lists = [each for each in _members(kind) if isinstance(each, inspect.ListType)]
        if not lists:
            return raw
        item = lists[0].item_type
        if not any(isinstance(each, inspect.StructType) for each in _members(item)):
            # Numbers alone: what looks like one cannot stand in a text.
            return _POINT_NOUGHT.sub(b"", raw) if _holds_integers(item) and b'"' not in raw else raw
        parts = [(at, bytes(each).strip()) for at, each in enumerate(_LIST.decode(raw))]
        if (tags := _read_droppable_tags(item)) is not None:
            kept = [each for each in parts if tags.knows(each[1])]
            if len(kept) < len(parts):
                self._ignored.append(name)
            parts = kept
        return b"[" + b",".join(self.settle(each, item, f"{path}[{at}]", name) for at, each in parts) + b"]"

    def _is_absent(self, kind: type[Wire], key: str, raw: bytes) -> bool:
        if raw == b"null":
            return True
        values = kind.extra_neutral.get(key)
        return values is not None and len(raw) <= MOST_NEUTRAL_BYTES and Rule(values).takes(_VALUE.decode(raw))

    def _judge(self, kind: type[Wire], key: str, raw: bytes, path: str, name: str) -> None:
        """Raises RequestError where the field would change the answer, or is unknown."""
        rule = kind.rules.get(key)
        small = len(raw) <= MOST_NEUTRAL_BYTES
        if rule is None:
            if not (small and is_neutral(_VALUE.decode(raw))):
                known = [*kind.__struct_fields__, *kind.rules] if not name else ()
                raise refuse_unknown_field(path, known)
        elif not (small and rule.takes(_VALUE.decode(raw))):
            if not rule.told:
                raise refuse_value(path, rule)
            self._ignored.append(f"{name}.{key}" if name else key)


def refuse_value(field: str, rule: Rule) -> RequestError:
    """A refusal of a field that would change the answer."""
    shown = field[:128]
    if rule.why:
        return RequestError(f"The field `{shown}` is for the server's own settings alone: {rule.why}.", shown)
    values = " or ".join(msgspec.json.encode(each).decode() for each in rule.neutral)
    allowed = f", or with {values}" if values and len(values) <= 80 else ""
    instead = f"; {rule.instead}" if rule.instead else ""
    return RequestError(
        f"This server does not support `{shown}` yet; send the request without it{allowed}{instead}.", shown
    )


def _keeps_to(count: ValueCount, containers: int) -> bool:
    return count.commas <= MOST_VALUES and count.containers <= containers


def _has_too_many_parts(raw: bytes) -> bool:
    return bound_values(raw).commas > MOST_PARTS and count_values(raw).commas > MOST_PARTS


def _members(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    """The types that a value may have."""
    return tuple(_flatten_kinds(kind))


def _flatten_kinds(kind: inspect.Type) -> Iterator[inspect.Type]:
    match kind:
        case inspect.Metadata(type=inner):
            yield from _flatten_kinds(inner)
        case inspect.UnionType(types=types):
            for each in types:
                yield from _flatten_kinds(each)
        case _:
            yield kind


def _choose_struct(known: list[inspect.StructType], given: Mapping[str, Raw]) -> inspect.StructType | None:
    """The one that an object is of; None where its tag is none of theirs, which decoding tells."""
    if len(known) == 1 and known[0].tag_field not in given:
        return known[0]
    for each in known:
        if each.tag_field in given and _VALUE.decode(given[str(each.tag_field)]) == each.tag:
            return each
    return None


class _KnownTags(Struct):
    """The tags of a list's members, where others are dropped."""

    field: str
    tags: frozenset[str]

    def knows(self, raw: bytes) -> bool:
        """Whether a member is one that is read, or one that is wrong."""
        if not raw.startswith(b"{"):
            return True
        tag = _OBJECT.decode(raw).get(self.field)
        value = None if tag is None else _VALUE.decode(tag)
        return not isinstance(value, str) or value in self.tags


def _read_droppable_tags(kind: inspect.Type) -> _KnownTags | None:
    known = [each for each in _members(kind) if isinstance(each, inspect.StructType)]
    if not any(issubclass(each.cls, Wire) and each.cls.others_dropped for each in known):
        return None
    return _KnownTags(str(known[0].tag_field), frozenset(str(each.tag) for each in known))


def _wants_integer(kind: inspect.Type) -> bool:
    members = _members(kind)
    return _has_kind(members, inspect.IntType) and not _has_kind(members, inspect.FloatType)


def _holds_integers(kind: inspect.Type) -> bool:
    members = _members(kind)
    return _wants_integer(kind) or any(
        isinstance(each, inspect.ListType) and _wants_integer(each.item_type) for each in members
    )


def _has_kind(members: tuple[inspect.Type, ...], kind: type[inspect.Type]) -> bool:
    return any(isinstance(each, kind) for each in members)


def _as_integer(raw: bytes) -> bytes:
    """`8.0` and `1e3` as integers; anything else as it stands."""
    if len(raw) > MOST_NUMBER_BYTES or not _WHOLE.fullmatch(raw) or not re.search(rb"[.eE]", raw):
        return raw
    value = float(raw)
    return b"%d" % int(value) if value.is_integer() and abs(value) < 2**63 else raw


def _write_pair(key: str, raw: bytes) -> bytes:
    return msgspec.json.encode(key) + b":" + raw
