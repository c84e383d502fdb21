"""Reads what a run has left behind, all of it."""

from collections import defaultdict
from collections.abc import Sequence

import aiohttp
import msgspec
from chaos.ledger import Ledger
from chaos.watch import as_dead_letter, committed_offsets
from checker.history import Audit, AuditRow, Document, History, Observation
from fixtures.servers.place import Place

PAGE = 2000


class _Hit(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    version: int = msgspec.field(name="_version")
    source: msgspec.Raw = msgspec.field(name="_source")


class _Hits(msgspec.Struct):
    hits: list[_Hit]


class _Page(msgspec.Struct):
    scroll: str = msgspec.field(name="_scroll_id")
    hits: _Hits


async def collect(place: Place, ledger: Ledger, observations: Sequence[Observation], faults: Sequence[str]) -> History:
    """The history of a run that has come to rest."""
    return History(
        ledger.events(),
        await documents(place),
        [as_dead_letter(record) for record in await place.dead_letters()],
        await committed_offsets(place, place.group),
        observations,
        await audit(place),
        faults,
    )


async def documents(place: Place) -> dict[str, Document]:
    """Everything in the index, tombstones too, each body as it is kept."""
    async with aiohttp.ClientSession(place.servers.elasticsearch_url) as session:
        async with session.post(f"/{place.index}/_refresh") as answer:
            answer.raise_for_status()
        query = {"size": PAGE, "version": True, "sort": ["_doc"], "query": {"match_all": {}}}
        page = await _page(session, f"/{place.index}/_search?scroll=1m", query)
        found: list[_Hit] = []
        while page.hits.hits:
            found += page.hits.hits
            page = await _page(session, "/_search/scroll", {"scroll": "1m", "scroll_id": page.scroll})
    return {hit.id: Document(hit.id, hit.version, bytes(hit.source)) for hit in found}


async def _page(session: aiohttp.ClientSession, path: str, query: dict[str, object]) -> _Page:
    async with session.post(path, json=query) as answer:
        answer.raise_for_status()
        return msgspec.json.decode(await answer.read(), type=_Page)


async def audit(place: Place) -> Audit:
    """The audit's tables."""
    live = await place.rows("SELECT id, version, transaction::text AS body FROM transactions")
    seen = await place.rows("SELECT transaction_id, version, transaction::text AS body FROM transaction_events")
    events: dict[tuple[str, int], list[bytes | None]] = defaultdict(list)
    for row in seen:
        events[row["transaction_id"], row["version"]].append(None if row["body"] is None else row["body"].encode())
    return Audit({row["id"]: AuditRow(row["version"], row["body"].encode()) for row in live}, events)
