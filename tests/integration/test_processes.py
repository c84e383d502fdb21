"""`activity-indexer run --processes 2` on real servers."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.events import encoded, event
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def processes(place: Place, tmp_path: Path) -> Iterator[Indexer]:
    """Both processes, seen as one: a log, a signal, an exit code. The session ends soon after a kill."""
    command = ["-m", "activity_indexer", "run", "--processes", "2"]
    found = Indexer(place, tmp_path / "log", {"KAFKA_SESSION_TIMEOUT": "6"}, command)
    yield found
    found.process.send_signal(signal.SIGTERM)
    found.process.wait(60)


async def assigned(processes: Indexer) -> list[float]:
    """How many partitions each process has, as its own port reports."""
    found = []
    for line in processes.logged("http.listening"):
        processes._port = line["port"]
        found.append(await processes.metric("assigned_partitions"))
    return sorted(found)


async def deaths(processes: Indexer) -> int:
    return len(processes.logged("process.died"))


def pids(processes: Indexer) -> dict[int, int]:
    return {line["process"]: line["pid"] for line in processes.logged("process.started")}


async def published(place: Place, first: int, count: int) -> None:
    for number in range(first, first + count):
        await place.producer.send(
            place.name, encoded(event(f"t{number}", user_id=f"user_{number}")), key=b"user_%d" % number
        )
    await place.producer.flush()


async def test_both_take_part_and_one_that_dies_is_replaced(place: Place, processes: Indexer) -> None:
    await eventually(lambda: assigned(processes), [1, 2])
    ports = {line["process"]: line["port"] for line in processes.logged("http.listening")}
    assert len(set(ports.values())) == len(ports) == 2
    await published(place, 0, 300)
    await eventually(place.lag, 0)
    assert {line["process"] for line in processes.logged("batch.settled")} == {1, 2}

    before = pids(processes)
    os.kill(before[2], signal.SIGKILL)
    await eventually(lambda: deaths(processes), 1)
    await published(place, 300, 300)
    await eventually(place.lag, 0, 60)
    after = pids(processes)
    assert after[1] == before[1]
    assert after[2] != before[2]
    assert len(await place.documents()) == 600

    assert processes.terminate() == 0
    assert {line["process"] for line in processes.logged("app.stopped")} == {1, 2}
