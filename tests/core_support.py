"""What tests of the core share: records without a broker, an observer that remembers, a clock that stands still."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from support import CREATED, event

from activity_indexer.dead_letter import Failure
from activity_indexer.document import encode
from activity_indexer.errors import DecodeError
from activity_indexer.event import Event
from activity_indexer.facts import Severity
from activity_indexer.observer import BatchSummary
from activity_indexer.offsets import PartitionOffsets
from activity_indexer.pipeline.batch import Batch, Batcher
from activity_indexer.ports import Content, Enriched, Partition, Record, Truncation, UndecodedRecord
from activity_indexer.positions import Loss

TOPIC = "transactions"
START = datetime(2024, 1, 1, 12, tzinfo=UTC)
NOW = START.timestamp() + 3600.0
LATEST = int((NOW + 86_400) * 1e6)
"""What decode believes at most (microseconds since the epoch)."""


@dataclass(frozen=True, slots=True)
class Told:
    """A record as the client hands it out."""

    value: bytes | None
    offset: int = 0
    partition: int = 0
    topic: str = TOPIC
    key: bytes | None = b"user_1"
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = int(NOW * 1000)


def enriched(fields: Mapping[str, Any] | None = None, search_content: str = "", *, ran: bool = True) -> Enriched:
    """As an Enricher returns it."""
    return Enriched(encode(fields or {}), encode(search_content), ran)


def undecoded(
    raw: bytes,
    offset: int = 0,
    *,
    first: int | None = None,
    content: Content = Content.RECORD,
    truncation: Truncation | None = None,
    code: str = "undecodable_record",
) -> UndecodedRecord:
    """What is handed out for a record that cannot be decoded."""
    first = offset if first is None else first
    error = DecodeError(code, "it cannot be decoded")
    return UndecodedRecord(TOPIC, 0, offset, int(NOW * 1000), None, raw, (), error, first, content, truncation)


def at(seconds: float) -> str:
    """RFC 3339, so many seconds after noon of the first day of 2024."""
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def value(identifier: str = "a", seconds: float = 0, kind: str = CREATED, **fields: Any) -> bytes:
    """A valid event's bytes."""
    return json.dumps(event(identifier, kind, at(seconds), **fields)).encode()


def taken(body: bytes) -> bytes:
    """The bulk answer that says that every document of the body was written."""
    items = b",".join([b'{"index":{"status":201}}'] * (body.count(b"\n") // 2))
    return b'{"errors":false,"took":250,"items":[%b]}' % items


class Clock:
    """Time that passes when told to."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Seen:
    """An Observer that remembers what it was told."""

    debug: bool = False
    calls: list[tuple[str, Any]] = field(default_factory=list)
    batches: list[BatchSummary] = field(default_factory=list)
    buried: list[tuple[Record, Failure, str]] = field(default_factory=list)
    decoded: list[Event] = field(default_factory=list)
    lags: dict[Partition, int] = field(default_factory=dict)
    ages: dict[Partition, float | None] = field(default_factory=dict)
    held_back: dict[Partition, tuple[int, float]] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def told(self, name: str) -> list[Any]:
        return [what for each, what in self.calls if each == name]

    def polled(self, records: int, size: int) -> None:
        self.calls.append(("polled", (records, size)))

    def buffered(self, events: int) -> None:
        pass

    def event_decoded(self, event: Event) -> None:
        self.decoded.append(event)

    def stage_done(self, stage: str, seconds: float) -> None:
        self.calls.append(("stage_done", stage))

    def batch_started(self, waited: float) -> None:
        self.calls.append(("batch_started", waited))

    def batch_done(self, summary: BatchSummary) -> None:
        self.batches.append(summary)
        for (outcome, _), count in summary.outcomes.items():
            self.outcomes[outcome] += count

    def dead_lettered(self, record: Record, failure: Failure, event_type: str, events: int = 1) -> None:
        self.buried.append((record, failure, event_type))
        self.calls.append(("dead_lettered", events))

    def bulk_waited(self, seconds: float) -> None:
        pass

    def bulk_request(self, outcome: str, seconds: float, size: int) -> None:
        self.calls.append(("bulk_request", outcome))

    def retried(self, reason: str, count: int) -> None:
        self.calls.append(("retried", (reason, count)))

    def outage(self, reason: str) -> None:
        self.calls.append(("outage", reason))

    def index(self, problem: str | None) -> None:
        self.calls.append(("index", problem))

    def read_again(self, events: int) -> None:
        self.calls.append(("read_again", events))

    def halted(self, reason: str) -> None:
        self.calls.append(("halted", reason))

    def recovered(self) -> None:
        self.calls.append(("recovered", None))

    def waits_alone(self, documents: int, reason: str) -> None:
        self.calls.append(("waits_alone", (documents, reason)))

    def concurrency(self, in_flight: int, limit: int) -> None:
        pass

    def breaker_opened(self, share: float, example: str) -> None:
        self.calls.append(("breaker_opened", example))

    def breaker_closed(self) -> None:
        self.calls.append(("breaker_closed", None))

    def seen_store(self, up: bool, reason: str) -> None:
        self.calls.append(("seen_store", (up, reason)))

    def dead_letter_topic(self, problem: str | None) -> None:
        self.calls.append(("dead_letter_topic", problem))

    def assigned(self, partitions: Collection[Partition]) -> None:
        self.calls.append(("assigned", sorted(partitions)))

    def revoked(self) -> None:
        self.calls.append(("revoked", None))

    def committed(self, partition: Partition, offset: int) -> None:
        self.calls.append(("committed", (partition, offset)))

    def commit_failed(self, reason: str) -> None:
        self.calls.append(("commit_failed", reason))

    def lag(self, partition: Partition, events: int) -> None:
        self.lags[partition] = events

    def held(self, partition: Partition, events: int, seconds: float) -> None:
        self.held_back[partition] = events, seconds

    def kafka(self, problem: str | None) -> None:
        self.calls.append(("kafka", problem))

    def topic(self, problem: str | None) -> None:
        self.calls.append(("topic", problem))

    def membership(self, problem: str | None) -> None:
        self.calls.append(("membership", problem))

    def recreated(self, topic: str) -> None:
        self.calls.append(("recreated", topic))

    def lost(self, loss: Loss) -> None:
        self.calls.append(("lost", loss))

    def lag_seconds(self, partition: Partition, seconds: float | None) -> None:
        self.ages[partition] = seconds

    def pending(self, events: int) -> None:
        self.calls.append(("pending", events))

    def ticked(self) -> None:
        pass

    def problem(
        self, code: str, reason: str, *, severity: Severity = Severity.WARNS, subject: str = "", advice: str = ""
    ) -> None:
        self.calls.append(("problem", (code, subject, severity, reason, advice)))

    def solved(self, code: str, subject: str = "") -> None:
        self.calls.append(("solved", (code, subject)))


def headers(record: Any) -> Mapping[str, str]:
    """A record's headers as text, the dead-letter ones without their prefix."""
    return {name.removeprefix("dead-letter-"): text.decode() for name, text in record.headers}


def one_batch(records: Sequence[Record], tracker: PartitionOffsets, opened_at: float = 0.0) -> Batch:
    """All of these records of partition 0 as one batch."""
    batcher = Batcher(len(records), 10**9, 1.0, lambda: opened_at)
    batcher.add({Partition(TOPIC, 0): records}, {Partition(TOPIC, 0): tracker})
    return batcher.take(len(records))


async def until(check: Callable[[], object]) -> None:
    """Let others work until this is so; what never comes is ended by the test's time limit."""
    while not check():  # noqa: ASYNC110 - any condition of a test
        await asyncio.sleep(0.001)
