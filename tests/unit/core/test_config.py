"""Settings come from four places, the later ones win, and what is wrong is named."""

from pathlib import Path

import pytest

from core.config import Settings, folders, load_settings
from core.engines.base import KvType
from core.errors import ConfigError


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


def test_a_value_equal_to_the_default_still_overrides_the_file(config: Path) -> None:
    assert load_settings(config_file=config, environment={"BENCHTOP_SERVER_PORT": "8080"}).server.port == 8080


def test_lists_in_the_environment_are_separated_by_commas() -> None:
    settings = load_settings(environment={"BENCHTOP_SERVER_CORS_ORIGINS": "https://a.example,https://b.example"})
    assert settings.server.cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[server]\nprot = 1\n", "prot"),
        ("[serve]\nport = 1\n", "serve"),
        ("[server]\nport = 99999\n", "server.port"),
        ('[server]\nport = "80"\n', "server.port"),
        ("[queue]\nqueue_timeout = nan\n", "queue.queue_timeout"),
        ("not toml", "is not TOML"),
    ],
    ids=["unknown key", "unknown section", "out of range", "wrong type", "nan", "no toml"],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=names) as error:
        load_settings(config_file=path, environment={})
    assert str(path) in str(error.value)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(config_file=tmp_path / "none.toml", environment={})


def test_an_unknown_variable_of_ours_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="BENCHTOP_SERVER_PROT"):
        load_settings(environment={"BENCHTOP_SERVER_PROT": "1"})


def test_a_wrong_value_in_the_environment_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"environment is wrong: server\.port"):
        load_settings(environment={"BENCHTOP_SERVER_PORT": "many"})


def test_one_variable_moves_all_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    where = folders()
    assert {where.config.parent, where.cache.parent, where.state.parent} == {tmp_path}
