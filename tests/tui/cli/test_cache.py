"""`tui cache`: what is stored on disk, seen and deleted without a model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.cache.disk import DiskTier, list_stored_files
from core.settings.schema import find_folders
from tests.fakes.prefixes import header_of, state_of
from tui.cli.main import main

RUNS = (tuple(range(300)), tuple(range(400, 450)))


@pytest.fixture
def tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskTier:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    made = DiskTier(find_folders().cache / "prefixes", 1_000_000)
    for tokens in RUNS:
        made.write(header_of(), tokens, state_of(tokens))
    return made


Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return lambda: capsys.readouterr().out


def test_the_list_tells_model_engine_and_tokens(tier: DiskTier, said: Said) -> None:
    assert main(["cache", "ls"]) == 0
    told = said()
    for words in ("guide", "llamacpp", "300", "2 prefixes", str(tier.folder)[:20]):
        assert words in told
    assert main(["cache", "ls", "--json"]) == 0
    listed = json.loads(said())
    assert [(each["model"], each["tokens"], each["problem"]) for each in listed] == [
        ("guide", 50, None),
        ("guide", 300, None),
    ]


def test_an_empty_folder_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    assert main(["cache", "ls"]) == 0
    assert said().startswith("No prefixes are stored in")


def test_one_prefix_all_of_a_model_or_all_can_be_deleted(tier: DiskTier, said: Said) -> None:
    first = tier.files()[0].path.stem
    assert main(["cache", "rm", first[:12]]) == 0
    assert said().startswith("Deleted 1 prefix")
    assert len(list(list_stored_files(tier.folder))) == 1
    assert main(["cache", "rm", "guide"]) == 0
    assert list(list_stored_files(tier.folder)) == []
    assert main(["cache", "rm", "--all"]) == 0


@pytest.mark.parametrize("words", [[], ["nobody"], ["guide", "--all"]])
def test_what_names_no_prefix_deletes_none(tier: DiskTier, words: list[str]) -> None:
    assert main(["cache", "rm", *words]) == 2
    assert len(list(list_stored_files(tier.folder))) == 2


def test_verifying_deletes_what_is_damaged_and_says_what(tier: DiskTier, said: Said) -> None:
    assert main(["cache", "verify"]) == 0
    path = tier.files()[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    said()
    assert main(["cache", "verify"]) == 1
    told = said()
    assert f"{path.stem[:12]}: its checksum is wrong; it is deleted." in told
    assert "Whole: 1 prefix; damaged: 1." in told
    assert not path.exists()
