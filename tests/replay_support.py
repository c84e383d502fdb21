"""Dead letters of a test's own, and replays of them in processes of their own."""

import asyncio
import json
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from aiokafka.protocol.group import LeaveGroupRequest
from core_support import Told
from processes import Forked
from support import Place, encoded, environment, eventually

from activity_indexer.dead_letter import Failure, dead_letter
from activity_indexer.errors import EventError, ValidationError

MISSING = ValidationError("missing_field", "Object missing required field `currency`")


class Replay:
    """`activity-indexer dead-letters replay --json` in a process of its own, as the operator runs it."""

    def __init__(self, place: Place, log: Path, *arguments: str, **variables: str) -> None:
        self.log = log
        log.touch()
        command = ["dead-letters", "replay", "--json", *arguments]
        self.process = Forked(environment(place, variables), log, command)

    def lines(self, kind: str = "") -> list[dict[str, Any]]:
        """What it printed so far."""
        found = []
        for line in self.log.read_text().splitlines():
            if line.startswith("{") and line.endswith("}"):
                told = json.loads(line)
                if not kind or told.get("kind") == kind:
                    found.append(told)
        return found

    async def ended(self, timeout: float = 90.0) -> tuple[int, dict[str, Any]]:
        """Exit code and result."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the replay does not end:\n{self.log.read_text()[-3000:]}")
            await asyncio.sleep(0.05)
        results = self.lines("result")
        if not results:
            raise AssertionError(f"no result:\n{self.log.read_text()[-5000:]}")
        return self.process.wait(), results[-1]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


async def create(place: Place, *topics: str, partitions: int = 3) -> None:
    """Create topics that are not there yet."""
    for topic in topics:
        reply = await place.admin.create_topics([NewTopic(topic, partitions, 1)])
        for _, code, *_ in reply.topic_errors:
            assert code == 0 or for_code(code) is TopicAlreadyExistsError


def letters(
    place: Place,
    values: Iterable[object],
    error: EventError = MISSING,
    headers: Sequence[tuple[str, bytes]] = (),
    topic: str | None = None,
) -> list[Any]:
    """The records that an indexer writes for values that it cannot index; the first lies at offset 1000."""
    failure = Failure(error, 1, time.time(), time.time())
    return [
        dead_letter(
            Told(
                None if value is None else encoded(value),
                key=b"user_1",
                offset=1000 + number,
                partition=number % place.partitions,
                topic=topic or place.name,
                headers=list(headers),
                timestamp=int(time.time() * 1000),
            ),
            failure,
        )
        for number, value in enumerate(values)
    ]


async def bury(place: Place, records: Iterable[Any], topic: str | None = None) -> None:
    """Put dead letters into their topic."""
    await create(place, place.dead_letter_topic)
    sent = [
        await place.producer.send(
            topic or place.dead_letter_topic,
            record.value,
            key=record.key,
            headers=list(record.headers),
            partition=number % place.partitions,
        )
        for number, record in enumerate(records)
    ]
    await asyncio.gather(*sent)


async def planned(process: Replay) -> None:
    """Wait until a replay begins to send."""

    async def plans() -> int:
        return len(process.lines("plan"))

    await eventually(plans, 1, every=0.02)


async def evict(place: Place) -> None:
    """Let the broker forget a replay that was killed, as it does by itself after the session timeout."""
    group = f"{place.group}.replay.{place.dead_letter_topic}"
    (answer,) = await place.admin.describe_consumer_groups([group])
    coordinator = await place.admin.find_coordinator(group)
    for found in answer.to_object()["groups"]:
        for member in found["members"]:
            await place.admin._send_request(LeaveGroupRequest(group, member["member_id"]), coordinator)


def told(record: Any) -> Mapping[str, str]:
    """Headers as text."""
    return {name: value.decode(errors="replace") for name, value in record.headers}
