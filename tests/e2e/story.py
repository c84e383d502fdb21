"""A story of the end-to-end tests: a namespace, topic, index and database of its own, on the shared servers."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from e2e.commands import ROOT, eventually
from e2e.kind import NAMESPACE, Cluster
from e2e.pod_logs import PodLogs

KAFKA = f"kafka.{NAMESPACE}.svc:9093"
ELASTICSEARCH = f"http://elasticsearch.{NAMESPACE}.svc:9200"
REDIS = f"redis://redis.{NAMESPACE}.svc:6379/0"
DATABASE = f"postgresql://astropay:astropay@postgres.{NAMESPACE}.svc:5432/"
KAFKA_BIN = "/opt/kafka/bin/"
LOCAL = ("--bootstrap-server", "localhost:9092")
LABELS = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


@dataclass(frozen=True)
class Story:
    """`name` is that of the topic, the group, the index and the database; `cluster` is bound to its namespace."""

    name: str
    cluster: Cluster
    logs: PodLogs

    @classmethod
    def begin(cls, dependencies: Cluster, namespace: str, folder: Path) -> Story:
        """Makes a namespace that enforces `restricted`, a database, and the Secret that leads to it."""
        cluster, name = dependencies.within(namespace), f"{namespace}-{secrets.token_hex(2)}"
        cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout=180s")
        meta = {"name": namespace, "labels": LABELS}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        dependencies.sql(f'CREATE DATABASE "{name}"')
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}}
        cluster.apply(secret | {"stringData": {"url": DATABASE + name}})
        logs = PodLogs(cluster, folder / namespace)
        logs.start()
        return cls(name, cluster, logs)

    def end(self) -> None:
        """Removes the namespace; topics, index and database stay, under names that are not used again."""
        self.logs.stop()
        self.cluster.kubectl("delete", "namespace", self.cluster.namespace, "--ignore-not-found", "--timeout=180s")

    def kafka(self, tool: str, *arguments: str, stdin: str | None = None) -> str:
        """What a tool of the broker's says."""
        command = ("exec", "-i", "kafka-0", "--", KAFKA_BIN + tool, *LOCAL, *arguments)
        return self.cluster.within(NAMESPACE).kubectl(*command, stdin=stdin).stdout

    def publish(self, *events: dict[str, Any], traceparent: str = "") -> None:
        """Publishes events with the broker's own tool, each keyed by its user, as parts of a trace if one is given."""
        head = f"traceparent:{traceparent}\t" if traceparent else ""
        lines = "".join(f"{head}{event['transaction']['user_id']}|{json.dumps(event)}\n" for event in events)
        properties = ("parse.key=true", "key.separator=|", f"parse.headers={str(bool(head)).lower()}")
        options = [option for each in properties for option in ("--reader-property", each)]
        self.kafka("kafka-console-producer.sh", "--topic", self.name, *options, stdin=lines)

    def partitions(self, count: int) -> None:
        """Lets the topic grow."""
        self.kafka("kafka-topics.sh", "--alter", "--topic", self.name, "--partitions", str(count))

    def indexer(self) -> str:
        """A pod that is ready to be asked."""
        return eventually(
            lambda: self.cluster.ready_pods("app.kubernetes.io/component=indexer"), "a ready indexer", timeout=240
        )[0]

    def ask(self, *command: str, codes: tuple[int, ...] = (0,)) -> str:
        """The JSON that a command of the indexer's prints in one of its pods."""
        reported = self.cluster.kubectl(
            "exec", self.indexer(), "--", "activity-indexer", *command, "--json", check=False, timeout=180
        )
        assert reported.returncode in codes, reported.stdout + reported.stderr
        return reported.stdout

    def status(self) -> dict[str, Any]:
        """What `activity-indexer status` knows; code 7 says that not all is well, which the answer says too."""
        return dict(json.loads(self.ask("status", codes=(0, 7))))

    def differences(self) -> dict[str, int]:
        """Kinds of differences between audit and index, with their numbers, where there are any."""
        summary = json.loads(self.ask("reconcile", codes=(0, 6)).splitlines()[-1])
        assert summary["kind"] == "summary", summary
        return {kind: count for kind, count in summary["differences"].items() if count}

    def load(self, name: str, *arguments: str) -> None:
        """Starts a load generator, as k8s/loadgen does, that checks what becomes of what it publishes."""
        body = yaml.safe_load((ROOT / "k8s/loadgen/job.yaml").read_text())
        body["metadata"]["name"] = name
        container = body["spec"]["template"]["spec"]["containers"][0]
        container["args"] = ["activity-loadgen", *arguments, "--verify", "--verify-timeout=400", "--json"]
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": KAFKA,
            "KAFKA_TRANSACTIONS_TOPIC": self.name,
            "ELASTICSEARCH_URL": ELASTICSEARCH,
            "ELASTICSEARCH_INDEX": self.name,
        }
        container["env"] = [{"name": key, "value": value} for key, value in variables.items()]
        self.cluster.apply(body)

    def loaded(self, job: str, timeout: float = 900) -> dict[str, Any]:
        """The result of a load generator, once it has found everything as it must be."""
        result = eventually(lambda: self._ended(job), f"the end of {job}", timeout=timeout)
        said = self.cluster.kubectl("logs", job).stdout
        assert result == "Complete", said
        return dict(json.loads(said.splitlines()[-1]))

    def _ended(self, job: str) -> str | None:
        status = self.cluster.get(job)["status"]
        return next((c["type"] for c in status.get("conditions", ()) if c["type"] in {"Complete", "Failed"}), None)

    def documents(self) -> int:
        """Documents in the index, without tombstones."""
        status = self.status()
        return int(status["elasticsearch"]["found"]["documents"])

    def condition(self, resource: str, kind: str = "Ready") -> str | None:
        """The reason of a condition."""
        conditions = self.cluster.get(resource).get("status", {}).get("conditions", ())
        return next((c["reason"] for c in conditions if c["type"] == kind), None)

    def depth(self, resource: str) -> int | None:
        """Dead letters that wait, as the resource reports."""
        depth = self.cluster.get(resource).get("status", {}).get("deadLetter", {}).get("depth")
        return None if depth is None else int(depth)

    def replicas(self, workload: str) -> int:
        """Replicas that are asked for."""
        return int(self.cluster.get(workload)["spec"]["replicas"])

    def kustomize(self, folder: Path, *resources: str, patches: tuple[dict[str, Any], ...] = ()) -> None:
        """`kubectl apply -k` of folders of k8s/, in this story's namespace, with changes."""
        folder.mkdir(parents=True, exist_ok=True)
        described = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": self.cluster.namespace,
            "resources": [os.path.relpath(ROOT / resource, folder.resolve()) for resource in resources],
            "patches": [
                {"target": {"kind": patch["kind"], "name": patch["metadata"]["name"]}, "patch": yaml.safe_dump(patch)}
                for patch in patches
            ],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(described))
        applied = self.cluster.kubectl("apply", "-k", str(folder))
        assert "Warning" not in applied.stderr, applied.stderr
