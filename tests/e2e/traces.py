"""Traces as Jaeger has them, which the collector in the cluster sent there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from e2e.commands import port_forward
from e2e.kind import NAMESPACE, Cluster

COLLECTOR = f"http://otel-collector.{NAMESPACE}.svc:4318"


@dataclass(frozen=True)
class Span:
    """`links` are the trace ids that it refers to, its parent's left out."""

    name: str
    service: str
    links: frozenset[str]


@contextmanager
def jaeger(cluster: Cluster) -> Iterator[str]:
    """The address of the cluster's Jaeger."""
    with port_forward(cluster.within(NAMESPACE).command, "service/jaeger", 16686) as address:
        yield address


def spans(address: str, trace_id: str) -> list[Span]:
    """The spans of a trace, in the order of their beginnings; none as long as it was not reported."""
    try:
        with urlopen(f"{address}/api/traces/{trace_id}", timeout=10) as answer:
            [trace] = json.loads(answer.read())["data"]
    except HTTPError:
        return []
    services = {name: process["serviceName"] for name, process in trace["processes"].items()}
    ordered = sorted(trace["spans"], key=lambda span: int(span["startTime"]))
    return [Span(span["operationName"], services[span["processID"]], _links(span)) for span in ordered]


def _links(span: dict[str, Any]) -> frozenset[str]:
    return frozenset(each["traceID"] for each in span["references"] if each["refType"] == "FOLLOWS_FROM")
