"""Many ActivityIndexers on one operator and a real API server: `python benchmarks/operator_many.py [objects]...`.

Takes the cluster of KUBECONFIG, where the CRDs of k8s/crd are, and Kafka of the local stack (`make stack-up`). The
indexers have no replicas (policy Manual): the figures are the operator's. Each object is five others and a topic to
look at. Printed: the time until all are reconciled, processor and memory while nothing happens, and how soon a changed
spec and a deleted ConfigMap are answered.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from activity_indexer_operator.api import API_VERSION, Body
from activity_indexer_operator.cluster import KubernetesCluster
from activity_indexer_operator.connection import connect
from activity_indexer_operator.resources import CONFIG_MAPS, INDEXERS
from activity_stack import Stack

PORT: Final = 18098
IDLE_SECONDS: Final = 60.0
AT_ONCE: Final = 16


class Operator:
    """The operator as a process."""

    def __init__(self, namespace: str) -> None:
        variables = {
            "OPERATOR_NAMESPACES": namespace,
            "OPERATOR_NAMESPACE": namespace,
            "OPERATOR_HTTP_PORT": str(PORT),
            "OPERATOR_LOG_LEVEL": "warning",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "activity_indexer_operator"], env=os.environ | variables, stdout=subprocess.DEVNULL
        )

    def cpu_seconds(self) -> float:
        """Processor time so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        """Resident memory now."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:  # noqa: PTH123
            found = re.search(r"VmRSS:\s+(\d+) kB", file.read())
        return int(found[1]) / 1024 if found else 0.0

    def requests(self) -> float:
        """Requests to the API server so far, watches aside."""
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if "_api_requests_total{" in line)

    def end(self) -> None:
        """As Kubernetes ends it."""
        self.process.terminate()
        self.process.wait(30)


def indexer(namespace: str, number: int, topic: str, kafka: str) -> dict[str, Any]:
    """An ActivityIndexer without replicas."""
    source = {"kafka": {"bootstrapServers": [kafka], "topic": topic, "consumerGroup": f"{topic}-{number}"}}
    return {
        "apiVersion": API_VERSION,
        "kind": INDEXERS.kind,
        "metadata": {"name": f"indexer-{number}", "namespace": namespace},
        "spec": {
            "source": source,
            "workload": {"template": {"elasticsearch": {"url": "http://elasticsearch:9200"}}},
            "scaling": {"policy": "Manual", "replicas": 0},
        },
    }


@contextmanager
def namespace() -> Iterator[str]:
    """A namespace of the benchmark's own."""
    name = f"bench-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def kubectl(*arguments: str) -> None:
    """Runs it; its output is nobody's interest."""
    subprocess.run(["kubectl", *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603, S607


async def until(check: Callable[[], Awaitable[bool]], every: float) -> float:
    """Seconds until it is so."""
    begun = time.monotonic()
    while not await check():  # noqa: ASYNC110 - an API server has no events of ours
        await asyncio.sleep(every)
    return time.monotonic() - begun


def reconciled(body: Body, generation: int = 1) -> bool:
    """Whether the status speaks of this spec."""
    return bool(body.get("status", {}).get("observedGeneration") == generation)


async def measure(cluster: KubernetesCluster, place: str, count: int, topic: str, kafka: str) -> dict[str, str]:
    """A row of the table."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def create(number: int) -> None:
        async with gate:
            await cluster.create(INDEXERS, indexer(place, number, topic, kafka))

    await asyncio.gather(*(create(number) for number in range(count)))
    operator = Operator(place)
    try:

        async def all_done() -> bool:
            return all(map(reconciled, await cluster.list(INDEXERS, place)))

        first = await until(all_done, 1.0)
        cpu_first = operator.cpu_seconds()
        await asyncio.sleep(IDLE_SECONDS / 2)
        cpu, asked = operator.cpu_seconds(), operator.requests()
        await asyncio.sleep(IDLE_SECONDS)
        used = (operator.cpu_seconds() - cpu) / IDLE_SECONDS
        asked = (operator.requests() - asked) / IDLE_SECONDS
        changed, repaired = await answered(cluster, place)
        return {
            "objects": str(count),
            "all reconciled (s)": f"{first:.0f}",
            "processor for that (s)": f"{cpu_first:.1f}",
            "idle (millicores)": f"{used * 1000:.0f}",
            "idle (API requests/s)": f"{asked:.1f}",
            "memory (MiB)": f"{operator.memory_mib():.0f}",
            "a changed spec (s)": f"{changed:.1f}",
            "a repaired ConfigMap (s)": f"{repaired:.1f}",
        }
    finally:
        operator.end()


async def answered(cluster: KubernetesCluster, place: str) -> tuple[float, float]:
    """Seconds until a changed spec is in force, and until a deleted ConfigMap is back."""
    patch = '{"spec": {"scaling": {"maxReplicas": 7}}}'
    await asyncio.to_thread(kubectl, "patch", "aidx", "indexer-0", "-n", place, "--type=merge", "-p", patch)

    async def seen() -> bool:
        body = await cluster.get(INDEXERS, place, "indexer-0")
        return body is not None and reconciled(body, 2)

    changed = await until(seen, 0.05)
    old = await cluster.get(CONFIG_MAPS, place, "indexer-0")
    await cluster.delete(CONFIG_MAPS, place, "indexer-0", old["metadata"]["uid"] if old else "")

    async def back() -> bool:
        return await cluster.get(CONFIG_MAPS, place, "indexer-0") is not None

    return changed, await until(back, 0.05)


async def main(counts: list[int]) -> None:
    """Prints a table."""
    kafka = Stack.load().addresses.kafka
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 6, 1)])
    cluster = KubernetesCluster(await connect(), 60.0)
    try:
        for number, count in enumerate(counts):
            with namespace() as place:
                row = await measure(cluster, place, count, topic, kafka)
            if number == 0:
                print("| " + " | ".join(row) + " |\n" + "| --- " * len(row) + "|")
            print("| " + " | ".join(row.values()) + " |", flush=True)
    finally:
        await admin.delete_topics([topic])
        await admin.close()
        await cluster.close()


if __name__ == "__main__":
    asyncio.run(main([int(word) for word in sys.argv[1:]] or [1, 500]))
