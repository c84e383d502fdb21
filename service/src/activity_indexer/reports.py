"""What the indexer and its audit report: one frozen value for each kind of fact, handed to one `emit`.

Logs, metrics, health and the freshness of search subscribe to the kinds that they need. So a fact is reported once, and
no other part knows of logs, metrics or health. Values are made for each batch, request or commit, never for each event.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

from msgspec import Struct

from activity_indexer.dead_letter import Failure
from activity_indexer.event import Event
from activity_indexer.facts import Severity
from activity_indexer.ports import AuditOutcome, Backlog, Record
from activity_indexer.positions import Loss, Partition
from activity_indexer.tracing import BatchTrace


class Reported(Struct, frozen=True, gc=False):
    """A fact that is reported; the base of all kinds."""


Emit = Callable[[Reported], None]
"""Reports a fact; cheap, and never raises."""

Kind = TypeVar("Kind", bound=Reported)
Handler = Callable[[Any, Kind], None]


def unreported(_reported: Reported) -> None:
    """Emit where nothing subscribes."""


def on(kind: type[Kind]) -> Callable[[Handler[Kind]], Handler[Kind]]:
    """Marks a method that subscribes to facts of this kind."""

    def marked(method: Handler[Kind]) -> Handler[Kind]:
        method.subscribed = kind  # type: ignore[attr-defined]
        return method

    return marked


Subscription = tuple[type[Reported], Callable[[Any], None]]


def subscriptions(subscriber: object) -> Iterator[Subscription]:
    """The marked methods of an object."""
    for name, method in vars(type(subscriber)).items():
        if kind := getattr(method, "subscribed", None):
            yield kind, getattr(subscriber, name)


class Subscribers:
    """Emit: calls what subscribed to the kind of a fact, in the order of subscription; to be used from one thread."""

    def __init__(self, counted: Iterable[Subscription], *subscribers: object) -> None:
        self._called: dict[type[Reported], tuple[Callable[[Any], None], ...]] = {}
        self._add(counted)
        self.add(*subscribers)

    def add(self, *subscribers: object) -> None:
        """Call their marked methods, too."""
        for each in subscribers:
            self._add(subscriptions(each))

    def _add(self, subscribed: Iterable[Subscription]) -> None:
        for kind, called in subscribed:
            self._called[kind] = (*self._called.get(kind, ()), called)

    def __call__(self, reported: Reported) -> None:
        """Report a fact."""
        for called in self._called.get(type(reported), ()):
            called(reported)


class EventOutcome(StrEnum):
    """What became of an event that is settled: exactly one of these."""

    INDEXED = "indexed"
    UPDATED = "updated"
    DELETED = "deleted"
    DUPLICATE = "duplicate"
    """The index has the same event."""
    LATE = "late"
    """The index has a newer event of the transaction."""
    DEAD_LETTERED = "dead_lettered"


OUTCOMES: Final = tuple(each.value for each in EventOutcome)


class BulkOutcome(StrEnum):
    """How a bulk request ended."""

    DONE = "done"
    PARTIAL = "partial"
    RETRY = "retry"
    HALT = "halt"
    SPLIT = "split"
    SUSPECT = "suspect"


class Dependency(StrEnum):
    """What the indexer needs."""

    KAFKA = "kafka"
    ELASTICSEARCH = "elasticsearch"
    REDIS = "redis"
    POSTGRES = "postgres"
    DEAD_LETTERS = "dead_letters"
    """The dead-letter topic."""


# Dependencies, and what else needs attention


class DependencyChanged(Reported, frozen=True):
    """A dependency answers (no problem), or does not and why; reported as often as it is noticed.

    `severity` is what follows for the indexer from a problem; while it is `starting` it waits, and is not ready.
    """

    dependency: Dependency
    problem: str | None = None
    severity: Severity = Severity.WAITS
    starting: bool = False


INDEX: Final = "index"
"""Code of the problem that the alias or the index behind it is not as an indexer makes them."""


class ProblemChanged(Reported, frozen=True):
    """Something does not move or needs attention, until it is reported again without a problem.

    `code` is a stable word such as `open_transaction`, `subject` what it is about ("partition 3"). A wait (WAITS) that
    is not reported again is over, too.
    """

    code: str
    problem: str | None = None
    severity: Severity = Severity.BLOCKS
    subject: str = ""
    advice: str = ""


class BreakerOpened(Reported, frozen=True):
    """Too many valid events fail, such as the example: intake is stopped."""

    share: float
    example: str


class BreakerClosed(Reported, frozen=True):
    """What failed has passed: intake goes on."""


# The way of a batch


class RecordsPolled(Reported, frozen=True):
    """The client handed out records, with `size` bytes of values."""

    records: int
    size: int


class IntakeTurned(Reported, frozen=True):
    """The intake loop went round; `buffered` events wait for their turn."""

    buffered: int


class BatchStarted(Reported, frozen=True):
    """A batch began, `waited` seconds after its first event was taken."""

    waited: float


class BatchDecoded(Reported, frozen=True):
    """The events of a batch; None for a record that holds none."""

    events: Sequence[Event | None]


class StageDone(Reported, frozen=True):
    """A batch spent this long in `decode`, `dedup`, `enrich`, `bulk` or `settle`."""

    stage: str
    seconds: float


class Written(NamedTuple):
    """A document that Elasticsearch acknowledged; `published` is when its event was (seconds since the epoch)."""

    identifier: str
    version: int
    published: float


class BatchSettled(Reported, frozen=True):
    """What became of a batch's events.

    `outcomes` counts by outcome and event type. `looked_up` ids were looked for in memory, `looked_up_in_store` of them
    in Redis. `ages` are the times from publishing to now of the events that were written (seconds); `undated` counts
    those without an age, as the timestamp of their record cannot be true. `example` is one of their documents that a
    search can find. `ties` counts events that differ from another one of the same transaction, type and timestamp:
    `later` ones took that one's place, `earlier` ones did not.
    """

    events: int
    size: int
    outcomes: Mapping[tuple[EventOutcome, str], int] = {}
    looked_up: int = 0
    looked_up_in_store: int = 0
    known_in_memory: int = 0
    known_in_store: int = 0
    duration: float = 0.0
    ages: Sequence[float] = ()
    undated: int = 0
    example: Written | None = None
    ties: Mapping[str, int] = {}

    def totals(self) -> dict[str, int]:
        """Events by outcome."""
        totals: dict[str, int] = {}
        for (outcome, _), count in self.outcomes.items():
            totals[outcome] = totals.get(outcome, 0) + count
        return totals


class Letter(NamedTuple):
    """A dead letter: `at` is its place in the batch."""

    at: int
    record: Record
    failure: Failure
    event_type: str


class DeadLettersWritten(Reported, frozen=True):
    """The dead-letter topic has the events at these places of a batch, all of one kind: stage and error.

    `letter` makes a place's values, for those who want more than their number; `trace` is that of the batch.
    """

    kind: tuple[str, str]
    places: Sequence[int]
    letter: Callable[[int], Letter]
    trace: BatchTrace


class DeadLetterTruncated(Reported, frozen=True):
    """The dead-letter topic has only a part of an event."""


# Bulk requests


class BulkDone(Reported, frozen=True):
    """A bulk request of `size` bytes ended."""

    outcome: BulkOutcome
    seconds: float
    size: int


class BulkTook(Reported, frozen=True):
    """How long a bulk request took by Elasticsearch's own account."""

    seconds: float


class RequestsInFlight(Reported, frozen=True):
    """Bulk requests under way, and how many may be; one that began `waited` this many seconds for its place."""

    requests: int
    limit: int
    waited: float | None = None


class DocumentsRetried(Reported, frozen=True):
    """Documents will be sent again; `reason` is a stable word."""

    reason: str
    documents: int


class DocumentsSentAlone(Reported, frozen=True):
    """Documents that are refused without a verdict while the index takes others: each is sent by itself.

    `reason` is empty when one of them left.
    """

    documents: int
    reason: str = ""


# The consumer group


class PartitionsAssigned(Reported, frozen=True):
    """A rebalance ended, `seconds` after partitions were taken back."""

    partitions: Collection[Partition]
    seconds: float | None = None


class PartitionsRevoked(Reported, frozen=True):
    """A rebalance began."""


class PartitionsCorrupt(Reported, frozen=True):
    """The partitions that cannot go on since their next batch is damaged, and why; reported after each poll."""

    partitions: Mapping[Partition, str]


class OffsetsCommitted(Reported, frozen=True):
    """The broker has these offsets."""

    offsets: Mapping[Partition, int]


class CommitFailed(Reported, frozen=True):
    """Offsets could not be committed; the next commit carries them."""

    reason: str


class LagMeasured(Reported, frozen=True):
    """What of a partition is not settled.

    `events` counts to its end; `held` of them wait behind an open transaction of a producer, the same one for
    `held_seconds`. The oldest was published `seconds` ago; 0: there is none, None: its time is not known.
    """

    partition: Partition
    events: int
    held: int = 0
    held_seconds: float = 0.0
    seconds: float | None = 0.0


class EventsPending(Reported, frozen=True):
    """Events of all partitions that can be settled and are not yet."""

    events: int


class EventsReadAgain(Reported, frozen=True):
    """Events are read again, as they may be missing from the index."""

    events: int


class EventsLost(Reported, frozen=True):
    """Events were gone before they were read."""

    loss: Loss


class TopicRecreated(Reported, frozen=True):
    """The topic was deleted and created again; it is read from its first record."""

    topic: str


# Servers, search, the process


class CallEnded(Reported, frozen=True):
    """A call to a server ended."""

    dependency: Dependency
    operation: str
    seconds: float
    failed: bool


class SearchProbed(Reported, frozen=True):
    """A document was searched for: `seen`, this many `seconds` after its event was published, `missed` or `failed`."""

    outcome: str
    seconds: float | None = None


class SpansExported(Reported, frozen=True):
    """Spans of traces were `exported`, `failed` or `dropped`."""

    outcome: str
    spans: int


class LoopTicked(Reported, frozen=True):
    """The event loop came to a timer so late (seconds)."""

    lag: float


# The audit


class AuditBatchWritten(Reported, frozen=True):
    """The audit wrote what one poll gave."""

    outcomes: Mapping[AuditOutcome, int]
    seconds: float


class AuditTiesFound(Reported, frozen=True):
    """New events of the audit have the timestamp and rank of another one."""

    events: int


class AuditLagMeasured(Reported, frozen=True):
    """What of each partition the audit has not written; partitions of other members are not among them."""

    partitions: Mapping[Partition, Backlog]


class AuditCrashed(Reported, frozen=True):
    """A defect ended the audit; it starts again."""

    error: Exception
