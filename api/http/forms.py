"""From the bytes of a multipart form to its fields, or to a RequestError."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from api.http.bodies import refuse_unknown_field
from api.http.field_rules import Json, Rules
from api.http.settle import refuse_value
from core.errors import RequestError

MOST_FIELDS = 64
MOST_FIELD_BYTES = 64 * 1024
"""Bytes of a field that is no file."""


class SubmittedForm(Struct, frozen=True):
    """What was sent: the values of each field in order, and the bytes of each file."""

    fields: Mapping[str, tuple[str, ...]]
    files: Mapping[str, bytes]
    ignored: tuple[str, ...] = ()
    """What was sent and changes nothing."""

    def one(self, name: str) -> str | None:
        """The value of a field that may be given once; None where it is not, or is empty."""
        values = self.fields.get(name, ())
        if len(values) > 1:
            raise RequestError(f"The field `{name}` is given {len(values)} times.", name)
        return (values[0] or None) if values else None


class FormBody:
    """What one route takes as its form: it parses requests, and the OpenAPI document is made of it."""

    def __init__(
        self,
        fields: Mapping[str, Mapping[str, Json]],
        required: Collection[str],
        rules: Rules,
        together: Sequence[Json] = (),
    ) -> None:
        """`fields`: those that the route reads, each with the JSON Schema of what it may hold; `together`: schemas of
        what goes together."""
        self.together = together
        self.fields = fields
        self.required = required
        self.rules = rules

    def parse(self, content_type: str, body: bytes) -> SubmittedForm:
        """As `parse_form`."""
        return parse_form(content_type, body, tuple(self.fields), self.rules)


def parse_form(content_type: str, body: bytes, known: Collection[str], rules: Rules) -> SubmittedForm:
    """Raises RequestError for what is no form, for a field that is too long, and for one that is not `known` and whose
    value is neither empty nor allowed by the `rules`, which are given the text in lower case."""
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not boundary:
        raise RequestError("The body must be multipart/form-data, with a file in the field `file`.")
    fields: dict[str, tuple[str, ...]] = {}
    files: dict[str, bytes] = {}
    ignored: list[str] = []
    for segment, data in _segments(boundary, body):
        name = segment.name or ""
        if name not in known:
            if _is_dropped(name, data, segment.filename is not None, known, rules):
                ignored.append(name)
        elif segment.filename is not None:
            if name in files:
                raise RequestError(f"The field `{name}` is given twice.", name)
            files[name] = data
        else:
            fields[name] = (*fields.get(name, ()), _text(name, data))
    return SubmittedForm(fields, files, tuple(ignored))


def _is_dropped(name: str, data: bytes, is_file: bool, known: Collection[str], rules: Rules) -> bool:
    """Whether a field that is not known goes unheeded although it says something. Raises RequestError if it may not."""
    rule = rules.get(name)
    if not data and not is_file:
        return False
    if rule is None or is_file:
        raise refuse_unknown_field(name, (*known, *rules))
    if rule.takes(_text(name, data).lower()):
        return False
    if not rule.told:
        raise refuse_value(name, rule)
    return True


def _segments(boundary: str, body: bytes) -> list[tuple[MultipartSegment, bytes]]:
    found: list[tuple[MultipartSegment, list[bytes]]] = []
    try:
        with PushMultipartParser(boundary, content_length=len(body), max_segment_count=MOST_FIELDS) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    found.append((event, []))
                elif event is not None:
                    found[-1][1].append(bytes(event))
    except (MultipartError, ValueError) as error:
        raise RequestError("The body is not a well-formed multipart form.") from error
    return [(segment, b"".join(parts)) for segment, parts in found]


def _text(name: str, data: bytes) -> str:
    if len(data) > MOST_FIELD_BYTES:
        raise RequestError(f"The field `{name}` has more than {MOST_FIELD_BYTES} bytes.", name)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RequestError(f"The field `{name}` is not UTF-8.", name) from None
