"""A load option is declared once: whatever is declared is a key, a variable, an option, and reaches the engines."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
import pytest
from msgspec import Meta, Struct

from core.contract.declared import Declared, list_fields
from core.contract.options import KvType, LayerWord, LoadOptions, LoadSettings, Lora
from core.errors import ConfigError
from core.settings.load import read_settings
from core.settings.model import ModelSettings
from core.settings.profile import Profile
from core.settings.schema import Settings
from tui.cli.arguments import Misunderstood
from tui.cli.commands import WORKBENCH, build_parser
from tui.cli.config import format_lines
from tui.cli.declarations import SourceModule, load_declarations

FIELDS = list_fields(LoadSettings)
IDS = [each.name for each in FIELDS]


def value_for(field: Declared) -> tuple[object, str, list[str]]:
    """A value that is not the default: as TOML has it, in its text, and as words of a command line."""
    if field.choices:
        return field.choices[-1], f'"{field.choices[-1]}"', [field.option, field.choices[-1]]
    if field.numbers:
        return [3.0, 1.5], "[3, 1.5]", [field.option, "3,1.5"]
    if field.kind is tuple:
        return ["~/a.gguf"], '["~/a.gguf"]', [field.option, "~/a.gguf"]
    if field.kind is bool:
        return False, "false", [f"--no-{field.option.removeprefix('--')}"]
    if field.kind is str:
        return "words", '"words"', [field.option, "words"]
    number = field.kind(field.least or 1)
    return number, str(number), [field.option, str(number)]


def taken(settings: Struct, field: Declared) -> object:
    value = getattr(settings, field.name)
    value = list(value) if isinstance(value, tuple) else value
    return value.value if isinstance(value, Enum) else value


@pytest.mark.parametrize("field", FIELDS, ids=IDS)
def test_every_load_option_is_a_key_a_variable_and_an_option(tmp_path: Path, field: Declared) -> None:
    value, text, words = value_for(field)
    path = tmp_path / "config.toml"
    path.write_text(f"[model]\n{field.name} = {text}\n[models.m]\n{field.name} = {text}\n")
    from_file = read_settings(config_file=path, environment={}).settings
    assert taken(from_file.model, field) == taken(from_file.models["m"], field) == value
    path.write_text("")
    variable = {f"BENCHTOP_MODEL_{field.name}".upper(): text.strip('[]"')}
    assert taken(read_settings(config_file=path, environment=variable).settings.model, field) == value
    flags = build_parser(WORKBENCH).parse(words).flags()
    told = read_settings(flags, config_file=path, environment={})
    assert taken(told.settings.model, field) == value
    shown = "\n".join(line.plain for line in format_lines(told, secrets=True))
    assert f"# {field.option}" in shown
    assert taken(LoadOptions().overlaid_with(told.settings.model), field) == value


@pytest.mark.parametrize("field", FIELDS, ids=IDS)
def test_what_one_model_says_wins_and_what_it_leaves_open_does_not(field: Declared) -> None:
    value = value_for(field)[0]
    given: dict[str, Any] = {field.name: tuple(value) if isinstance(value, list) else value}
    said = LoadOptions().overlaid_with(Profile(**given))
    assert taken(said, field) == value
    assert said.overlaid_with(Profile()) == said


@pytest.mark.parametrize("field", [each for each in FIELDS if each.most is not None], ids=lambda each: each.name)
def test_a_load_option_out_of_its_bounds_is_refused_by_name(tmp_path: Path, field: Declared) -> None:
    path = tmp_path / "config.toml"
    assert field.most is not None
    for section in ("model", "models.m"):
        path.write_text(f"[{section}]\n{field.name} = {int(field.most) + 1}\n")
        with pytest.raises(ConfigError, match=rf"{section}\.{field.name}: .* is too large; at most {field.most}\."):
            read_settings(config_file=path, environment={})


def test_every_load_option_has_a_phrase_of_help() -> None:
    assert [each.name for each in list_fields(ModelSettings) if not each.help] == []


def test_the_source_of_the_declaration_tells_what_the_structs_tell() -> None:
    sections = {section: kind for section, kind in get_type_hints(Settings).items() if section != "models"}
    told = {
        section: [each._replace(least=None, most=None) for each in list_fields(kind) if each.help]
        for section, kind in sections.items()
    }
    assert load_declarations() == told


class Further(ModelSettings, frozen=True):
    """What a further option looks like."""

    draughts: Annotated[
        Annotated[int, Meta(ge=2, le=9)] | None, Meta(description="how often (3)", extra={"llama_cpp": "n_draughts"})
    ] = None


def test_a_further_option_is_found_with_its_bounds_and_help() -> None:
    first, *others = list_fields(Further)
    assert first == Declared("draughts", int, help="how often (3)", least=2, most=9, llama_cpp="n_draughts")
    assert others == list_fields(ModelSettings)
    read, *inherited = SourceModule(Path(__file__).read_text()).declared("Further")
    assert read == first._replace(least=None, most=None)
    assert inherited == load_declarations()["model"]


def test_paths_of_adapters_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    options = LoadOptions(loras=("~/a.gguf", Lora("b.gguf", 0.5)))
    assert options.adapters == (Lora(str(tmp_path / "a.gguf")), Lora("b.gguf", 0.5))


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--kv-quant", "8"], KvType.Q8_0),
        (["--kv-quant", "4"], KvType.Q4_0),
        (["--kv-quant", "0"], KvType.F16),
        (["--kv-type", "q8_0/q4_0"], KvType.Q8_0_Q4_0),
    ],
    ids=str,
)
def test_bits_and_pairs_are_kv_types(tmp_path: Path, words: list[str], meant: KvType) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[models.m]\nkv_type = "{words[1]}"\n')
    assert read_settings(config_file=path, environment={}).settings.models["m"].kv_type is meant
    flags = build_parser(WORKBENCH).parse(words).flags()
    assert read_settings(flags, config_file=path, environment={}).settings.model.kv_type is meant
    named = read_settings(config_file=path, environment={"BENCHTOP_MODEL_KV_TYPE": words[1]}).settings
    assert named.model.kv_type is meant


@pytest.mark.parametrize("bits", [0, 4, 8])
def test_bits_may_be_written_as_numbers(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"[model]\nkv_type = {bits}\n[models.m]\nkv_type = {bits}\n")
    settings = read_settings(config_file=path, environment={}).settings
    said = msgspec.json.decode(f'{{"kv_type": {bits}}}'.encode(), type=LoadSettings)
    assert {settings.model.kv_type, settings.models["m"].kv_type, said.kv_type} == {KvType(str(bits))}


def test_a_number_that_is_no_number_of_bits_is_refused_with_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[model]\nkv_type = 5\n")
    with pytest.raises(ConfigError, match=r"model\.kv_type: 5 is none of f16, .*, 0, 4, 8"):
        read_settings(config_file=path, environment={})


@pytest.mark.parametrize("option", ["--gpu-layers", "--cpu-moe"])
@pytest.mark.parametrize(("word", "meant"), [("auto", LayerWord.AUTO), ("all", LayerWord.ALL), ("0", 0), ("12", 12)])
def test_layers_are_a_number_or_a_word(tmp_path: Path, option: str, word: str, meant: LayerWord | int) -> None:
    name = option.removeprefix("--").replace("-", "_")
    path = tmp_path / "config.toml"
    path.write_text(f"[models.m]\n{name} = {word if word.isdigit() else repr(word)}\n")
    flags = build_parser(WORKBENCH).parse([option, word]).flags()
    told = read_settings(flags, config_file=path, environment={f"BENCHTOP_MODEL_{name.upper()}": word}).settings
    assert getattr(told.model, name) == meant
    assert getattr(read_settings(config_file=path, environment={}).settings.models["m"], name) == meant


def test_layers_that_are_neither_are_refused_with_the_words_there_are() -> None:
    with pytest.raises(Misunderstood, match=r"'most' is no whole number, nor auto, nor all"):
        build_parser(WORKBENCH).parse(["--gpu-layers", "most"])


def test_shares_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Misunderstood, match=r"'x' is no number"):
        build_parser(WORKBENCH).parse(["--tensor-split", "1,x"])
    path = tmp_path / "config.toml"
    path.touch()
    flags = build_parser(WORKBENCH).parse(["--tensor-split", "nan,1"]).flags()
    with pytest.raises(ConfigError, match=r"model\.tensor_split\[0\]: nan is no number; at least 0"):
        read_settings(flags, config_file=path, environment={})
