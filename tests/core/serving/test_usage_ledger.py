"""What a workbench writes down of requests that have ended."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.engines.registry import ENGINES, Engines
from core.errors import BenchtopError, Cancelled, ContextExceeded, ModelNotAllowed, ModelNotFound
from core.events import Timings, Usage
from core.requests import Caller
from core.serving.report import RequestReport
from core.serving.usage_ledger import UsageLedger, describe_usage
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, ProbeSettings, Settings
from core.settings.usage import UsageSettings
from core.snapshots import ModelKind, UsageTotals
from core.usage import UsageAccount, UsageRow
from core.workbench import Workbench
from tests.fakes.support import asks, folders_in

ALICE = Caller("alice", "digest", models=("echo",))
QUICK = Settings(probe=ProbeSettings(enabled=False), bench=BenchSettings(enabled=False), model=ModelSettings(slots=1))


def report(error: BenchtopError | None = None, model: str = "echo") -> RequestReport:
    asked = asks("x", model, caller=ALICE)
    usage, timings = Usage(10, 4, 6, 2), Timings()
    return RequestReport("id", model, ModelKind.CHAT, ALICE, asked, 0.0, 2.0, 0.5, 1.0, usage, timings, error=error)


@pytest.fixture
async def workbench(tmp_path: Path) -> AsyncIterator[Workbench]:
    bench = Workbench(QUICK, folders_in(tmp_path), Engines({"echo": ENGINES["echo"]}))
    yield bench
    await bench.close()


async def read(workbench: Workbench) -> list[UsageRow]:
    assert workbench.usage is not None
    return await asyncio.to_thread(workbench.usage.account.read)


async def test_each_request_is_written_down_with_its_key_and_tokens(workbench: Workbench) -> None:
    for _ in range(2):
        stream = await workbench.requests.submit(asks("hello there", caller=ALICE))
        reply = await stream.reply()
    (row,) = await read(workbench)
    assert (row.model, row.key, row.requests, row.failures) == ("echo", "alice", 2, 0)
    assert row.completion_tokens == 2 * reply.usage.completion_tokens
    assert row.prompt_tokens == 2 * reply.usage.prompt_tokens
    assert row.cached_tokens == reply.usage.cached_tokens > 0
    assert row.seconds > 0
    today = workbench.snapshot().used_today
    assert today is not None
    assert (today.requests, today.prompt_tokens) == (2, row.prompt_tokens)


async def test_names_that_clients_make_up_are_not_kept(workbench: Workbench) -> None:
    for number in range(3):
        with pytest.raises(ModelNotFound):
            await workbench.requests.submit(asks("x", f"made-up-{number}"))
    with pytest.raises(ModelNotAllowed):
        await workbench.requests.submit(asks("x", "guide", caller=ALICE))
    assert [(row.model, row.key, row.failures) for row in await read(workbench)] == [("", "", 3), ("", "alice", 1)]


async def test_no_account_is_kept_where_that_is_switched_off(tmp_path: Path) -> None:
    settings = Settings(probe=ProbeSettings(enabled=False), usage=UsageSettings(enabled=False))
    bench = Workbench(settings, folders_in(tmp_path), Engines({"echo": ENGINES["echo"]}))
    try:
        await (await bench.requests.submit(asks("hello"))).reply()
        assert bench.usage is None
        assert bench.snapshot().used_today is None
    finally:
        await bench.close()
    assert not UsageAccount(folders_in(tmp_path).state).path.exists()


async def test_what_was_used_is_written_before_the_end(tmp_path: Path) -> None:
    bench = Workbench(QUICK, folders_in(tmp_path), Engines({"echo": ENGINES["echo"]}))
    await (await bench.requests.submit(asks("a secret of mine"))).reply()
    await bench.close()
    account = UsageAccount(folders_in(tmp_path).state)
    assert [row.requests for row in account.read()] == [1]
    assert b"secret" not in b"".join(path.read_bytes() for path in account.path.parent.glob("usage*"))


async def test_a_damaged_account_is_set_aside_and_requests_are_answered(tmp_path: Path) -> None:
    folders = folders_in(tmp_path)
    account = UsageAccount(folders.state)
    account.path.parent.mkdir(parents=True)
    account.path.write_bytes(b"no database at all" * 100)
    bench = Workbench(QUICK, folders, Engines({"echo": ENGINES["echo"]}))
    await (await bench.requests.submit(asks("hello"))).reply()
    await bench.close()
    assert [row.requests for row in account.read()] == [1]
    assert any("damaged" in path.name for path in folders.state.iterdir())


def test_a_request_that_its_client_left_is_no_failure() -> None:
    row = describe_usage(report(Cancelled()), "2026-03-04")
    assert (row.requests, row.failures, row.cancelled) == (1, 0, 1)
    assert (row.prompt_tokens, row.cached_tokens, row.completion_tokens, row.reasoning_tokens) == (10, 4, 6, 2)
    assert row.seconds == 2.0


def test_an_error_is_a_failure_of_its_model() -> None:
    row = describe_usage(report(ContextExceeded(10, 5)), "2026-03-04")
    assert (row.model, row.failures, row.cancelled) == ("echo", 1, 0)


def test_what_was_used_today_begins_anew_at_midnight(tmp_path: Path) -> None:
    now = [datetime(2026, 3, 4, 23, 59, tzinfo=UTC)]
    ledger = UsageLedger(UsageAccount(tmp_path), lambda: now[0])
    ledger.note_end(report())
    ledger.note_end(report())
    assert ledger.today.requests == 2
    now[0] += timedelta(minutes=2)
    assert ledger.today == UsageTotals()
    ledger.note_end(report())
    assert ledger.today.requests == 1
    assert [(row.day, row.requests) for row in ledger.account.read()] == [("2026-03-04", 2), ("2026-03-05", 1)]
    ledger.account.close()
