"""One replay at a time: it is a member of a group while it runs, and so Kafka knows whether it is alive."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import InconsistentGroupProtocolError

from activity_indexer.adapters.kafka.client import admin_client
from activity_indexer.adapters.kafka.consumers import started_member
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.replay.ports import ReplayRefused
from activity_indexer.settings import KafkaSettings
from activity_indexer.timestamps import format_timestamp

ASSIGNOR: Final = "replay"
GRACE: Final = 5.0
"""Seconds beyond the session timeout that a replay waits for its own earlier process to be forgotten."""

PAUSE: Final = 0.5
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who runs a replay, as Kafka knows it; `since` is RFC 3339, empty when it is unknown."""

    member: str
    client: str
    host: str
    replay_id: str = ""
    since: str = ""

    def __str__(self) -> str:
        replay = f"replay {self.replay_id}" if self.replay_id else "a replay"
        since = f" since {self.since}" if self.since else ""
        return f"{replay} runs{since} on {self.host} (client {self.client})"


class _Card(AbstractPartitionAssignor):  # type: ignore[misc]
    """Hands out nothing: it carries who a member is."""

    name = ASSIGNOR

    def __init__(self, reported: Mapping[str, str]) -> None:
        self._stated = reported

    def metadata(self, topics: Iterable[str]) -> Any:
        """What the group keeps of this member."""
        return ConsumerProtocolMemberMetadata(0, list(topics), json.dumps(self._stated).encode())

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - the base's names
        """Nothing for everybody."""
        return {member: ConsumerProtocolMemberAssignment(0, [], b"") for member in members}

    def on_assignment(self, assignment: Any) -> None:
        """Nothing came, and nothing is done."""


@asynccontextmanager
async def replay_lock(settings: KafkaSettings, name: str, replay_id: str) -> AsyncIterator[None]:
    """Holds the group `name` while the context lasts. Raises ReplayRefused when another replay has it.

    A process of the same replay that was killed is waited for: the broker forgets it after the session timeout.
    """
    await _wait_until_free(settings, name, replay_id)
    since = format_timestamp(int(time.time()) * 1_000_000)
    card = _Card({"replay": replay_id, "since": since, "host": socket.gethostname()})
    consumer = await _join(settings, name, card)
    try:
        await _check_alone(settings, name, since, replay_id)
        yield
    finally:
        await consumer.stop()


async def holders(settings: KafkaSettings, name: str) -> list[Holder]:
    """The members of the group. Raises Unavailable or Refused."""
    async with admin_client(settings) as client:
        (answer,) = await client.describe_consumer_groups([name])
    members = [member for group in answer.to_object()["groups"] for member in group["members"]]
    return [
        Holder(each["member_id"], each["client_id"], each["client_host"].lstrip("/"), *_card(each["member_metadata"]))
        for each in members
    ]


async def _wait_until_free(settings: KafkaSettings, name: str, replay_id: str) -> None:
    deadline = time.monotonic() + settings.session_timeout + GRACE
    while found := await _introduced(settings, name):
        if any(each.replay_id != replay_id for each in found) or time.monotonic() > deadline:
            raise _refusal(settings, name, found)
        await asyncio.sleep(PAUSE)


async def _check_alone(settings: KafkaSettings, name: str, since: str, replay_id: str) -> None:
    """Two that began at once see each other here; should both go on, the broker fences one of them."""
    found = await _introduced(settings, name)
    if others := [each for each in found if (each.since, each.replay_id) < (since, replay_id)]:
        raise _refusal(settings, name, others)


async def _introduced(settings: KafkaSettings, name: str) -> list[Holder]:
    """The members, when it is known who they are: the group hides it while it takes members in."""
    deadline = time.monotonic() + settings.session_timeout
    while True:
        found = await holders(settings, name)
        if all(each.since for each in found) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(PAUSE)


def _refusal(settings: KafkaSettings, name: str, found: list[Holder]) -> ReplayRefused:
    return ReplayRefused(
        f"one replay at a time: {'; '.join(map(str, found))}. Wait until it is done. "
        f"If it was killed, Kafka forgets it within {settings.session_timeout:g} s. To look: "
        f"kafka-consumer-groups --bootstrap-server {settings.bootstrap_servers} --describe --members --group {name}"
    )


def _card(metadata: bytes | None) -> tuple[str, str]:
    """Replay and since; empty while the group is taking members in."""
    try:
        reported = json.loads(ConsumerProtocolMemberMetadata.decode(metadata or b"").user_data or b"{}")
        return str(reported["replay"]), str(reported["since"])
    except (ValueError, KeyError, TypeError):
        return "", ""


async def _join(settings: KafkaSettings, name: str, card: _Card) -> Any:
    try:
        return await started_member(settings, name, settings.dead_letters, partition_assignment_strategy=(card,))
    except ActivityIndexerError as error:
        if isinstance(error.__cause__, InconsistentGroupProtocolError):
            raise ReplayRefused(f"the group {name} is used by a consumer that is no replay: stop it first") from error
        raise
