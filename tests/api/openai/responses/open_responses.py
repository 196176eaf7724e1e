"""What Open Responses says of responses and events, where `BENCHTOP_TEST_SCHEMAS` names a file that describes it
(`openapi.json` of its repository, 2026-04-24 or later). All tests of responses hold theirs against it then."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

Described = Mapping[str, Any]


@cache
def read_schemas() -> Described | None:
    """None where no file is named."""
    path = os.environ.get("BENCHTOP_TEST_SCHEMAS")
    return json.loads(Path(path).read_text(encoding="utf-8"))["components"]["schemas"] if path else None


def check_open_event(event: Described) -> None:
    """Raises ValidationError. Events that are not described are extensions of OpenAI's."""
    schemas = read_schemas()
    if schemas is None:
        return
    name = next((name for name, each in schemas.items() if event["type"] in _list_kinds(each)), None)
    if name is not None:
        _validate(name, _keep_described(event, schemas))


def check_open(name: str, told: Described) -> None:
    """Raises ValidationError."""
    schemas = read_schemas()
    if schemas is not None:
        _validate(name, _keep_described(told, schemas))


def _validate(name: str, told: Described) -> None:
    _find_open_validator(name).validate(told)


@cache
def _find_open_validator(name: str) -> jsonschema.Draft202012Validator:
    document = {"components": {"schemas": read_schemas()}, "$ref": f"#/components/schemas/{name}"}
    return jsonschema.Draft202012Validator(document)


def _list_kinds(schema: Described) -> list[str]:
    kinds: list[str] = schema.get("properties", {}).get("type", {}).get("enum", [])
    return kinds


def _keep_described(told: Described, schemas: Described) -> dict[str, Any]:
    """Without items and tools of types that are OpenAI's own."""
    kept = dict(told)
    if isinstance(kept.get("response"), dict):
        kept["response"] = _keep_described(kept["response"], schemas)
    for field, union in (("output", "ItemField"), ("tools", "Tool")):
        if isinstance(kept.get(field), list):
            kinds = {
                kind
                for each in schemas[union]["oneOf"]
                for kind in _list_kinds(schemas[each["$ref"].rpartition("/")[2]])
            }
            kept[field] = [each for each in kept[field] if each["type"] in kinds]
    if isinstance(kept.get("item"), dict) and kept["item"]["type"] == "custom_tool_call":
        kept["item"] = None
    return kept
