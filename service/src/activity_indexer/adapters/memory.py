"""The outside systems in memory: the same promises as the real servers', for tests."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, NoReturn

from activity_indexer.dead_letter import smaller_forms, with_key
from activity_indexer.errors import ActivityIndexerError, Unavailable
from activity_indexer.pipeline.outcome import Item, ItemError
from activity_indexer.ports import BulkReply, OutRecord, Partition, Stored
from activity_indexer.trial import TRIAL_ID

NO_REQUEST: Final = "Validation Failed: 1: no requests added;"
MAX_ID_BYTES: Final = 512
METADATA_FIELDS: Final = frozenset(
    {
        "_doc_count",
        "_field_names",
        "_id",
        "_ignored",
        "_index",
        "_nested_path",
        "_routing",
        "_seq_no",
        "_source",
        "_version",
    }
)
"""Root fields that Elasticsearch refuses in a document's body."""


@dataclass(frozen=True, slots=True)
class _Operation:
    identifier: str
    version: int | None
    """None when the write depends on a sequence number, which no document has here."""
    source: bytes


def _passes(_: Any) -> None:
    return None


def _at_once() -> Awaitable[None]:
    return asyncio.sleep(0)


class _BadRequest(Exception):
    """The whole request is refused."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.error = ItemError(kind, reason)


@dataclass(slots=True)
class MemoryIndex:
    """A BulkIndex in memory: external versions, refusals in Elasticsearch's words.

    `on_request` may answer a request (by the ids in it) or raise Unavailable, and `on_item` may answer for a document
    (by its id); None lets it pass; `on_read` may raise when documents are read. `pause` is awaited before each answer.
    A `missing` index is made by `prepare`, unless `unprepared` says why it cannot be. `requests` are the ids of each
    bulk request, `reads` those of each read, and `trials` counts the requests of the trial document.
    """

    on_request: Callable[[list[str]], BulkReply | None] = _passes
    on_item: Callable[[str], Item | None] = _passes
    on_read: Callable[[list[str]], None] = _passes
    pause: Callable[[], Awaitable[None]] = _at_once
    missing: bool = False
    unprepared: ActivityIndexerError | None = None
    prepared: int = 0
    documents: dict[str, Stored] = field(default_factory=dict)
    requests: list[list[str]] = field(default_factory=list)
    reads: list[list[str]] = field(default_factory=list)
    trials: int = 0

    async def bulk(self, body: bytes) -> BulkReply:
        """Write the documents of the body (NDJSON). Raises what `on_request` raises."""
        try:
            operations = list(_operations(body))
        except _BadRequest as refused:
            return reply(400, _failure(400, refused.error))
        identifiers = [operation.identifier for operation in operations]
        if identifiers == [TRIAL_ID]:
            self.trials += 1
        else:
            self.requests.append(identifiers)
        await self.pause()
        if answer := self.on_request(identifiers):
            return answer
        items = [self._write(operation) for operation in operations]
        return bulk_answer(items)

    async def read(self, identifiers: Sequence[str]) -> Mapping[str, Stored]:
        """Those of these documents that exist. Raises what `on_read` raises."""
        self.reads.append(list(identifiers))
        await self.pause()
        self.on_read(list(identifiers))
        return {each: self.documents[each] for each in identifiers if each in self.documents}

    async def prepare(self) -> None:
        """Make the index when it is missing. Raises `unprepared`."""
        if self.unprepared:
            raise self.unprepared
        self.prepared += 1
        self.missing = False

    def _write(self, operation: _Operation) -> Item:
        if self.missing:
            return Item(404, ItemError("index_not_found_exception", "no such index"))
        if answer := self.on_item(operation.identifier):
            return answer
        if not operation.identifier:
            return Item(400, ItemError("illegal_argument_exception", "if _id is specified it must not be empty"))
        try:
            _check(operation.source)
        except (ValueError, RecursionError) as error:
            return Item(400, ItemError("document_parsing_exception", f"failed to parse: {error}"))
        return self._put(operation)

    def _put(self, operation: _Operation) -> Item:
        found = self.documents.get(operation.identifier)
        if operation.version is None:
            return Item(409, ItemError("version_conflict_engine_exception", "no document was found"))
        if found and found.version >= operation.version:
            return Item(409, _conflict(operation, found.version))
        self.documents[operation.identifier] = Stored(operation.version, operation.source)
        return Item(200 if found else 201)


def _conflict(operation: _Operation, current: int) -> ItemError:
    return ItemError(
        "version_conflict_engine_exception",
        f"[{operation.identifier}]: version conflict, current version [{current}] is higher or equal to the one "
        f"provided [{operation.version}]",
    )


def _operations(body: bytes) -> Iterator[_Operation]:
    lines = body.split(b"\n")
    if len(lines) < 2 or not lines[1]:
        raise _BadRequest("action_request_validation_exception", NO_REQUEST)
    for action, source in zip(lines[:-1:2], lines[1::2], strict=False):
        try:
            told = json.loads(action)["index"]
        except (ValueError, KeyError, TypeError) as error:
            raise _BadRequest("illegal_argument_exception", f"Malformed action/metadata line: {error}") from None
        if len(told["_id"].encode()) > MAX_ID_BYTES:
            raise _BadRequest("action_request_validation_exception", "id is too long, must be no longer than 512 bytes")
        yield _Operation(told["_id"], None if "if_seq_no" in told else told["version"], source)


def _check(source: bytes) -> None:
    document = json.loads(source, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    if not isinstance(document, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - refused as any bad document
    if taken := METADATA_FIELDS & document.keys():
        raise ValueError(f"field [{min(taken)}] is a metadata field")
    if not isinstance(document.get("metadata", {}), dict | None):
        raise ValueError(  # noqa: TRY004 - refused as any bad document
            "field [metadata] of type [flattened] is no object"
        )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("Duplicate field")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"Non-standard token '{name}'")


def bulk_answer(items: Sequence[Item]) -> BulkReply:
    """Elasticsearch's answer of status 200 with these items."""
    told = [
        {"index": {"status": item.status, **({"error": _told(item.error)} if item.error.type else {})}}
        for item in items
    ]
    errors = any(item.error.type for item in items)
    return reply(200, {"errors": errors, "items": told})


def reply(status: int, answer: Any) -> BulkReply:
    """An answer of this status: bytes as they are, all else as JSON."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer, separators=(",", ":")).encode()
    return BulkReply(status, body)


def refusal(status: int, kind: str, reason: str = "") -> BulkReply:
    """Elasticsearch's answer to a request that it refuses as a whole."""
    return reply(status, _failure(status, ItemError(kind, reason)))


def _failure(status: int, error: ItemError) -> dict[str, Any]:
    return {"error": _told(error), "status": status}


def _told(error: ItemError) -> dict[str, str]:
    return {"type": error.type, "reason": error.reason}


@dataclass(slots=True)
class MemorySeen:
    """A SeenStore and OffsetStore in memory; `problem`, while there is one, is why it is away. Times in seconds."""

    ttl: float = 86_400.0
    namespace: Callable[[], str] = str
    lifetime: Callable[[], float] = lambda: math.inf
    clock: Callable[[], float] = time.monotonic
    problem: str = ""
    calls: int = 0
    until: dict[tuple[str, bytes], float] = field(default_factory=dict)
    entries: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    offsets: dict[tuple[str, Partition], int] = field(default_factory=dict)

    async def seen(self, ids: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """What was marked for those of the ids that are known."""
        self._call()
        now, space = self.clock(), self.namespace()
        until = now + max(0.0, self.ttl - self.lifetime())
        known = [each for each in ids if self.until.get((space, each), float("-inf")) > until]
        return {each: self.entries[space, each] for each in known}

    async def mark(self, entries: Mapping[bytes, bytes]) -> None:
        """Remember the entries."""
        self._call()
        until = self.clock() + self.ttl
        self.until |= {(self.namespace(), each): until for each in entries}
        self.entries |= {(self.namespace(), each): entry for each, entry in entries.items()}

    async def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """What the group committed last, as far as it is known."""
        self._call()
        space = self.namespace()
        return {each: self.offsets[space, each] for each in partitions if (space, each) in self.offsets}

    async def remember(self, offsets: Mapping[Partition, int]) -> None:
        """Keep what the group committed."""
        self._call()
        self.offsets |= {(self.namespace(), each): offset for each, offset in offsets.items()}

    def _call(self) -> None:
        self.calls += 1
        if self.problem:
            raise Unavailable(self.problem)


@dataclass(slots=True)
class MemoryDeadLetters:
    """A dead-letter topic in memory; `refuse` says what is in the way of a record, nothing when it passes.

    `max_bytes` is the size of the largest key and value together: of a larger record as much is written as fits.
    `needs_key`: the topic is compacted.
    """

    refuse: Callable[[OutRecord], str | None] = _passes
    max_bytes: int = 2**31
    needs_key: bool = False
    records: list[OutRecord] = field(default_factory=list)
    calls: int = 0

    async def send(self, records: Sequence[OutRecord]) -> tuple[Sequence[OutRecord], str]:
        """Write records; returns those that are not written, and why."""
        self.calls += 1
        await asyncio.sleep(0)
        problems = [self.refuse(record) for record in records]
        self.records += [
            self._fitting(record) for record, problem in zip(records, problems, strict=True) if not problem
        ]
        unsent = [record for record, problem in zip(records, problems, strict=True) if problem]
        return unsent, next(filter(None, problems), "")

    def _fitting(self, record: OutRecord) -> OutRecord:
        if self.needs_key and record.key is None:
            record = with_key(record)
        forms = chain([record], smaller_forms(record))
        return next(form for form in forms if len(form.key or b"") + len(form.value or b"") <= self.max_bytes)
