"""Consumers, started: members of a group, and those that only read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.errors import KafkaConnectionError

from activity_indexer.adapters.kafka_client import CLIENT_ERRORS, client_arguments, explained, mapped
from activity_indexer.adapters.kafka_internals import RecordsConsumer
from activity_indexer.adapters.kafka_member import AddressAssignor, HttpAddress
from activity_indexer.settings import KafkaSettings

NEVER_IDLE_MS: Final = 2**31 - 1
"""The client leaves the group when polls stop for so long; an outage behind the consumer stops them, rightly."""


async def join_group(
    settings: KafkaSettings, group: str, listener: Any, address: HttpAddress | None = None, **more: Any
) -> Any:
    """A started consumer of the transactions topic that commits only when told to; `more` overrides its arguments.

    The group keeps `address`, where the member serves its facts. Raises Unavailable or Refused.
    """
    if address is not None:
        more["partition_assignment_strategy"] = [AddressAssignor(address)]
    return await started_member(
        settings,
        group,
        settings.transactions_topic,
        listener,
        **{
            "group_instance_id": settings.group_instance_id or None,
            "auto_offset_reset": settings.auto_offset_reset,
            "isolation_level": "read_committed",
            **more,
        },
    )


async def started_member(settings: KafkaSettings, group: str, topic: str, listener: Any = None, **more: Any) -> Any:
    """A started member of a group, which commits only when told to; `more` overrides its arguments.

    Raises Unavailable or Refused; the client's own error is its cause.
    """
    arguments = client_arguments(settings) | {
        # the broker answers a member that joins when the slowest other member has joined as well
        "request_timeout_ms": int((settings.rebalance_timeout + settings.request_timeout) * 1000),
        "group_id": group,
        "enable_auto_commit": False,
        "session_timeout_ms": int(settings.session_timeout * 1000),
        "heartbeat_interval_ms": int(settings.session_timeout * 1000 / 10),
        "rebalance_timeout_ms": int(settings.rebalance_timeout * 1000),
        "max_poll_interval_ms": NEVER_IDLE_MS,
    }
    consumer = RecordsConsumer(**{"max_record_bytes": settings.max_record_bytes} | arguments | more)
    consumer.subscribe([topic], listener=listener)
    try:
        await consumer.start()
    except BaseException as error:
        await consumer.stop()
        if isinstance(error, KafkaConnectionError):
            raise await explained(settings, error) from error
        if isinstance(error, CLIENT_ERRORS):
            raise mapped(error) from error
        raise
    return consumer


@asynccontextmanager
async def reading(settings: KafkaSettings, **more: Any) -> AsyncIterator[Any]:
    """A started consumer without a group: it commits nothing, and reads what is assigned to it, from the earliest on.

    It sees what is committed; `more` overrides its arguments. Raises Unavailable or Refused, also for what is done with
    it.
    """
    arguments = client_arguments(settings) | {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed",
    }
    consumer = RecordsConsumer(**{"max_record_bytes": settings.max_record_bytes} | arguments | more)
    try:
        await consumer.start()
        await asyncio.sleep(0)  # its tasks begin: one that has not cannot be stopped without an error
        yield consumer
    except CLIENT_ERRORS as error:
        raise mapped(error) from error
    finally:
        await consumer.stop()
