"""An API server and a Kafka for unit tests of the operator: they do what those do, as far as the operator asks."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any

from activity_indexer_operator.indexer.reconciler import IndexerReconciler
from activity_indexer_operator.kafka.observation import Number, Observation, Offsets, Unknown, nothing
from activity_indexer_operator.kafka.reader import Question
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.events import EventRecorder
from activity_indexer_operator.kube.objects import MANAGER, Body
from activity_indexer_operator.kube.ports import ClusterError, ConflictError, RejectedError
from activity_indexer_operator.kube.resources import EVENTS, INDEXERS, WORKLOADS, Resource
from activity_indexer_operator.replay.observe import full_replays
from activity_indexer_operator.runtime.controller import ControllerContext
from activity_indexer_operator.runtime.metrics import Metrics
from activity_indexer_operator.settings import Settings

NAMESPACE = "payments"
SPEC: dict[str, Any] = {
    "source": {"kafka": {"bootstrapServers": ["kafka:9093"], "topic": "transactions", "consumerGroup": "indexer"}},
    "workload": {"template": {"elasticsearch": {"url": "http://elasticsearch:9200"}}},
}
TARGETED: dict[str, Any] = SPEC | {"workload": {"targetRef": {"kind": "Deployment", "name": "by-hand"}}}


def merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch."""
    result = dict(base)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            result[name] = merged(result.get(name) or {}, value)
        else:
            result[name] = value
    return result


class FakeCluster:
    """Objects by kind, namespace and name. Applying replaces what the manager applied before; versions count up."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.applied: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        self.said: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
        self.requests: list[str] = []
        self.refused: dict[str, str] = {}
        self.down = False
        self._count = itertools.count(1)

    def writes(self) -> list[str]:
        """Verb and kind of the requests that changed something or tried to."""
        return [request for request in self.requests if request.split()[0] not in {"get", "list", "rehearse"}]

    def scalings(self) -> list[int]:
        return [int(request.split()[-1]) for request in self.requests if request.startswith("scale ")]

    def events(self) -> list[tuple[str, str]]:
        """Type and reason of the Events."""
        return [(body["type"], body["reason"]) for (plural, *_), body in self.objects.items() if plural == "events"]

    def put(self, resource: Resource, name: str, spec: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
        """What somebody else makes."""
        meta = {"name": name, "namespace": NAMESPACE, **metadata}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, "spec": dict(spec)}
        return self._store(resource, body)

    def of(self, resource: Resource, name: str) -> dict[str, Any] | None:
        return self.objects.get((resource.plural, NAMESPACE, name))

    def serve(self, resource: Resource, name: str, ready: int | None = None) -> None:
        """The workload's controller does its work: so many pods are ready, by default all."""
        body = self.objects[(resource.plural, NAMESPACE, name)]
        replicas = body["spec"].get("replicas", 1)
        ready = replicas if ready is None else ready
        body["status"] = {
            "observedGeneration": body["metadata"]["generation"],
            "replicas": replicas,
            "updatedReplicas": ready,
            "readyReplicas": ready,
        }
        body["metadata"]["resourceVersion"] = str(next(self._count))

    async def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        self._hear("get", resource)
        return copy.deepcopy(self.objects.get((resource.plural, namespace, name)))

    async def list(self, resource: Resource, namespace: str, labels: str = "") -> list[Body]:
        self._hear("list", resource)
        return [
            copy.deepcopy(body)
            for (plural, place, _), body in self.objects.items()
            if plural == resource.plural and namespace in {"", place} and _labelled(body, labels)
        ]

    async def create(self, resource: Resource, body: Body) -> Body:
        self._hear("create", resource)
        if (resource.plural, body["metadata"]["namespace"], body["metadata"]["name"]) in self.objects:
            raise ConflictError(f"{resource.plural} exists")
        return copy.deepcopy(self._store(resource, copy.deepcopy(dict(body))))

    async def apply(self, resource: Resource, body: Body, manager: str = MANAGER, *, dry_run: bool = False) -> Body:
        self._hear("rehearse" if dry_run else "apply", resource)
        place = (resource.plural, body["metadata"]["namespace"], body["metadata"]["name"])
        live = copy.deepcopy(self.objects.get(place, {}))
        given_up = self.applied.get((*place, manager), {}).get("spec", {}).keys() - dict(body.get("spec", {})).keys()
        for field in given_up:
            claimed = any(
                "replicas" in b.get("spec", {}) for k, b in self.applied.items() if k[:3] == place and k[3] != manager
            )
            if field == "replicas" and not claimed:
                live["spec"]["replicas"] = 1
        result = merged(live, copy.deepcopy(dict(body)))
        if resource.kind in WORKLOADS:
            result["spec"].setdefault("replicas", 1)
        if dry_run:
            return result
        self.applied[(*place, manager)] = copy.deepcopy(dict(body))
        return copy.deepcopy(self._store(resource, result))

    async def patch(self, resource: Resource, namespace: str, name: str, patch: Body) -> Body | None:
        """What somebody else changes."""
        live = self.objects.get((resource.plural, namespace, name))
        return None if live is None else copy.deepcopy(self._store(resource, merged(live, patch)))

    async def replace(self, resource: Resource, body: Body) -> Body:
        self._hear("update", resource)
        place = (resource.plural, body["metadata"]["namespace"], body["metadata"]["name"])
        live = self.objects.get(place)
        if live is None or live["metadata"]["resourceVersion"] != body["metadata"].get("resourceVersion"):
            raise ConflictError(f"{resource.plural} is another one")
        return copy.deepcopy(self._store(resource, copy.deepcopy(dict(body))))

    async def apply_status(
        self, resource: Resource, namespace: str, name: str, status: dict[str, Any], manager: str
    ) -> Body | None:
        self._hear("status", resource)
        live = self.objects.get((resource.plural, namespace, name))
        if live is None:
            return None
        said = self.said.setdefault((resource.plural, namespace, name), {})
        said[manager] = copy.deepcopy(status)
        conditions = {each["type"]: each for one in said.values() for each in one.get("conditions", ())}
        fields = {field: value for one in said.values() for field, value in one.items()}
        live["status"] = copy.deepcopy(fields | {"conditions": list(conditions.values())})
        live["metadata"]["resourceVersion"] = str(next(self._count))
        return copy.deepcopy(live)

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> bool:
        self._hear("scale", resource, str(replicas))
        live = self.objects.get((resource.plural, namespace, name))
        if live is not None:
            self._store(resource, merged(live, {"spec": {"replicas": replicas}}))
        return live is not None

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        self._hear("delete", resource)
        place = (resource.plural, namespace, name)
        if place in self.objects and self.objects[place]["metadata"]["uid"] != uid:
            raise ConflictError(f"{resource.plural} {name} is another one")
        self.objects.pop(place, None)
        self.said.pop(place, None)

    def _hear(self, verb: str, resource: Resource, more: str = "") -> None:
        self.requests.append(f"{verb} {resource.kind} {more}".strip())
        if self.down:
            raise ClusterError("no answer")
        if (message := self.refused.get(f"{verb} {resource.kind}")) is not None:
            raise RejectedError(message)

    def _store(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        meta = body["metadata"]
        place = (resource.plural, meta["namespace"], meta["name"])
        old = self.objects.get(place)
        same = old is not None and all(old.get(part) == body.get(part) for part in ("spec", "data"))
        meta.setdefault("uid", f"uid-{next(self._count)}")
        if resource != EVENTS and "spec" in body:
            meta["generation"] = (old["metadata"].get("generation", 0) if old else 0) + (0 if same else 1)
        unchanged = old is not None and same and old["metadata"] == meta
        meta["resourceVersion"] = old["metadata"]["resourceVersion"] if unchanged and old else str(next(self._count))
        self.objects[place] = body
        return body


class FakeKafka:
    """Answers with what it is told to."""

    def __init__(self, partitions: Number = 3, lag: int = 0, dead: int | None = None) -> None:
        self.partitions, self.lag, self.dead = partitions, lag, dead
        self.produced = 10_000
        self.hidden = self.lost = 0
        self.questions: list[Question] = []
        self.forgotten = 0

    async def observe(self, question: Question) -> Observation:
        self.questions.append(question)
        if isinstance(self.partitions, Unknown):
            return nothing(self.partitions)
        return Observation(self.partitions, self._offsets(), self._dead(question))

    async def forget(self, namespace: str, kafka: Any) -> None:
        self.forgotten += 1

    def _offsets(self) -> Offsets:
        position = self.produced - self.lag
        committed = {0: position - self.lost}
        return Offsets({0: position}, {0: self.produced}, {0: position}, committed, {0: self.produced - self.hidden})

    def _dead(self, question: Question) -> Offsets | None:
        if self.dead is None:
            return None
        return Offsets({0: 0}, {0: self.dead}, {0: (question.handled or {}).get(0, 0)})


def _labelled(body: Mapping[str, Any], selector: str) -> bool:
    wanted = dict(pair.split("=") for pair in selector.split(",") if pair)
    return wanted.items() <= body["metadata"].get("labels", {}).items()


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def text(self) -> str:
        return f"2026-01-01T00:{int(self.seconds) // 60:02}:{int(self.seconds) % 60:02}Z"


class World:
    """A cluster, a Kafka and a clock, and the ActivityIndexer `orders` in it."""

    def __init__(self, spec: Mapping[str, Any] = SPEC, partitions: Number = 3) -> None:
        self.cluster, self.kafka, self.clock = FakeCluster(), FakeKafka(partitions), Clock()
        self.cluster.put(INDEXERS, "orders", copy.deepcopy(dict(spec)))
        self.cache = ObjectCache()
        self.metrics = Metrics()

    def context(self) -> ControllerContext:
        recorder = EventRecorder(self.cluster, self.clock.text)
        kafka: Any = self.kafka
        return ControllerContext(Settings(), self.cluster, self.cache, recorder, kafka, self.metrics)

    def reconciler(self) -> IndexerReconciler:
        """One that knows nothing of earlier passes."""
        replays = partial(full_replays, self.cache)
        return IndexerReconciler(self.context(), replays, self.clock.text, self.clock)

    def change(self, **spec: Any) -> None:
        """People edit the spec."""
        body = self.cluster.of(INDEXERS, "orders")
        assert body is not None
        self.cluster._store(INDEXERS, merged(body, {"spec": spec}))

    @property
    def status(self) -> dict[str, Any]:
        body = self.cluster.of(INDEXERS, "orders")
        assert body is not None
        found: dict[str, Any] = body.get("status", {})
        return found

    def condition(self, kind: str) -> tuple[str, str]:
        [found] = [condition for condition in self.status["conditions"] if condition["type"] == kind]
        return found["status"], found["reason"]
