"""Which engine takes a model, and what is said where none does."""

from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from core.contract.engine import Availability, Available, Unavailable
from core.contract.options import KvType, LoadOptions, LoadProgress, ignore_progress
from core.engines import registry
from core.engines.echo import ARTIFACT, EchoEngine, EchoModel
from core.engines.mlx.engine import choose_priority
from core.engines.registry import Engines
from core.errors import ArtifactError, EngineUnavailable
from core.hardware import describe_machine
from core.models.fit.sizing import choose_sizes, count_token_bytes
from core.plugins import Plugin

GGUF = Artifact("m", "gguf", Path("m.gguf"), 1)
WHISPER = Artifact("w", "ggml-whisper", Path("w.bin"), 1)


class Elsewhere(EchoEngine):
    name = "elsewhere"
    priority = 1
    formats = ("ggml-whisper",)

    def availability(self) -> Availability:
        return Unavailable("It runs on other machines.", "buy one")

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        raise AssertionError("never loaded")


def engines() -> Engines:
    return Engines(
        {
            "llamacpp": "core.engines.llamacpp.engine:LlamaCppEngine",
            "echo": "core.engines.echo:EchoEngine",
            "elsewhere": f"{__name__}:Elsewhere",
        }
    )


def test_the_first_available_engine_that_accepts_the_model_is_chosen() -> None:
    assert engines().choose(GGUF).name == "llamacpp"
    assert engines().choose(ARTIFACT).name == "echo"


def test_an_unavailable_engine_says_why_and_what_mends_it() -> None:
    with pytest.raises(EngineUnavailable, match=r"other machines\. Mend it with: buy one"):
        engines().choose(WHISPER)
    with pytest.raises(EngineUnavailable, match="elsewhere is not available"):
        engines().choose(GGUF, "elsewhere")


def test_an_engine_that_does_not_take_the_format_is_refused() -> None:
    with pytest.raises(ArtifactError, match="echo does not run gguf models"):
        engines().choose(GGUF, "echo")


def test_an_engine_nobody_knows_is_answered_with_those_there_are() -> None:
    with pytest.raises(EngineUnavailable, match="'vroom'; there are echo, elsewhere, llamacpp"):
        engines().choose(GGUF, "vroom")


def test_a_model_no_engine_takes_is_told_with_its_format() -> None:
    with pytest.raises(ArtifactError, match="ggml-whisper"):
        Engines({"echo": "core.engines.echo:EchoEngine"}).choose(WHISPER)


def test_reports_come_by_priority_with_reasons() -> None:
    reports = engines().reports()
    assert [report.name for report in reports] == ["elsewhere", "llamacpp", "echo"]
    assert (reports[0].available, reports[0].mend) == (False, "buy one")
    assert reports[2].version


def test_mlx_goes_first_on_the_machines_it_was_made_for_and_last_elsewhere() -> None:
    others = [engine.priority for engine in Engines() if engine.name not in ("mlx", "remote", "echo")]
    assert choose_priority(apple=True) < min(others)
    assert choose_priority(apple=False) > max(others)
    assert Engines().get("mlx").priority == choose_priority(apple=describe_machine().apple_silicon)
    assert next(engine.name for engine in Engines() if engine.name != "mlx") == "llamacpp"


def test_kv_bytes_follow_the_formula() -> None:
    assert count_token_bytes(24, 2, 64, 64, KvType.F16) == 24 * 2 * 128 * 2
    assert count_token_bytes(24, 2, 64, 64, KvType.Q8_0) == 24 * 2 * 128 * 34 // 32


def test_what_is_asked_for_is_taken_and_more_than_trained_is_noted() -> None:
    sizes = choose_sizes(LoadOptions(ctx_size=4096, slots=3), trained=2048, token_bytes=1000, available=10**9)
    assert (sizes.context, sizes.slots) == (4096, 3)
    assert "trained on 2048" in sizes.notes[0]
    assert sizes.cells >= 4096 + 2 * 2048


def test_defaults_fit_the_memory_and_a_smaller_context_is_never_silent() -> None:
    roomy = choose_sizes(LoadOptions(), trained=131072, token_bytes=1000, available=64 * 10**9)
    assert (roomy.context, roomy.slots) == (16384, 8)
    assert "16384 of the 131072" in roomy.notes[0]
    tight = choose_sizes(LoadOptions(), trained=2048, token_bytes=100_000, available=10**9)
    assert tight.cells * 100_000 <= 0.3 * 10**9
    assert tight.slots == 1
    assert choose_sizes(LoadOptions(), trained=2048, token_bytes=100, available=10**10).notes == ()


class Helper:
    """As a plugin brings it."""

    name = "helper"
    platform = "any"
    formats: tuple[object, ...] = ("gguf",)
    priority: object = 1

    def availability(self) -> object:
        return Available("1")

    def load(self) -> None:
        raise AssertionError("never loaded")


class Unsorted(Helper):
    name = "unsorted"
    priority = None


class Unsure(Helper):
    name = "unsure"

    def availability(self) -> object:
        raise ZeroDivisionError("oh")


class Silent(Helper):
    name = "silent"

    def availability(self) -> object:
        return True


class Half:
    name = "half"


def with_plugins(monkeypatch: pytest.MonkeyPatch, *classes: type) -> Engines:
    found = [Plugin(registry.GROUP, each.name, f"{__name__}:{each.__name__}", "shop 1.0") for each in classes]  # type: ignore[attr-defined]
    monkeypatch.setattr(registry, "list_plugins", lambda _: found)
    return Engines()


def test_a_plugins_engine_is_preferred_by_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_plugins(monkeypatch, Helper)
    assert found.choose(GGUF).name == "helper"
    assert found.takers()["gguf"][:2] == ("helper", "llamacpp")
    assert found.locate("helper") == f"{__name__}:Helper"
    assert [plugin.name for plugin in found.plugins] == ["helper"]


@pytest.mark.parametrize("broken", [Unsorted, Unsure, Silent, Half])
def test_a_broken_plugin_hinders_no_other_engine(monkeypatch: pytest.MonkeyPatch, broken: type) -> None:
    found = with_plugins(monkeypatch, broken)
    assert found.choose(GGUF).name == "llamacpp"
    assert broken.name not in [report.name for report in found.reports()]  # type: ignore[attr-defined]
    assert [error.plugin.name for error in found.find_broken()] == [broken.name]  # type: ignore[attr-defined]
    with pytest.raises(EngineUnavailable, match=r"of shop 1.0 is left out"):
        found.get(broken.name)  # type: ignore[attr-defined]
