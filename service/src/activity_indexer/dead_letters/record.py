"""A stored dead letter: the record as it is in the topic, and what its headers and its payload say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from typing import Final

import msgspec

from activity_common.dead_letter_headers import (
    ATTEMPTS,
    ERROR,
    FIRST_FAILURE,
    LAST_FAILURE,
    MESSAGE,
    MESSAGE_ID,
    NO_KEY,
    OFFSET,
    PARTITION,
    PREFIX,
    REPLAY_COUNT,
    REPLAY_ID,
    STAGE,
    TIMESTAMP,
    TOPIC,
)
from activity_indexer.dead_letters.payload import Facts, read_facts
from activity_indexer.ports import Content, OutRecord, Record, Truncation, UndecodedRecord
from activity_indexer.positions import Partition
from activity_indexer.timestamps import format_timestamp, parse_timestamp, shorten

UNKNOWN: Final = "unknown"
"""Stage and error of a record without them: no indexer wrote it, or it was damaged."""

LAST_MILLISECOND: Final = 253_402_300_799_999
"""The end of the year 9999; a record may have a later timestamp, which no text can show."""

KEPT_TIME: Final = 40
"""Characters of a timestamp whose value is kept."""

_CONTENT: Final = PREFIX + "content"
_TRUNCATED: Final = PREFIX + "truncated"

Headers = tuple[tuple[str, bytes | None], ...]
"""All headers of a record in order; a name may come twice, a value may be null."""


class StoredDeadLetter(msgspec.Struct, frozen=True, dict=True):
    """A record of the dead-letter topic; equal when all that is stored is equal.

    `timestamp` is the record's own, in milliseconds since the epoch. The headers are read when they are asked
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

    def __post_init__(self) -> None:
        self.__dict__["named"] = dict(self.headers)  # of a name that comes twice, the last header counts

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

    @property
    def place(self) -> str:
        """Where it is, as users write it: `partition:offset`."""
        return f"{self.partition}:{self.offset}"

    def raw(self, name: str) -> bytes | None:
        """A header's bytes, None when it is missing or null; of a name that comes twice, the last counts."""
        found: bytes | None = self.__dict__["named"].get(name)
        return found

    def header(self, name: str) -> str | None:
        """A header as text, None when it is missing or null; of a name that comes twice, the last counts."""
        value: bytes | None = self.__dict__["named"].get(name)
        return None if value is None else value.decode(errors="replace")

    @property
    def stage(self) -> str:
        """`decode`, `validate`, `enrich` or `index`; UNKNOWN when no header says it."""
        return self.header(STAGE) or UNKNOWN

    @property
    def error(self) -> str:
        """The error's class, a stable word; UNKNOWN when no header says it."""
        return self.header(ERROR) or UNKNOWN

    @property
    def message(self) -> str:
        """The error in words."""
        return self.header(MESSAGE) or ""

    @property
    def attempts(self) -> int | None:
        """How often the event was tried."""
        return _number(self.header(ATTEMPTS))

    @property
    def first_failure(self) -> int | None:
        """Microseconds since the epoch."""
        return _time(self.header(FIRST_FAILURE))

    @property
    def last_failure(self) -> int | None:
        """Microseconds since the epoch."""
        return _time(self.header(LAST_FAILURE))

    @property
    def failed_at(self) -> int:
        """The last failure, or else the record's own time; microseconds since the epoch."""
        failed = self.last_failure
        return min(max(0, self.timestamp), LAST_MILLISECOND) * 1000 if failed is None else failed

    @property
    def message_id(self) -> str | None:
        """Hash of transaction id, event type and timestamp, where the event could be read."""
        return self.header(MESSAGE_ID)

    @property
    def original_key(self) -> bytes | None:
        """The key that the event came with."""
        return None if self.header(NO_KEY) else self.key

    @property
    def original_topic(self) -> str | None:
        """The topic that the event came from."""
        return self.header(TOPIC)

    @property
    def original_partition(self) -> int | None:
        """The partition that the event came from."""
        return _number(self.header(PARTITION))

    @property
    def original_offset(self) -> int | None:
        """The offset that the event came from."""
        return _number(self.header(OFFSET))

    @property
    def original_timestamp(self) -> int | None:
        """When the event's record was written, in microseconds since the epoch."""
        return _time(self.header(TIMESTAMP))

    @property
    def original(self) -> tuple[Partition, int] | None:
        """Partition and offset that the event came from, when all of it is known."""
        topic, partition, offset = self.original_topic, self.original_partition, self.original_offset
        return None if not topic or partition is None or offset is None else (Partition(topic, partition), offset)

    @property
    def content(self) -> str | None:
        """What the value holds when it is not the whole value of the event: see ports.Content."""
        reported = self.header(_CONTENT)
        return Content.VALUE if reported is None and self.truncation is not None else reported

    @property
    def truncation(self) -> Truncation | None:
        """Of a value of which only the beginning is kept: what identifies all of it."""
        if not self.header(_TRUNCATED):
            return None
        size, sha256 = _number(self.header(PREFIX + "size")), self.header(PREFIX + "sha256")
        return None if size is None or not sha256 else Truncation(size, sha256)

    @property
    def original_offsets(self) -> tuple[int, int] | None:
        """The first and the last offset, of a dead letter that stands for several records."""
        first, last = _number(self.header(PREFIX + "first-offset")), self.original_offset
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
    def original_headers(self) -> Headers:
        """The headers that the event came with: all but those of the dead letter."""
        return tuple(header for header in self.headers if not header[0].startswith(PREFIX))

    @property
    def replay_id(self) -> str | None:
        """The replay that sent the event last."""
        return self.header(REPLAY_ID)

    @property
    def replay_count(self) -> int:
        """How many replays have sent the event; 0 when none, or when it cannot be read."""
        return _number(self.header(REPLAY_COUNT)) or 0

    @cached_property
    def facts(self) -> Facts:
        """What the payload says about its event, as far as it can be read."""
        return read_facts(self.value, self.original_key)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """What the headers should say and do not, in words; empty for every dead letter of an indexer."""
        return tuple(self._problems())

    def _problems(self) -> Iterator[str]:
        if self.problem:
            yield f"the dead letter itself: {self.problem}"
        expected: tuple[tuple[str, Callable[[str | None], object], tuple[str, ...]], ...] = (
            ("a name", lambda text: text or None, (TOPIC, STAGE, ERROR)),
            ("a number", _number, (PARTITION, OFFSET, ATTEMPTS)),
            ("an RFC 3339 timestamp", _time, (TIMESTAMP, FIRST_FAILURE, LAST_FAILURE)),
        )
        for what, read, names in expected:
            for name in names:
                if read(text := self.header(name)) is None:
                    yield f"{name}: expected {what}, got {_got(text)}"
        count = self.header(REPLAY_COUNT)
        if count is not None and _number(count) is None:
            yield f"{REPLAY_COUNT}: expected a number, got {_got(count)}"

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
