"""Sends messages by OTLP over HTTP. Imports httpx, so it is imported by the thread that sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import httpx

from core.foreign_text import make_printable
from core.hosts import is_loopback
from core.observing.otlp.delivery import Delivery

CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 10.0
WORTH_ANOTHER_TRY: Final = frozenset({408, 429, 502, 503, 504})
"""Statuses; the protocol's specification lists all but the first."""
MOST_PROBLEM_CHARACTERS: Final = 200


class Sender:
    """Belongs to one thread."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        # A proxy that is asked for a loopback address would look for the collector on its own machine.
        proxied = not is_loopback(httpx.URL(url).host)
        typed = {**headers, "content-type": "application/x-protobuf"}
        self._client = httpx.Client(timeout=timeout, headers=typed, trust_env=proxied)
        self.problem = ""
        """Why the last message that was not taken was not."""
        self.retry_after = 0.0
        """Seconds that the collector asked to be left alone, with its last answer."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self, signal: str, body: bytes) -> Delivery:
        """`signal`: traces or metrics."""
        self.retry_after = 0.0
        try:
            # Nothing of the answer's body is read: it may have no end.
            with self._client.stream("POST", f"{self._url}/v1/{signal}", content=body) as reply:
                status, told = reply.status_code, reply.headers.get("retry-after", "")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            self.problem = make_printable(str(error) or type(error).__name__)[:MOST_PROBLEM_CHARACTERS]
            return Delivery.LATER
        if httpx.codes.is_success(status):
            return Delivery.TAKEN
        self.problem = f"it answers {signal} with status {status}"
        if status not in WORTH_ANOTHER_TRY:
            return Delivery.REFUSED
        self.retry_after = float(told) if told.isascii() and told.isdigit() and len(told) < len("10000") else 0.0
        return Delivery.LATER
