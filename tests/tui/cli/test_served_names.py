"""Models that are given by their paths are served under short names, each under one of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tui.cli.served_names import name_models


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["guide", "owner/name:Q8_0"], ["guide", "owner/name:Q8_0"]),
        (["/a/small.gguf", "~/b/large.gguf"], ["small", "large"]),
        (["/a/m.gguf", "./b/m.gguf", "guide"], ["a-m", "b-m", "guide"]),
        (["/x/a/m.gguf", "/y/a/m.gguf"], ["a-m", "a-m-2"]),
        (["/a/guide.gguf", "guide"], ["a-guide", "guide"]),
        (["/a/big-00001-of-00003.gguf", "/a/folder"], ["big", "folder"]),
        (["http://127.0.0.1:1/v1"], ["http://127.0.0.1:1/v1"]),
    ],
)
def test_paths_are_served_under_short_names_that_differ(words: Sequence[str], names: Sequence[str]) -> None:
    named = name_models(words)
    assert list(named) == names
    sources = [table.get("source", name) for name, table in named.items()]
    assert sources == words


def test_a_folder_keeps_the_dots_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "tiny-0.6B").mkdir()
    assert list(name_models([str(tmp_path / "tiny-0.6B")])) == ["tiny-0.6B"]


def test_the_model_that_is_served_first_keeps_its_name() -> None:
    assert name_models(["/b/m.gguf"], "/a/m.gguf") == {"b-m": {"source": "/b/m.gguf"}}
