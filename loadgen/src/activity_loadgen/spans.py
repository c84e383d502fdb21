"""Spans of the published events, by OTLP, where the standard OTEL_ variables name a collector."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Protocol

from aiokafka.structs import RecordMetadata

from activity_common.otlp_variables import export_is_on
from activity_common.threads import in_thread
from activity_common.trace_context import SAMPLED, trace_context
from activity_loadgen.generate import Event

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

SERVICE: Final = "activity-loadgen"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
STOP_SECONDS: Final = 5.0
EXPORTERS: Final = ("", "otlp", "none")
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class SpanSettingError(ValueError):
    """A setting of the spans cannot work; the message names the variable."""


class Spans(Protocol):
    """Called for every event that is acknowledged."""

    def sent(self, event: Event, record: RecordMetadata, started: int, ended: int) -> None:
        """An event was sent and acknowledged at these times (nanoseconds since the epoch)."""

    async def stop(self) -> None:
        """Send what is left, for a moment."""


def spans_from(environment: Mapping[str, str]) -> Spans | None:
    """Spans as the OTEL_ variables want them; without an endpoint None, and then nothing is imported.

    Raises:
        SpanSettingError: naming the variable, what it wants and what it got.
    """
    disabled, exporter = environment.get("OTEL_SDK_DISABLED", ""), environment.get("OTEL_TRACES_EXPORTER", "")
    if disabled.lower() != "true" and exporter not in EXPORTERS:
        raise SpanSettingError(f"OTEL_TRACES_EXPORTER: expected otlp or none, got {exporter!r}")
    if not export_is_on(exporter, _first(environment, ENDPOINTS), disabled=disabled):
        return None
    protocol = _first(environment, PROTOCOLS) or "http/protobuf"
    if protocol != "http/protobuf":
        raise SpanSettingError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL: the load generator speaks http/protobuf only (port 4318), got {protocol!r}"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - where wanted
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create({"service.version": version("activity-indexer")})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": SERVICE}))
    return _Exported(BatchSpanProcessor(OTLPSpanExporter()), resource)


class _Exported:
    """Makes each span when it is over, with the ids that the event's header has carried away already."""

    def __init__(self, processor: "SpanProcessor", resource: "Resource") -> None:
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415 - where wanted

        self._processor = processor
        self._resource = resource
        self._scope = InstrumentationScope("activity_loadgen", version("activity-indexer"), SCHEMA_URL)

    def sent(self, event: Event, record: RecordMetadata, started: int, ended: int) -> None:
        header = trace_context(event.headers)
        if header is None or not header.sampled:
            return
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 - where wanted
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags  # noqa: PLC0415

        trace_id, span_id = int(header.trace_id, 16), int(header.span_id, 16)
        context = SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(SAMPLED))
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "activity_loadgen.event.kind": event.kind,
        }
        span = ReadableSpan(
            f"send {record.topic}",
            context,
            resource=self._resource,
            attributes=attributes,
            kind=SpanKind.PRODUCER,
            start_time=started,
            end_time=ended,
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)

    async def stop(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await in_thread("spans.stop", self._processor.shutdown)


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")
