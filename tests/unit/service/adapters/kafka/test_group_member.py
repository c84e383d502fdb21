"""A static member that was replaced stays out of its group; what it may join, it joins."""

import asyncio
import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import TopicPartitionState
from aiokafka.errors import IllegalGenerationError, KafkaConnectionError

from activity_indexer.adapters.kafka.group_member import GroupMember
from activity_indexer.adapters.kafka.records.internals import RecordsConsumer

pytestmark = pytest.mark.simulated_time


class Coordinator:
    """The client's part that joins the group; `members` are those that the broker knows."""

    def __init__(self) -> None:
        self.member_id = "me"
        self.members: list[dict[str, str]] = []
        self.unavailable = False
        self.joined = 0
        self._closing = asyncio.get_running_loop().create_future()

    async def _do_rejoin_group(self, _: object) -> bool:
        self.joined += 1
        return True

    async def _send_req(self, _: object) -> Any:
        if self.unavailable:
            raise KafkaConnectionError("away")
        group = {"error_code": 0, "group": "g", "members": self.members}
        return SimpleNamespace(to_object=lambda: {"groups": [group]})

    def coordinator_dead(self) -> None:
        pass


@pytest.fixture
async def member() -> GroupMember:
    found = GroupMember(
        max_record_bytes=1024,
        bootstrap_servers="127.0.0.1:1",
        group_id="g",
        group_instance_id="same",
        session_timeout_ms=20,
        retry_backoff_ms=1,
    )
    found._coordinator = Coordinator()
    found._join_again = found._coordinator._do_rejoin_group
    return found


@pytest.fixture
def reported(member: GroupMember) -> Iterator[list[str | None]]:
    found: list[str | None] = []
    member.fenced = found.append
    yield found
    member._coordinator = None  # it was never started, and has nothing to leave
    member._closed = True


def other(member_id: str) -> dict[str, str]:
    return {"member_id": member_id, "group_instance_id": "same", "client_id": "c", "client_host": "/10.0.0.7"}


async def test_a_member_joins_again_when_no_other_has_its_name(member: GroupMember, reported: list[str | None]) -> None:
    member._coordinator.members = [other("me")]
    assert await member._rejoin(None) is True
    assert reported == [None]


async def test_a_member_that_was_replaced_stays_out_and_says_who_has_its_name(
    member: GroupMember, reported: list[str | None]
) -> None:
    member._coordinator.members = [other("another")]
    assert await member._rejoin(None) is False
    assert member._coordinator.joined == 0
    assert str(reported[0]).startswith(
        "KAFKA_GROUP_INSTANCE_ID=same is in use by another member of the group g (client c on 10.0.0.7)"
    )


async def test_a_member_that_cannot_ask_does_not_join_on_the_off_chance(
    member: GroupMember, reported: list[str | None]
) -> None:
    member._coordinator.unavailable = True
    assert await member._rejoin(None) is False
    assert member._coordinator.joined == 0
    assert reported == []


async def test_one_that_stays_out_ends_at_once(member: GroupMember, reported: list[str | None]) -> None:
    member._session_timeout_ms = 60_000
    member._coordinator.members = [other("another")]
    waiting = asyncio.create_task(member._rejoin(None))
    await asyncio.sleep(0.01)
    assert reported
    member._coordinator._closing.set_result(None)
    assert await asyncio.wait_for(waiting, 1) is False


def test_the_clients_own_parts_are_as_they_are_expected() -> None:
    for method, names in (
        (GroupCoordinator._do_rejoin_group, ["self", "subscription"]),
        (GroupCoordinator._send_req, ["self", "request"]),
        (GroupCoordinator.fetch_committed_offsets, ["self", "partitions"]),
        (GroupCoordinator.commit_offsets, ["self", "assignment", "offsets"]),
        (GroupCoordinator.coordinator_dead, ["self"]),
        (AIOKafkaClient._metadata_update, ["self", "cluster_metadata", "topics"]),
        (AIOKafkaAdminClient._send_request, ["self", "request", "node_id"]),
        (TopicPartitionState.seek, ["self", "position"]),
    ):
        assert list(inspect.signature(method).parameters) == names


async def test_a_commit_that_is_given_up_and_fails_later_is_no_error_of_the_loop(
    member: GroupMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()

    async def commit(_member: GroupMember, _offsets: object) -> None:
        """As the client does: what is cancelled from outside goes on within."""

        async def request() -> None:
            await asyncio.sleep(0.02)
            failed.set()
            raise IllegalGenerationError

        await asyncio.shield(request())

    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    monkeypatch.setattr(RecordsConsumer, "commit", commit)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(member.commit({}), 0.001)
    await failed.wait()
    await asyncio.sleep(0)
    member._closed = True  # it was never started
    assert reported == []
