"""What `tui config` prints can be read back, tells where each setting comes from, and hides what is secret."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from core.contract.declared import Declared, list_fields
from core.settings.load import LoadedSettings, read_settings
from core.settings.profile import Profile, SamplingDefaults
from core.settings.schema import Settings
from tui.cli.commands import COMMANDS, WORKBENCH, build_parser
from tui.cli.config import (
    HIDDEN,
    WIDTH_COLUMNS,
    _values_in_words,
    format_lines,
    format_option_tables,
    map_options,
    print_settings,
    show_json,
)
from tui.cli.declarations import load_declarations

PATIENCE = 60.0

CONFIG = """
[server]
port = 9000
api_keys = ["hush"]
[models.qwen]
source = "~/qwen.gguf"
[models.qwen.sampling]
top_k = 5
[models."a b"]
"""


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSettings:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return read_settings(
        {"log": {"level": "debug"}, "bench": {"enabled": False}, "queue": {"max_queue": 5}},
        config_file=path,
        environment={"BENCHTOP_MODEL_THREADS": "3"},
    )


def text(loaded: LoadedSettings, *, secrets: bool = False) -> str:
    return "\n".join(line.plain for line in format_lines(loaded, secrets=secrets))


def told(loaded: LoadedSettings) -> dict[str, str]:
    """The comment behind each assignment; of several sections with a key of one name, the first one's."""
    found: dict[str, str] = {}
    for line in text(loaded).splitlines():
        left, _, origin = line.partition("  # ")
        if " = " in left or left.rstrip().endswith("="):
            found.setdefault(left.removeprefix("# ").split(" ")[0], origin)
    return found


def test_every_setting_is_printed_with_its_value_and_origin(loaded: LoadedSettings) -> None:
    origins = told(loaded)
    assert origins["port"] == "config file"
    assert origins["threads"] == "BENCHTOP_MODEL_THREADS"
    assert origins["max_queue"] == "--max-queue"
    assert origins["level"] == "--log-level"
    assert origins["max_body"] == "default"
    assert origins["memory_limit"] == "not set"
    assert origins["source"] == origins["top_k"] == "config file"
    for section, kind in get_type_hints(Settings).items():
        if section != "models":
            assert f"[{section}]" in text(loaded)
            assert set(kind.__struct_fields__) <= origins.keys()


def test_the_file_is_told_and_whether_it_is_there(loaded: LoadedSettings, tmp_path: Path) -> None:
    assert text(loaded).splitlines()[0] == f"# config file: {loaded.file}"
    missing = msgspec.structs.replace(loaded, present=False)
    assert text(missing).splitlines()[0] == f"# config file: {loaded.file} (not there)"


def test_names_of_models_are_quoted_where_toml_wants_it(loaded: LoadedSettings) -> None:
    for heading in ("[models.qwen]", "[models.qwen.sampling]", '[models."a b"]'):
        assert heading in text(loaded).splitlines()


def test_secrets_are_hidden_unless_asked_for(loaded: LoadedSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert "hush" not in text(loaded)
    (line,) = [line for line in text(loaded).splitlines() if "*" in line]
    assert line.split() == ["#", "api_keys", "=", f'"{HIDDEN}"', "#", "config", "file"]
    assert 'api_keys       = ["hush"]' in text(loaded, secrets=True)
    show_json(loaded, secrets=False)
    out = capsys.readouterr().out
    assert "hush" not in out
    assert json.loads(out)["settings"]["server"]["api_keys"]["value"] == HIDDEN
    show_json(loaded, secrets=True)
    assert json.loads(capsys.readouterr().out)["settings"]["server"]["api_keys"]["value"] == ["hush"]


def test_what_is_hidden_is_not_taken_for_the_key_when_read_back(loaded: LoadedSettings) -> None:
    assert "api_keys" not in msgspec.toml.decode(text(loaded))["server"]


def test_json_tells_values_and_origins(loaded: LoadedSettings, capsys: pytest.CaptureFixture[str]) -> None:
    show_json(loaded, secrets=False)
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == {"path": str(loaded.file), "present": True}
    found = document["settings"]
    assert found["server"]["port"] == {"value": 9000, "origin": "file", "where": str(loaded.file)}
    assert found["bench"]["enabled"] == {"value": False, "origin": "flag", "where": "--no-benchmark"}
    assert found["model"]["threads"] == {"value": 3, "origin": "environment", "where": "BENCHTOP_MODEL_THREADS"}
    assert found["ui"]["theme"] == {"value": "graphite", "origin": "default", "where": ""}
    assert found["models"]["qwen"]["sampling"]["top_k"]["value"] == 5
    assert found["models"]["a b"]["pin"]["value"] is False


def test_origins_stand_in_one_column_within_eighty(loaded: LoadedSettings) -> None:
    for block in text(loaded).split("\n\n")[1:]:
        rows = block.splitlines()[1:]
        assert all(len(row) <= WIDTH_COLUMNS for row in rows)
        assert len({row.index("  # ") for row in rows}) <= 1


def test_a_long_value_has_its_origin_above(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[models.m]\nsource = "{"x" * 90}"\nslots = 2\n')
    rows = text(read_settings(config_file=path, environment={})).splitlines()
    row = rows.index("# config file")
    assert rows[row + 1] == f'source = "{"x" * 90}"'
    assert rows[row + 2 : row + 4] == ["pin    = false  # default", "slots  = 2      # config file"]


def test_colours_are_for_terminals_that_want_them(loaded: LoadedSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def printed(*, terminal: bool) -> str:
        out = io.StringIO()
        out.isatty = lambda: terminal  # type: ignore[method-assign]
        with contextlib.redirect_stdout(out):
            print_settings(loaded, secrets=False)
        return out.getvalue()

    for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert printed(terminal=False) == text(loaded) + "\n"
    assert "\x1b[36m" in printed(terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in printed(terminal=True)


def test_every_option_that_is_a_setting_is_a_key_of_its_section() -> None:
    sections = get_type_hints(Settings)
    for name, option in map_options().items():
        section, _, key = name.partition(".")
        assert option.startswith("--")
        assert key in sections[section].__struct_fields__


def test_the_documentation_has_every_option_with_the_words_of_its_declaration() -> None:
    document = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    tables = "\n".join(format_option_tables()).split("\n\n")
    assert len(tables) == 2
    # Between blank lines a table is whole: no row is missing, and none is of something else.
    assert set(tables) <= set(document.split("\n\n"))


def test_every_setting_with_a_word_of_help_is_an_option_of_a_command() -> None:
    options = {name for command in (*COMMANDS, WORKBENCH) for name in build_parser(command).options()}
    assert [
        f"{section}.{each.name}"
        for section, fields in load_declarations().items()
        for each in fields
        if f"{section}.{each.name}" not in options
    ] == []


def test_the_documentation_has_every_setting_that_is_no_option() -> None:
    document = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    sections = {name: kind for name, kind in get_type_hints(Settings).items() if name != "models"}
    keys = [f"{name}.{each.name}" for name, kind in sections.items() for each in list_fields(kind) if not each.help]
    keys += [f"models.NAME.{each.name}" for each in list_fields(Profile) if not each.help]
    assert [key for key in keys if not re.search(rf"^\| `{re.escape(key)}` ", document, re.MULTILINE)] == []
    assert [name for name in SamplingDefaults.__struct_fields__ if f"`{name}`" not in document] == []


def test_an_option_that_says_no_is_told_in_its_own_words_and_not_in_those_of_its_key() -> None:
    rows = [row for row in format_option_tables() if row.startswith("| `--no-")]
    assert len(rows) == sum(option.startswith("--no-") for option in map_options().values())
    assert all(row.split(" | ")[-1].startswith("do not ") for row in rows)
    helped = " ".join(build_parser(WORKBENCH).format_help().split())
    assert all(row.split(" | ")[-1].removesuffix(" |") in helped for row in rows)


def test_a_number_without_bounds_is_told_as_one() -> None:
    assert _values_in_words(Declared("scale", float)) == "a number"
    assert _values_in_words(Declared("scale", float, most=2)) == "up to 2"


def test_every_option_that_is_a_setting_is_in_the_tables() -> None:
    tables = "\n".join(format_option_tables())
    assert [
        option for option in map_options().values() if not re.search(rf"^\| `{option}[ `]", tables, re.MULTILINE)
    ] == []


def test_a_programs_reader_gets_plain_text(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli.main", "config", "--port", "9000"],
        env=os.environ | {"BENCHTOP_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert "\x1b" not in done.stdout
    assert "# --port" in done.stdout
    assert msgspec.toml.decode(done.stdout)["server"]["port"] == 9000


TEXT = st.text(st.characters(codec="utf-8"), max_size=12).map(str.strip).filter(bool)
"""Empty strings are settings that were not given."""


def numbers(kind: type, bounds: list[Meta]) -> st.SearchStrategy[Any]:
    lowest = max((float(low) for each in bounds for low in (each.ge, each.gt) if low is not None), default=0)
    highest = min((float(each.le) for each in bounds if each.le is not None), default=10**9)
    if kind is int:
        return st.integers(int(lowest), int(highest))
    exclusive = any(each.gt is not None for each in bounds)
    return st.floats(lowest, highest, exclude_min=exclusive)


def anything(hint: Any, bounds: list[Meta] | None = None) -> st.SearchStrategy[Any]:
    """Values of a setting's type, within its bounds."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return anything(parts[0], [part for part in parts[1:] if isinstance(part, Meta)])
    if origin in (Union, UnionType):
        return st.one_of([anything(part) for part in parts])
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is tuple:
        return st.lists(anything(parts[0]), max_size=3).map(tuple)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(TEXT, anything(parts[1]), max_size=3)
    if issubclass(hint, Struct):
        return structures(hint)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    if hint in (int, float):
        return numbers(hint, bounds or [])
    return {bool: st.booleans(), str: TEXT, NoneType: st.none()}[hint]


def test_variables_of_a_template_are_shown_with_where_they_are_from(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[models.m.chat_template_kwargs]\ndate_string = "1 May"\n')
    rows = text(read_settings(config_file=path, environment={}))
    assert 'chat_template_kwargs = { date_string = "1 May" }  # config file' in rows


SAMPLES: dict[str, list[Any]] = {
    "rpc": [("box:50052",), ("a:1", "[::1]:2"), None],
    "chat_template": ["/a.jinja", "~/a.jinja", "rag", "{{ x }}", ("{{ x", " }}"), None],
    "chat_template_kwargs": [{"date_string": "1 May", "enable_thinking": False, "n": 1}, None],
}


def structures(kind: type[Struct]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind, include_extras=True)
    made = {key: anything(hint) for key, hint in hints.items()}
    for key in made.keys() & {"folders", "files", "loras"}:
        made[key] = st.lists(st.sampled_from(["/models/a", "~/models"])).map(tuple)
    for key in made.keys() & {"source", "draft"}:
        # What begins with a dot is a path as seen from the file.
        made[key] = made[key].filter(lambda name: not str(name).startswith("."))
    for key in made.keys() & SAMPLES.keys():
        made[key] = st.sampled_from(SAMPLES[key])
    for key in made.keys() & {"disk_folder", "folder"}:
        made[key] = st.sampled_from(["/kept", "~/kept", None])
    for key in made.keys() & {"memory_limit", "disk_size"}:
        made[key] = st.sampled_from(["12GB", "60%", None])
    if "allowed_hosts" in made:
        made["host"] = st.sampled_from(["127.0.0.1", "::1", "localhost", "*"])
        made["api_keys"] = st.lists(st.sampled_from(["k", 'it\'s a "key"'])).map(tuple)
        made["api_key_file"] = st.sampled_from(["/keys.toml", "~/keys.toml", None])
        made["allowed_hosts"] = st.lists(st.sampled_from(["llm.example.org", "BOX:1", "[::1]"])).map(tuple)
    if "cors_origins" in made:
        made["cors_origins"] = st.lists(st.sampled_from(["https://a.example", "http://[::1]:1", "null"])).map(tuple)
    if "open_metrics" in made:
        made["url"] = st.sampled_from(["http://127.0.0.1:4318", "https://otlp.example/otlp", None])
        made["key"] = st.sampled_from(["k", "x-team: 'a'", None])
    return st.builds(kind, **made)


@settings(max_examples=40, deadline=None)
@given(structures(Settings))
def test_settings_that_are_printed_and_read_back_are_the_same(tmp_path_factory: Any, wanted: Settings) -> None:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    printed = text(LoadedSettings(wanted, {}, path, True), secrets=True)
    path.write_bytes(printed.encode())
    assert read_settings(config_file=path, environment={}).settings == wanted
