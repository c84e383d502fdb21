"""Consumers, started: members of a group, and those that only read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import ConsumerRebalanceListener
from aiokafka.errors import InvalidSessionTimeoutError, KafkaConnectionError

from activity_common.kafka_connection import CLIENT_ERRORS
from activity_indexer.adapters.kafka.address import AddressAssignor, HttpAddress
from activity_indexer.adapters.kafka.client import admin_client, client_arguments, explained, mapped, session_limits
from activity_indexer.adapters.kafka.group_member import GroupMember, name_in_use
from activity_indexer.adapters.kafka.questions import MembersRequest, holder_of
from activity_indexer.adapters.kafka.records.internals import RecordsConsumer
from activity_indexer.errors import ActivityIndexerError, Refused
from activity_indexer.settings import KafkaSettings

NEVER_IDLE_MS: Final = 2**31 - 1
"""The client leaves the group when polls stop for this long; an outage behind the consumer stops them, rightly."""


async def join_group(
    settings: KafkaSettings,
    group: str,
    listener: Callable[[GroupMember], ConsumerRebalanceListener],
    address: HttpAddress | None = None,
    **more: Any,
) -> GroupMember:
    """A started consumer of the transactions topic that commits only when asked to; `more` overrides its arguments.

    The listener decides where partitions are read from. The group keeps `address`, where the member serves its facts.
    Raises Unavailable or Refused.
    """
    arguments = _arguments(settings, group) | {
        "group_instance_id": settings.group_instance_id or None,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
    }
    if address is not None:
        arguments["partition_assignment_strategy"] = [AddressAssignor(address)]
    client = GroupMember(**arguments | more)
    client.subscribe([settings.transactions_topic], listener=listener(client))
    await _start(client, settings)
    return client


async def check_instance(settings: KafkaSettings, group: str) -> None:
    """Refused when another member of the group has this instance's name: to join would take its place."""
    if not settings.group_instance_id:
        return
    async with admin_client(settings) as admin:
        coordinator = await admin.find_coordinator(group)
        answer = await admin._send_request(MembersRequest(group), coordinator)  # noqa: SLF001 - it has no other way
        holder = holder_of(answer, settings.group_instance_id)
    if holder is not None:
        raise Refused(name_in_use(settings.group_instance_id, group, holder))


async def started_member(settings: KafkaSettings, group: str, topic: str, **more: Any) -> Any:
    """A started member of a group, which commits only when asked to; `more` overrides its arguments.

    Raises Unavailable or Refused; the client's own error is its cause.
    """
    consumer = RecordsConsumer(**_arguments(settings, group) | more)
    consumer.subscribe([topic])
    await _start(consumer, settings)
    return consumer


def _arguments(settings: KafkaSettings, group: str) -> dict[str, Any]:
    return client_arguments(settings) | {
        "max_record_bytes": settings.max_record_bytes,
        # the broker answers a member that joins when the slowest other member has joined as well
        "request_timeout_ms": int((settings.rebalance_timeout + settings.request_timeout) * 1000),
        "group_id": group,
        "enable_auto_commit": False,
        "session_timeout_ms": int(settings.session_timeout * 1000),
        "heartbeat_interval_ms": int(settings.heartbeat_interval * 1000),
        "rebalance_timeout_ms": int(settings.rebalance_timeout * 1000),
        "max_poll_interval_ms": NEVER_IDLE_MS,
    }


async def _start(consumer: Any, settings: KafkaSettings) -> None:
    try:
        await consumer.start()
    except BaseException as error:
        await consumer.stop()
        if isinstance(error, KafkaConnectionError):
            raise await explained(settings, error) from error
        if isinstance(error, InvalidSessionTimeoutError):
            raise await _session_refused(settings) from error
        if isinstance(error, CLIENT_ERRORS):
            raise mapped(error) from error
        raise


async def _session_refused(settings: KafkaSettings) -> Refused:
    """What the broker takes, where it says that."""
    allowed = "its group.min.session.timeout.ms and group.max.session.timeout.ms say which"
    try:
        async with admin_client(settings) as admin:
            limits = await session_limits(admin)
    except ActivityIndexerError:
        limits = None
    if limits is not None:
        low, high = limits
        allowed = f"it takes {low:g} to {high:g} s (group.min.session.timeout.ms, group.max.session.timeout.ms)"
    return Refused(f"KAFKA_SESSION_TIMEOUT: the broker refuses {settings.session_timeout:g} s: {allowed}")


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
