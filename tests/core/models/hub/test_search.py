"""Looking for models at a Hub on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import HubError
from core.models.hub.endpoint import HubAccess
from core.models.hub.hub import Hub
from core.models.hub.search import Filters, Sort, read_parameters
from tests.fakes.hub import Fault, LoopbackHub

GGUF = {"a-Q4_0.gguf": b"x"}
FOLDER = {"config.json": b"{}", "model.safetensors": b"x"}


@pytest.fixture
def loopback() -> Iterator[LoopbackHub]:
    with LoopbackHub(page_size=3) as hub:
        hub.add("maker/Alpha-7B-GGUF", GGUF, tags=("gguf",), downloads=500, likes=9, gguf={"total": 7_200_000_000})
        hub.add("maker/Beta-1.5B", FOLDER, tags=("safetensors",), downloads=900, licence="mit", library="mlx")
        hub.add("maker/Gamma-135M-GGUF", GGUF, tags=("gguf",), downloads=50, likes=30, gated=True)
        hub.add("other/Delta", GGUF, tags=("gguf",), downloads=40, updated="2026-05-01T00:00:00.000Z")
        hub.add("other/whisper", {"ggml-tiny.bin": b"x"}, task="automatic-speech-recognition", downloads=30)
        yield hub


@pytest.fixture
def hub(loopback: LoopbackHub, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path, HubAccess(loopback.url, tmp_path))
    yield hub
    hub.close()


def names(hub: Hub, words: str = "", filters: Filters = Filters()) -> list[str]:
    return [found.id.rpartition("/")[2] for found in hub.search(words, filters).found]


def test_words_find_names(hub: Hub) -> None:
    (found,) = hub.search("alpha").found
    assert (found.id, found.task, found.formats) == ("maker/Alpha-7B-GGUF", "text-generation", ("gguf",))
    assert (found.parameters, found.licence, found.downloads, found.likes) == (7_200_000_000, "apache-2.0", 500, 9)
    assert found.updated is not None
    assert not found.gated


def test_what_is_downloaded_most_comes_first_and_further_pages_are_asked_for(hub: Hub) -> None:
    assert names(hub) == ["Beta-1.5B", "Alpha-7B-GGUF", "Gamma-135M-GGUF", "Delta", "whisper"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(format="mlx"), ["Beta-1.5B"]),
        (Filters(format="ggml-whisper"), ["whisper"]),
        (Filters(format="gguf", open_only=True), ["Alpha-7B-GGUF", "Delta"]),
        (Filters(task="automatic-speech-recognition"), ["whisper"]),
        (Filters(licence="mit"), ["Beta-1.5B"]),
        (Filters(owner="other"), ["Delta", "whisper"]),
        (Filters(most_parameters=2_000_000_000), ["Beta-1.5B", "Gamma-135M-GGUF"]),
        (Filters(least_downloads=500), ["Beta-1.5B", "Alpha-7B-GGUF"]),
        (Filters(least_likes=9), ["Alpha-7B-GGUF", "Gamma-135M-GGUF"]),
    ],
)
def test_everything_found_passes_the_filters(filters: Filters, expected: list[str], hub: Hub) -> None:
    assert names(hub, "", filters) == expected


def test_the_order_can_be_chosen(hub: Hub) -> None:
    assert names(hub, "", Filters(sort=Sort.LIKES))[0] == "Gamma-135M-GGUF"
    assert names(hub, "", Filters(sort=Sort.UPDATED))[0] == "Delta"


def test_what_follows_a_full_page_can_be_had(hub: Hub) -> None:
    first = hub.search("", Filters(limit=2))
    assert [found.downloads for found in first.found] == [900, 500]
    second = hub.search("", Filters(limit=2), first.more)
    assert [found.downloads for found in second.found] == [50, 40]


def test_a_next_page_at_another_host_is_not_asked_for(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.faults.append(Fault("/api/models", headers={"Link": '<http://elsewhere.invalid/x>; rel="next"'}))
    assert hub.search("", Filters(limit=3)).more is None


def test_an_answer_that_is_no_list_is_named(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.faults.append(Fault("/api/models", corrupt=True))
    with pytest.raises(HubError, match="cannot be understood"):
        hub.search("x")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen3-8B-GGUF", 8e9),
        ("x/Mixtral-8x7B-Instruct", 56e9),
        ("x/SmolLM2-135M", 135e6),
        ("x/Qwen2.5-0.5B", 0.5e9),
        ("7b/unknown", None),
    ],
)
def test_names_tell_how_many_parameters_there_are(name: str, parameters: float | None) -> None:
    assert read_parameters(name) == parameters
