"""A collector of OpenTelemetry's on loopback, which takes spans and metrics, refuses them, or never answers."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """`spans` and `metrics` are what it was told so far, of metrics the last of each name."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}
        self.resource: dict[str, object] = {}
        self.keys: list[str | None] = []
        """The Authorization header of each message."""
        self.messages = 0
        self.status = 200
        """What it answers; nothing is taken with another."""
        self.going_on = threading.Event()
        """Until it is set, nothing is answered."""
        self.going_on.set()
        self.asked = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.keys.append(self.headers["authorization"])
                collector.messages += 1
                collector.asked.set()
                collector.going_on.wait()
                if collector.status == 200:
                    collector.take(self.path, body)
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            traces = ExportTraceServiceRequest.FromString(body)
            for told in traces.resource_spans:
                self.resource = read_attributes(told.resource.attributes)
                self.spans.extend(span for scope in told.scope_spans for span in scope.spans)
        else:
            assert path == "/v1/metrics"
            metrics = ExportMetricsServiceRequest.FromString(body)
            for each in metrics.resource_metrics:
                self.metrics |= {metric.name: metric for scope in each.scope_metrics for metric in scope.metrics}

    def close(self) -> None:
        self.going_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def read_attributes(attributes: Iterable[KeyValue]) -> dict[str, object]:
    """By name; lists as tuples."""
    return {each.key: _read_value(each.value) for each in attributes}


def _read_value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_read_value(each) for each in value.array_value.values)
    return getattr(value, kind) if kind else None


@contextmanager
def run_collector() -> Iterator[Collector]:
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()
