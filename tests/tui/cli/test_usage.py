"""`tui usage`, and an account that outlives its server."""

import csv
import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from core.settings.schema import find_folders
from core.usage import UsageAccount, UsageRow
from tests.tui.cli.test_main import PATIENCE, served
from tui.cli.main import USAGE_STATUS, main

BODY = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UsageAccount:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    today = datetime.now().astimezone().date().isoformat()
    made = UsageAccount(find_folders().state)
    made.add(UsageRow(3, 1, 0, 12_000, 5000, 10, 340, 75.0, today, "guide", "alice"))
    made.add(UsageRow(2, 0, 0, 100, 0, 0, 50, 0.5, "2025-12-31", "", ""))
    made.close()
    return made


def test_the_table_tells_each_day_model_and_key_and_the_sum(
    account: UsageAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["usage"]) == 0
    told = capsys.readouterr().out
    for words in ("2025-12-31", "(not here)", "(none)", "guide", "alice", "12k", "5000", "1:15", "total"):
        assert words in told
    assert "Days are those of this machine, UTC" in told
    assert str(account.path) in told.replace("\n", "")


def test_sums_by_one_of_the_three_from_a_day_on(account: UsageAccount, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--by", "key", "--since", "7d", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["key"], row["prompt_tokens"], row["day"]) for row in told["rows"]] == [("alice", 12_000, None)]
    assert told["total"]["completion_tokens"] == 340


def test_csv_is_for_other_programs(account: UsageAccount, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["requests"] for row in rows] == ["2", "3"]


@pytest.mark.parametrize("words", [["--since", "soon"], ["--by", "week"], ["--json", "--csv"]])
def test_what_cannot_be_told_is_refused_in_a_sentence(
    account: UsageAccount, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["usage", *words]) == USAGE_STATUS
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_used_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    assert main(["usage"]) == 0
    assert "Nothing was used yet" in capsys.readouterr().out


def test_an_account_that_cannot_be_read_is_told(account: UsageAccount, capsys: pytest.CaptureFixture[str]) -> None:
    account.path.write_bytes(b"no database at all" * 100)
    assert main(["usage"]) == 1
    assert "cannot be read" in capsys.readouterr().err


def count_requests(home: Path) -> int:
    told = subprocess.run(
        [sys.executable, "-m", "tui.cli.main", "usage", "--json"],
        env=os.environ | {"BENCHTOP_HOME": str(home)},
        capture_output=True,
        check=True,
    )
    return int(json.loads(told.stdout)["total"]["requests"])


def wait_for_requests(home: Path, wanted: int) -> None:
    account = UsageAccount(home / "state")
    end = time.monotonic() + PATIENCE
    while sum(row.requests for row in account.read()) < wanted:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_servers_keep_one_account_and_a_kill_costs_nothing_that_was_written(tmp_path: Path) -> None:
    with served(tmp_path) as (one, at_one), served(tmp_path) as (other, at_other):
        for _ in range(5):
            for url in (at_one, at_other):
                assert httpx.post(f"{url}/v1/chat/completions", json=BODY, timeout=PATIENCE).status_code == 200
        wait_for_requests(tmp_path, 10)
        one.kill()
        one.wait(PATIENCE)
        assert httpx.post(f"{at_other}/v1/chat/completions", json=BODY, timeout=PATIENCE).status_code == 200
        wait_for_requests(tmp_path, 11)
        other.kill()
    assert count_requests(tmp_path) == 11
