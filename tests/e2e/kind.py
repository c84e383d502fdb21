"""A kind cluster of the tests' own, with its kubeconfig outside the user's."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import yaml
from e2e import api_audit
from e2e.commands import ROOT, run

NAMESPACE = "activity-indexer"


@dataclass(frozen=True)
class Cluster:
    """A cluster by name; it exists between `create` and `delete`."""

    name: str
    kubeconfig: Path
    namespace: str = NAMESPACE

    @classmethod
    def with_unique_name(cls, kubeconfig: Path) -> Cluster:
        """A cluster that collides with no other."""
        return cls(f"activity-e2e-{secrets.token_hex(3)}", kubeconfig)

    @property
    def command(self) -> tuple[str, ...]:
        """kubectl, bound to the cluster and the namespace."""
        return ("kubectl", "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace)

    def within(self, namespace: str) -> Cluster:
        """The same cluster, seen from another namespace."""
        return replace(self, namespace=namespace)

    def exists(self) -> bool:
        """Whether kind knows a cluster of this name; its kubeconfig is then written again."""
        if self.name not in run("kind", "get", "clusters", timeout=60).stdout.split():
            return False
        run("kind", "export", "kubeconfig", "--name", self.name, "--kubeconfig", str(self.kubeconfig), timeout=60)
        return True

    def create(self) -> None:
        """Makes the cluster of kind-config.yaml; without its ports, which others may have, and with an audit log."""
        config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
        for node in config["nodes"]:
            node.pop("extraPortMappings", None)
        api_audit.add_audit_log(config["nodes"][0], self._shared)
        described = self.kubeconfig.with_name("kind-config.yaml")
        described.write_text(yaml.safe_dump(config))
        run(
            "kind", "create", "cluster", "--config", str(described), "--name", self.name,
            "--kubeconfig", str(self.kubeconfig), "--wait", "180s", timeout=420,
        )  # fmt: skip

    def load(self, *images: str) -> None:
        """Puts images of this machine's engine into the cluster; in one go what they share goes once."""
        run("kind", "load", "docker-image", "--name", self.name, *images, timeout=600)

    def kubectl(
        self, *arguments: str, check: bool = True, timeout: float = 300, stdin: str | None = None
    ) -> CompletedProcess[str]:
        """`kubectl` with these arguments, in the namespace."""
        return run(*self.command, *arguments, check=check, timeout=timeout, stdin=stdin)

    def control_plane(self) -> str:
        """The name of the control plane's node, which is that of its container too."""
        nodes = self.get("nodes", "-l", "node-role.kubernetes.io/control-plane")["items"]
        return str(nodes[0]["metadata"]["name"])

    def audit_log(self) -> list[str]:
        """The lines of the API server's audit log."""
        return run("docker", "exec", self.control_plane(), "cat", api_audit.LOG).stdout.splitlines()

    def apply(self, *bodies: Mapping[str, Any]) -> None:
        """Applies objects."""
        listed = {"apiVersion": "v1", "kind": "List", "items": bodies}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def change(self, resource: str, **spec: Any) -> None:
        """Merges fields into an object's spec."""
        self.kubectl("patch", resource, "--type=merge", "-p", json.dumps({"spec": spec}))

    def rolled_out(self, workload: str, seconds: int = 300) -> None:
        """Waits until all pods of a workload are new and ready."""
        self.kubectl("rollout", "status", workload, "--timeout", f"{seconds}s", timeout=seconds + 20)

    def get(self, *arguments: str) -> Any:
        """Objects as the API has them."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def ready_pods(self, selector: str) -> list[str]:
        """Names of the pods that match, are ready and not on their way out."""
        return [
            pod["metadata"]["name"]
            for pod in self.get("pods", "-l", selector)["items"]
            if "deletionTimestamp" not in pod["metadata"]
            and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
        ]

    def sql(self, statement: str, database: str = "activity_feed") -> str:
        """The one value that a statement answers with."""
        psql = ("psql", "-U", "astropay", "-d", database, "-tAc", statement)
        return self.within(NAMESPACE).kubectl("exec", "postgres-0", "--", *psql).stdout.strip()

    def dump(self) -> str:
        """What there is to know after a failure."""
        asked = (
            ("get", "all,pvc", "-o", "wide"),
            ("get", "events", "--sort-by", ".lastTimestamp"),
            ("describe", "pods", "-l", "app.kubernetes.io/name=activity-indexer"),
            ("get", "activityindexers,deadletterreplays,jobs", "-o", "yaml"),
            (
                "logs",
                "-l",
                "app.kubernetes.io/part-of=activity-indexer",
                "--max-log-requests=20",
                "--tail=60",
                "--prefix",
                "--all-containers",
            ),
        )
        answers = [self.kubectl(*arguments, check=False) for arguments in asked]
        return "\n".join(f"--- {' '.join(a.args[5:])}\n{a.stdout}{a.stderr}" for a in answers)

    def delete(self) -> None:
        """Removes the cluster; that it is not there is no error."""
        run("kind", "delete", "cluster", "--name", self.name, timeout=180, check=False)
        shutil.rmtree(self._shared, ignore_errors=True)

    @property
    def _shared(self) -> Path:
        """What the control plane's node has of this machine's files; it lives as long as the cluster."""
        return ROOT / ".build" / "e2e" / self.name
