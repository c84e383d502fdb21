"""One budget in bytes for everything in the process that grows with the size of events, and its shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from activity_indexer.ports import Record

MEBIBYTE: Final = 1024 * 1024

DEFAULT_BUDGET: Final = 256 * MEBIBYTE
SMALLEST_BUDGET: Final = 64 * MEBIBYTE

LARGEST_RECORDS: Final = 16
"""Records of the largest size that a budget must hold: one may be under way in the indexer and in the audit, and four
unpacked in a batch of each consumer.
"""

BASE: Final = 256 * MEBIBYTE
"""What the process takes beside the budget: the interpreter, the libraries, message ids, metrics, spans, and what the
allocator does not give back. The limit of a container is the budget and this."""

COPIES: Final = 5
"""Times that the bytes of a record are in memory while it is under way: as they came, as the event's body, as the
document, in the body of the bulk request, and in the client's buffer."""

RECORD: Final = 4096
"""What a record takes beside its bytes: the objects that describe it (bytes)."""


@dataclass(frozen=True, slots=True)
class MemoryShares:
    """The parts of a budget (bytes).

    Of the whole, a half is for records on their way to Elasticsearch, a quarter for the audit, and an eighth for what
    each of the two consumers has fetched and not handed out: once as the answer of the broker, once by partition.
    """

    budget: int = DEFAULT_BUDGET

    @property
    def intake(self) -> int:
        """Footprint at which the intake takes nothing more in: what one poll gives fits above it."""
        return self.budget // 2 - COPIES * self.poll

    @property
    def poll(self) -> int:
        """Bytes of records that one poll gives; one record may be larger."""
        return self.budget // 64

    @property
    def audit(self) -> int:
        """Bytes of records that the audit collects while it writes as many; one record may be larger."""
        return self.budget // 32

    @property
    def decoded(self) -> int:
        """What the events take that are kept for the audit, so that it need not decode them."""
        return self.budget // 32

    @property
    def audit_statement(self) -> int:
        """Bytes of events in one statement of the audit."""
        return self.budget // 4 // 10

    @property
    def fetch(self) -> int:
        """Bytes that a consumer asks of a broker at once, and keeps for all of its partitions."""
        return self.budget // 16

    def fetch_of_each(self, partitions: int) -> int:
        """Bytes that a consumer asks of each of this many partitions; the broker gives one batch at least."""
        return max(16 * 1024, min(MEBIBYTE, self.fetch // max(1, partitions)))


def record_bytes(record: Record) -> int:
    """The bytes of a record's value, key and headers."""
    size = len(record.value or b"") + len(record.key or b"")
    if record.headers:
        for name, value in record.headers:
            size += len(name) + len(value or b"")
    return size


def record_sizes(records: Sequence[Record]) -> list[int]:
    """The bytes of each record's value, key and headers."""
    headers = [record.headers for record in records]
    if any(headers):
        return [record_bytes(record) for record in records]
    return [len(record.value or b"") + len(record.key or b"") for record in records]


def records_bytes(records: Sequence[Record]) -> int:
    """The bytes of all values, keys and headers."""
    return sum(record_sizes(records))


def footprint(records: int, size: int) -> int:
    """What this many records of this many bytes together take while they are under way (bytes)."""
    return RECORD * records + COPIES * size
