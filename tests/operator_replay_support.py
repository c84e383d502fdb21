"""An API server in memory and a clock, for the tests of the operator's replays, schedules and purges."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from activity_indexer_operator.jobs.view import POD_LABEL
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import Body, Key, Meta
from activity_indexer_operator.kube.ports import ConflictError, RejectedError
from activity_indexer_operator.kube.resources import INDEXERS, JOBS, REPLAYS, Resource
from activity_indexer_operator.replay.metrics import ReplayCounters
from activity_indexer_operator.replay.reconciler import ReplayReconciler
from activity_indexer_operator.runtime.controller import Locks
from activity_indexer_operator.runtime.metrics import Metrics
from activity_indexer_operator.tasks.reconciler import TASKS, TaskReconciler
from activity_indexer_operator.tasks.requests import still_requested
from activity_indexer_operator.tracing.protocol import UNTRACED, Tracing

NAMESPACE = "shop"
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
POD_TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "orders"}},
    "spec": {
        "serviceAccountName": "orders",
        "containers": [
            {
                "name": "indexer",
                "image": "activity-indexer:1",
                "args": ["activity-indexer", "run"],
                "envFrom": [{"configMapRef": {"name": "orders"}}],
            }
        ],
    },
}


class Killed(Exception):
    """The operator ended in the middle of a pass."""


def result(outcome: str = "done", **fields: Any) -> str:
    """The command's last words."""
    return json.dumps({"kind": "result", "outcome": outcome, "replay": "x", "dryRun": False, **fields})


@dataclass
class World:
    """Objects by kind and name, a clock, and what the operator said; every object is in one namespace."""

    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    now: datetime = START
    events: list[tuple[str, str, str]] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    calls: int = 0
    kill_at: int | None = None
    refuse: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, Any]] = field(default_factory=dict)
    tracing: Tracing = UNTRACED
    _uids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.cache = ObjectCache()
        self.metrics = Metrics()
        self.counters = ReplayCounters(self.metrics.registry)
        self.add("Deployment", "orders", {"template": POD_TEMPLATE})
        self.indexer()

    # What people and the rest of the cluster do.

    def add(self, kind: str, name: str, spec: dict[str, Any], **meta: Any) -> dict[str, Any]:
        number = next(self._uids)
        body = {
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": f"{number:08d}-aaaa",
                "generation": 1,
                "creationTimestamp": self.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                **meta,
            },
            "spec": spec,
        }
        self.objects[kind, name] = body
        return body

    def indexer(self, name: str = "orders", **spec: Any) -> dict[str, Any]:
        kafka = {"bootstrapServers": ["kafka:9092"], "topic": "orders", "consumerGroup": "orders-indexer"}
        workload = {"targetRef": {"kind": "Deployment", "name": "orders"}}
        return self.add("ActivityIndexer", name, {"source": {"kafka": kafka}, "workload": workload, **spec})

    def replay(self, name: str = "fix", **spec: Any) -> dict[str, Any]:
        return self.add("DeadLetterReplay", name, {"indexerRef": {"name": "orders"}, **spec})

    def edit(self, kind: str, name: str, **spec: Any) -> None:
        body = self.objects[kind, name]
        body["spec"] |= spec
        body["metadata"]["generation"] += 1

    def pass_time(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    def pod(self, job: str, name: str | None = None, status: dict[str, Any] | None = None) -> dict[str, Any]:
        owner = self.objects["Job", job]["metadata"]
        made = self.add(
            "Pod",
            name or f"{job}-pod",
            {},
            labels={**owner["labels"], POD_LABEL: job},
            ownerReferences=[{"kind": "Job", "name": job, "uid": owner["uid"], "controller": True}],
        )
        made["status"] = status or {"phase": "Running"}
        return made

    def end(self, job: str, code: int = 0, message: str = "", reason: str = "PodFailurePolicy") -> None:
        """The Job's pod ends, and with it the Job."""
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "message": message}
        phase = "Failed" if code else "Succeeded"
        containers = [{"name": "indexer", "state": {"terminated": ended}}]
        self.pod(job, status={"phase": phase, "containerStatuses": containers})
        self.end_job(job, None if code == 0 else reason)

    def end_job(self, job: str, failed: str | None) -> None:
        condition = {"type": "Failed" if failed else "Complete", "status": "True", "reason": failed or ""}
        self.objects["Job", job]["status"] = {"conditions": [condition]}

    def remove(self, kind: str, name: str) -> None:
        """With what it owns, as the garbage collector does."""
        uid = self.objects.pop((kind, name))["metadata"]["uid"]
        for place, body in list(self.objects.items()):
            owners = body["metadata"].get("ownerReferences", ())
            if place in self.objects and any(owner["uid"] == uid for owner in owners):
                self.remove(*place)

    # What the operator says and does.

    def status(self, kind: str, name: str) -> dict[str, Any]:
        return dict(self.objects[kind, name].get("status", {}))

    def phase(self, name: str = "fix") -> str:
        return str(self.status("DeadLetterReplay", name).get("phase"))

    def reason(self, name: str = "fix") -> str:
        [told] = [c for c in self.status("DeadLetterReplay", name)["conditions"] if c["type"] == "Succeeded"]
        return str(told["reason"])

    def command(self, job: str) -> list[str]:
        [container] = self.objects["Job", job]["spec"]["template"]["spec"]["containers"]
        return list(container["args"])

    def jobs(self) -> list[str]:
        return sorted(name for kind, name in self.objects if kind == "Job")

    def replays(self) -> list[str]:
        return sorted(name for kind, name in self.objects if kind == "DeadLetterReplay")

    async def reconcile(self, name: str = "fix") -> float | None:
        """A pass by an operator that knows nothing of earlier ones."""
        reconciler = ReplayReconciler(self.context(), self.counters, still_requested, lambda: self.now)
        return await reconciler.reconcile(Key("DeadLetterReplay", NAMESPACE, name))

    async def do_tasks(self, name: str = "orders") -> float | None:
        reconciler = TaskReconciler(self.context(), lambda: self.now)
        return await reconciler.reconcile(Key(TASKS, NAMESPACE, name))

    def context(self) -> Any:
        return SimpleNamespace(
            cluster=self,
            recorder=self,
            kafka=self,
            cache=self.cache,
            metrics=self.metrics,
            tracing=self.tracing,
            locks=Locks(),
        )

    # ports.Cluster

    async def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        return self._call(lambda: self.copy(self.objects.get((resource.kind, name))))

    async def list(self, resource: Resource, namespace: str, labels: str = "") -> list[Body]:
        wanted = dict(pair.split("=") for pair in labels.split(",") if pair)
        return self._call(
            lambda: [
                self.copy(body)
                for (kind, _), body in self.objects.items()
                if kind == resource.kind and wanted.items() <= body["metadata"].get("labels", {}).items()
            ]
        )

    async def create(self, resource: Resource, body: Body) -> Body:
        assert resource in (JOBS, REPLAYS)
        return self._call(lambda: self._create(resource.kind, self.copy(body)))

    def _create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        name = body["metadata"]["name"]
        if kind in self.refuse:
            raise RejectedError(self.refuse[kind])
        if (kind, name) in self.objects:
            raise ConflictError(f"{name} exists")
        self.created.append(name)
        meta = {part: value for part, value in body["metadata"].items() if part not in ("name", "namespace")}
        return self.add(kind, name, body["spec"], **meta)

    async def apply_status(
        self, resource: Resource, namespace: str, name: str, status: dict[str, Any], manager: str
    ) -> Body | None:
        assert resource in (REPLAYS, INDEXERS)
        return self._call(lambda: self.objects[resource.kind, name].__setitem__("status", self.copy(status)))

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        assert resource in (REPLAYS, JOBS)
        assert self.objects[resource.kind, name]["metadata"]["uid"] == uid
        if resource == JOBS:
            # Its pods end a little later.
            self._call(lambda: self.objects.pop((resource.kind, name)))
        else:
            self._call(lambda: self.remove(resource.kind, name))

    def _call(self, act: Callable[[], Any]) -> Any:
        self.calls += 1
        answer = act()
        if self.calls == self.kill_at:
            raise Killed
        return answer

    @staticmethod
    def copy(body: Any) -> Any:
        return json.loads(json.dumps(body))

    # ports.Recorder and what is used of KafkaReader

    async def event(self, meta: Meta, kind: str, reason: str, message: str) -> None:
        self.events.append((kind, reason, message))

    async def ask(self, namespace: str, kafka: Any, question: Callable[[Any], Any]) -> Any:
        return await question(self)

    async def topics(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        return {"orders": (0, (0,)), "orders.dlq": (0, (0, 1))}

    async def committed(self, group: str, topic: str, partitions: Any) -> dict[int, Any]:
        assert topic == "orders.dlq"
        return {
            number: SimpleNamespace(offset=1, metadata=json.dumps(counters))
            for number, counters in self.commits.get(group, {}).items()
        }
