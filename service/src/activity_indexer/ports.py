"""A protocol for each outside system: the pipeline knows these, and nothing of sockets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from activity_indexer.errors import DecodeError, EventError
from activity_indexer.event import Event
from activity_indexer.positions import Begun, Commit, Loss, Partition
from activity_indexer.positions import Stored as StoredOffsets


class Backlog(NamedTuple):
    """What waits in a partition: this many records, the oldest published this long ago (seconds; 0 without any)."""

    events: int
    seconds: float


class Record(Protocol):
    """A record as the client hands it out; `timestamp` is in milliseconds since the epoch, negative without one."""

    @property
    def topic(self) -> str:  # noqa: D102 - the client's own name
        ...
    @property
    def partition(self) -> int:  # noqa: D102 - the client's own name
        ...
    @property
    def offset(self) -> int:  # noqa: D102 - the client's own name
        ...
    @property
    def key(self) -> bytes | None:  # noqa: D102 - the client's own name
        ...
    @property
    def value(self) -> bytes | None:  # noqa: D102 - the client's own name
        ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:  # noqa: D102 - the client's own name
        ...
    @property
    def timestamp(self) -> int:  # noqa: D102 - the client's own name
        ...


class HeaderName(str):
    """A header's name that is not UTF-8, which Kafka allows: its bytes are escaped in the text, `encode` gives them."""

    __slots__ = ("raw",)
    raw: bytes

    @classmethod
    def of(cls, raw: bytes) -> HeaderName:
        """The name with these bytes."""
        name = cls(raw.decode(errors="backslashreplace"))
        name.raw = raw
        return name

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The bytes in the record."""
        return self.raw if encoding == "utf-8" else super().encode(encoding, errors)


def header_name(raw: bytes) -> str:
    """The name of a header with these bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return HeaderName.of(raw)


class Content(StrEnum):
    """What the value of an undecoded record holds."""

    VALUE = "value"
    """The record's own value."""
    RECORD = "record"
    """A record as it is stored in its batch, without the length before it."""
    RECORDS = "records"
    """The end of a batch of records, decompressed, which cannot be split into records."""
    BATCH = "batch"
    """A whole batch as the broker sent it."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """Of a value only the beginning is kept: the size (bytes) and the SHA-256 (hexadecimal) of all of it."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class UndecodedRecord:
    """What a partition holds from `first_offset` to `offset`, where it cannot be decoded: a Record with raw bytes.

    `content` says what `value` holds; key and headers are there when only the value is too large.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    error: DecodeError
    first_offset: int
    content: Content
    truncation: Truncation | None = None


@dataclass(frozen=True, slots=True)
class BulkReply:
    """What came back for one bulk request.

    `status` is the HTTP status, `body` the JSON as it came (bytes).
    """

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as the index keeps it: its version, and its body (JSON, bytes as they came)."""

    version: int
    source: bytes


class BulkIndex(Protocol):
    """Elasticsearch, as the pipeline uses it."""

    async def bulk(self, body: bytes) -> BulkReply:
        """Send ready NDJSON. Raises Unavailable when there is no answer."""

    async def read(self, identifiers: Sequence[str]) -> Mapping[str, Stored]:
        """Those of these documents that exist, by id, as they are now: searches need not find them yet.

        Raises Unavailable, or Refused when an operator has to act.
        """

    async def prepare(self) -> None:
        """Create index, mapping and alias when absent. Raises Unavailable, or Refused when an operator is needed."""


class SeenStore(Protocol):
    """Message ids that were settled before, shared by all indexers. An id is 16 bytes, see event.Event.key."""

    async def seen(self, ids: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """What was marked for those of the ids that are known, in one round trip. Raises Unavailable."""

    async def mark(self, entries: Mapping[bytes, bytes]) -> None:
        """Remember an entry for each id, all of one length, in one round trip. Raises Unavailable."""


class OffsetStore(Protocol):
    """What the consumer group committed, kept beside the seen ids."""

    async def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The offsets of those that are known. Raises Unavailable."""

    async def remember(self, offsets: Mapping[Partition, int]) -> None:
        """Keep these offsets in place of earlier ones. Raises Unavailable."""


class OutRecord(Struct, frozen=True, gc=False):
    """A record to be written to a topic."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class DeadLetters(Protocol):
    """The dead-letter topic."""

    async def send(self, records: Sequence[OutRecord]) -> tuple[Sequence[OutRecord], str]:
        """Write records; returns those of them that not all in-sync replicas have, and what was in the way."""


class AuditOutcome(StrEnum):
    """What becomes of a record in the audit: exactly one of these."""

    WRITTEN = "written"
    INVALID = "invalid"
    """No event: the indexer dead-letters it."""
    REJECTED = "rejected"
    """The database refuses a value of it; it is in audit_rejects."""
    DROPPED = "dropped"
    """The database refuses it even there; the log line audit.event_dropped names its place."""


class AuditEvent(Struct, frozen=True, gc=False):
    """An event with the place that it came from, for the audit."""

    event: Event
    topic: str
    partition: int
    offset: int


class Read(NamedTuple):
    """What was read of a partition: offsets from `since` on and below `until`; the topic's id is empty if not known.

    `since` is where the last write ended, or where reading began.
    """

    since: int
    until: int
    topic_id: str = ""


NOTHING_READ: Final[Mapping[Partition, Read]] = MappingProxyType({})


NOTHING_REACHED: Final[Mapping[Partition, Commit]] = MappingProxyType({})


class Polled(NamedTuple):
    """What a poll gave: records in order of offset in each partition, nothing after a while without any.

    `begun` has the partitions whose reading began since the last poll, `reached` the next offset of each partition
    after these records. All that belongs to one `assignment` of partitions has its number. `found` has for each record
    the event in it, or why there is none; None where the record has to be decoded. When empty, all have to be.
    """

    records: Sequence[Record]
    begun: Sequence[Begun] = ()
    reached: Mapping[Partition, Commit] = NOTHING_REACHED
    assignment: int = 0
    found: Sequence[Event | EventError | None] = ()


class AuditSource(Protocol):
    """The audit's own consumer group."""

    def begin_from(self, stored: StoredOffsets) -> None:
        """Ask this where the partitions of an assignment begin, whatever the group has committed."""

    async def poll(self) -> Polled:
        """The next records. Raises Unavailable or Refused."""

    def is_current(self, polled: Polled) -> bool:
        """Whether the partitions are assigned as they were at this poll."""

    async def commit(self, polled: Polled) -> None:
        """Commit all that this poll and those before handed out. Raises Unavailable or Refused."""

    async def close(self) -> None:
        """Leave the group; the next poll joins it again."""

    async def lag(self) -> Mapping[Partition, Backlog]:
        """What of each assigned partition is not committed. Raises Unavailable or Refused."""


class AuditStore(Protocol):
    """The audit database."""

    async def prepare(self) -> None:
        """Bring the schema up to date, and make sure whose rows it holds. Raises Unavailable or Refused."""

    async def offsets(self) -> Mapping[Partition, Commit]:
        """How far the partitions of the topic are read, as `write` left it. Raises Unavailable or Refused."""

    async def begin(self, partition: Partition, commit: Commit, loss: Loss | None = None) -> None:
        """Reading begins here and not where it ended, for the reason of the loss if any. Raises Unavailable or Refused.

        Nothing but this takes the offset of a partition back, or makes it one of another topic of the same name.
        """

    async def write(self, events: Sequence[AuditEvent], read: Mapping[Partition, Read] = NOTHING_READ) -> int:
        """Write all events, and how far partitions are read then, all or nothing; returns the number of ties.

        Repeated and late events change nothing in the state of a transaction, nor do offsets that are behind. A tie
        is a new event with the timestamp and rank of another one. Raises Unavailable when the same call may pass later,
        Refused when an operator is needed, AuditRejected when the database refuses a value of the events, AuditWentBack
        when what is read does not follow what the database has.
        """

    async def reject(self, event: AuditEvent, reason: str) -> None:
        """Keep an event that the database refuses, apart."""


class Enriched(Struct, frozen=True, gc=False):
    """What enrichment adds to a document, as JSON text: the document's bytes are put together, not encoded again.

    `fields` is the object `enrichment`, `search_content` the string; `ran` says whether a strategy of the type ran.
    """

    fields: bytes
    search_content: bytes
    ran: bool


class Enricher(Protocol):
    """Adds what users search and filter by."""

    def __call__(self, event: Event) -> Enriched:
        """What to add to the document of this event. Raises EnrichmentError."""
