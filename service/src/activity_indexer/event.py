"""The event, its order and its version: from the bytes of a Kafka record to a value that the rest understands."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

CREATED: Final = "transaction.created"
UPDATED: Final = "transaction.updated"
DELETED: Final = "transaction.deleted"
EVENT_TYPES: Final = (CREATED, UPDATED, DELETED)
RANKS: Final = {CREATED: 0, UPDATED: 1, DELETED: 2}

MAX_TIES: Final = 255
"""Events of one transaction that may follow each other at one base version."""

FINER_THAN_MICROSECONDS: Final = 3
"""Takes the place of the rank in the version of a timestamp that has digits below the microsecond."""

LAST_TIMESTAMP: Final = (1 << 53) * 1000 - 1
"""The greatest timestamp (nanoseconds) that a version can hold, in the year 2255."""


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


class Position(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where an event was published: the record's timestamp (milliseconds), its partition and its offset.

    Positions are compared in this order. A replayed event has the position of its original.
    """

    published: int
    partition: int
    offset: int

    def __iter__(self) -> Iterator[int]:
        return iter((self.published, self.partition, self.offset))

    def __str__(self) -> str:
        return f"{self.published}:{self.partition}:{self.offset}"

    @classmethod
    def read(cls, text: str) -> Position:
        """The position that was written as this text. Raises ValueError."""
        published, partition, offset = text.split(":")
        return cls(int(published), int(partition), int(offset))


UNKNOWN_POSITION: Final = Position(0, -1, -1)
"""Of an event whose record is not known; it is before all others."""


class Order(NamedTuple):
    """What decides which of two events of a transaction is the later one; `timestamp` is in nanoseconds."""

    timestamp: int
    rank: int
    position: Position

    def ties(self, other: Order) -> bool:
        """Whether only the position decides between the two."""
        return self.timestamp == other.timestamp and self.rank == other.rank


class Event(msgspec.Struct, frozen=True, gc=False):
    """A valid event: an immutable value.

    `body` is the transaction's JSON object as the producer wrote it (bytes, one line; empty for a deletion).
    `timestamp` is in nanoseconds since the epoch and `updated_at` the same in RFC 3339, UTC. `version` is the event's
    base version: the document's version when no other event shares it. `source` is the envelope's.
    """

    event_type: str
    transaction: Transaction
    body: bytes
    timestamp: int
    updated_at: str
    version: int
    position: Position = UNKNOWN_POSITION
    source: str | None = None

    @property
    def key(self) -> bytes:
        """The message id as 16 bytes: what the indexer keeps of it in memory and in Redis."""
        return event_key(self.transaction.id, self.event_type, self.timestamp)

    @property
    def message_id(self) -> str:
        """32 hexadecimal digits, the same for every copy of this event and for its ties."""
        return self.key.hex()

    @property
    def deleted(self) -> bool:
        """Whether the event removes its transaction."""
        return self.event_type == DELETED

    @property
    def order(self) -> Order:
        """The greatest of these among a transaction's events is its state."""
        return Order(self.timestamp, RANKS[self.event_type], self.position)

    @property
    def content(self) -> bytes:
        """Eight bytes that are equal for events that say the same of a transaction."""
        said = self.transaction.user_id.encode() if self.deleted else self.body + (self.source or "").encode()
        return hashlib.blake2b(said, digest_size=8).digest()

    @property
    def checksum(self) -> int:
        """As `content`, but cheaper and weaker: it may distinguish a copy from a tie, and decide nothing."""
        return zlib.crc32(self.body or self.transaction.user_id.encode())


def event_key(transaction_id: str, event_type: str, timestamp: int) -> bytes:
    """Hash of transaction id, event type and timestamp (nanoseconds), in 16 bytes."""
    text = f"{timestamp}:{RANKS[event_type]}:{transaction_id}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def message_id(transaction_id: str, event_type: str, timestamp: int) -> str:
    """The key of such an event in hexadecimal digits: how logs, headers and commands write it."""
    return event_key(transaction_id, event_type, timestamp).hex()


def event_version(event_type: str, timestamp: int) -> int:
    """The base version of an event at this timestamp (nanoseconds): a positive 64-bit integer.

    The low eight bits are left for ties: for events that follow at the same base version.
    """
    low = FINER_THAN_MICROSECONDS if timestamp % 1000 else RANKS[event_type]
    return (timestamp // 1000 * 4 + low) << 8


def base_version(version: int) -> int:
    """The base version of a document's version."""
    return version & ~MAX_TIES


def version_microseconds(version: int) -> int:
    """The timestamp in a version, in microseconds: digits below are not in it."""
    return version >> 10
