"""Ollama's API on weights that people use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import serving, user
from tests.api.ollama.conftest import QUICK, post, stream_lines
from tests.fakes.real_weights import SMOLLM2, real_weights

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_small_model_answers_in_streams_and_to_a_form(tmp_path: Path) -> None:
    weights = real_weights(SMOLLM2)
    name = f"{weights.stem}:latest"
    async with serving(tmp_path, QUICK, model=str(weights)) as served:
        shown = await post(served, "/api/show", model=name)
        assert shown["details"]["parameter_size"] == "134.52M"
        greedy = {"temperature": 0, "num_predict": 4}
        lines = await stream_lines(served, "/api/chat", model=name, messages=user("Name a colour."), options=greedy)
        assert "".join(line["message"]["content"] for line in lines).strip()
        assert lines[-1]["eval_count"] <= 4
        schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
        asked: dict[str, Any] = {"messages": user("Name a colour."), "format": schema, "options": {"temperature": 0}}
        told = json.loads((await post(served, "/api/chat", model=name, **asked))["message"]["content"])
        assert told["colour"] in ("red", "blue")
