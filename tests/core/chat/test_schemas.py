"""Where response schemas come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.chat.schemas import read_response_schema
from core.errors import LoadFailed

SCHEMA = '{"type": "object", "properties": {"content": {"type": "string", "x-regex": "a(.*)"}}}'


def test_a_wish_is_a_file_or_json(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(SCHEMA)
    for wish in (SCHEMA, str(path)):
        schema, notes = read_response_schema(wish, "m", None)
        assert schema is not None
        assert schema.parse("abc") == {"content": "bc"}
        assert notes == ()


@pytest.mark.parametrize("wish", ["/nowhere/schema.json", "{oops", '{"x-regex": "("}'])
def test_a_wish_that_cannot_be_read_is_told(wish: str) -> None:
    with pytest.raises(LoadFailed, match=r"correct response_schema\.$"):
        read_response_schema(wish, "m", None)


def test_a_model_may_bring_its_own(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"response_schema": json.loads(SCHEMA)}))
    schema, _ = read_response_schema(None, "m", tmp_path)
    assert schema is not None
    beside, _ = read_response_schema(None, "m", tmp_path / "model.gguf")
    assert beside is not None


def test_a_models_own_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"response_schema": {"x-parser": "xml"}}')
    schema, (note,) = read_response_schema(None, "m", tmp_path)
    assert schema is None
    assert note.startswith("The model's own response schema is not used. The response schema wants the parser")
    assert read_response_schema(None, "m", tmp_path / "elsewhere" / "m") == (None, ())
