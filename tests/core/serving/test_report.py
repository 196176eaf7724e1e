"""What a workbench tells of requests that have ended, on echo and on the built-in model."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.engines.registry import ENGINES, Engines
from core.errors import BenchtopError, Cancelled, ContextExceeded, ModelNotFound, QueueTimeout
from core.events import FinishReason
from core.requests import Caller, Embedding, RawText, Sampling
from core.serving.report import RequestReport
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, ProbeSettings, QueueSettings, Settings
from core.snapshots import ModelKind
from core.workbench import Workbench
from tests.fakes.support import asks, folders_in

SOMEBODY = Caller("somebody", "digest")
NAMES = {name: ENGINES[name] for name in ("llamacpp", "echo")}


class Notes:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.reports: list[RequestReport] = []

    def note_end(self, report: RequestReport) -> None:
        self.reports.append(report)

    @property
    def only(self) -> RequestReport:
        (report,) = self.reports
        return report


class Failing:
    def note_end(self, report: RequestReport) -> None:
        raise ValueError(report.request_id)


@pytest.fixture
async def workbench(tmp_path: Path) -> AsyncIterator[Workbench]:
    settings = Settings(
        probe=ProbeSettings(enabled=False),
        bench=BenchSettings(enabled=False),
        queue=QueueSettings(queue_timeout=0.05),
        model=ModelSettings(slots=1),
    )
    bench = Workbench(settings, folders_in(tmp_path), Engines(NAMES))
    yield bench
    await bench.close()


@pytest.fixture
def notes(workbench: Workbench) -> Notes:
    notes = Notes()
    workbench.requests.observe(notes)
    return notes


async def test_an_answered_request_is_told_once_with_its_tokens_and_times(workbench: Workbench, notes: Notes) -> None:
    request = asks("What is a KV cache?", "guide", max_tokens=4, request_id="one", caller=SOMEBODY, ignore_eos=True)
    reply = await (await workbench.requests.submit(request)).reply()
    report = notes.only
    assert (report.request_id, report.model, report.kind, report.caller) == ("one", "guide", ModelKind.CHAT, SOMEBODY)
    assert report.usage == reply.usage
    assert report.reasons == (FinishReason.LENGTH,)
    assert report.error is None
    assert report.waited is not None
    assert report.first is not None
    assert 0 < report.waited < report.first <= report.elapsed
    assert report.timings.decode > 0
    assert report.row is not None
    assert report.row.completion_tokens == 4


async def test_the_prompt_of_several_choices_counts_once(workbench: Workbench, notes: Notes) -> None:
    request = asks("What is a token?", "guide", n=2, max_tokens=3, sampling=Sampling(temperature=0.0), ignore_eos=True)
    await (await workbench.requests.submit(request)).reply()
    report = notes.only
    assert report.usage.completion_tokens == 6
    assert report.row is not None
    assert report.usage.prompt_tokens == report.row.prompt_tokens
    assert len(report.reasons) == 2


async def test_a_request_that_found_no_model_or_no_room_is_told_with_its_error(
    workbench: Workbench, notes: Notes
) -> None:
    with pytest.raises(ModelNotFound):
        await workbench.requests.submit(asks("hello", "nobody-has-this"))
    await workbench.models.load("guide")
    with pytest.raises(ContextExceeded):
        await workbench.requests.submit(asks("a " * 20_000, "guide"))
    lost, long = notes.reports
    assert isinstance(lost.error, ModelNotFound)
    assert isinstance(long.error, ContextExceeded)
    assert {lost.waited, long.waited, lost.first, long.first} == {None}


async def test_a_request_that_was_cancelled_is_told_with_what_was_spent_on_it(
    workbench: Workbench, notes: Notes
) -> None:
    stream = await workbench.requests.submit(asks("What is a token?", "guide", ignore_eos=True))
    async for _ in stream:
        stream.cancel()
    report = notes.only
    assert isinstance(report.error, Cancelled)
    assert report.usage.prompt_tokens > 0
    assert report.usage.completion_tokens > 0
    assert report.first is not None


async def test_a_request_that_waited_too_long_is_told_as_that(workbench: Workbench, notes: Notes) -> None:
    running = await workbench.requests.submit(asks("What is a token?", "guide", ignore_eos=True, request_id="first"))
    await running.admitted()
    late = await workbench.requests.submit(asks("What is a quant?", "guide", request_id="late"))
    with pytest.raises(QueueTimeout):
        await late.admitted()
    report = notes.only
    assert report.request_id == "late"
    assert isinstance(report.error, QueueTimeout)
    assert report.waited is None
    assert report.usage.prompt_tokens == 0
    running.cancel()


async def test_a_task_that_ends_while_its_model_is_loaded_is_told_as_cancelled(
    workbench: Workbench, notes: Notes
) -> None:
    task = asyncio.create_task(workbench.requests.submit(asks("hello", "guide")))
    while not workbench.requests.rows():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(notes.only.error, Cancelled)


async def test_a_request_of_another_kind_is_told_by_the_kind_that_was_asked(workbench: Workbench, notes: Notes) -> None:
    with pytest.raises(BenchtopError):
        await workbench.requests.submit(Embedding("guide", (RawText("hello"),), caller=SOMEBODY))
    assert notes.only.kind is ModelKind.EMBEDDING
    assert notes.only.caller == SOMEBODY


async def test_an_observer_that_fails_harms_neither_the_request_nor_another_observer(workbench: Workbench) -> None:
    workbench.requests.observe(Failing())
    notes = Notes()
    workbench.requests.observe(notes)
    reply = await (await workbench.requests.submit(asks("What is a token?", "guide", max_tokens=2))).reply()
    assert reply.choices
    assert notes.only.error is None


async def test_a_request_is_told_by_the_name_of_its_model_however_its_client_writes_it(
    workbench: Workbench, notes: Notes
) -> None:
    await (await workbench.requests.submit(asks("What is a token?", "guide:latest", max_tokens=1))).reply()
    assert (notes.only.model, notes.only.asked.model) == ("guide", "guide:latest")
