"""Reads records whose header names are not UTF-8: the client refuses them, and with them the rest of their batch.

The client has no setting for that, so one of its methods runs here with another class in place of its own. Batches are
decoded by the client's compiled code; only one that it refuses is decoded again, in Python.
"""

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, Self, SupportsIndex

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


class AnyHeadersConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer that hands out every record; what is not UTF-8 in a header's name becomes U+FFFD."""

    async def start(self) -> None:
        """Connect; nothing is fetched before partitions are assigned."""
        await super().start()
        fetch = _with(Fetcher._proc_fetch_request, MemoryRecords=Content)  # noqa: SLF001
        self._fetcher._proc_fetch_request = fetch.__get__(self._fetcher)  # noqa: SLF001


def _with(function: Any, **names: object) -> Any:
    """The client's function, which finds other things under some names of its module."""
    return FunctionType(function.__code__, function.__globals__ | names, function.__name__, function.__defaults__)


class AnyHeadersBatch:
    """A batch of records as the client wants it."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._compiled = DefaultRecordBatch(content)

    def __getattr__(self, name: str) -> Any:
        """What the batch says about itself."""
        return getattr(self._compiled, name)

    def __next__(self) -> Any:
        """The next record; asked of control batches only."""
        return next(self._compiled)

    def __iter__(self) -> Iterator[Any]:
        """The records."""
        try:
            return iter([*self._compiled])
        except (CorruptRecordException, UnicodeDecodeError):
            return iter([*_LenientBatch(self._content)])


class Content(_MemoryRecordsPy):  # type: ignore[misc]
    """What a broker sent for a partition."""

    next_batch: Callable[[Self], Any] = _with(_MemoryRecordsPy.next_batch, DefaultRecordBatch=AnyHeadersBatch)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """A batch whose header names may hold any bytes."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _LenientBytes(self._buffer)


class _LenientBytes(bytearray):
    """Bytes whose slices can always be decoded."""

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        found = super().__getitem__(key)
        return _LenientText(found) if isinstance(found, bytearray) else found


class _LenientText(bytes):
    def decode(self, *_: object) -> str:
        return bytes(self).decode(errors="replace")
