"""docker-compose.yml with the profile `tracing`: a real collector, and Jaeger, which is asked by trace id."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from e2e import elasticsearch
from e2e.commands import eventually, missing_image
from e2e.compose import Compose

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

IMAGES = ("otel/opentelemetry-collector-contrib:0.155.0", "jaegertracing/jaeger:2.13.0")
SENT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel-collector:4318"}


@pytest.fixture(scope="module")
def started(compose: Compose) -> Compose:
    """The project with collector and Jaeger, and a consumer that sends to them."""
    if reason := missing_image(*IMAGES):
        pytest.skip(reason)
    up = ("--profile", "tracing", "up", "--detach", "--wait", "--wait-timeout", "240")
    compose(*up, timeout=300, variables=SENT)
    return compose


def ask(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.loads(answer.read())


def operations(compose: Compose, trace_id: str) -> dict[str, str]:
    """Service by operation, of all spans that Jaeger has of a trace."""
    found = ask(f"{compose.address('JAEGER_PORT')}/api/traces/{trace_id}")["data"][0]
    services = {name: process["serviceName"] for name, process in found["processes"].items()}
    return {span["operationName"]: services[span["processID"]] for span in found["spans"]}


def test_a_published_event_is_found_by_its_trace_id_from_its_producer_to_the_index(started: Compose) -> None:
    publish = ("python", "publish_test_data_to_kafka.py", "--count", "5", "--update-ratio", "0", "--trace-ratio", "1")
    started("--profile", "publish-data", "run", "--rm", "publish_test_data", *publish, variables=SENT)
    address = started.address("ELASTICSEARCH_PORT")
    eventually(lambda: elasticsearch.count(address, "user_id:test_user_123") == 5, "5 documents")
    trace_id = elasticsearch.search(address, "user_id:test_user_123", size=1)[0]["_trace_id"]

    wanted = {"send transactions": "activity-loadgen", "process transactions": "activity-indexer"}
    eventually(lambda: operations(started, trace_id) == wanted, f"both services in trace {trace_id}")


def test_the_indexers_metrics_arrive_by_otlp(started: Compose) -> None:
    def reported() -> bool:
        with urllib.request.urlopen(f"{started.address('OTLP_METRICS_PORT')}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return any(
            line.startswith("activity_indexer_events_total{") and line.endswith(" 5") for line in text.splitlines()
        )

    eventually(reported, "activity_indexer_events_total is 5 at the collector")
