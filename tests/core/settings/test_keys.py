"""Which keys the settings and their file tell of."""

import hashlib
import os
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.requests import Priority
from core.settings.keys import KeyLimits, digest_key, list_keys, read_key_file
from core.settings.load import load_settings
from core.settings.schema import ServerSettings

SECRET = "sesame-1234"


def write(path: Path, text: str) -> Path:
    file = path / "keys.toml"
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_keys_of_the_settings_may_do_anything_and_are_named_in_their_order() -> None:
    first, second = list_keys(ServerSettings(api_keys=("one", "two", "one")))
    assert [key.caller.name for key in (first, second)] == ["key 1", "key 2"]
    assert first.caller.admin
    assert first.limits == KeyLimits()
    assert first.caller.tenant != second.caller.tenant


def test_a_file_tells_names_rights_and_limits_by_key_or_by_digest(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"two").hexdigest()
    file = write(
        tmp_path,
        f"""
        [alice]
        key = " {SECRET} "
        priority = "batch"
        models = ["echo", "qwen*"]
        requests_per_minute = 60
        tokens_per_minute = 1000
        tokens_per_day = 20000
        requests_at_once = 2
        [bob]
        sha256 = "{digest.upper()}"
        admin = true
        """,
    )
    alice, bob = read_key_file(file)
    assert alice.digest == digest_key(SECRET.encode())
    assert alice.limits == KeyLimits(60, 1000, 20000, 2)
    caller = alice.caller
    assert (caller.name, caller.most_urgent, caller.models) == ("alice", Priority.BATCH, ("echo", "qwen*"))
    assert not caller.admin
    assert bob.digest == digest_key(b"two")
    assert bob.caller.admin
    assert SECRET not in repr((alice, bob))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no key"),
        (f'alice = "{SECRET}"', r"alice is no table; write \[alice\]"),
        ("[alice]", "alice needs one of `key` and `sha256`"),
        (f'[alice]\nkey = "{SECRET}"\nsha256 = "{"0" * 64}"', "alice needs one of"),
        (f'[alice]\nsha256 = "{SECRET}"', r"alice\.sha256 is not the 64 hexadecimal digits"),
        ('[alice]\nkey = " "', r"alice\.key: it is empty"),
        (f'[alice]\nkey = "{SECRET}\\u0007"', r"alice\.key: it holds characters that no header can carry"),
        ("[alice]\nkey = 7", r"alice\.key is no text"),
        (f'[alice]\nkye = "{SECRET}"', r"alice\.kye is unknown; did you mean key\?"),
        (f'[alice]\nkey = "{SECRET}"\nrequests_per_minute = 0', r"alice\.requests_per_minute"),
        (f'[alice]\nkey = "{SECRET}"\npriority = "first"', r"alice\.priority"),
        (f'["a b"]\nkey = "{SECRET}"', "'a b' is no name of a key"),
        (f'[alice]\nkey = "{SECRET}"\n[bob]\nkey = "{SECRET}"', "bob has the same key as alice"),
        (f'[alice]\nkey = "{SECRET}', "is not TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_without_any_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        list_keys(ServerSettings(api_key_file=str(write(tmp_path, text))))
    assert SECRET not in str(caught.value)


def test_a_key_that_stands_in_the_file_and_the_settings_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, f'[alice]\nkey = "{SECRET}"')
    with pytest.raises(ConfigError, match="alice has the same key as key 1"):
        list_keys(ServerSettings(api_keys=(SECRET,), api_key_file=str(file)))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The file of API keys .*keys\.toml cannot be read"):
        list_keys(ServerSettings(api_key_file=str(tmp_path / "keys.toml")))


@pytest.mark.skipif(os.name != "posix", reason="only POSIX tells by bits who may read a file")
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o604, True)])
def test_others_who_may_read_the_file_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    file = write(tmp_path, f'[alice]\nkey = "{SECRET}"')
    file.chmod(mode)
    list_keys(ServerSettings(api_key_file=str(file)))
    assert ("chmod 600" in caplog.text) is warned
    assert SECRET not in caplog.text


def test_several_keys_come_from_the_environment_divided_by_commas() -> None:
    settings = load_settings(environment={"BENCHTOP_SERVER_API_KEYS": "one, two"})
    assert settings.server.api_keys == ("one", "two")


def test_a_file_of_keys_that_the_config_file_names_is_seen_from_there(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[server]\napi_key_file = "keys.toml"')
    assert load_settings(config_file=config, environment={}).server.api_key_file == str(tmp_path / "keys.toml")
