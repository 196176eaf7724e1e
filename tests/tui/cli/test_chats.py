"""`tui chats`: conversations on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.conversations.store import ConversationStore
from core.conversations.tree import AnswerWriter, ConversationTree, Outcome, make_id
from core.settings.environment import HOME
from tui.cli.main import main


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two conversations of the user's, the newer one first."""
    monkeypatch.setenv(HOME, str(tmp_path))
    store = ConversationStore(tmp_path / "state")
    made: list[str] = []
    for number, question in enumerate(("How tall is an oak?", "What is a [red]cache[/]?")):
        keeper = store.begin(ConversationTree(make_id()))
        answer = keeper.tree.ask(question, 1_000.0 + number, AnswerWriter("guide")).answers[0]
        answer.pieces.append("Some **thirty** metres.")
        answer.outcome = Outcome.DONE
        keeper.keep()
        made.insert(0, keeper.tree.id)
    store.close()
    return made


def run(*words: str) -> int:
    return main(["chats", *words])


def test_conversations_are_listed_searched_and_shown(ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ls") == 0
    listed = capsys.readouterr().out
    assert listed.index("[red]cache[/]") < listed.index("How tall")
    assert ids[0][:8] in listed
    assert run("ls", "--json", "--last", "1") == 0
    assert [line["id"] for line in json.loads(capsys.readouterr().out)] == ids[:1]
    assert run("search", "oa", "thir") == 1
    assert run("search", "tall", "oak") == 0
    assert "How tall is an oak?" in capsys.readouterr().out
    assert run("search", "--whole", "oa") == 1
    assert run("show", "How tall is an oak?") == 0
    told = capsys.readouterr().out
    assert "## guide\n\nSome **thirty** metres." in told
    assert "<!--" not in told


def test_what_is_exported_comes_back_after_it_was_deleted(
    ids: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everything, one = tmp_path / "all.json", tmp_path / "one.md"
    assert run("export", "--to", str(everything)) == 0
    assert run("export", ids[1][:6], "--to", str(one)) == 0
    assert run("export", "--format", "markdown") == 2
    assert run("rm", "--all") == 2
    assert run("rm", "--all", "--yes") == 0
    capsys.readouterr()
    assert run("ls") == 0
    assert "No conversation is kept" in capsys.readouterr().out
    assert run("import", str(everything), str(one)) == 0
    assert run("import", str(everything)) == 0
    capsys.readouterr()
    run("ls", "--json")
    lines = json.loads(capsys.readouterr().out)
    assert len(lines) == 3
    assert set(ids) < {line["id"] for line in lines}


@pytest.mark.parametrize("words", [("show", "none"), ("rm",), ("import", "nowhere.json"), ("show", "")])
def test_what_cannot_be_done_is_one_sentence(
    ids: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    assert capsys.readouterr().err.count("\n") <= 2
