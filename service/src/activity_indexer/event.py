"""The event and its version: from the bytes of a Kafka record to a value that the rest understands."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from msgspec import Raw

CREATED: Final = "transaction.created"
UPDATED: Final = "transaction.updated"
DELETED: Final = "transaction.deleted"
EVENT_TYPES: Final = (CREATED, UPDATED, DELETED)
RANKS: Final = {CREATED: 0, UPDATED: 1, DELETED: 2}


class Transaction(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The fields of a transaction that the indexer reads; the document keeps all of them, as they came.

    `amount` and `metadata` are the JSON text of the value (bytes), so that no digit is lost; empty when there is none.
    Of a deleted transaction only `id` and `user_id` are read.
    """

    id: str
    user_id: str
    transaction_type: str = ""
    status: str = ""
    currency: str = ""
    amount: Raw = Raw()
    created_at: str = ""
    product: str | None = None
    metadata: Raw = Raw()


class Event(msgspec.Struct, frozen=True, gc=False):
    """A valid event: an immutable value.

    `body` is the transaction's JSON object as the producer wrote it (bytes, one line; empty for a deletion).
    `timestamp` is in microseconds since the epoch and `updated_at` the same in RFC 3339, UTC. `version` is the event
    version, a positive 64-bit integer that orders all events of a transaction.
    """

    event_type: str
    transaction: Transaction
    body: bytes
    timestamp: int
    updated_at: str
    version: int

    @property
    def message_id(self) -> str:
        """32 hexadecimal digits, the same for every copy of this event."""
        return message_id(self.transaction.id, self.version)

    @property
    def deleted(self) -> bool:
        """Whether the event removes its transaction."""
        return self.event_type == DELETED


def message_id(transaction_id: str, version: int) -> str:
    """Hash of transaction id, event type and timestamp; the event version holds the last two."""
    return hashlib.blake2b(f"{version}:{transaction_id}".encode(), digest_size=16).hexdigest()


def event_version(event_type: str, timestamp: int) -> int:
    """The event version of a timestamp in microseconds."""
    return timestamp * 4 + RANKS[event_type]
