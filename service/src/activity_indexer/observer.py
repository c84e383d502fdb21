"""What the indexer tells the outside: one protocol, so that no other part knows of logs, metrics or health."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from activity_indexer.dead_letter import Failure
from activity_indexer.event import Event
from activity_indexer.facts import Severity
from activity_indexer.ports import Partition, Record
from activity_indexer.positions import Loss


@dataclass(frozen=True, slots=True)
class Written:
    """A document that Elasticsearch acknowledged; `published` is when its event was (seconds since the epoch)."""

    identifier: str
    version: int
    published: float


@dataclass(slots=True)
class BatchSummary:
    """What became of a batch's events.

    `outcomes` counts by (outcome, event type); outcome is `indexed`, `updated`, `deleted`, `duplicate`, `late` or
    `dead_lettered`. `ties` counts events that differ from another one of the same transaction, type and timestamp:
    `later` ones took that one's place, `earlier` ones did not. `ages` are the times from publishing to now of the
    events that were written (seconds), and `example` is one document of theirs that a search can find; `undated` counts
    events without an age, as the timestamp of their record cannot be true.
    """

    events: int
    size: int
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    looked_up: int = 0
    known_in_memory: int = 0
    known_in_store: int = 0
    duration: float = 0.0
    ages: list[float] = field(default_factory=list)
    undated: int = 0
    example: Written | None = None
    ties: Counter[str] = field(default_factory=Counter)

    def total(self, outcome: str) -> int:
        """Events with this outcome."""
        return sum(count for (name, _), count in self.outcomes.items() if name == outcome)


class Observer(Protocol):
    """Told of everything that people may want to know; its methods are cheap and never raise."""

    def polled(self, records: int, size: int) -> None:
        """The client handed out so many records, with so many bytes of values."""

    def buffered(self, events: int) -> None:
        """Events that wait for their turn."""

    def event_decoded(self, event: Event) -> None:
        """Called for each event, only while `debug` is true."""

    @property
    def debug(self) -> bool:
        """Whether each event is wanted."""

    def stage_done(self, stage: str, seconds: float) -> None:
        """A batch spent so long in `decode`, `dedup`, `enrich`, `bulk` or `settle`."""

    def batch_started(self, waited: float) -> None:
        """A batch began, so many seconds after its first event was taken."""

    def batch_done(self, summary: BatchSummary) -> None:
        """A batch is settled."""

    def dead_lettered(self, record: Record, failure: Failure, event_type: str, events: int = 1) -> None:
        """So many events with this stage and error are in the dead-letter topic; this is one of them.

        While `debug` is true, it is called for each.
        """

    def bulk_waited(self, seconds: float) -> None:
        """A bulk request waited so long for a place."""

    def bulk_request(self, outcome: str, seconds: float, size: int) -> None:
        """A bulk request of so many bytes ended: `done`, `partial`, `retry`, `halt`, `split` or `suspect`."""

    def retried(self, reason: str, count: int) -> None:
        """So many documents will be sent again."""

    def outage(self, reason: str) -> None:
        """Elasticsearch is away or pushes back."""

    def halted(self, reason: str) -> None:
        """Elasticsearch needs people."""

    def recovered(self) -> None:
        """Elasticsearch takes requests again."""

    def waits_alone(self, documents: int, reason: str) -> None:
        """So many documents are refused without a verdict while the index takes others; each is sent by itself."""

    def concurrency(self, in_flight: int, limit: int) -> None:
        """Bulk requests under way, and how many may be."""

    def breaker_opened(self, share: float, example: str) -> None:
        """Too many events fail: intake is stopped."""

    def breaker_closed(self) -> None:
        """What failed has passed: intake goes on."""

    def seen_store(self, up: bool, reason: str) -> None:
        """Redis answered, or did not."""

    def dead_letter_topic(self, problem: str | None) -> None:
        """The dead-letter topic takes records, or does not and why."""

    def assigned(self, partitions: Collection[Partition]) -> None:
        """A rebalance ended."""

    def revoked(self) -> None:
        """A rebalance began."""

    def kafka(self, problem: str | None) -> None:
        """Kafka answers, or does not and why."""

    def topic(self, problem: str | None) -> None:
        """The transactions topic exists, or does not and what to do."""

    def membership(self, problem: str | None) -> None:
        """This process may be a member of its group, or may not and what to do."""

    def recreated(self, topic: str) -> None:
        """The topic was deleted and created again; it is read from its first record on."""

    def lost(self, loss: Loss) -> None:
        """Events were gone before they were read."""

    def committed(self, partition: Partition, offset: int) -> None:
        """The broker has this offset."""

    def commit_failed(self, reason: str) -> None:
        """Offsets could not be committed, and why; the next commit carries them."""

    def index(self, problem: str | None) -> None:
        """The alias and the index behind it are as expected, or are not, and what to do."""

    def read_again(self, events: int) -> None:
        """So many events are read again, as they may be missing from the index."""

    def lag(self, partition: Partition, events: int) -> None:
        """Events of a partition that are not settled, with those behind an open transaction."""

    def held(self, partition: Partition, events: int, seconds: float) -> None:
        """So many events wait behind an open transaction of a producer, the same one for so long; 0: none."""

    def lag_seconds(self, partition: Partition, seconds: float | None) -> None:
        """The oldest event of a partition that is not settled was published so long ago.

        0: there is none; None: its time is not known.
        """

    def pending(self, events: int) -> None:
        """So many events of all partitions can be settled and are not yet."""

    def ticked(self) -> None:
        """The intake loop went round."""

    def problem(
        self, code: str, reason: str, *, severity: Severity = Severity.WARNS, subject: str = "", advice: str = ""
    ) -> None:
        """Something does not move or needs attention: a log line, and a fact in probes, status page and `status`.

        `code` is a stable word such as `open_transaction`, `subject` what it is about ("partition 3"). It holds until
        it is solved; report it again as often as it is seen. A wait (WAITS) is over without news, too.
        """

    def solved(self, code: str, subject: str = "") -> None:
        """A problem is gone; it may not have been one."""
