"""Every keyword of JSON Schema 2020-12 is enforced, or refused by its name, or says nothing of a value."""

import json
from typing import Any

import pytest

from core.decoding.masks.schema import SchemaRefused, prepare_schema
from core.decoding.masks.token_mask import TokenMask
from core.engines.echo import TURN_END
from core.errors import RequestError
from core.requests import JsonSchema
from tests.core.decoding.masks.conftest import Compile

ENFORCED: dict[str, tuple[dict[str, Any], str, str]] = {
    "$ref": ({"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"}, "1", '"x"'),
    "$anchor": ({"$defs": {"n": {"$anchor": "n", "type": "integer"}}, "$ref": "#n"}, "1", '"x"'),
    "$defs": ({"$defs": {"a/b": {"type": "null"}}, "$ref": "#/$defs/a~1b"}, "null", "1"),
    "prefixItems": ({"type": "array", "prefixItems": [{"type": "integer"}]}, '[1,"x"]', '["x"]'),
    "items": ({"type": "array", "items": {"type": "integer"}}, "[1,2]", '["x"]'),
    "properties": ({"type": "object", "properties": {"a": {"type": "integer"}}}, '{"a":1}', '{"a":"x"}'),
    "additionalProperties": ({"type": "object", "additionalProperties": {"type": "null"}}, '{"b":null}', '{"b":1}'),
    "patternProperties": ({"type": "object", "patternProperties": {"^x": {"type": "null"}}}, '{"xa":null}', '{"xa":1}'),
    "allOf": ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}]}, "4", "6"),
    "anyOf": ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null", '"x"'),
    "oneOf": ({"oneOf": [{"const": 1}, {"enum": ["a", "b"]}]}, '"a"', "2"),
    "unevaluatedProperties": (
        {"type": "object", "properties": {"a": {}}, "unevaluatedProperties": False},
        "{}",
        '{"b"',
    ),
    "unevaluatedItems": ({"type": "array", "prefixItems": [{}], "unevaluatedItems": False}, "[1]", "[1,"),
    "type": ({"type": ["integer", "null"]}, "null", '"'),
    "enum": ({"enum": ["a", 1, None, {"k": [True]}]}, '{"k":[true]}', '"b'),
    "const": ({"const": {"a": 1.5}}, '{"a": 1.5}', '{"a": 2'),
    "multipleOf": ({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 99}, "49", "50"),
    "maximum": ({"type": "integer", "maximum": 5}, "5", "6"),
    "exclusiveMaximum": ({"type": "integer", "exclusiveMaximum": 5}, "4", "5"),
    "minimum": ({"type": "number", "minimum": 1.5}, "1.5", "1.4"),
    "exclusiveMinimum": ({"type": "integer", "exclusiveMinimum": 5, "maximum": 7}, "6", "5"),
    "maxLength": ({"type": "string", "maxLength": 2}, '"é\\n"', '"abc'),
    "minLength": ({"type": "string", "minLength": 2}, '"ab"', '"a"'),
    "pattern": ({"type": "string", "pattern": "^[a-c]+$"}, '"abc"', '"d'),
    "maxItems": ({"type": "array", "maxItems": 1}, "[1]", "[1,"),
    "minItems": ({"type": "array", "minItems": 1}, "[1]", "[]"),
    "maxProperties": ({"type": "object", "maxProperties": 1}, '{"a":1}', '{"a":1,'),
    "minProperties": ({"type": "object", "minProperties": 1}, '{"a":1}', "{}"),
    "required": ({"type": "object", "required": ["a"]}, '{"a":1}', "{}"),
    "format": ({"type": "string", "format": "date"}, '"2024-05-06"', '"yesterday'),
}
"""A schema with the keyword, a text that is of it, and the beginning of one that is not."""
REFUSED: dict[str, dict[str, Any]] = {
    "contains": {"type": "array", "contains": {"type": "integer"}},
    "minContains": {"type": "array", "contains": {}, "minContains": 2},
    "maxContains": {"type": "array", "contains": {}, "maxContains": 2},
    "dependentRequired": {"dependentRequired": {"a": ["b"]}},
    "dependentSchemas": {"dependentSchemas": {"a": {"type": "object"}}},
    "propertyNames": {"propertyNames": {"maxLength": 3}},
    "if": {"if": {"type": "string"}, "then": {"const": "a"}},
    "then": {"if": True, "then": {"const": "a"}},
    "else": {"if": True, "else": {"const": "a"}},
    "not": {"not": {"type": "string"}},
    "uniqueItems": {"type": "array", "uniqueItems": True},
    "$dynamicRef": {"$dynamicRef": "#n"},
}
SAYING_NOTHING: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$vocabulary": {"https://json-schema.org/draft/2020-12/vocab/core": True},
    "$id": "https://example.org/s",
    "$dynamicAnchor": "n",
    "$comment": "c",
    "title": "t",
    "description": "d",
    "default": 3,
    "deprecated": True,
    "readOnly": True,
    "writeOnly": False,
    "examples": [1],
    "contentEncoding": "base64",
    "contentMediaType": "text/plain",
    "contentSchema": {"type": "integer"},
    "x-made-up": {"not": {}},
    "x-guidance": {"lenient": True},
}


def test_the_lists_hold_every_keyword_of_the_draft() -> None:
    vocabularies = (
        "$schema $vocabulary $id $anchor $dynamicAnchor $ref $dynamicRef $defs $comment",
        "prefixItems items contains additionalProperties properties patternProperties dependentSchemas propertyNames",
        "if then else allOf anyOf oneOf not unevaluatedItems unevaluatedProperties",
        "type enum const multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern",
        "maxItems minItems uniqueItems maxContains minContains maxProperties minProperties required dependentRequired",
        "title description default deprecated readOnly writeOnly examples format",
        "contentEncoding contentMediaType contentSchema",
    )
    assert {word for line in vocabularies for word in line.split()} <= {*ENFORCED, *REFUSED, *SAYING_NOTHING}


@pytest.mark.parametrize("keyword", ENFORCED)
def test_an_enforced_keyword_lets_through_what_is_of_it_and_nothing_else(keyword: str, compiled: Compile) -> None:
    schema, good, bad = ENFORCED[keyword]
    assert takes(compiled, schema, good)
    assert begun(compiled, schema, bad) is None


@pytest.mark.parametrize("keyword", REFUSED)
def test_a_keyword_that_is_not_enforced_is_refused_by_its_name_and_place(keyword: str, compiled: Compile) -> None:
    inner = REFUSED[keyword]
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": inner}}}
    with pytest.raises(RequestError, match=r"keyword `\S+` at properties\.a\.items cannot be enforced here") as error:
        compiled(JsonSchema(json.dumps(schema)))
    assert error.value.field == "response_format"
    assert any(f"`{named}`" in str(error.value) for named in inner)


@pytest.mark.parametrize("keyword", SAYING_NOTHING)
def test_an_annotation_changes_nothing(keyword: str, compiled: Compile) -> None:
    schema = {"type": "integer", keyword: SAYING_NOTHING[keyword]}
    assert takes(compiled, schema, "12")
    assert begun(compiled, schema, '"') is None


@pytest.mark.parametrize(
    "vain",
    [
        {"uniqueItems": False},
        {"propertyNames": {}},
        {"dependentRequired": {}},
        {"then": {"const": 1}},
        {"minContains": 1},
        {"unevaluatedProperties": True},
        {"not": False},
        {"type": "array", "uniqueItems": True, "maxItems": 1},
    ],
)
def test_a_keyword_that_holds_nothing_here_is_let_be(vain: dict[str, Any]) -> None:
    assert prepare_schema(json.dumps(vain)).keys().isdisjoint({*vain} - {"type", "maxItems", "unevaluatedProperties"})


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ('{"type": "string"', "is no JSON"),
        ("[" * 200_000, "levels deep"),
        ('{"items":' * 500 + "true" + "}" * 500, "levels deep"),
        ("5", "must be a JSON object"),
        ("false", "must be a JSON object"),
        ('{"const": NaN}', "NaN is no number"),
        ('{"const": 1e999}', "`const` holds a number"),
        ('{"minimum": 9007199254740993}', "`minimum` holds a number"),
        ('{"const": "a\\u0000"}', "`const` holds a control character"),
        ('{"properties": {"a\\u007f": true}}', "`properties` names a member with a control character"),
        ('{"$ref": "http://127.0.0.1/x.json"}', r"`\$ref` may refer to a part of the same schema"),
        ('{"$ref": "file:///etc/passwd"}', r"`\$ref` may refer to a part of the same schema"),
        ('{"$ref": "#/$defs/none"}', r"`\$ref` refers to .* which is not in the schema"),
        ('{"$schema": "https://example.org/mine"}', r"`\$schema` names a dialect"),
        ('{"minProperties": 3, "required": ["a"]}', "`minProperties` cannot be enforced beyond"),
        ('{"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}', "`exclusiveMinimum` cannot be enforced so near"),
        ('{"properties": {"a": {"$id": "x", "type": "null"}}}', r"`\$id` at properties\.a cannot be enforced"),
    ],
)
def test_what_the_library_would_get_wrong_is_refused_before_it_is_asked(schema: str, words: str) -> None:
    with pytest.raises(SchemaRefused, match=words):
        prepare_schema(schema)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "pattern": "a(?=b)"}, "`pattern`.*look-ahead"),
        ({"type": "string", "format": "password"}, "`format`: Unknown format: password"),
        ({"type": "text"}, "`type`: Invalid type: text"),
        ({"type": "integer", "maximum": "5"}, "Expected a number for 'maximum'"),
        ({"type": "number", "minimum": 1e-300}, "The schema is too complex"),
        ({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}, "`oneOf` can only be enforced where"),
        ({"properties": {"a": {}}, "maxProperties": 1}, "`maxProperties` need all `properties` to be `required`"),
        ({"patternProperties": {"^a": {}, "b$": {}}}, "`patternProperties`"),
        ({"$defs": {"n": {"allOf": [{"$ref": "#/$defs/n"}, {}]}}, "$ref": "#/$defs/n"}, "."),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "Nothing is of the schema"),
        ({"$ref": "#"}, "No text is of the schema"),
    ],
)
def test_what_the_library_says_no_to_is_told_with_the_keyword(
    schema: dict[str, Any], words: str, compiled: Compile
) -> None:
    with pytest.raises(RequestError, match=words) as error:
        compiled(JsonSchema(json.dumps(schema)))
    assert str(error.value).startswith("`response_format` cannot be used. ")


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"items": [{"type": "integer"}], "additionalItems": False, "type": "array"}, "[1]", "[1,"),
        ({"type": "integer", "minimum": 3, "exclusiveMinimum": True, "maximum": 9}, "4", "3"),
        ({"definitions": {"n": {"type": "null"}}, "$ref": "#/definitions/n"}, "null", "1"),
    ],
)
def test_what_older_drafts_wrote_in_other_words_is_enforced_too(
    schema: dict[str, Any], good: str, bad: str, compiled: Compile
) -> None:
    assert takes(compiled, schema, good)
    assert begun(compiled, schema, bad) is None


def test_a_refused_keyword_behind_a_reference_into_an_unknown_place_is_found() -> None:
    schema = {"components": {"schemas": {"a": {"uniqueItems": True}}}, "$ref": "#/components/schemas/a"}
    with pytest.raises(SchemaRefused, match=r"`uniqueItems` at #/components/schemas/a"):
        prepare_schema(json.dumps(schema))


def test_a_refused_keyword_in_a_definition_that_nothing_refers_to_does_not_matter() -> None:
    assert prepare_schema('{"$defs": {"a": {"not": {}}}, "type": "null"}')["type"] == "null"


def test_a_member_of_a_union_is_told_by_its_constant_even_behind_a_reference(compiled: Compile) -> None:
    kinds = {
        kind: {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]} for kind in ("a", "b")
    }
    schema = {"$defs": kinds, "oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "discriminator": {}}
    assert takes(compiled, schema, '{"kind": "b"}')
    assert begun(compiled, schema, '{"kind": "c') is None


def test_a_name_cannot_be_written_in_a_second_way_past_its_schema(compiled: Compile) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "é": {"type": "integer"}}}
    for text in ('{"b":2,"\\u0061"', '{"\\u00e9"', '{"a":1,"a"'):
        assert begun(compiled, schema, text) is None


def test_spaces_without_end_are_not_allowed(compiled: Compile) -> None:
    assert takes(compiled, {"type": "object"}, '{\n    "a": [1, 2]\n}')
    assert begun(compiled, {"type": "object"}, "{  ") is None
    assert begun(compiled, {"type": "object"}, "{\n\n") is None


def takes(compiled: Compile, schema: dict[str, Any], text: str) -> bool:
    """Whether the masks allow all of the text and then its end."""
    mask = begun(compiled, schema, text)
    return mask is not None and (mask.complete or allows(mask.follow(())[1][0], TURN_END))


def begun(compiled: Compile, schema: dict[str, Any], text: str) -> TokenMask | None:
    """The mask behind the text; None where it does not allow all of it."""
    mask = compiled(JsonSchema(json.dumps(schema)))
    for byte in text.encode():
        if mask.complete or not allows(mask.follow(())[1][0], byte):
            return None
        mask.take(byte)
    return mask


def allows(mask: bytes, token: int) -> bool:
    return bool(mask[token // 8] >> token % 8 & 1)


NAMED: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "null"}}}
OTHER: dict[str, Any] = {"type": "object", "properties": {"b": {"type": "null"}}}
REFERRED: dict[str, Any] = {"$defs": {"n": NAMED, "o": OTHER}}


@pytest.mark.parametrize(
    "schema",
    [
        NAMED,
        {**NAMED, "required": ["a"]},
        {"anyOf": [NAMED, {"type": "array"}]},
        {"$ref": "#/$defs/n", "description": "d", **REFERRED},
        {"allOf": [{"$ref": "#/$defs/n"}], **REFERRED},
    ],
)
def test_an_object_has_the_members_that_are_named_where_nothing_is_said_of_others(
    schema: dict[str, Any], compiled: Compile
) -> None:
    assert takes(compiled, schema, '{"a":null}')
    assert begun(compiled, schema, '{"a":null,') is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {**NAMED, "additionalProperties": {"type": "null"}},
        {**NAMED, "patternProperties": {"^b$": {"type": "null"}}},
        {**NAMED, "required": ["b"]},
        {"allOf": [NAMED, OTHER]},
        {"allOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/o"}], **REFERRED},
        {"allOf": [{"anyOf": [NAMED]}, OTHER]},
        {**NAMED, "$ref": "#/$defs/o", **REFERRED},
    ],
)
def test_an_object_stays_open_where_more_is_said_of_it_elsewhere(schema: dict[str, Any], compiled: Compile) -> None:
    assert takes(compiled, schema, '{"a":null,"b":null}')
