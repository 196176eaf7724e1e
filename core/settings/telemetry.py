"""The section `[telemetry]`: who is told what happens here."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from msgspec import Meta, Struct

_NAMED: Final = re.compile(r"(?P<name>[A-Za-z0-9!#$%&'*+.^_`|~-]+): +(?P<value>\S.*)")
_SIGNALS: Final = ("/v1/traces", "/v1/metrics")


class TelemetrySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing is sent anywhere unless `url` is set."""

    metrics: Annotated[
        bool, Meta(description="tell what happens at /metrics, for Prometheus (true)", extra={"called": "--no-metrics"})
    ] = True
    open_metrics: Annotated[bool, Meta(description="answer /metrics to clients without a key (false)")] = False
    url: Annotated[
        str | None,
        Meta(
            description="send traces and metrics to this OpenTelemetry collector, by OTLP over HTTP (none)",
            extra={"called": "--telemetry-url", "value": "URL"},
        ),
    ] = None
    key: Annotated[
        str | None,
        Meta(
            description="its key, sent as `Authorization: Bearer`; another header is `NAME: VALUE` (none)",
            extra={"called": "--telemetry-key", "secret": True},
        ),
    ] = None

    @property
    def headers(self) -> dict[str, str]:
        """What goes with each message to the collector."""
        if self.key is None:
            return {}
        named = _NAMED.fullmatch(self.key)
        return {named["name"]: named["value"]} if named else {"Authorization": f"Bearer {self.key}"}


def parse_collector(text: str) -> str:
    """The address of a collector without what each signal adds to it: `http://host:4318`.

    Raises ValueError with a sentence for what is none.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not text.isprintable():
        raise ValueError(f"{text[:80]!r} is no address of a collector; write one as http://127.0.0.1:4318")
    if "@" in parts.netloc:
        raise ValueError("an address holds no key here; give it as telemetry.key, or by --telemetry-key")
    if parts.query or parts.fragment:
        raise ValueError(f"{text[:80]!r} has more than a path; write an address as http://127.0.0.1:4318")
    path = parts.path.rstrip("/")
    for signal in _SIGNALS:
        path = path.removesuffix(signal)
    return f"{parts.scheme}://{parts.netloc}{path.rstrip('/')}"
