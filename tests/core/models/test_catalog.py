"""The catalog: every entry is whole, and aliases lead where they should."""

from pathlib import Path
from tomllib import loads

import msgspec
import pytest

from core.models.catalog import FILE, Task, Width, decode_catalog, load_builtin_catalog
from core.names import Alias, HubName, parse_name

ASKED_FOR = (
    *("phi-4-mini", "llama-3.2-1b", "llama-3.2-3b", "llama-3.1-8b", "gemma-1b", "gemma-4b", "gemma-12b", "gemma-27b"),
    *("mistral-7b", "qwen-2.5-1.5b", "qwen-2.5-3b", "qwen-2.5-7b", "smollm-360m", "codellama-7b"),
    *("deepseek-r1:1.5b", "deepseek-r1:7b", "deepseek-r1:8b", "deepseek-r1:14b", "bge-small", "bge-m3"),
    *("whisper-tiny", "whisper-base", "whisper-small", "whisper-medium", "whisper-large-v3", "whisper-large-v3-turbo"),
)


def test_every_alias_that_is_promised_is_there() -> None:
    assert load_builtin_catalog().aliases >= set(ASKED_FOR)


@pytest.mark.parametrize("entry", list(load_builtin_catalog()), ids=lambda entry: entry.alias)
def test_an_entry_has_a_source_for_its_default_and_only_names_of_the_hub(entry) -> None:  # type: ignore[no-untyped-def]
    assert entry.sources()
    assert entry.alias == entry.alias.lower()
    assert parse_name(entry.alias, load_builtin_catalog().aliases) == Alias(entry.alias)
    for width in entry.variants:
        for source in entry.sources(width.value):
            assert isinstance(parse_name(str(source.name)), HubName)
    rows = loads(FILE.read_text())[entry.alias]
    names = [name for key in ("gguf", "mlx", "onnx", "mnn", "whisper") if (name := rows.get(key)) is not None]
    listed = [each for name in names for each in (name.values() if isinstance(name, dict) else [name])]
    assert all(isinstance(parse_name(each), HubName) for each in listed)
    assert len(listed) == len(set(listed))


def test_a_variant_leads_to_the_repository_or_the_label_that_has_it() -> None:
    entry = load_builtin_catalog().find("gemma-4b:8bit")
    assert entry is not None
    by_format = {source.format: source.name for source in entry.sources("8bit")}
    assert by_format["gguf"].label == "8bit"
    assert by_format["mlx"].repo.endswith("-8bit")
    assert entry.sources("8BIT")[0].name.label == "8BIT"
    (only,) = entry.sources("Q6_K")
    assert (only.format, only.name.label) == ("gguf", "Q6_K")


def test_whisper_is_a_file_of_one_repository() -> None:
    entry = load_builtin_catalog().find("whisper-base")
    assert entry is not None
    assert (entry.task, entry.default) == (Task.SPEECH, Width.HALF)
    assert str(entry.sources()[0].name) == "ggerganov/whisper.cpp/ggml-base.bin"
    assert entry.sources("8bit")[0].name.file == "ggml-base-q8_0.bin"


@pytest.mark.parametrize(
    ("text", "near"),
    [("phi4-mini", "phi-4-mini"), ("giude", "guide"), ("deepseek-r1", "deepseek-r1:7b"), ("Gemma-4b-it", "gemma-4b")],
)
def test_the_nearest_names_are_suggested(text: str, near: str) -> None:
    assert near in load_builtin_catalog().nearest(text, ("guide",))
    assert not load_builtin_catalog().nearest("zzzzzzzz")


@pytest.mark.parametrize(
    "text",
    [
        '[a]\ntitle = "A"\nparameters = 1\nlicence = "mit"\nggfu = "o/r"\n',
        '[a]\ntitle = "A"\nparameters = 0\nlicence = "mit"\n',
        '[a]\ntitle = "A"\nparameters = 1\nlicence = "mit"\nmlx = { 5bit = "o/r" }\n',
        '[a]\ntitle = "A"\nparameters = 1\nlicence = "mit"\ntask = "painting"\n',
    ],
    ids=["unknown key", "no parameters", "unknown width", "unknown task"],
)
def test_a_file_with_a_mistake_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_catalog(text)


def test_the_file_is_part_of_the_package() -> None:
    assert Path(__file__).parents[3] / "core" / "models" / "catalog.toml" == FILE
