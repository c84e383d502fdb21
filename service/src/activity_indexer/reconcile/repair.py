"""Repairs the index from the audit, beside a running indexer: the newest event wins, whichever program writes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from activity_indexer.adapters.elasticsearch.index_reader import IndexReader, Stored
from activity_indexer.adapters.elasticsearch.index_writer import NamedIndex, action
from activity_indexer.adapters.postgres.audit_reader import AuditReader, Kept
from activity_indexer.document import order_of
from activity_indexer.errors import EventError, Refused
from activity_indexer.event import EVENT_TYPES, Event, message_id
from activity_indexer.indexing import Document, Result
from activity_indexer.reconcile.compare import Difference, Kind
from activity_indexer.rewrite.writer import Rewriter, event_of, kept_traces

DONE: Final = "done"
REFUSED: Final = "refused"
SUPERSEDED: Final = "superseded"
"""A newer event came meanwhile, and stays."""
LEFT: Final = "left"
"""Only reported."""
DELETED_BY_HAND: Final = (
    "it was deleted a moment ago, and Elasticsearch remembers that for index.gc_deletes (60 s): repair again then"
)


@dataclass(frozen=True, slots=True)
class Repair:
    """What became of a difference; `outcome` is done, refused, superseded or left."""

    outcome: str
    reason: str = ""


class Repairer:
    """Raises Unavailable or Refused for the audit; Elasticsearch is waited for.

    `forget` gets the message ids of what was deleted: else an event that is sent again would be a known one.
    """

    def __init__(
        self,
        audit: AuditReader,
        reader: IndexReader,
        rewriter: Rewriter,
        index: NamedIndex,
        forget: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        self._audit = audit
        self._reader = reader
        self._rewriter = rewriter
        self._index = index
        self._forget = forget

    async def write(self, wanted: Sequence[Difference]) -> list[Repair]:
        """Write what the audit has; what became of each."""
        kept = await self._audit.these([each.id for each in wanted])
        events: dict[str, Event] = {}
        outcomes: dict[str, Repair] = {}
        for each in wanted:
            found = _event(kept.get(each.id))
            if isinstance(found, Repair):
                outcomes[each.id] = found
            else:
                events[each.id] = found
        differing = {each.id for each in wanted if each.kind is Kind.DIFFERENT}
        for overwrite in (True, False):  # a tie that came meanwhile may have the version, and must not be replaced
            some = {key: event for key, event in events.items() if (key in differing) is overwrite}
            traces = await kept_traces(self._reader, list(some.values()))
            documents = await self._rewriter.write(list(some.values()), traces, overwrite=overwrite)
            outcomes |= {key: _outcome(document) for key, document in zip(some, documents, strict=True)}
        outcomes |= await self._forgotten([key for key, found in outcomes.items() if found.outcome == SUPERSEDED])
        return [outcomes[each.id] for each in wanted]

    async def _forgotten(self, ids: Sequence[str]) -> dict[str, Repair]:
        """A version conflict where there is no document: Elasticsearch still knows that it was deleted."""
        there = await self._reader.these(ids)
        return {each: Repair(REFUSED, DELETED_BY_HAND) for each in ids if each not in there}

    async def delete(self, extra: Sequence[Difference]) -> list[Repair]:
        """Delete what has not changed since and what the audit still does not know; what became of each.

        A newer document has a greater version, so that it stays.
        """
        ids = [each.id for each in extra]
        known = {*await self._audit.these(ids), *await self._audit.rejected(ids)}
        wanted = [each for each in extra if each.id not in known]
        stored = await self._reader.these([each.id for each in wanted])
        outcomes = dict(zip((each.id for each in wanted), await self._delete(wanted), strict=True))
        deleted = [stored[key] for key, repair in outcomes.items() if repair.outcome == DONE and key in stored]
        await self._forget([found for each in deleted if (found := _message_id(each))])
        return [outcomes.get(each.id, Repair(SUPERSEDED)) for each in extra]

    async def _delete(self, wanted: Sequence[Difference]) -> list[Repair]:
        if not wanted:
            return []
        reply = await self._index.bulk(b"".join(action("delete", each.id, each.index or 0) for each in wanted))
        if reply.status != 200:
            raise Refused(f"Elasticsearch answers {reply.status} to a bulk delete: {reply.body[:200]!r}")
        return [_deleted(item["delete"]) for item in msgspec.json.decode(reply.body)["items"]]


def _message_id(document: Stored) -> str | None:
    """Of the event that wrote the document; None of one that no event wrote."""
    order = order_of(document.source)
    return None if order is None else message_id(document.id, EVENT_TYPES[order.rank], order.timestamp)


def _event(kept: Kept | None) -> Event | Repair:
    if kept is None:
        return Repair(REFUSED, "the audit does not know it any more")
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
