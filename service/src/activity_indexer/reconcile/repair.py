"""Mends the index from the audit, beside a running indexer: the newest event wins, whoever writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from activity_indexer.adapters.audit_reader import AuditReader, Kept
from activity_indexer.adapters.index_reader import IndexReader
from activity_indexer.adapters.index_writer import NamedIndex, action
from activity_indexer.errors import EventError, Refused
from activity_indexer.event import Event
from activity_indexer.indexing import Document, Result
from activity_indexer.reconcile.compare import REPAIRABLE, Difference, Kind
from activity_indexer.reindex.fill import kept_traces
from activity_indexer.reindex.writer import Rewriter, event_of

DONE: Final = "done"
REFUSED: Final = "refused"
SUPERSEDED: Final = "superseded"
"""A newer event came meanwhile, and stays."""
LEFT: Final = "left"
"""Only reported."""
DELETED_BY_HAND: Final = (
    "somebody deleted it a moment ago, and Elasticsearch remembers that for index.gc_deletes (60 s): repair again then"
)


@dataclass(frozen=True, slots=True)
class Repair:
    """What became of a difference; `outcome` is done, refused, superseded or left."""

    outcome: str
    reason: str = ""


class Repairer:
    """Raises Unavailable or Refused for the audit; Elasticsearch is waited for."""

    def __init__(
        self, audit: AuditReader, reader: IndexReader, rewriter: Rewriter, index: NamedIndex, *, delete_extra: bool
    ) -> None:
        self._audit = audit
        self._reader = reader
        self._rewriter = rewriter
        self._index = index
        self._delete_extra = delete_extra

    async def repair(self, differences: Sequence[Difference]) -> list[Repair]:
        """What became of each."""
        wanted = [each for each in differences if each.kind in REPAIRABLE]
        repaired = dict(zip(wanted, await self._write(wanted), strict=True))
        extra = [each for each in differences if each.kind is Kind.EXTRA] if self._delete_extra else []
        repaired |= dict(zip(extra, await self._delete(extra), strict=True))
        return [repaired.get(each, Repair(LEFT)) for each in differences]

    async def _write(self, wanted: Sequence[Difference]) -> list[Repair]:
        if not wanted:
            return []
        kept = await self._audit.these([each.id for each in wanted])
        events: dict[str, Event] = {}
        outcomes: dict[str, Repair] = {}
        for each in wanted:
            found = _event(kept.get(each.id))
            if isinstance(found, Repair):
                outcomes[each.id] = found
            else:
                events[each.id] = found
        traces = await kept_traces(self._reader, list(events.values()))
        documents = await self._rewriter.write(list(events.values()), traces, overwrite=True)
        outcomes |= {key: _outcome(document) for key, document in zip(events, documents, strict=True)}
        outcomes |= await self._forgotten([key for key, found in outcomes.items() if found.outcome == SUPERSEDED])
        return [outcomes[each.id] for each in wanted]

    async def _forgotten(self, ids: Sequence[str]) -> dict[str, Repair]:
        """A version conflict where there is no document: Elasticsearch still knows that somebody deleted it."""
        there = await self._reader.these(ids)
        return {each: Repair(REFUSED, DELETED_BY_HAND) for each in ids if each not in there}

    async def _delete(self, extra: Sequence[Difference]) -> list[Repair]:
        """Deletes what has not changed since: a newer document has a greater version."""
        if not extra:
            return []
        reply = await self._index.bulk(b"".join(action("delete", each.id, each.index or 0) for each in extra))
        if reply.status != 200:
            raise Refused(f"Elasticsearch answers {reply.status} to a bulk delete: {reply.body[:200]!r}")
        return [_deleted(item["delete"]) for item in msgspec.json.decode(reply.body)["items"]]


def _event(kept: Kept | None) -> Event | Repair:
    if kept is None:
        return Repair(REFUSED, "the audit knows it no longer")
    try:
        event = event_of(kept)
    except EventError as error:
        return Repair(REFUSED, f"what the audit keeps is no event: {error.code}: {error.message}")
    return event or Repair(REFUSED, "the audit has no content of this event any more")


def _deleted(answer: Mapping[str, Any]) -> Repair:
    if answer["status"] in {200, 404}:
        return Repair(DONE)
    if answer["status"] == 409:
        return Repair(SUPERSEDED)
    return Repair(REFUSED, str(answer.get("error", answer["status"])))


def _outcome(document: Document) -> Repair:
    if document.error:
        return Repair(REFUSED, f"{document.error.code}: {document.error.message}")
    return Repair(DONE if document.result == Result.WRITTEN else SUPERSEDED)
