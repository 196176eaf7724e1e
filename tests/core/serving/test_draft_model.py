"""Which model drafts for which, by the settings; with real models of the built-in weights."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.chat.parsers.response_schema import ResponseSchema
from core.contract.options import LoadOptions
from core.contract.placement import HOST, DeviceBuffers
from core.engines.echo import ARTIFACT, EchoModel
from core.errors import LoadFailed
from core.guide import WEIGHTS
from core.models.resolve import resolve_own
from core.serving.draft_model import Simple, Way, add_draft
from core.serving.loaded import LoadedModel
from core.serving.pool.loader import leave_to_draft
from core.settings.model import ModelSettings
from core.settings.profile import Profile
from core.settings.schema import BenchSettings, Settings
from core.workbench import Workbench
from tests.bench import shapes
from tests.fakes.support import asks, folders_in
from tests.fakes.weights import quantized

ONE_THREAD = ModelSettings(engine="llamacpp", ctx_size=256, slots=2, threads=1)


@asynccontextmanager
async def bench(tmp_path: Path, profile: Profile, model: ModelSettings = ONE_THREAD) -> AsyncIterator[Workbench]:
    settings = Settings(models={"guide": profile}, model=model, bench=BenchSettings(enabled=False))
    workbench = Workbench(settings, folders_in(tmp_path))
    try:
        yield workbench
    finally:
        await workbench.close()


async def test_a_smaller_model_drafts_where_the_settings_name_it(tmp_path: Path) -> None:
    draft = quantized(WEIGHTS, tmp_path)
    async with bench(tmp_path, Profile(draft=str(draft))) as workbench:
        await workbench.models.load("guide")
        await (await workbench.requests.submit(asks("What is a KV cache?", "guide", max_tokens=40))).reply()
        (model,) = workbench.snapshot().models
    assert model.draft is not None
    assert (model.draft.by, model.draft.problem) == (draft.stem, "")
    assert model.draft.kept > 0


async def test_one_wish_holds_for_all_models_but_those_that_say_otherwise(tmp_path: Path) -> None:
    for_all = ModelSettings(engine="llamacpp", ctx_size=256, slots=2, threads=1, draft="prompt-lookup")
    for profile, by in ((Profile(), "prompt-lookup"), (Profile(draft="none"), None)):
        async with bench(tmp_path, profile, for_all) as workbench:
            await workbench.models.load("guide")
            (model,) = workbench.snapshot().models
        assert (model.draft.by if model.draft else None) == by


async def test_a_model_does_not_draft_for_itself(tmp_path: Path) -> None:
    async with bench(tmp_path, Profile(draft="guide")) as workbench:
        await workbench.models.load("guide")
        (model,) = workbench.snapshot().models
    assert model.draft is None


@pytest.mark.parametrize(
    ("draft", "says"),
    [
        ("no-such-model", "What is to draft for guide is not here: .*Or give prompt-lookup, which needs no model."),
        ("prompt-lookp", "There is no model called 'prompt-lookp'; did you mean prompt-lookup[?]$"),
        ("prompt_lookup", "There is no model called 'prompt_lookup'; did you mean prompt-lookup[?]$"),
        ("Prompt Lookup", "There is no model called 'Prompt Lookup'; did you mean prompt-lookup[?]$"),
        ("echo", "echo cannot draft for guide: it knows 258 tokens, not"),
    ],
)
async def test_what_cannot_draft_is_told_in_a_sentence(tmp_path: Path, draft: str, says: str) -> None:
    free_choice = ModelSettings(ctx_size=256, slots=2, threads=1)
    async with bench(tmp_path, Profile(draft=draft, engine="llamacpp"), free_choice) as workbench:
        with pytest.raises(LoadFailed, match=says):
            await workbench.models.load("guide")


async def test_another_vocabulary_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    other = shapes.write("tiny", tmp_path)
    async with bench(tmp_path, Profile(draft=str(other))) as workbench:
        with pytest.raises(LoadFailed, match="cannot draft for guide: it knows 4,096 tokens, not 2,048"):
            workbench.bench._loader.load(
                resolve_own("guide"), threading.Event(), pytest.fail, Profile(draft=str(other))
            )


async def test_a_draft_model_counts_for_the_memory_that_is_expected(tmp_path: Path) -> None:
    draft = quantized(WEIGHTS, tmp_path)
    sizes = []
    for profile in (Profile(), Profile(draft=str(draft))):
        async with bench(tmp_path, profile) as workbench:
            await workbench.models.serve(["guide"])
            member = workbench.models._pool.find("guide")
            assert member is not None
            sizes.append(workbench.models._factory.expect(member, 2**34).size)
    assert sizes[1] > sizes[0] + draft.stat().st_size


class FreedModel(EchoModel):
    """An echo that notes whether it was freed."""

    freed = False

    def shutdown(self) -> None:
        self.freed = True
        super().shutdown()


@pytest.mark.parametrize("trouble", [LoadFailed("d", "No."), None], ids=["does not load", "other vocabulary"])
def test_a_model_whose_draft_fails_is_freed(trouble: LoadFailed | None) -> None:
    large, small = FreedModel(), FreedModel()
    small.tokenizer.size = 1000

    def load(*_: object) -> LoadedModel:
        if trouble is not None:
            raise trouble
        return LoadedModel(small, "echo")

    with pytest.raises(LoadFailed):
        add_draft(LoadedModel(large, "echo"), "large", ARTIFACT, load)
    assert large.freed
    assert small.freed is (trouble is None)


@pytest.mark.parametrize("way", [Simple.USUAL, Simple.MTP, ARTIFACT])
def test_whatever_guesses_for_a_model_its_answers_are_read_by_its_own_schema(way: Way) -> None:
    schema = ResponseSchema('{"type": "object"}')
    loaded = LoadedModel(EchoModel(), "echo", schema=schema)
    drafted = add_draft(loaded, "guide", way, lambda *_: LoadedModel(EchoModel(), "echo"))
    assert drafted.proposer is not None
    assert drafted.schema is schema
    drafted.shutdown()


def test_what_a_draft_model_has_of_a_device_counts_with_its_models_and_against_its_limit() -> None:
    def load(*buffers: DeviceBuffers) -> LoadedModel:
        model = EchoModel()
        model.spec = replace(model.spec, buffers=(DeviceBuffers(HOST, compute=5), *buffers))
        return LoadedModel(model, "echo")

    loaded = load(DeviceBuffers("CARD0", weights=100), DeviceBuffers("CARD1", kv=7))
    limits = LoadOptions(device_memory=(("CARD0", 130), ("CARD1", 4)))
    assert leave_to_draft(limits, loaded).device_memory == (("CARD0", 30), ("CARD1", 0))
    drafted = add_draft(loaded, "large", ARTIFACT, lambda *_: load(DeviceBuffers("CARD0", weights=20)))
    assert drafted.elsewhere == {"CARD0": 120, "CARD1": 7}
    assert drafted.promised == 10
    drafted.shutdown()
