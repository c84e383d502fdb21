"""The operator's own metrics for Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from activity_indexer_operator.kube.objects import Key

PREFIX: Final = "activity_indexer_operator"
LABELS: Final = ("namespace", "name")
GAUGES: Final = {
    "partitions": "Partitions of the topic.",
    "desired_replicas": "Replicas that the indexer is to have.",
    "replicas": "Replicas that the workload has.",
    "ready_replicas": "Replicas that are ready.",
    "scaling_limited": "1 while the maximum or the partitions keep replicas below what the policy asks for.",
    "lag_events": "Events that the group has not committed.",
    "hidden_events": "Events that an open transaction hides; the lag counts them, too.",
    "lost_events": "Events that were removed before the group had read them, as offsets show now.",
    "dead_letters": "Events that wait in the dead-letter topic.",
    "produced_events_per_second": "Events that are published, as last measured.",
    "capacity_events_per_second": "Events that one replica settles when it has enough to do, as last measured.",
}


class Metrics:
    """Counters of passes and requests, and gauges of each ActivityIndexer."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._passes = Histogram(
            f"{PREFIX}_reconcile_seconds", "Time of a pass over one object.", ("kind", "outcome"),
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 30), registry=self.registry,
        )  # fmt: skip
        self._requests = Counter(
            f"{PREFIX}_api_requests", "Requests to the API server.", ("verb", "resource"), registry=self.registry
        )
        self._scalings = Counter(
            f"{PREFIX}_scalings", "Changes of replicas.", ("namespace", "name", "direction"), registry=self.registry
        )
        self._jobs = Counter(f"{PREFIX}_jobs_created", "Jobs that were made.", ("kind",), registry=self.registry)
        self.leader = Gauge(f"{PREFIX}_leader", "1 while this instance does the work.", registry=self.registry)
        self.waiting = Gauge(f"{PREFIX}_queue", "Objects that wait for a pass.", registry=self.registry)
        self.objects = Gauge(f"{PREFIX}_objects", "ActivityIndexers that are known.", registry=self.registry)
        self._gauges = {
            name: Gauge(f"{PREFIX}_indexer_{name}", text, LABELS, registry=self.registry)
            for name, text in GAUGES.items()
        }

    def pass_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """A pass ended; see queue.Outcome."""
        self._passes.labels(kind, outcome).observe(seconds)

    def requested(self, verb: str, resource: str) -> None:
        """A request to the API server was made."""
        self._requests.labels(verb, resource).inc()

    def scaled(self, key: Key, from_: int, to: int) -> None:
        """Replicas were changed."""
        self._scalings.labels(key.namespace, key.name, "up" if to > from_ else "down").inc()

    def expect_jobs(self, *kinds: str) -> None:
        """Jobs of these kinds may be created: their counts begin at 0, so that the first is an increase."""
        for kind in kinds:
            self._jobs.labels(kind)

    def job_created(self, kind: str) -> None:
        """A Job was created."""
        self._jobs.labels(kind).inc()

    def show(self, key: Key, values: dict[str, float | None]) -> None:
        """Sets the gauges of an ActivityIndexer; what is not known has no series."""
        for name, gauge in self._gauges.items():
            value = values.get(name)
            if value is None:
                gauge.remove_by_labels({"namespace": key.namespace, "name": key.name})
            else:
                gauge.labels(key.namespace, key.name).set(value)

    def forget(self, key: Key) -> None:
        """Removes the series of an ActivityIndexer that was deleted."""
        self.show(key, {})
        self._scalings.remove_by_labels({"namespace": key.namespace, "name": key.name})

    def exposition(self) -> bytes:
        """Prometheus' text form."""
        return generate_latest(self.registry)
