"""Tells an OpenTelemetry collector of requests, from a thread of its own that nobody waits for.

What the collector does not take in time is dropped and counted: it can neither hold up a token nor fill the memory.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from msgspec import Struct

from core.observing.labels import ModelLabels
from core.observing.otlp.delivery import Delivery
from core.observing.otlp.facts import RequestFacts, extract_facts
from core.observing.otlp.histograms import count_request
from core.observing.tally import Tally
from core.serving.report import RequestReport
from core.telemetry.log import get_logger
from core.version import read_version

if TYPE_CHECKING:
    from core.observing.otlp.sender import Sender
    from core.observing.otlp.wire import OtlpWriter

MOST_WAITING_REQUESTS: Final = 2_048
"""Requests that wait to be told of; those that come then are dropped."""
MOST_SPANS: Final = 512
"""Of one message."""
CLOSE_SECONDS: Final = 1.0
"""That the end of the workbench may wait for what is still to be told."""
log = get_logger(__name__)


class ExportPace(Struct, frozen=True):
    """Seconds."""

    spans: float = 2.0
    """Between two messages, where fewer spans wait than one holds."""
    metrics: float = 15.0
    first_pause: float = 1.0
    """After a failure; twice as long after each that follows."""
    longest_pause: float = 60.0


class TelemetryExporter:
    """An observer of requests, on the event loop. `close` ends it, from any thread."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        find_served: Callable[[str], str | None],
        pace: ExportPace = ExportPace(),
    ) -> None:
        """`url`: of the collector, without `/v1/traces`; `headers` go with each message; `find_served`: as
        `ModelLabels` has it."""
        self._url = url
        self._headers = headers
        self._models = ModelLabels(find_served)
        self._pace = pace
        self._waiting: deque[RequestFacts] = deque()
        self._tally = Tally()
        self._counting = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._dropping = threading.Lock()
        self.dropped = 0
        """Requests that the collector was not told of."""
        self._troubled = False
        """Whether the log says already that the collector lags."""

    def note_end(self, report: RequestReport) -> None:
        if self._stop.is_set():
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
            self._thread.start()
        facts = extract_facts(report, self._models.find_label(report.model))
        with self._counting:
            count_request(self._tally, facts)
        if facts.parent is not None and not facts.parent.sampled:
            return
        if len(self._waiting) >= MOST_WAITING_REQUESTS:
            self._drop(1, "it takes less than there is to tell")
            return
        self._waiting.append(facts)
        if len(self._waiting) >= MOST_SPANS:
            self._wake.set()

    def close(self) -> None:
        """Tell what is still to be told, for CLOSE_SECONDS at most. Idempotent."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _drop(self, requests: int, why: str) -> None:
        with self._dropping:
            self.dropped += requests
        self._note_trouble(why)

    def _note_trouble(self, why: str) -> None:
        if not self._troubled:
            self._troubled = True
            log.warning("the telemetry collector lags; what it does not take is dropped", url=self._url, why=why)

    def _note_success(self) -> None:
        if self._troubled:
            self._troubled = False
            log.info("the telemetry collector takes what it is told", url=self._url, dropped=self.dropped)

    # On the thread.

    def _run(self) -> None:
        try:
            from core.observing.otlp.sender import Sender
            from core.observing.otlp.wire import OtlpWriter

            with Sender(self._url, self._headers) as sender:
                self._serve(sender, OtlpWriter(read_version(), str(uuid4()), time.time()))
        except Exception:
            # The edge of the thread: requests go on without being told of.
            log.exception("telling the telemetry collector ended")

    def _serve(self, sender: Sender, wire: OtlpWriter) -> None:
        pace, failures, next_metrics = self._pace, 0, time.monotonic() + self._pace.metrics
        batch: SpanBatch | None = None
        while True:
            if failures:
                pause = max(sender.retry_after, pace.first_pause * 2 ** (failures - 1))
                self._stop.wait(min(pace.longest_pause, pause))
            else:
                self._wake.wait(pace.spans)
            self._wake.clear()
            stopping = self._stop.is_set()
            if stopping and failures:
                return
            delivery: Delivery | None = None
            while delivery is not Delivery.LATER and (batch := batch or self._take(wire)) is not None:
                delivery = sender.send("traces", batch.body)
                if delivery is Delivery.REFUSED:
                    self._drop(batch.requests, sender.problem)
                batch = batch if delivery is Delivery.LATER else None
            if delivery is not Delivery.LATER and (stopping or time.monotonic() >= next_metrics):
                next_metrics = time.monotonic() + pace.metrics
                delivery = sender.send("metrics", self._write_metrics(wire))
            failures = failures + 1 if delivery is Delivery.LATER else 0
            if delivery is Delivery.TAKEN:
                self._note_success()
            elif delivery is not None:
                self._note_trouble(sender.problem)
            if stopping:
                return

    def _take(self, wire: OtlpWriter) -> SpanBatch | None:
        """The next message of spans; None where nothing waits."""
        facts = [self._waiting.popleft() for _ in range(min(MOST_SPANS, len(self._waiting)))]
        return SpanBatch(len(facts), wire.write_spans(facts)) if facts else None

    def _write_metrics(self, wire: OtlpWriter) -> bytes:
        with self._counting:
            readings = [*self._tally.read_all()]
        return wire.write_metrics(readings, self.dropped, time.time())


class SpanBatch(Struct, frozen=True):
    requests: int
    body: bytes
    """Written once, so that a span that is sent again is the same span."""
