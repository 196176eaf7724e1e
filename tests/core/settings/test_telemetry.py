"""The address of a collector, and the key that goes with it."""

from __future__ import annotations

import pytest

from core.errors import ConfigError
from core.settings.load import load_settings
from core.settings.telemetry import TelemetrySettings, parse_collector


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318"),
        ("https://otlp.example/otlp/v1/traces", "https://otlp.example/otlp"),
        ("http://[::1]:4318/v1/metrics/", "http://[::1]:4318"),
    ],
)
def test_an_address_may_name_a_signal_or_none(text: str, address: str) -> None:
    assert parse_collector(text) == address


@pytest.mark.parametrize(
    "text", ["127.0.0.1:4318", "ftp://host", "http://", "http://host:99999", "http://a:b@host", "http://host/?key=1"]
)
def test_what_is_no_address_of_a_collector_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"telemetry\.url: .*(4318|telemetry-key)"):
        load_settings({"telemetry": {"url": text}}, environment={})


@pytest.mark.parametrize("key", ["", "  ", "a\nb", "é"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=r"telemetry\.key"):
        load_settings({"telemetry": {"key": key}}, environment={})


def test_a_key_is_a_bearer_s_or_a_header_of_its_own() -> None:
    assert TelemetrySettings().headers == {}
    assert TelemetrySettings(key="abc:def").headers == {"Authorization": "Bearer abc:def"}
    assert TelemetrySettings(key="x-team: abc").headers == {"x-team": "abc"}
