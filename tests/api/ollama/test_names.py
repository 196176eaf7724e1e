"""Names as clients of Ollama write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.ollama.names import list_forms, resolve_name, show_name
from core.errors import ModelNotFound
from core.models.library.on_demand import Loadable
from core.settings.schema import Settings
from core.workbench import Workbench
from tests.api.conftest import Served, folders_in


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("guide", "guide"),
        ("guide:latest", "guide"),
        ("GUIDE:latest", "guide"),
        ("library/guide", "guide"),
        ("qwen3:4b", "qwen3-4b"),
        ("qwen3:4b-8bit", "qwen3-4b:8bit"),
        ("qwen3-4b:8bit", "qwen3-4b:8bit"),
        ("hf.co/owner/repo:Q4_K_M", "hf.co/owner/repo:Q4_K_M"),
        ("hf.co/owner/repo:latest", "hf.co/owner/repo"),
        ("llama3.2:latest", "llama3.2"),
    ],
)
async def test_a_name_with_a_tag_is_one_of_ours(tmp_path: Path, asked: str, meant: str) -> None:
    workbench = Workbench(Settings(), folders_in(tmp_path))
    try:
        assert await resolve_name(workbench.models, asked) == meant
    finally:
        await workbench.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_name_as_the_list_has_it_needs_no_look_at_the_disk(
    echo: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look() -> tuple[Loadable, ...]:
        raise AssertionError

    monkeypatch.setattr(echo.workbench.models, "loadable", look)
    assert [await resolve_name(echo.workbench.models, asked) for asked in ("echo", "echo:latest")] == ["echo", "echo"]


@pytest.mark.parametrize("asked", [" ", "/etc/passwd", "http://127.0.0.1:1"])
async def test_what_is_no_models_name_is_refused(tmp_path: Path, asked: str) -> None:
    workbench = Workbench(Settings(), folders_in(tmp_path))
    try:
        with pytest.raises(ModelNotFound):
            await resolve_name(workbench.models, asked)
    finally:
        await workbench.close()


def test_names_are_shown_with_a_tag() -> None:
    assert [show_name(each) for each in ("guide", "owner/repo", "owner/repo:Q4_K_M", "a.gguf")] == [
        "guide:latest",
        "owner/repo:latest",
        "owner/repo:Q4_K_M",
        "a.gguf:latest",
    ]
    assert next(list_forms("anything")) == "anything"
