"""How large a record each topic takes: asked before, for a refusal by the broker breaks the producer's sequence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import UnknownTopicOrPartitionError

from activity_indexer.adapters.kafka.client import admin_client
from activity_indexer.adapters.kafka.records.internals import size_in_batch
from activity_indexer.errors import Refused
from activity_indexer.replay.errors import RecordRefused
from activity_indexer.replay.records import Addressed
from activity_indexer.settings import KafkaSettings

LIMIT: Final = "max.message.bytes"

PATIENCE: Final = 5.0
"""Seconds until a topic that was made a moment ago is known to every broker."""

PAUSE: Final = 0.2


async def record_limits(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """Bytes of a record at most, for topics that tell it. Raises Refused when one is absent, or Unavailable."""
    deadline = time.monotonic() + PATIENCE
    async with admin_client(settings) as client:
        while True:
            answers = await client.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic, {LIMIT: ""}) for topic in topics]
            )
            told = [resource for answer in answers for resource in answer.to_object()["resources"]]
            absent = [
                each["resource_name"] for each in told if each["error_code"] == UnknownTopicOrPartitionError.errno
            ]
            if not absent:
                return _limits(told)
            if time.monotonic() > deadline:
                raise Refused(f"the topic {', '.join(absent)} is absent: nothing can be sent there")
            await asyncio.sleep(PAUSE)


def _limits(told: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {
        resource["resource_name"]: int(entry["config_value"])
        for resource in told
        for entry in resource["config_entries"]
        if entry["config_names"] == LIMIT and not resource["error_code"]
    }


def check_sizes(records: Sequence[Addressed], limits: Mapping[str, int], otherwise: int) -> None:
    """Raises RecordRefused when one is too large for its topic; `otherwise` is for topics that do not tell."""
    for addressed in records:
        limit = min(otherwise, limits.get(addressed.topic, otherwise))
        size = size_in_batch(addressed.record)
        if size > limit:
            raise RecordRefused(
                f"the record takes {size} bytes, and the topic {addressed.topic} takes {limit}: "
                f"raise its {LIMIT}, and KAFKA_MAX_REQUEST_BYTES"
            )
