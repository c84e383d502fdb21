"""Receivers of OTLP over HTTP and gRPC, as a collector is one: they keep what they were sent, from the protobufs."""

import gzip
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

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


@contextmanager
def receiving_grpc(credentials: grpc.ServerCredentials | None = None) -> Iterator[Receiver]:
    """A receiver by gRPC on a free port of loopback, with TLS where there are credentials."""
    server = grpc.server(ThreadPoolExecutor(2))
    at = "localhost:0"
    port = server.add_secure_port(at, credentials) if credentials else server.add_insecure_port(at)
    receiver = Receiver(f"{'https' if credentials else 'http'}://localhost:{port}")
    answers = {
        "opentelemetry.proto.collector.trace.v1.TraceService": _taker(
            receiver, "/v1/traces", ExportTraceServiceResponse().SerializeToString()
        ),
        "opentelemetry.proto.collector.metrics.v1.MetricsService": _taker(
            receiver, "/v1/metrics", ExportMetricsServiceResponse().SerializeToString()
        ),
    }
    for service, answer in answers.items():
        handler = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
    server.start()
    try:
        yield receiver
    finally:
        server.stop(0).wait()


def _taker(receiver: Receiver, path: str, answer: bytes) -> Callable[[bytes, Any], bytes]:
    def take(body: bytes, _: Any) -> bytes:
        receiver.take(path, body)
        return answer

    return take


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
