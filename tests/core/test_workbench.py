"""The workbench as a front end uses it, on the real engine and on echo."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.bench.runner import Progress, RoundDone, RoundStarted, Summary
from core.contract.options import LoadSettings
from core.engines.registry import ENGINES, Engines
from core.errors import ArtifactError, EngineUnavailable, LoadFailed, ModelNotFound, ModelNotReady
from core.requests import Sampling
from core.settings.model import ModelSettings
from core.settings.profile import Profile, SamplingDefaults
from core.settings.schema import BenchSettings, PoolSettings, ProbeSettings, Settings
from core.snapshots import ModelKind, ModelState
from core.workbench import Workbench
from tests.fakes.support import asks, folders_in
from tests.fakes.weights import truncated

SETTINGS = Settings(probe=ProbeSettings(enabled=False))
NAMES = {name: ENGINES[name] for name in ("llamacpp", "echo")}
"""Which engine a model gets does not depend on what else is installed."""


@pytest.fixture
async def workbench(tmp_path: Path) -> AsyncIterator[Workbench]:
    bench = Workbench(SETTINGS, folders_in(tmp_path), Engines(NAMES))
    yield bench
    await bench.close()


async def test_the_built_in_model_answers_a_question_about_kv_caches(workbench: Workbench) -> None:
    name = await workbench.models.load("guide")
    reply = await (
        await workbench.requests.submit(asks("What is a KV cache?", name, sampling=Sampling(temperature=0.0)))
    ).reply()
    text = reply.choices[0].text.lower()
    assert "key" in text
    assert "value" in text
    assert workbench.models.active_engine == "llamacpp"


async def test_loading_twice_loads_once_and_unloading_forgets(workbench: Workbench) -> None:
    assert await workbench.models.load("echo") == "echo"
    assert await workbench.models.load("echo") == "echo"
    assert workbench.models.loaded_names() == ("echo",)
    assert workbench.models.default == "echo"
    await workbench.models.unload("echo")
    assert workbench.models.loaded_names() == ()
    assert workbench.models.default is None
    with pytest.raises(ModelNotFound):
        await workbench.models.unload("echo")


async def test_requests_that_say_nothing_are_sampled_as_the_settings_of_their_model_say(tmp_path: Path) -> None:
    wild = Profile(source="guide", sampling=SamplingDefaults(repeat_penalty=5.0, frequency_penalty=2.0))
    bench = Workbench(replace(SETTINGS, models={"wild": wild}), folders_in(tmp_path), Engines(NAMES))
    try:
        asked = [asks("What is a KV cache?", name, max_tokens=40) for name in ("guide", "wild")]
        usual, penalised = [await (await bench.requests.submit(each)).reply() for each in asked]
    finally:
        await bench.close()
    assert usual.choices[0].text != penalised.choices[0].text


async def test_two_models_are_served_side_by_side(workbench: Workbench) -> None:
    await workbench.models.load("guide")
    await workbench.models.load("echo")
    streams = [
        await workbench.requests.submit(asks("What is a token?", name, max_tokens=8)) for name in ("guide", "echo")
    ]
    guide, echo = await asyncio.gather(*(stream.reply() for stream in streams))
    assert echo.choices[0].text == "What is "
    assert guide.usage.completion_tokens <= 8


async def test_a_request_for_a_model_that_is_not_served_names_those_that_are(workbench: Workbench) -> None:
    await workbench.models.load("echo")
    with pytest.raises(ModelNotFound, match="served here: echo"):
        await workbench.requests.submit(asks("x", "gpt-4"))


async def test_a_damaged_file_is_one_sentence_and_disturbs_nothing(workbench: Workbench, tmp_path: Path) -> None:
    await workbench.models.load("echo")
    with pytest.raises(ArtifactError, match="truncated.gguf cannot be loaded"):
        await workbench.models.load(str(truncated(tmp_path)))
    assert workbench.models.loaded_names() == ("echo",)
    assert (await (await workbench.requests.submit(asks("fine"))).reply()).choices[0].text == "fine"


async def test_a_damaged_file_is_told_the_same_way_after_a_trial_run(tmp_path: Path) -> None:
    bench = Workbench(Settings(), folders_in(tmp_path), Engines(NAMES))
    with pytest.raises(ArtifactError, match="truncated.gguf cannot be loaded"):
        await bench.models.load(str(truncated(tmp_path)))


async def test_forcing_an_engine_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    bench = Workbench(replace(SETTINGS, model=ModelSettings(engine="vroom")), folders_in(tmp_path))
    with pytest.raises(EngineUnavailable, match="vroom"):
        await bench.models.load("guide")


async def test_a_trial_run_comes_first_and_its_verdict_is_kept(tmp_path: Path) -> None:
    bench = Workbench(Settings(), folders_in(tmp_path), Engines(NAMES))
    loading = asyncio.create_task(bench.models.load("guide"))
    details: set[str] = set()
    while not loading.done():
        details.update(model.detail for model in bench.snapshot().models)
        await asyncio.sleep(0.01)
    assert any("child process" in detail for detail in details)
    (verdict,) = bench.bench.verdicts()
    assert bench.snapshot().models[0].threads == verdict.threads
    await bench.close()


async def test_measuring_tells_each_round_and_sums_up(workbench: Workbench) -> None:
    await workbench.models.load("echo")
    samples = [
        sample async for sample in workbench.bench.measure("echo", prompt_tokens=32, new_tokens=16, rounds=2, streams=2)
    ]
    assert [type(sample) for sample in samples if not isinstance(sample, Progress)] == [
        RoundStarted,
        RoundDone,
        RoundStarted,
        RoundDone,
        Summary,
    ]
    summary = samples[-1]
    assert isinstance(summary, Summary)
    assert summary.decode_rate > 0
    assert summary.prefill_rate > 0
    assert summary.memory > 0


async def test_a_snapshot_is_complete_while_nothing_is_loaded_and_after(workbench: Workbench) -> None:
    empty = workbench.snapshot()
    assert empty.models == ()
    assert empty.machine.memory_total > empty.machine.memory_available > 0
    await workbench.models.load("guide")
    (model,) = workbench.snapshot().models
    assert model.state is ModelState.READY
    assert model.parameters > 0
    assert model.kv_bytes_per_token > 0
    assert model.weight_bytes > 0


async def test_a_key_for_servers_elsewhere_is_kept_out_of_what_is_written_down(tmp_path: Path) -> None:
    settings = Settings(model=ModelSettings(remote_api_key="a secret key"))
    bench = Workbench(settings, folders_in(tmp_path), Engines(NAMES))
    await bench.models.load("guide")
    await bench.close()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240 - a few small files
    assert written
    assert not any(b"a secret key" in content for content in written)


async def test_a_model_is_loaded_anew_with_another_context(tmp_path: Path) -> None:
    workbench = Workbench(Settings(), folders_in(tmp_path))
    try:
        await workbench.models.load("echo", LoadSettings(ctx_size=1024))
        assert workbench.models.spec("echo").context == 1024
        await workbench.models.load("echo", LoadSettings(ctx_size=2048))
        assert workbench.models.spec("echo").context == 2048
        await workbench.models.load("echo")
        assert workbench.models.spec("echo").context == 2048
    finally:
        await workbench.close()


async def test_a_context_that_was_wished_for_goes_with_the_model_that_had_it(tmp_path: Path) -> None:
    workbench = Workbench(Settings(), folders_in(tmp_path))
    try:
        # One that was named at the start stays known after it is unloaded.
        await workbench.models.serve(["echo"])
        await workbench.models.load("echo")
        usual = workbench.models.spec("echo").context
        await workbench.models.load("echo", LoadSettings(ctx_size=1024))
        assert workbench.models.spec("echo").context == 1024
        await workbench.models.unload("echo")
        await workbench.models.load("echo")
        assert workbench.models.spec("echo").context == usual
    finally:
        await workbench.close()


async def test_a_context_that_cannot_be_had_does_not_stick(tmp_path: Path) -> None:
    settings = Settings(pool=PoolSettings(memory_limit="1GB"), bench=BenchSettings(enabled=False))
    workbench = Workbench(settings, folders_in(tmp_path), Engines({"llamacpp": ENGINES["llamacpp"]}))
    try:
        await workbench.models.serve(("guide",))
        workbench.models.pin("guide")
        with pytest.raises(LoadFailed, match="memory-limit"):
            await workbench.models.load("guide", LoadSettings(ctx_size=10_000_000))
        await workbench.models.load("guide")
        assert workbench.snapshot().models[0].pinned
    finally:
        await workbench.close()


async def test_nothing_is_loaded_once_it_is_closed(tmp_path: Path) -> None:
    workbench = Workbench(Settings(), folders_in(tmp_path))
    await workbench.close()
    with pytest.raises(ModelNotReady):
        await workbench.models.load("echo")


async def test_a_request_is_asked_to_come_again_while_the_first_model_is_looked_up(workbench: Workbench) -> None:
    loading = asyncio.create_task(workbench.models.load("echo"))
    await asyncio.sleep(0)
    assert workbench.models.opening == ("echo",)
    with pytest.raises(ModelNotReady, match="looked up; ask again"):
        workbench.requests.choose_model(ModelKind.CHAT)
    with pytest.raises(ModelNotReady, match="looked up; ask again"):
        await workbench.models.lease("no-such-model")
    await loading
    assert workbench.requests.choose_model(ModelKind.CHAT) == "echo"
    with pytest.raises(ModelNotFound):
        await workbench.models.lease("no-such-model")
