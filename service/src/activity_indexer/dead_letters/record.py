"""A stored dead letter: the record as it lies in the topic, and what its headers and its payload tell."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Final

import msgspec

from activity_common.dead_letter_headers import NO_KEY, PREFIX, REPLAY_PREFIX
from activity_indexer.dead_letters.payload import Facts, read_facts
from activity_indexer.ports import Content, OutRecord, Partition, Record, Truncation, UndecodedRecord
from activity_indexer.timestamps import format_timestamp, parse_timestamp, shorten

UNKNOWN: Final = "unknown"
"""Stage and error of a record that does not tell them: nothing of ours wrote it, or somebody damaged it."""

LAST_MILLISECOND: Final = 253_402_300_799_999
"""The end of the year 9999; a record may have a later timestamp, which no text can show."""

KEPT_TIME: Final = 40
"""Characters of a timestamp whose value is kept."""

Headers = tuple[tuple[str, bytes | None], ...]
"""All headers of a record in order; a name may come twice, a value may be null."""


class StoredDeadLetter(msgspec.Struct, frozen=True, dict=True):
    """A record of the dead-letter topic; equal when all that is stored is equal.

    `timestamp` is the record's own, in milliseconds since the epoch. What the headers tell is read when it is asked
    for, and whatever they hold, nothing here raises: `unreadable` says what could not be read.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    problem: str = ""
    """Why the record in the dead-letter topic itself cannot be decoded: its value is then its raw bytes."""

    @classmethod
    def of(cls, record: Record) -> StoredDeadLetter:
        """The dead letter in a record as the client hands it out."""
        return cls(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            tuple(record.headers),
            record.error.message if isinstance(record, UndecodedRecord) else "",
        )

    @cached_property
    def _named(self) -> dict[str, bytes | None]:
        """The last header of each name."""
        return dict(self.headers)

    @property
    def place(self) -> str:
        """Where it lies, as people write it: `partition:offset`."""
        return f"{self.partition}:{self.offset}"

    def raw(self, name: str) -> bytes | None:
        """A header's bytes, None when it is absent or null; of a name that comes twice, the last counts."""
        return self._named.get(name)

    def header(self, name: str) -> str | None:
        """A header as text, None when it is absent or null; of a name that comes twice, the last counts."""
        value = self._named.get(name)
        return None if value is None else value.decode(errors="replace")

    def told(self, name: str) -> str | None:
        """A header of the dead letter by its name without the prefix: `stage`, `first-failure` and so on."""
        return self.header(PREFIX + name)

    @property
    def stage(self) -> str:
        """`decode`, `validate`, `enrich` or `index`; UNKNOWN when no header tells it."""
        return self.told("stage") or UNKNOWN

    @property
    def error(self) -> str:
        """The error's class, a stable word; UNKNOWN when no header tells it."""
        return self.told("error") or UNKNOWN

    @property
    def message(self) -> str:
        """The error in words."""
        return self.told("message") or ""

    @property
    def attempts(self) -> int | None:
        """How often the event was tried."""
        return _number(self.told("attempts"))

    @property
    def first_failure(self) -> int | None:
        """Microseconds since the epoch."""
        return _time(self.told("first-failure"))

    @property
    def last_failure(self) -> int | None:
        """Microseconds since the epoch."""
        return _time(self.told("last-failure"))

    @property
    def failed_at(self) -> int:
        """The last failure, or else the record's own time; microseconds since the epoch."""
        failed = self.last_failure
        return min(max(0, self.timestamp), LAST_MILLISECOND) * 1000 if failed is None else failed

    @property
    def message_id(self) -> str | None:
        """Hash of transaction id, event type and timestamp, where the event could be read."""
        return self.told("message-id")

    @property
    def original_key(self) -> bytes | None:
        """The key that the event came with."""
        return None if self.header(NO_KEY) else self.key

    @property
    def original_topic(self) -> str | None:
        """The topic that the event came from."""
        return self.told("topic")

    @property
    def original_partition(self) -> int | None:
        """The partition that the event came from."""
        return _number(self.told("partition"))

    @property
    def original_offset(self) -> int | None:
        """The offset that the event came from."""
        return _number(self.told("offset"))

    @property
    def original_timestamp(self) -> int | None:
        """When the event's record was written, in microseconds since the epoch."""
        return _time(self.told("timestamp"))

    @property
    def original(self) -> tuple[Partition, int] | None:
        """Partition and offset that the event came from, when all of it is told."""
        topic, partition, offset = self.original_topic, self.original_partition, self.original_offset
        return None if not topic or partition is None or offset is None else (Partition(topic, partition), offset)

    @property
    def content(self) -> str | None:
        """What the value holds when it is not the whole value of the event: see ports.Content."""
        told = self.told("content")
        return Content.VALUE if told is None and self.truncation is not None else told

    @property
    def truncation(self) -> Truncation | None:
        """Of a value of which only the beginning is kept: what identifies all of it."""
        size, sha256 = _number(self.told("size")), self.told("sha256")
        return None if size is None or not sha256 or not self.told("truncated") else Truncation(size, sha256)

    @property
    def original_offsets(self) -> tuple[int, int] | None:
        """The first and the last offset, of a dead letter that stands for several records."""
        first, last = _number(self.told("first-offset")), self.original_offset
        return None if first is None or last is None else (first, last)

    @property
    def incomplete(self) -> str:
        """Why the value cannot be sent again as the event's; empty when it can."""
        if self.content is None:
            return ""
        where = f"{self.original_topic or '?'} {self.original_partition}:{self.original_offset}"
        if self.truncation is not None:
            size, kept = self.truncation.size, len(self.value or b"")
            return (
                f"only the first {kept:,} of {size:,} bytes are kept: have the producer send the event again, or "
                f"copy it from {where} while it is there"
            )
        return (
            f"the value is not an event but the bytes of a {self.content} that cannot be decoded, from {where}: have "
            f"the producer send it again"
        )

    @property
    def traceparent(self) -> str | None:
        """The trace context that the event came with."""
        return self.header("traceparent")

    @property
    def original_headers(self) -> Headers:
        """The headers that the event came with: all but those of the dead letter."""
        return tuple(header for header in self.headers if not header[0].startswith(PREFIX))

    def replayed(self, name: str) -> str | None:
        """A header of the last replay by its name without the prefix: `id`, `count` and so on."""
        return self.header(REPLAY_PREFIX + name)

    @property
    def replay_id(self) -> str | None:
        """The replay that sent the event last."""
        return self.replayed("id")

    @property
    def replay_count(self) -> int:
        """How many replays have sent the event; 0 when none, or when it cannot be read."""
        return _number(self.replayed("count")) or 0

    @cached_property
    def facts(self) -> Facts:
        """What the payload tells of its event, as far as it can be read."""
        return read_facts(self.value, self.original_key)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """What the headers should tell and do not, in words; empty for every dead letter of an indexer."""
        return tuple(self._problems())

    def _problems(self) -> Iterator[str]:
        if self.problem:
            yield f"the dead letter itself: {self.problem}"
        for name in ("topic", "stage", "error"):
            if not self.told(name):
                yield f"{PREFIX}{name}: expected a name, got {_got(self.told(name))}"
        for name in ("partition", "offset", "attempts"):
            if _number(self.told(name)) is None:
                yield f"{PREFIX}{name}: expected a number, got {_got(self.told(name))}"
        for name in ("timestamp", "first-failure", "last-failure"):
            if _time(self.told(name)) is None:
                yield f"{PREFIX}{name}: expected an RFC 3339 timestamp, got {_got(self.told(name))}"
        count = self.replayed("count")
        if count is not None and _number(count) is None:
            yield f"{REPLAY_PREFIX}count: expected a number, got {_got(count)}"

    def as_record(self) -> OutRecord:
        """The record to be written: key, value and all headers, as they are."""
        # the client takes null values of headers, though its types do not say so
        return OutRecord(self.key, self.value, list(self.headers))  # type: ignore[arg-type]


def _number(text: str | None) -> int | None:
    """A number that is not negative and has no more than 18 digits."""
    return int(text) if text and len(text) <= 18 and text.isascii() and text.isdigit() else None


def _time(text: str | None) -> int | None:
    if not text:
        return None
    try:
        return _known(text) if len(text) <= KEPT_TIME else _parsed(text)
    except (ValueError, OverflowError):
        return None


def _parsed(text: str) -> int:
    """A time that can be shown again: in UTC it has a year from 1 to 9999."""
    found = parse_timestamp(text)
    format_timestamp(found)
    return found


_known: Final = lru_cache(maxsize=4096)(_parsed)
"""Dead letters that are read one after the other failed at few different times."""


def _got(text: str | None) -> str:
    return "nothing" if text is None else repr(shorten(text, 40))
