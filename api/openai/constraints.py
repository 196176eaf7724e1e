"""Fields that say what an answer must be: OpenAI's, and what llama.cpp, vLLM, SGLang and Ollama call the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from api.http.field_rules import EMPTY, Json, allow_only, drop_field
from api.http.settle import Wire
from core.errors import RequestError
from core.requests import (
    AnswerForm,
    Constraint,
    GbnfGrammar,
    JsonObject,
    JsonSchema,
    LarkGrammar,
    RegexPattern,
    TextChoice,
)

SchemaValue = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "boolean", "null"]})]
SchemaOrText = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "boolean", "string", "null"]})]
"""A JSON Schema, or one that was written into a text."""
FormatValue = Annotated[Raw, Meta(extra_json_schema={"anyOf": [{"type": ["object", "null"]}, {"enum": ["json", ""]}]})]
Pattern = Annotated[str, Meta(max_length=1_000_000)]
Texts = Annotated[list[Annotated[str, Meta(max_length=4096)]], Meta(max_length=20_000)]
TYPES: Final = ("text", "json_object", "json_schema")
NEUTRAL: Final[Mapping[str, tuple[Json, ...]]] = {
    "response_format": ({},),
    "grammar": EMPTY,
    "json_schema": (),
    "guided_json": EMPTY,
    "guided_json_object": (False,),
    "guided_regex": EMPTY,
    "guided_choice": EMPTY,
    "guided_grammar": EMPTY,
    "structured_outputs": EMPTY,
    "regex": EMPTY,
    "ebnf": EMPTY,
    "format": EMPTY,
}
"""Values with which a field asks for nothing."""


class NamedSchema(Wire, frozen=True):
    """OpenAI's box around a schema. Whether `strict` or not, the schema is enforced, and its name changes nothing."""

    name: Annotated[str, Meta(max_length=256)] | None = None
    description: str | None = None
    strict: bool | None = None
    schema: SchemaValue | UnsetType = UNSET


class ResponseFormat(Struct, frozen=True):
    type: Annotated[str, Meta(extra_json_schema={"enum": list(TYPES)})]
    json_schema: NamedSchema | None = None
    schema: SchemaValue | UnsetType = UNSET
    """Of a `json_object`, as llama.cpp has it."""


class StructuredOutputs(Wire, frozen=True):
    """vLLM's box."""

    rules = {
        "structural_tag": allow_only(""),
        "disable_fallback": drop_field(False),
        "disable_any_whitespace": allow_only(False),
        "disable_additional_properties": allow_only(False),
        "whitespace_pattern": allow_only(""),
    }

    json: SchemaOrText | UnsetType = UNSET
    json_object: bool | None = None
    regex: Pattern | None = None
    choice: Texts | None = None
    grammar: Pattern | None = None


class ConstraintFields(Wire, frozen=True, kw_only=True):
    """The fields as they stand in a request for text; at most one of them may ask for something."""

    response_format: ResponseFormat | None = None
    grammar: Pattern | None = None
    """GBNF, as llama.cpp has it."""
    json_schema: SchemaValue | UnsetType = UNSET
    guided_json: SchemaOrText | UnsetType = UNSET
    guided_json_object: bool | None = None
    guided_regex: Pattern | None = None
    guided_choice: Texts | None = None
    guided_grammar: Pattern | None = None
    """GBNF or Lark."""
    structured_outputs: StructuredOutputs | None = None
    regex: Pattern | None = None
    ebnf: Pattern | None = None
    format: FormatValue | UnsetType = UNSET
    """`json` or a schema, as Ollama has it."""


def read_constraint(body: ConstraintFields) -> Constraint | None:
    """What the answer must be. Raises RequestError for fields that say nothing clear, or two things."""
    found = [Constraint(form, field) for field, form in _forms(body)]
    if len(found) > 1:
        raise RequestError(
            f"`{found[0].field}` and `{found[1].field}` both say what the answer must be; send one of them.",
            found[1].field,
        )
    return found[0] if found else None


def _forms(body: ConstraintFields) -> Iterator[tuple[str, AnswerForm]]:
    if body.response_format is not None and (form := _from_response_format(body.response_format)) is not None:
        yield "response_format", form
    boxed = body.structured_outputs or StructuredOutputs()
    for field, value, make in (
        ("grammar", body.grammar, GbnfGrammar),
        ("guided_regex", body.guided_regex, RegexPattern),
        ("guided_grammar", body.guided_grammar, _as_grammar),
        ("regex", body.regex, RegexPattern),
        ("ebnf", body.ebnf, _as_grammar),
        ("structured_outputs.regex", boxed.regex, RegexPattern),
        ("structured_outputs.grammar", boxed.grammar, _as_grammar),
    ):
        if value:
            yield field, _make_form(make, value)
    for field, choices in (("guided_choice", body.guided_choice), ("structured_outputs.choice", boxed.choice)):
        if choices:
            yield field, TextChoice(tuple(choices))
    for field, said in (
        ("guided_json_object", body.guided_json_object),
        ("structured_outputs.json_object", boxed.json_object),
    ):
        if said:
            yield field, JsonObject()
    for field, raw in (
        ("json_schema", body.json_schema),
        ("guided_json", body.guided_json),
        ("structured_outputs.json", boxed.json),
        ("format", body.format),
    ):
        if (schema := _schema_text(raw, field)) is not None:
            yield field, JsonObject() if field == "format" and schema == "json" else JsonSchema(schema)


def _make_form(make: Callable[[str], AnswerForm], value: str) -> AnswerForm:
    return make(value)


def _from_response_format(said: ResponseFormat) -> AnswerForm | None:
    match said.type:
        case "text":
            return None
        case "json_object":
            schema = _schema_text(said.schema, "response_format.schema")
            return JsonObject() if schema is None else JsonSchema(schema)
        case "json_schema":
            box = said.json_schema or NamedSchema()
            schema = _schema_text(box.schema, "response_format.json_schema.schema")
            if schema is None:
                raise RequestError(
                    "A `response_format` of type `json_schema` needs its schema in `json_schema.schema`.",
                    "response_format.json_schema.schema",
                )
            return JsonSchema(schema)
        case _:
            raise RequestError(
                f"The field `response_format.type` is wrong: give one of {', '.join(TYPES)}.", "response_format.type"
            )


def _schema_text(raw: Raw | UnsetType, field: str) -> str | None:
    """A schema as JSON, also where it was written into a text; None where there is none."""
    if isinstance(raw, UnsetType) or (data := bytes(raw).strip()) == b"null":
        return None
    try:
        text = data.decode()
        # An empty text asks for nothing.
        return (msgspec.json.decode(data, type=str) or None) if text.startswith('"') else text
    except (UnicodeDecodeError, msgspec.DecodeError):
        raise RequestError(f"The field `{field}` is no JSON Schema.", field) from None


def _as_grammar(text: str) -> AnswerForm:
    """GBNF and its kin write `::=`, Lark does not."""
    return GbnfGrammar(text) if "::=" in text else LarkGrammar(text)
