"""Reads dead letters from Kafka without a consumer group: it commits nothing and disturbs no consumer."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import TopicPartition

from activity_common.kafka_connection import CLIENT_ERRORS
from activity_indexer.adapters.kafka.client import admin_client, mapped, topics, within
from activity_indexer.adapters.kafka.consumers import reading
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.dead_letters.spans import Notify, Progress, Span, Spans, narrowed
from activity_indexer.errors import Unavailable
from activity_indexer.positions import Partition
from activity_indexer.settings import KafkaSettings

BATCH_RECORDS: Final = 2000
"""Dead letters in a batch at most."""

FETCH_BYTES: Final = 8 * 1024 * 1024
"""Bytes that a broker sends at once; a larger record comes alone."""

CLOCK_MARGIN: Final = 3_600_000
"""Milliseconds by which an indexer's clock may be ahead of the broker's: so much earlier a search by time begins."""

HEADERS_BYTES: Final = 1024 * 1024
"""Bytes that a dead letter may have beyond the largest record: its headers say what failed."""

POLL_MS: Final = 500


@asynccontextmanager
async def dead_letter_reader(settings: KafkaSettings) -> AsyncIterator[DeadLetterReader]:
    """A connected reader. Raises Unavailable or Refused, also for what is done with it."""
    async with admin_client(settings) as admin:
        known = {name: shape.partitions for name, shape in (await topics(admin)).items()}
    sizes = {
        "fetch_max_bytes": FETCH_BYTES,
        "max_partition_fetch_bytes": FETCH_BYTES // 4,
        "max_record_bytes": max(settings.max_record_bytes, settings.max_request_bytes) + HEADERS_BYTES,
    }
    async with reading(settings, **sizes) as consumer:
        yield DeadLetterReader(settings, consumer, known)


class DeadLetterReader:
    """Reads frozen spans of topics, or follows a topic; `known` are the topics there are, with their partitions."""

    def __init__(self, settings: KafkaSettings, consumer: Any, known: Mapping[str, int]) -> None:
        self._settings = settings
        self._consumer = consumer
        self._known = known

    async def spans(self, names: Sequence[str], selection: Selection | None = None) -> dict[Partition, Span]:
        """What is in these topics now and can match; frozen: what comes later is not in it.

        Only what is committed: a span ends before the first transaction that is open. A missing topic has none.
        """
        places = [TopicPartition(name, number) for name in names for number in range(self._known.get(name, 0))]
        if not places:
            return {}
        starts = await self._ask(self._consumer.beginning_offsets(places))
        ends = await self._ask(self._consumer.end_offsets(places))
        if selection is not None and selection.since is not None:
            starts = await self._skipped(starts, ends, selection.since // 1000 - CLOCK_MARGIN)
        found = {Partition(*place): Span(min(starts[place], ends[place]), ends[place]) for place in places}
        return narrowed(found, selection or Selection())

    async def _skipped(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], since: int
    ) -> dict[TopicPartition, int]:
        """Begin with the first record that was written at this time (milliseconds) or later."""
        found = await self._ask(self._consumer.offsets_for_times(dict.fromkeys(starts, max(0, since))))
        return {place: ends[place] if found.get(place) is None else found[place].offset for place in starts}

    async def _ask(self, awaitable: Any) -> Any:
        return await within(self._settings.request_timeout, awaitable)

    async def read(
        self, spans: Spans, notify: Notify | None = None, holding: bytes = b""
    ) -> AsyncGenerator[Sequence[StoredDeadLetter], None]:
        """All dead letters of the spans, in batches; those of a partition in order.

        Those whose bytes do not hold `holding` may be left out: looking for it is cheaper than decoding. `notify` is
        called after each batch has been worked on. Raises Unavailable when nothing comes for the request
        timeout, or Refused.
        """
        at = {place: span.start for place, span in spans.items()}
        total, records = sum(span.length for span in spans.values()), 0
        left = self._begin({place: span.start for place, span in spans.items() if span.length}, holding)
        moved = time.monotonic()
        while left:
            batch = [letter for letter in await self._poll() if letter.offset < _end(spans, letter)]
            records += len(batch)
            if batch:
                yield batch
            before = dict(at)
            for place in list(left):
                at[place] = min(spans[place].end, await self._ask(self._consumer.position(TopicPartition(*place))))
                if at[place] >= spans[place].end:
                    left.remove(place)
                    self._consumer.pause(TopicPartition(*place))
            moved = self._moved(moved, at != before)
            if notify:
                notify(Progress(sum(at[place] - spans[place].start for place in spans), total, records))

    async def follow(self, starts: Mapping[Partition, int]) -> AsyncGenerator[Sequence[StoredDeadLetter], None]:
        """Dead letters from these offsets on, for ever, also of partitions that are added.

        An empty batch comes now and then, so that the caller can look up.
        """
        at = dict(starts)
        self._begin(at)
        while True:
            batch = await self._poll()
            at |= {Partition(letter.topic, letter.partition): letter.offset + 1 for letter in batch}
            yield batch
            if added := self._added(at):
                at |= added
                self._begin(at)

    def _added(self, at: Mapping[Partition, int]) -> dict[Partition, int]:
        places = (
            Partition(topic, number)
            for topic in {place.topic for place in at}
            for number in self._consumer.partitions_for_topic(topic) or ()
        )
        return {place: 0 for place in places if place not in at}

    def _begin(self, starts: Mapping[Partition, int], holding: bytes = b"") -> set[Partition]:
        self._consumer.pass_over(holding)
        places = {TopicPartition(*place): offset for place, offset in starts.items()}
        self._consumer.assign(list(places))
        for place, offset in places.items():
            self._consumer.seek(place, offset)
        return set(starts)

    async def _poll(self) -> list[StoredDeadLetter]:
        try:
            polled = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH_RECORDS)
            if not polled:
                self._consumer.check()
        except CLIENT_ERRORS as error:
            raise mapped(error) from error
        return [StoredDeadLetter.of(record) for records in polled.values() for record in records]

    def _moved(self, moved: float, moves: bool) -> float:
        now = time.monotonic()
        limit = self._settings.request_timeout
        if moves:
            return now
        if now - moved > limit:
            raise Unavailable(f"Kafka: no dead letter came for {limit:g} s, though there are more: is a broker down?")
        return moved


def _end(spans: Spans, letter: StoredDeadLetter) -> int:
    return spans[Partition(letter.topic, letter.partition)].end
