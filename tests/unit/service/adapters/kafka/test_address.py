"""A process has the same partitions in the indexer's group and in the audit's."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from activity_indexer.adapters.kafka.address import AddressAssignor, http_address

CLUSTER = SimpleNamespace(partitions_for_topic=lambda _: set(range(6)))
ADDRESS = http_address("127.0.0.1", 8080)


def assigned(members: dict[str, Any]) -> dict[str, list[int]]:
    found = AddressAssignor(ADDRESS).assign(CLUSTER, members)
    return {member: [number for _, numbers in each.assignment for number in numbers] for member, each in found.items()}


def member(process: str) -> Any:
    return AddressAssignor(ADDRESS, process).metadata(["transactions"])


def test_whatever_ids_the_members_get_a_process_has_the_same_partitions_in_both_groups() -> None:
    indexers = assigned({"id-7": member("pod-a"), "id-1": member("pod-b"), "id-5": member("pod-c")})
    audits = assigned({"id-0": member("pod-c"), "id-2": member("pod-a"), "id-9": member("pod-b")})
    assert indexers == {"id-7": [0, 3], "id-1": [1, 4], "id-5": [2, 5]}
    assert audits == {"id-2": [0, 3], "id-9": [1, 4], "id-0": [2, 5]}


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"http":{"host":"","port":1}}'])
def test_members_that_state_no_process_come_first_and_none_is_left_out(data: bytes) -> None:
    other = ConsumerProtocolMemberMetadata(0, ["transactions"], data)
    assert assigned({"b": other, "a": member("pod-a"), "c": other}) == {"b": [0, 3], "c": [1, 4], "a": [2, 5]}


def test_the_processes_own_name_is_stated_when_none_is_given() -> None:
    assert AddressAssignor(ADDRESS).metadata(["t"]) == AddressAssignor(ADDRESS).metadata(["t"])
    assert AddressAssignor.name == RoundRobinPartitionAssignor.name
