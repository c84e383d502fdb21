"""Many ActivityIndexers on one operator and a real API server: `python benchmarks/operator_many.py [objects]...`.

Takes the cluster of KUBECONFIG, where the CRDs of k8s/crd are, and Kafka of the local stack (`make stack-up`). The
indexers have no replicas (policy Manual): the figures are the operator's. Each object is five others and a topic to
look at. Printed: what it takes until all are Ready, processor and memory while nothing happens, and how soon a changed
spec and a deleted ConfigMap are answered; and the machine's load, without which none of it means much.

It waits for as long as anything moves. When nothing has for `--stall` seconds it stops, and what is there stays: the
same command again goes on from there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from activity_indexer_operator.kube.client import KubernetesCluster
from activity_indexer_operator.kube.connection import connect
from activity_indexer_operator.kube.objects import API_VERSION, Body
from activity_indexer_operator.kube.ports import ClusterError, ConflictError
from activity_indexer_operator.kube.resources import CONFIG_MAPS, INDEXERS
from activity_stack import Stack

PORT: Final = 18098
SETTLE_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 120.0
AT_ONCE: Final = 16
LOOK_SECONDS: Final = 2.0
SAY_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 60.0


class StalledError(Exception):
    """Nothing has moved for too long."""


@dataclass(frozen=True)
class Bench:
    """Where it takes place; `stall` is the patience in seconds."""

    cluster: KubernetesCluster
    namespace: str
    topic: str
    kafka: str
    stall: float

    def indexer(self, number: int) -> dict[str, Any]:
        """An ActivityIndexer without replicas."""
        group = f"{self.topic}-{number}"
        return {
            "apiVersion": API_VERSION,
            "kind": INDEXERS.kind,
            "metadata": {"name": f"indexer-{number}", "namespace": self.namespace},
            "spec": {
                "source": {
                    "kafka": {"bootstrapServers": [self.kafka], "topic": self.topic, "consumerGroup": group},
                },
                "workload": {"template": {"elasticsearch": {"url": "http://elasticsearch:9200"}}},
                "scaling": {"policy": "Manual", "replicas": 0},
            },
        }

    async def ready(self) -> int:
        """How many of the objects are."""
        return sum(map(is_ready, await self.cluster.list(INDEXERS, self.namespace)))


class Operator:
    """The operator as a process."""

    def __init__(self, namespace: str) -> None:
        variables = {
            "OPERATOR_NAMESPACES": namespace,
            "OPERATOR_NAMESPACE": namespace,
            "OPERATOR_HTTP_PORT": str(PORT),
            "OPERATOR_LOG_LEVEL": "warning",
        }
        self.log = Path(tempfile.gettempdir(), f"{namespace}.log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "activity_indexer_operator"], env=os.environ | variables, stdout=log, stderr=log
            )

    def cpu_seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        """Resident memory now."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text("ascii"))
        return int(found[1]) / 1024 if found else 0.0

    def requests(self) -> float:
        """Requests to the API server so far, watches aside; 0 while the operator does not answer yet."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=30) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, TimeoutError):
            return 0.0
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if "_api_requests_total{" in line)

    def end(self) -> None:
        """As Kubernetes ends it."""
        self.process.terminate()
        self.process.wait(60)


def is_ready(body: Body, generation: int = 1) -> bool:
    """Whether the status speaks of this spec, and says Ready."""
    status = body.get("status", {})
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ()))
    return ready and status.get("observedGeneration", 0) >= generation


def kubectl(*arguments: str) -> None:
    """Runs it; its output is discarded."""
    subprocess.run(["kubectl", *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603, S607


def load() -> str:
    """The machine's, of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


async def patiently(count: Callable[[], Awaitable[float]], wanted: float, stall: float, what: str = "") -> float:
    """Seconds until the count is reached; an API server that does not answer has not moved. Raises StalledError."""
    begun = moved = time.monotonic()
    best, reported = -1.0, begun
    while best < wanted:
        try:
            found = await count()
        except ClusterError as error:
            found = best
            print(f"  {error}", file=sys.stderr)
        now = time.monotonic()
        best, moved = (found, now) if found > best else (best, moved)
        if now - moved > stall:
            raise StalledError(f"{best:g} of {wanted:g} after {now - begun:.0f} s, and no change for {stall:g} s")
        if what and (now - reported > SAY_SECONDS or best >= wanted):
            reported = now
            print(f"  {what}: {best:g} of {wanted:g} after {now - begun:.0f} s, load {load()}", file=sys.stderr)
        await asyncio.sleep(0.0 if best >= wanted else (LOOK_SECONDS if what else 0.05))
    return time.monotonic() - begun


async def create_all(bench: Bench, count: int) -> None:
    """Makes the objects that are not there yet."""
    gate, made = asyncio.Semaphore(AT_ONCE), set[int]()

    async def create(number: int) -> None:
        async with gate:
            while number not in made:
                try:
                    await bench.cluster.create(INDEXERS, bench.indexer(number))
                except ConflictError:
                    made.add(number)
                except ClusterError as error:
                    print(f"  {error}", file=sys.stderr)
                    await asyncio.sleep(LOOK_SECONDS)
                else:
                    made.add(number)

    async def there() -> float:
        return len(made)

    tasks = [asyncio.create_task(create(number)) for number in range(count)]
    try:
        await patiently(there, count, bench.stall, "made")
    finally:
        for task in tasks:
            task.cancel()


async def measure(bench: Bench, count: int) -> dict[str, str]:
    """A row of the table."""
    await create_all(bench, count)
    before, load_before = await bench.ready(), load()
    operator = Operator(bench.namespace)
    try:
        first = await patiently(bench.ready, count, bench.stall, "Ready")
        begun = {
            "objects": str(count),
            "all Ready (s)": f"{first:.0f}" + (f" (from {before})" if before else ""),
            "processor for that (s)": f"{operator.cpu_seconds():.1f}",
            "requests for that": f"{operator.requests():.0f}",
        }
        await asyncio.sleep(SETTLE_SECONDS)
        return begun | await idle(operator) | await answered(bench) | {"load": f"{load_before} to {load()}"}
    finally:
        operator.end()


async def idle(operator: Operator) -> dict[str, str]:
    """What it takes while nothing happens."""
    cpu, asked = operator.cpu_seconds(), operator.requests()
    await asyncio.sleep(IDLE_SECONDS)
    return {
        "idle (millicores)": f"{(operator.cpu_seconds() - cpu) / IDLE_SECONDS * 1000:.0f}",
        "idle (API requests/s)": f"{(operator.requests() - asked) / IDLE_SECONDS:.1f}",
        "memory (MiB)": f"{operator.memory_mib():.0f}",
    }


async def answered(bench: Bench) -> dict[str, str]:
    """Seconds until a changed spec is in force, and until a deleted ConfigMap is back."""
    place = bench.namespace, "indexer-0"
    before = await bench.cluster.get(INDEXERS, *place) or {}
    scaling = f'{{"spec": {{"scaling": {{"maxReplicas": {10 + int(time.time()) % 80}}}}}}}'
    await asyncio.to_thread(kubectl, "patch", "aidx", place[1], "-n", place[0], "--type=merge", "-p", scaling)

    async def seen() -> float:
        body = await bench.cluster.get(INDEXERS, *place)
        return float(body is not None and is_ready(body, before["metadata"]["generation"] + 1))

    changed = await patiently(seen, 1, bench.stall)
    old = await bench.cluster.get(CONFIG_MAPS, *place)
    await bench.cluster.delete(CONFIG_MAPS, *place, old["metadata"]["uid"] if old else "")

    async def back() -> float:
        return float(await bench.cluster.get(CONFIG_MAPS, *place) is not None)

    repaired = await patiently(back, 1, bench.stall)
    return {"a changed spec (s)": f"{changed:.1f}", "a repaired ConfigMap (s)": f"{repaired:.1f}"}


async def prepared(topic: str, kafka: str) -> None:
    """Makes the topic, unless an earlier run has."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        if topic not in await admin.list_topics():
            await admin.create_topics([NewTopic(topic, 6, 1)])
    finally:
        await admin.close()


async def run(counts: list[int], name: str, stall: float) -> None:
    """Prints a table."""
    kafka = Stack.load().addresses.kafka
    await prepared(name, kafka)
    cluster = KubernetesCluster(await connect(), REQUEST_SECONDS)
    try:
        for number, count in enumerate(counts):
            bench = Bench(cluster, f"{name}-{count}", name, kafka, stall)
            kubectl("apply", "-f", _namespace(bench.namespace))
            row = await measure(bench, count)
            kubectl("delete", "namespace", bench.namespace, "--wait=false")
            if number == 0:
                print("| " + " | ".join(row) + " |\n" + "| --- " * len(row) + "|")
            print("| " + " | ".join(row.values()) + " |", flush=True)
    finally:
        await cluster.close()


def _namespace(name: str) -> str:
    path = Path(tempfile.gettempdir(), f"{name}.json")
    path.write_text(f'{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{name}"}}}}', "utf-8")
    return str(path)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("objects", nargs="*", type=int, default=[1, 500])
    parser.add_argument("--name", default="operator-many", help="of the topic and the namespaces; the same one goes on")
    parser.add_argument("--stall", type=float, default=180.0, help="seconds without any progress until it stops")
    asked = parser.parse_args()
    try:
        asyncio.run(run(asked.objects, asked.name, asked.stall))
    except StalledError as error:
        raise SystemExit(f"{error}; the same command goes on from there") from None


if __name__ == "__main__":
    main()
