"""Read positions of groups, with their metadata, as they are when no transaction is open on them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from activity_indexer.adapters.kafka.client import within
from activity_indexer.positions import Partition
from activity_indexer.replay.ports import Commits
from activity_indexer.settings import KafkaSettings

UNSTABLE: Final = 88
"""The broker's code for offsets that a transaction is about to change."""

PAUSE: Final = 0.2
"""Seconds between two questions."""


class _Answer(Response):  # type: ignore[misc]
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 9
    API_VERSION = 7
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _StableOffsets(Request[_Question]):  # type: ignore[misc]
    """OffsetFetch of version 7: the client's own does not know of transactions that are about to end."""

    API_KEY = 9

    def __init__(self, group: str, topics: list[tuple[str, list[int], dict[int, bytes]]]) -> None:
        self._group = group
        self._topics = topics

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class(self._group, self._topics, True, {})


async def committed(client: Any, group: str, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, str]]:
    """Offset and metadata that the group has committed for these partitions; nothing where it has none.

    `client` is a started admin client. Waits while a transaction on them is ending. Raises the client's errors.
    """
    topics: defaultdict[str, list[int]] = defaultdict(list)
    for topic, number in partitions:
        topics[topic].append(number)
    question = _StableOffsets(group, [(topic, numbers, {}) for topic, numbers in topics.items()])
    coordinator = await client.find_coordinator(group)
    while True:
        answer = (await client._send_request(question, coordinator)).to_object()  # noqa: SLF001 - it has no other way
        reported = [(topic["topic"], each) for topic in answer["topics"] for each in topic["partitions"]]
        codes = {answer["error_code"], *(each["error_code"] for _, each in reported)} - {0}
        if codes - {UNSTABLE}:
            raise for_code(min(codes - {UNSTABLE}))(f"cannot read the positions of the group {group}")
        if not codes:
            return {
                Partition(topic, each["partition"]): (each["offset"], each["metadata"] or "")
                for topic, each in reported
                if each["offset"] >= 0
            }
        await asyncio.sleep(PAUSE)


class GroupPositions:
    """replay.ports.Groups by a started admin client."""

    def __init__(self, settings: KafkaSettings, client: Any) -> None:
        self._settings = settings
        self._client = client

    async def committed(self, group: str, partitions: Iterable[Partition]) -> Commits:
        """Offsets and metadata of those partitions that have them."""
        found: Commits = await within(self._settings.request_timeout, committed(self._client, group, partitions))
        return found
