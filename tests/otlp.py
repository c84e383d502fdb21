"""A receiver of OTLP over HTTP, as a collector is one: it keeps what it was sent, decoded from the protobufs."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


@dataclass(frozen=True)
class Link:
    trace_id: str
    span_id: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Span:
    """A span as it came; ids are hexadecimal, times are in nanoseconds."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    links: list[Link]
    start: int
    end: int
    failed: bool
    service: str
    schema: str

    def contains(self, other: "Span") -> bool:
        return self.start <= other.start and other.end <= self.end


@dataclass
class Receiver:
    """What was received so far; while `status` is another than 200, nothing is taken."""

    address: str
    spans: list[Span] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200

    def named(self, name: str, **attributes: Any) -> list[Span]:
        return [
            each for each in list(self.spans) if each.name == name and attributes.items() <= each.attributes.items()
        ]

    def of_trace(self, trace_id: str) -> list[Span]:
        """The spans of one trace, by their start."""
        return sorted((each for each in list(self.spans) if each.trace_id == trace_id), key=lambda each: each.start)

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self._take_spans(resource)
        else:
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.resources.append(_values(resource.resource.attributes))
                self.metrics.append({each.name: each for scope in resource.scope_metrics for each in scope.metrics})

    def _take_spans(self, resource: Any) -> None:
        told = _values(resource.resource.attributes)
        self.resources.append(told)
        for scope in resource.scope_spans:
            self.spans += [_span(each, told["service.name"], scope.schema_url) for each in scope.spans]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if receiver.status == 200:
                receiver.take(self.path, body)
            self.send_response(receiver.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _span(span: Any, service: str, schema: str) -> Span:
    links = [Link(each.trace_id.hex(), each.span_id.hex(), _values(each.attributes)) for each in span.links]
    return Span(
        span.name,
        KINDS[span.kind],
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _values(span.attributes),
        links,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        service,
        schema,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
