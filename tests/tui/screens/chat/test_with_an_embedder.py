"""The chat pane on a model that generates nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.conversations.tree import Outcome
from tests.fakes.bert import write_embedder, write_reranker
from tests.tui.conftest import app_on, chat_of, finished, shown, until


@pytest.mark.parametrize(
    ("write", "does", "endpoint"),
    [(write_embedder, "makes embeddings", "/v1/embeddings"), (write_reranker, "ranks documents", "/v1/rerank")],
)
async def test_a_model_that_generates_nothing_says_in_the_chat_what_it_does_and_where_it_is_asked(
    tmp_path: Path, write: Callable[[Path], Path], does: str, endpoint: str
) -> None:
    folder = write(tmp_path / "tiny")
    app = app_on(str(folder), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press(*"hello", "enter")
        screen = chat_of(app)
        await until(pilot, lambda: finished(screen))
        assert screen.chat.exchanges[0].outcome is Outcome.FAILED
        await until(pilot, lambda: f"{does} and cannot generate text" in shown(app, ".stats"))
        assert endpoint in shown(app, ".stats")
