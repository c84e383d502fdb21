"""The ledger: one JSON line for each event that Kafka acknowledged."""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from activity_loadgen.generate import RANKS, Delivery, Event, Kind

READ_CHUNK_BYTES: Final = 1 << 20


Order = tuple[int, int, int, int, int]
"""Timestamp (nanoseconds), rank, record timestamp (milliseconds), partition, offset."""


class LedgerError(Exception):
    """The ledger cannot be read or written; the message says which line and why."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What was acknowledged: where it lies, what it was, and when Kafka said so.

    `key` is the record's key as text; `sha256` is of the value, None for a record without one; `version` is the base
    version and `timestamp` the event's (nanoseconds), both None for an invalid event, whose `reason` names what is
    wrong with it; `acked_us` is epoch microseconds, and `published` the record's timestamp (milliseconds).
    """

    run: str
    topic: str
    partition: int
    offset: int
    key: str
    kind: Kind
    delivery: Delivery
    transaction_id: str
    user_id: str
    version: int | None
    valid: bool
    reason: str | None
    sha256: str | None
    acked_us: int
    timestamp: int | None = None
    published: int | None = None

    @property
    def order(self) -> Order:
        """The place of a valid event among its transaction's: the greatest is the transaction's state."""
        published = self.acked_us // 1000 if self.published is None else self.published
        return self.timestamp or 0, RANKS.get(self.kind, 0), published, self.partition, self.offset


def entry_for(
    run: str, topic: str, event: Event, position: tuple[int, int], acked_us: int, published: int | None = None
) -> Entry:
    """The ledger's entry for an event acknowledged at (partition, offset)."""
    return Entry(
        run=run,
        topic=topic,
        partition=position[0],
        offset=position[1],
        key=event.key.decode(),
        kind=event.kind,
        delivery=event.delivery,
        transaction_id=event.transaction_id,
        user_id=event.user_id,
        version=event.version,
        valid=event.reason is None,
        reason=event.reason,
        sha256=digest(event.value),
        acked_us=acked_us,
        timestamp=event.timestamp,
        published=published,
    )


def digest(value: bytes | None) -> str | None:
    """SHA-256 of a record's value in hex; None for a record without a value."""
    return None if value is None else hashlib.sha256(value).hexdigest()


class LedgerWriter:
    """Appends entries to a file. What came in one turn of the event loop is one write to the system."""

    def __init__(self, path: Path, *, append: bool = False) -> None:
        """Open the file.

        Raises:
            LedgerError: when it exists and `append` is false, or cannot be written.
        """
        self._encoder = msgspec.json.Encoder()
        self._lines: list[bytes] = []
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | (0 if append else os.O_EXCL)
        try:
            self._file = os.open(path, flags, 0o644)
        except FileExistsError:
            advice = "name another file, remove it, or pass --ledger-append"
            raise LedgerError(f"{path} exists already: {advice}") from None
        except OSError as error:
            raise LedgerError(f"cannot write {path}: {error.strerror}") from error
        _drop_torn_line(self._file)

    def write(self, entry: Entry) -> None:
        """Write an entry before the event loop's next turn ends."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append(self._encoder.encode(entry))

    def flush(self) -> None:
        """Hand what has gathered to the system."""
        if self._lines:
            rest = memoryview(b"\n".join(self._lines) + b"\n")
            self._lines.clear()
            while rest:
                rest = rest[os.write(self._file, rest) :]

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        os.close(self._file)

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened."""
        self.close()


def read(path: Path) -> Iterator[Entry]:
    """Yield a ledger's entries; a last line without an end (its writer was killed) is left out.

    Raises:
        LedgerError: when the file cannot be read or a whole line is not an entry.
    """
    decode = msgspec.json.Decoder(Entry).decode
    for number, line in enumerate(_whole_lines(path), 1):
        try:
            yield _of_today(decode(line))
        except msgspec.MsgspecError as error:
            raise LedgerError(f"{path}, line {number}: expected a ledger entry, got {line[:80]!r}: {error}") from error


def _of_today(entry: Entry) -> Entry:
    """An entry in today's terms: earlier ledgers have no timestamp, and versions without room for ties."""
    if entry.timestamp is not None or entry.version is None:
        return entry
    return msgspec.structs.replace(entry, version=entry.version << 8, timestamp=entry.version // 4 * 1000)


def _whole_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))
    except OSError as error:
        raise LedgerError(f"cannot read {path}: {error.strerror}") from error


def _drop_torn_line(file: int) -> None:
    end = os.lseek(file, 0, os.SEEK_END)
    start = max(0, end - READ_CHUNK_BYTES)
    tail = os.pread(file, end - start, start)
    whole = start + tail.rfind(b"\n") + 1
    os.ftruncate(file, whole)
    os.lseek(file, whole, os.SEEK_SET)


Sink = Callable[[Entry], None]
