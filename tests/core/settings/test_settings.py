"""Settings come from four places, the later ones win, and what is wrong is named."""

import os
import re
from pathlib import Path
from typing import get_type_hints

import pytest

from core.contract.declared import list_fields
from core.contract.options import KvType, LoadOptions, Lora
from core.errors import ConfigError
from core.settings.environment import name_variable
from core.settings.load import SHARED, load_settings, read_settings
from core.settings.merge import DEFAULT, Origin, OriginKind
from core.settings.profile import Profile
from core.settings.schema import ServerSettings, Settings, find_folders
from core.wrong_values import list_structs


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text('[server]\nport = 9000\nhost = "::1"\n[model]\nkv_type = "q8_0"\n')
    return path


def test_without_any_source_the_defaults_stand() -> None:
    assert load_settings(environment={}) == Settings()


def test_flags_beat_environment_beats_file_beats_defaults(config: Path) -> None:
    environment = {"BENCHTOP_SERVER_PORT": "9001", "BENCHTOP_QUEUE_MAX_QUEUE": "5"}
    settings = load_settings(
        {"queue": {"max_queue": 7, "queue_timeout": None}}, config_file=config, environment=environment
    )
    assert settings.server.host == "::1"
    assert settings.server.port == 9001
    assert settings.queue.max_queue == 7
    assert settings.queue.queue_timeout == 60.0
    assert settings.model.kv_type is KvType.Q8_0


def test_a_chat_template_may_be_a_path_a_name_a_text_or_a_list_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        """[model]
chat_template = "./mine.jinja"
[models.one]
chat_template = "tool_use"
[models.two]
chat_template = '{% for m in messages %}{{ m.content }}./{% endfor %}'
[models.three]
chat_template = ["{{ bos_token }}\\n", "  {{ messages }} "]
"""
    )
    settings = load_settings(config_file=path, environment={})
    assert settings.model.chat_template == str(tmp_path / "mine.jinja")
    said = [settings.models[name].chat_template for name in ("one", "two", "three")]
    assert said == [
        "tool_use",
        "{% for m in messages %}{{ m.content }}./{% endfor %}",
        ("{{ bos_token }}\n", "  {{ messages }} "),
    ]
    # Commas divide the variables of lists, and not a text that might be one.
    jinja = "{{ messages[0].content, 1 }}"
    assert load_settings(environment={"BENCHTOP_MODEL_CHAT_TEMPLATE": jinja}).model.chat_template == jinja


def test_paths_in_the_file_are_seen_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(tmp_path.anchor))
    elsewhere = str(tmp_path.parent / "elsewhere")
    path = tmp_path / "config.toml"
    path.write_text(
        f"""[cache]
disk_folder = "prefixes"
[library]
folders = ["models", "~/models", '{elsewhere}']
[model]
loras = ["a.gguf"]
[models.one]
source = "./one.gguf"
draft = "../small.gguf"
loras = [{{ path = "b.gguf", scale = 0.5 }}]
[models.two]
source = "two.gguf"
draft = "prompt-lookup"
"""
    )
    settings = load_settings(config_file=path, environment={"BENCHTOP_MODEL_DRAFT": "one"})
    assert settings.cache.disk_folder == str(tmp_path / "prefixes")
    assert settings.library.folders == (str(tmp_path / "models"), "~/models", elsewhere)
    assert settings.model.loras == (str(tmp_path / "a.gguf"),)
    assert settings.models["one"].source == str(tmp_path / "one.gguf")
    assert settings.models["one"].loras == (Lora(str(tmp_path / "b.gguf"), 0.5),)
    # The name of a file in a folder of the library is no path.
    assert settings.models["two"].source == "two.gguf"
    said = load_settings({"cache": {"disk_folder": "here"}}, config_file=path, environment={})
    assert said.cache.disk_folder == "here"
    assert said.models["one"].draft == str(tmp_path / "../small.gguf")
    assert said.models["two"].draft == "prompt-lookup"


def test_a_value_equal_to_the_default_still_overrides_the_file(config: Path) -> None:
    assert load_settings(config_file=config, environment={"BENCHTOP_SERVER_PORT": "8080"}).server.port == 8080


def test_batch_and_micro_batch_are_left_to_measuring_unless_somebody_sets_them(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[models.one]\nmicro_batch = 128\n[models.two]\nbatch = 1024\n")
    settings = load_settings(config_file=path, environment={})
    assert (settings.model.batch, settings.model.micro_batch) == (None, None)
    asked = LoadOptions().overlaid_with(settings.model)
    options = [asked.overlaid_with(profile) for profile in settings.models.values()]
    sizes = [(each.batch, each.micro_batch) for each in options]
    assert sizes == [(None, 128), (1024, None)]
    for_all = load_settings(config_file=path, environment={"BENCHTOP_MODEL_MICRO_BATCH": "256"})
    assert for_all.model.micro_batch == 256
    assert for_all.models["one"].micro_batch is None
    with pytest.raises(ConfigError, match=r"micro_batch: 8 is too small; at least 32"):
        load_settings(config_file=path, environment={"BENCHTOP_MODEL_MICRO_BATCH": "8"})


def test_names_for_the_host_header_are_whole_names_and_no_patterns_or_addresses() -> None:
    given = {"BENCHTOP_SERVER_ALLOWED_HOSTS": "llm.example.org, box:8443, [fd00::1]"}
    assert load_settings(environment=given).server.allowed_hosts == ("llm.example.org", "box:8443", "[fd00::1]")
    for wrong in ("*", "*.example.org", "https://box", "box/path", "fd00::1"):
        with pytest.raises(ConfigError, match=r"server.allowed_hosts"):
            load_settings(environment={"BENCHTOP_SERVER_ALLOWED_HOSTS": wrong})


def test_origins_are_as_browsers_send_them_and_others_are_refused_with_what_was_meant() -> None:
    fine = ("https://app.example", "http://127.0.0.1:5173", "http://[::1]:3000", "app://obsidian.md", "null", "*")
    assert load_settings({"server": {"cors_origins": list(fine)}}, environment={}).server.cors_origins == fine
    meant = {
        "foo": "https://app.example",
        "": "https://app.example",
        "https://*.example": "https://app.example",
        "https://a:b": "https://app.example",
        "https://own.example/path": "https://own.example",
        "https://own.example/": "https://own.example",
        "https://Own.example:443": "https://own.example",
        "own.example": "https://own.example",
        "http://me@own.example:8080?q": "http://own.example:8080",
    }
    for wrong, right in meant.items():
        with pytest.raises(ConfigError, match=r"server\.cors_origins") as error:
            load_settings({"server": {"cors_origins": ["https://fine.example", wrong]}}, environment={})
        assert f"{wrong!r} is no origin as browsers send it; write {right}:" in str(error.value)


def test_lists_in_the_environment_are_separated_by_commas() -> None:
    settings = load_settings(environment={"BENCHTOP_SERVER_CORS_ORIGINS": "https://a.example,https://b.example"})
    assert settings.server.cors_origins == ("https://a.example", "https://b.example")


def test_each_setting_knows_where_it_came_from(config: Path) -> None:
    loaded = read_settings(
        {"queue": {"max_queue": 7, "queue_timeout": None}},
        config_file=config,
        environment={"BENCHTOP_SERVER_PORT": "9001"},
    )
    assert loaded.origin(("server", "host")) == Origin(OriginKind.FILE, str(config))
    assert loaded.origin(("server", "port")) == Origin(OriginKind.ENVIRONMENT, "BENCHTOP_SERVER_PORT")
    assert loaded.origin(("queue", "max_queue")) == Origin(OriginKind.FLAG)
    assert loaded.origin(("queue", "queue_timeout")) == DEFAULT
    assert (loaded.file, loaded.present) == (config, True)


def test_a_default_file_that_is_not_there_is_told_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    loaded = read_settings(environment={})
    assert (loaded.file, loaded.present) == (tmp_path / "config" / "config.toml", False)


MODELS = """
[models.qwen]
source = "~/qwen.gguf"
ctx_size = 4096
slots = 2
[models.qwen.sampling]
temperature = 0.5
[models."a b.gguf"]
"""


def test_models_are_tables_and_the_first_one_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(MODELS)
    settings = load_settings(config_file=path, environment={})
    assert list(settings.models) == ["qwen", "a b.gguf"]
    assert settings.models["qwen"].sampling.temperature == 0.5
    assert settings.default_model == "qwen"
    assert settings.source("qwen") == "~/qwen.gguf"
    assert settings.source("a b.gguf") == "a b.gguf"
    assert settings.source("guide") == "guide"


def test_models_named_by_flags_go_first_and_keep_what_the_file_says_of_them(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(MODELS)
    settings = load_settings({"models": {"guide": {}, "a b.gguf": {}}}, config_file=path, environment={})
    assert list(settings.models) == ["guide", "a b.gguf", "qwen"]
    assert settings.models["qwen"].ctx_size == 4096


def test_a_flag_for_all_models_beats_what_the_file_says_of_one(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(MODELS)
    settings = load_settings({"model": {"slots": 8}}, config_file=path, environment={})
    assert settings.models["qwen"].slots is None
    assert settings.models["qwen"].ctx_size == 4096


def test_what_models_share_with_all_models_are_settings_of_both() -> None:
    sections = get_type_hints(Settings)
    for key, (section, name) in SHARED.items():
        assert key in Profile.__struct_fields__
        assert name in sections[section].__struct_fields__


MISTAKES = {
    "unknown key": ("[server]\nprot = 1\n", r"server\.prot is unknown; did you mean port\?"),
    "unlike any key": ("[log]\nzzz = 1\n", r"log\.zzz is unknown; there are level\."),
    "unknown section": ("[serve]\nport = 1\n", r"serve is unknown; did you mean server\?"),
    "out of range": ("[server]\nport = 99999\n", r"server\.port: 99999 is too large; at most 65535\."),
    "wrong type": ('[server]\nport = "80"\n', r"server\.port: expected a whole number, got a text\."),
    "no section": ("server = 3\n", r"server: expected an object, got a whole number\."),
    "nan": ("[queue]\nqueue_timeout = nan\n", r"queue\.queue_timeout: nan is no number; more than 0\."),
    "not above": ("[bench]\nbudget = 0\n", r"bench\.budget: 0 is too small; more than 0\."),
    "type of cache": (
        '[model]\nkv_type = "q9"\n',
        r"model\.kv_type: 'q9' is none of f16, bf16, f32, q8_0, q4_0, f16/q8_0, ",
    ),
    "model's type of cache": ('[models.q]\nkv_type = "q9"\n', r"models\.q\.kv_type: 'q9' is none of f16, bf16"),
    "no toml": ("not toml", "is not TOML"),
    "model's key": ("[models.qwen]\nctx_sice = 1\n", r"models\.qwen\.ctx_sice is unknown; did you mean ctx_size\?"),
    "model's range": ("[models.qwen]\nctx_size = 1\n", r"models\.qwen\.ctx_size: 1 is too small; at least 16\."),
    "sampling's key": (
        "[models.qwen.sampling]\ntemprature = 1\n",
        r"models\.qwen\.sampling\.temprature is unknown; did you mean temperature\?",
    ),
    "a template's own variable": (
        "[models.q]\nchat_template_kwargs = { messages = 1 }\n",
        r"models\.q: .*may not set messages, which the server sets itself",
    ),
    "sampling's range": (
        "[models.q.sampling]\ntop_p = 2\n",
        r"models\.q\.sampling\.top_p: 2 is too large; at most 1\.",
    ),
    "no model's table": ("[models]\nqwen = 1\n", r"models\.qwen: expected an object, got a whole number\."),
    "no tables of models": ('models = ["qwen"]\n', r"models: expected an object, got a list\."),
    "nameless model": ('[models.""]\n', r"models has an entry without a name; give it one\."),
    "size": ('[pool]\nmemory_limit = "much"\n', r"pool\.memory_limit: 'much' is no size; write it as 12GB"),
    "server of devices": (
        '[models.qwen]\nrpc = ["box", "box:x"]\n',
        r"models\.qwen\.rpc: 'box:x' is no address of an RPC server; write HOST:PORT\.",
    ),
    "strategy": (
        '[route]\nstrategy = "best"\n',
        r"route\.strategy: 'best' is none of complexity, cheapest-that-fits, round-robin\.",
    ),
}


@pytest.mark.parametrize(("text", "names"), MISTAKES.values(), ids=MISTAKES)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=names) as error:
        load_settings(config_file=path, environment={})
    assert str(path) in str(error.value)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(config_file=tmp_path / "none.toml", environment={})


def test_an_unknown_variable_of_ours_is_refused_by_name_with_the_nearest_one() -> None:
    with pytest.raises(
        ConfigError, match=r"BENCHTOP_SERVER_PROT names no setting; did you mean BENCHTOP_SERVER_PORT\?"
    ):
        load_settings(environment={"BENCHTOP_SERVER_PROT": "1"})


@pytest.mark.parametrize("variable", ["BENCHTOP_MODELS", "BENCHTOP_MODELS_QWEN_SLOTS"])
def test_models_in_the_environment_are_refused_and_their_place_is_told(variable: str) -> None:
    with pytest.raises(ConfigError, match=rf"as {variable} would; write a table \[models\.NAME\] in the config file"):
        load_settings(environment={variable: "1"})


def test_every_setting_of_every_section_can_stand_in_the_environment() -> None:
    defaults = Settings()
    given: dict[str, str] = {}
    for section, kind in get_type_hints(Settings).items():
        if section != "models":
            for key in kind.__struct_fields__:
                value = getattr(getattr(defaults, section), key)
                text = ",".join(value) if isinstance(value, tuple) else str(getattr(value, "value", value))
                if value is not None:
                    given[f"BENCHTOP_{section}_{key}".upper()] = text
    assert load_settings(environment=given) == defaults


def test_a_wrong_value_in_the_environment_names_the_key() -> None:
    for value, says in (("many", ""), ("70000", ": 70000 is too large; at most 65535.")):
        with pytest.raises(ConfigError, match=rf"environment is wrong: server\.port{says}"):
            load_settings(environment={"BENCHTOP_SERVER_PORT": value})


def test_one_variable_moves_all_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    where = find_folders()
    assert {where.config.parent, where.cache.parent, where.state.parent} == {tmp_path}


def test_what_is_called_a_key_or_a_password_is_marked_as_secret() -> None:
    words = {"key", "keys", "token", "password", "secret"}
    for section in get_type_hints(Settings).values():
        for kind in list_structs(section):
            for each in list_fields(kind):
                # Where a file of keys stands is none.
                meant = bool(words & set(each.name.split("_"))) and not each.local
                assert each.secret == meant, f"{section}.{each.name}"


@pytest.mark.parametrize("limit", ["12GB", "8GiB", "60%", "1000000000"])
def test_sizes_are_kept_as_they_were_written(limit: str) -> None:
    assert load_settings({"pool": {"memory_limit": limit}}, environment={}).pool.memory_limit == limit


EMPTY = ["", " ", "\r", '""', "''"]


@pytest.mark.parametrize("empty", EMPTY)
def test_an_empty_variable_is_one_that_was_not_given_for_every_setting(empty: str) -> None:
    given = {
        name_variable((section, key)): empty
        for section, kind in get_type_hints(Settings).items()
        if section != "models"
        for key in kind.__struct_fields__
    }
    loaded = read_settings(environment={**given, "BENCHTOP_UNKNOWN": empty})
    assert loaded.settings == Settings()
    assert loaded.origins == {}


def test_an_empty_variable_leaves_the_file_alone(config: Path) -> None:
    given = {"BENCHTOP_SERVER_HOST": "", "BENCHTOP_SERVER_PORT": " ", "BENCHTOP_SERVER_CORS_ORIGINS": " , "}
    settings = load_settings(config_file=config, environment=given)
    assert (settings.server.host, settings.server.port) == ("::1", 9000)


def test_quotes_and_line_ends_of_env_files_are_no_part_of_a_value() -> None:
    given = {"BENCHTOP_SERVER_PORT": '"8081"\r', "BENCHTOP_SERVER_HOST": "'[::1]'", "BENCHTOP_BENCH_ENABLED": '"false"'}
    settings = load_settings(environment=given)
    assert (settings.server.port, settings.server.host, settings.bench.enabled) == (8081, "::1", False)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("BENCHTOP_SERVER_PORT", "abc", "server.port: 'abc' is no whole number"),
        ("BENCHTOP_QUEUE_QUEUE_TIMEOUT", "soon", "queue.queue_timeout: 'soon' is no number"),
        ("BENCHTOP_ROUTE_AUTO", "maybe", "route.auto: 'maybe' is neither true nor false"),
        ("BENCHTOP_SERVER_HOST", "http://x", "server.host: 'http://x' is a URL"),
        ("BENCHTOP_POOL_MEMORY_LIMIT", "much", "pool.memory_limit"),
        ("BENCHTOP_MODEL_KV_TYPE", "q9", "model.kv_type: 'q9' is none of"),
        ("BENCHTOP_SERVER_CORS_ORIGINS", "foo", "server.cors_origins"),
    ],
)
def test_what_is_wrong_in_the_environment_names_the_variable(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_settings(environment={"BENCHTOP_SERVER_API_KEYS": "k", variable: value})
    assert said in str(error.value)
    assert f"Correct {variable}, or unset it." in str(error.value)


@pytest.mark.parametrize("key", ["a\nb", "\x1b[2J", "\udcff"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="server.api_keys: it holds characters that no header can carry") as error:
        load_settings(environment={"BENCHTOP_SERVER_API_KEYS": key})
    assert key not in str(error.value)


def test_empty_strings_in_the_file_are_settings_that_were_not_given(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[server]\nhost = ""\napi_keys = [" "]\ncors_origins = ["", "https://a.example"]\n'
        '[pool]\nmemory_limit = ""\n[model]\nengine = ""\ndraft = ""\n[library]\nfolders = [""]\n'
        '[models.qwen]\nsource = ""\nengine = " "\nloras = [""]\n[ui]\ntheme = ""\n'
    )
    loaded = read_settings(config_file=path, environment={})
    settings = loaded.settings
    assert settings.server == ServerSettings(cors_origins=("https://a.example",))
    assert (settings.pool, settings.model, settings.library, settings.ui) == (
        *(Settings().pool, Settings().model, Settings().library, Settings().ui),
    )
    assert settings.models == {"qwen": Profile()}
    assert ("server", "host") not in loaded.origins


def test_an_empty_setting_that_does_not_exist_is_refused_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[server]\nhots = ""\n')
    with pytest.raises(ConfigError, match=r"server\.hots is unknown; did you mean host"):
        load_settings(config_file=path, environment={})


def test_the_mark_that_editors_put_before_a_file_and_its_line_ends_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[server]\r\nport = 9000\r\n")
    assert load_settings(config_file=path, environment={}).server.port == 9000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_in_another_encoding_is_told_with_the_mend(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes("[server]".encode(encoding))
    with pytest.raises(ConfigError, match=r"is not UTF-8 but UTF-16 or the like; save it as UTF-8\."):
        load_settings(config_file=path, environment={})


def test_a_json_file_is_to_be_imported_first(tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    path.write_text('{"server": {"port": 9000}}')
    with pytest.raises(ConfigError, match=rf"is JSON; `tui config import {re.escape(str(path))}` writes it as TOML"):
        load_settings(config_file=path, environment={})


def test_a_byte_of_another_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'[server]\nhost = "b\xfccher"\n')
    with pytest.raises(ConfigError, match=r"it is not UTF-8: line 2 holds the byte 0xfc; save it as UTF-8\."):
        load_settings(config_file=path, environment={})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in this file system")
def test_a_pipe_or_a_folder_in_place_of_the_file_is_told_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read: "):
            load_settings(config_file=path, environment={})
