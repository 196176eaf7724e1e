"""The chat template that came with a model, wherever its format keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from core.guide import WEIGHTS
from core.models.formats.folder_template import read_folder_template
from core.models.formats.read import read_template
from core.models.formats.source import FolderFiles


def test_a_gguf_file_has_it_in_its_header() -> None:
    found = read_template(Artifact("guide", "gguf", WEIGHTS, 0))
    assert found is not None
    assert "{%" in found


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, None),
        ({"tokenizer_config.json": {"chat_template": "a"}}, "a"),
        ({"tokenizer_config.json": {"chat_template": None}}, None),
        ({"tokenizer_config.json": {"chat_template": 5}}, None),
        ({"tokenizer_config.json": {"chat_template": [{"name": "tool_use", "template": "t"}]}}, "t"),
        (
            {
                "tokenizer_config.json": {
                    "chat_template": [{"name": "x", "template": "t"}, {"name": "default", "template": "d"}]
                }
            },
            "d",
        ),
        ({"tokenizer_config.json": {"chat_template": []}}, None),
        ({"chat_template.json": {"chat_template": "b"}, "tokenizer_config.json": {"chat_template": "a"}}, "b"),
    ],
)
def test_a_folder_has_it_in_a_file_or_a_field(tmp_path: Path, files: dict[str, object], found: str | None) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert read_folder_template(FolderFiles(tmp_path)) == found


def test_a_file_of_its_own_goes_first_and_a_damaged_one_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{")
    assert read_folder_template(FolderFiles(tmp_path)) is None
    (tmp_path / "chat_template.jinja").write_text("j")
    assert read_folder_template(FolderFiles(tmp_path)) == "j"
    assert read_template(Artifact("gone", "gguf", tmp_path / "gone.gguf", 0)) is None
