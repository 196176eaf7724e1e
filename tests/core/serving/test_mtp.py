"""Models that guess ahead with heads of their own, by the settings and through the whole workbench."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from core.contract.models import Marks, PredictsAhead, Trims
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.events import Reply
from core.requests import Generation, RawTokens, Sampling
from core.serving.draft_model import NO_HEADS
from core.settings.model import ModelSettings
from core.settings.profile import Profile
from core.settings.schema import BenchSettings, ProbeSettings, Settings
from core.snapshots import ModelSnapshot
from core.workbench import Workbench
from tests.fakes.architectures import FORESEEING, write, write_foreseeing
from tests.fakes.guessing import guess_always
from tests.fakes.support import folders_in

PROMPT = tuple(300 + place * 31 % 1500 for place in range(150))
BOTH = "prompt-lookup, mtp"


@pytest.fixture(autouse=True)
def guesses_whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    guess_always(monkeypatch)


@asynccontextmanager
async def bench(tmp_path: Path, path: Path, draft: str | None, *, probe: bool = False) -> AsyncIterator[Workbench]:
    model = ModelSettings(engine="llamacpp", ctx_size=512, slots=3, threads=1, batch_threads=1, extra_buffers=False)
    settings = Settings(
        models={"m": Profile(source=str(path), draft=draft)},
        model=model,
        bench=BenchSettings(enabled=False),
        probe=ProbeSettings(enabled=probe),
    )
    workbench = Workbench(settings, folders_in(tmp_path))
    try:
        await workbench.models.load("m")
        yield workbench
    finally:
        await workbench.close()


async def ask(workbench: Workbench, prompt: tuple[int, ...], n: int = 1) -> Reply:
    """Choices that run side by side."""
    asked = Generation("m", RawTokens(prompt), sampling=Sampling(temperature=0.0), max_tokens=30, ignore_eos=True, n=n)
    return await (await workbench.requests.submit(asked)).reply()


async def answers(workbench: Workbench, n: int = 2) -> tuple[list[str], ModelSnapshot]:
    """Their texts, and how the model stands then."""
    reply = await ask(workbench, PROMPT, n)
    (model,) = workbench.snapshot().models
    return [choice.text for choice in reply.choices], model


@pytest.mark.parametrize("family", FORESEEING)
async def test_the_heads_guess_and_the_answer_is_the_same(family: str, tmp_path: Path) -> None:
    path = write_foreseeing(family, tmp_path)
    async with bench(tmp_path, path, "none") as workbench:
        expected, model = await answers(workbench)
        assert model.draft is None
    async with bench(tmp_path, path, "mtp") as workbench:
        for _ in range(2):
            # The second time its prompt is reused, and the heads go on behind it.
            texts, model = await answers(workbench)
            assert texts == expected
    assert model.draft is not None
    assert (model.draft.by, model.draft.problem) == ("mtp", "")
    assert 0 < model.draft.kept < model.draft.guessed
    assert [each.guessed for each in model.draft.positions] == sorted(
        (each.guessed for each in model.draft.positions), reverse=True
    )
    assert len(model.draft.positions) <= 4


@pytest.mark.parametrize(("family", "by"), [("glm4moe", BOTH), ("mimo2", BOTH), ("qwen35", None)])
async def test_without_a_word_heads_guess_beside_the_lookup_save_those_of_hybrids(
    family: str, by: str | None, tmp_path: Path
) -> None:
    path = write_foreseeing(family, tmp_path)
    async with bench(tmp_path, path, None) as workbench:
        _, model = await answers(workbench)
    assert (model.draft.by if model.draft else None) == by
    assert not any("ahead" in note for note in model.notes)


@pytest.mark.parametrize("family", FORESEEING)
async def test_the_next_turn_goes_on_from_what_was_stored_with_its_heads(family: str, tmp_path: Path) -> None:
    path, second = write_foreseeing(family, tmp_path), (*PROMPT, *PROMPT[:40])
    async with bench(tmp_path / "plain", path, "none") as workbench:
        expected = (await ask(workbench, second)).choices[0].text
    async with bench(tmp_path, path, "mtp") as workbench:
        await ask(workbench, PROMPT)
    # After a restart it is the disk that has it.
    async with bench(tmp_path, path, "mtp") as workbench:
        for _ in range(2):
            reply = await ask(workbench, second)
            assert reply.usage.cached_tokens >= 128
            assert reply.choices[0].text == expected
        (model,) = workbench.snapshot().models
    assert model.draft is not None
    assert 0 < model.draft.kept < model.draft.guessed
    # A model without heads does not take what was stored with some.
    async with bench(tmp_path, path, "none") as workbench:
        reply = await ask(workbench, second)
        assert (reply.usage.cached_tokens, reply.choices[0].text) == (0, expected)


async def test_a_model_without_heads_looks_up_instead_and_says_so(tmp_path: Path) -> None:
    path = write("qwen3", tmp_path)
    async with bench(tmp_path, path, "mtp") as workbench:
        (model,) = workbench.snapshot().models
    assert NO_HEADS in model.notes
    assert model.draft is not None
    assert model.draft.by == "prompt-lookup"


async def test_heads_are_not_loaded_where_something_else_is_to_guess(tmp_path: Path) -> None:
    path = write_foreseeing("glm4moe", tmp_path)
    sizes = {}
    for draft in ("prompt-lookup", "mtp"):
        async with bench(tmp_path, path, draft) as workbench:
            (model,) = workbench.snapshot().models
            member = workbench.models._pool.find("m")
            assert member is not None
            sizes[draft] = (model.kv_bytes_per_token, workbench.models._factory.expect(member, 2**34).size)
    assert sizes["prompt-lookup"] < sizes["mtp"]


async def test_a_trial_run_tries_the_heads_before_they_serve(tmp_path: Path) -> None:
    path = write_foreseeing("glm4moe", tmp_path)
    async with bench(tmp_path, path, "mtp", probe=True) as workbench:
        _, model = await answers(workbench, n=1)
    assert model.draft is not None
    assert model.draft.kept > 0


def test_safer_settings_leave_the_heads_out_before_threads() -> None:
    engine, options = LlamaCppEngine(), LoadOptions(mtp=True)
    steps = []
    while (safer := engine.safer(options)) is not None:
        options = safer
        steps.append((options.repacks, options.mtp, options.threads))
    assert steps == [(False, True, None), (False, False, None), (False, False, 1)]


def test_a_model_with_heads_can_be_cut_as_one_without(tmp_path: Path) -> None:
    for family, kind in (("glm4moe", Trims), ("qwen35", Marks)):
        path = write_foreseeing(family, tmp_path)
        options = LoadOptions(ctx_size=256, slots=1, batch=32, mtp=True, threads=1)
        model = LlamaCppEngine().load(Artifact(family, "gguf", path, path.stat().st_size), options)
        assert isinstance(model, PredictsAhead)
        assert isinstance(model, kind)
        model.shutdown()
