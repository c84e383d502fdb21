"""Spans of a trace, out of what Jaeger's HTTP API says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Link:
    """Another span, of this trace or another one."""

    trace: str
    span: str


@dataclass(frozen=True)
class Span:
    """What was done, when (Unix seconds), by whom; `depth` is the number of spans around it."""

    id: str
    service: str
    operation: str
    start: float
    end: float
    depth: int
    tags: Mapping[str, Any]
    links: Sequence[Link]

    @property
    def outcome(self) -> str:
        """What became of the event; empty where that is not said."""
        return str(self.tags.get("activity_indexer.outcome", "")).replace("_", "-")


@dataclass(frozen=True)
class Trace:
    """Its spans, each below the one around it, the earlier ones first."""

    id: str
    spans: Sequence[Span]


def parse(found: Mapping[str, Any]) -> Trace:
    """A trace from the API's JSON."""
    raw = {span["spanID"]: span for span in found["spans"]}
    children: dict[str | None, list[str]] = {}
    for span_id, span in raw.items():
        around = next((ref["spanID"] for ref in span["references"] if ref["refType"] == "CHILD_OF"), None)
        children.setdefault(around if around in raw else None, []).append(span_id)
    services = {name: process["serviceName"] for name, process in found["processes"].items()}
    ordered = _ordered(None, children, raw)
    return Trace(found["traceID"], [_span(raw[span_id], depth, services) for span_id, depth in ordered])


def _ordered(
    around: str | None, children: Mapping[str | None, Sequence[str]], raw: Mapping[str, Any], depth: int = 0
) -> Iterator[tuple[str, int]]:
    for span_id in sorted(children.get(around, ()), key=lambda each: raw[each]["startTime"]):
        yield span_id, depth
        yield from _ordered(span_id, children, raw, depth + 1)


def _span(raw: Mapping[str, Any], depth: int, services: Mapping[str, str]) -> Span:
    start = raw["startTime"] / 1e6
    tags = {tag["key"]: tag["value"] for tag in raw["tags"]}
    links = [Link(ref["traceID"], ref["spanID"]) for ref in raw["references"] if ref["refType"] == "FOLLOWS_FROM"]
    service = services[raw["processID"]]
    return Span(raw["spanID"], service, raw["operationName"], start, start + raw["duration"] / 1e6, depth, tags, links)
