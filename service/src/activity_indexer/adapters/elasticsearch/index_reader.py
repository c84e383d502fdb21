"""Reads an index in order of id, the tombstones too: documents, versions, and the bytes as they were indexed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from elastic_transport import ApiError, TransportError
from msgspec import Raw

from activity_indexer.adapters.elasticsearch.transport import JSON, Client, ElasticsearchTransport, mapped
from activity_indexer.adapters.elasticsearch.write_index import find_write_index
from activity_indexer.adapters.paging import PageSize
from activity_indexer.errors import Refused
from activity_indexer.event import base_version
from activity_indexer.settings import ElasticsearchSettings

KEEP_ALIVE: Final = "10m"
"""How long Elasticsearch keeps a point in time without requests."""

OLDER_SCALE: Final = 8
"""Bits that the versions of older releases lack."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Stored:
    """A document. `source` is its body (bytes; empty when it was not asked for)."""

    id: str
    version: int
    source: bytes


class _Hit(msgspec.Struct, gc=False):
    id: str = msgspec.field(name="_id")
    version: int = msgspec.field(name="_version", default=0)
    source: Raw = msgspec.field(name="_source", default=Raw())
    sort: Raw = Raw()
    found: bool = True


class _Trace(msgspec.Struct, gc=False):
    trace_id: Any = msgspec.field(name="_trace_id", default=None)


class _Traced(msgspec.Struct, gc=False):
    id: str = msgspec.field(name="_id")
    version: int = msgspec.field(name="_version", default=0)
    source: _Trace = msgspec.field(name="_source", default_factory=_Trace)


class _TracedDocs(msgspec.Struct):
    docs: list[_Traced]


class _Hits(msgspec.Struct):
    hits: list[_Hit]


class _Answer(msgspec.Struct):
    hits: _Hits
    pit_id: str = ""


class _Docs(msgspec.Struct):
    docs: list[_Hit]


_answer: Final = msgspec.json.Decoder(_Answer).decode
_docs: Final = msgspec.json.Decoder(_Docs).decode
_traced: Final = msgspec.json.Decoder(_TracedDocs).decode
_TRACE_ID: Final = re.compile("[0-9a-f]{32}")
_sort: Final = msgspec.json.Decoder(list[Any]).decode


async def write_index(client: Client, alias: str) -> str:
    """The one index behind the alias. Raises Unavailable, or Refused with advice, also while a reindex moves it."""
    try:
        found = await find_write_index(client, alias)
    except (ApiError, TransportError) as error:
        raise mapped(error) from error
    if found.moving:
        raise Refused(
            f"a reindex is moving the alias {alias} to {found.name}: wait for it, or run it again to finish it"
        )
    return found.name


class IndexReader:
    """Reads one index by its own name, so that the alias' filter hides nothing. Raises Unavailable or Refused.

    `older` says that an older release has written the index: its versions are given as this release counts them.
    `strays` are documents that do not carry their own id (the field `id` is not the `_id`): nothing of ours wrote them;
    `stray_examples` are the first of them.
    """

    def __init__(self, settings: ElasticsearchSettings, index: str, *, older: bool = False) -> None:
        self._shift = OLDER_SCALE if older else 0
        self._client = ElasticsearchTransport(settings)
        self._index = index
        self.strays = 0
        self.stray_examples: list[Stored] = []

    async def documents(self, *, source: bool = True) -> AsyncIterator[Sequence[Stored]]:
        """All documents in the order of their ids' UTF-8 bytes, page by page, as they are at one point in time."""
        await self._ask("POST", f"/{self._index}/_refresh")
        opened = msgspec.json.decode(await self._ask("POST", f"/{self._index}/_pit?keep_alive={KEEP_ALIVE}"))
        pit, after, size = str(opened["id"]), Raw(), PageSize()
        try:
            while True:
                answer = await self._page(pit, after, size.rows, source=source)
                hits, pit = answer.hits.hits, answer.pit_id or pit
                if not hits:
                    return
                after = Raw(bytes(hits[-1].sort))
                size.learn(len(hits), sum(len(memoryview(hit.source)) + 256 for hit in hits))
                yield [self._stored(hit) for hit in hits if self._carries_its_id(hit)]
        finally:
            await self._ask("DELETE", "/_pit", {"id": pit})

    async def these(self, ids: Sequence[str]) -> dict[str, Stored]:
        """These documents by id, as they are now: not only those that a search finds already."""
        if not ids:
            return {}
        answer = await self._ask("POST", f"/{self._index}/_mget", {"ids": list(ids)})
        return {hit.id: self._stored(hit) for hit in _docs(answer).docs if hit.found}

    async def trace_ids(self, ids: Sequence[str]) -> dict[tuple[str, int], bytes]:
        """The trace ids (hexadecimal digits) of those of these documents that have one, by id and base version."""
        if not ids:
            return {}
        answer = await self._ask("POST", f"/{self._index}/_mget?_source_includes=_trace_id", {"ids": list(ids)})
        return {
            (found.id, base_version(found.version << self._shift)): found.source.trace_id.encode()
            for found in _traced(answer).docs
            if isinstance(found.source.trace_id, str) and _TRACE_ID.fullmatch(found.source.trace_id)
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _page(self, pit: str, after: Raw, size: int, *, source: bool) -> _Answer:
        body: dict[str, Any] = {
            "size": size,
            "version": True,
            "_source": source,
            "track_total_hits": False,
            "pit": {"id": pit, "keep_alive": KEEP_ALIVE},
            "sort": [{"id": "asc"}],
        }
        if bytes(after):
            body["search_after"] = after
        return _answer(await self._ask("POST", "/_search", body))

    def _carries_its_id(self, hit: _Hit) -> bool:
        if _sort(hit.sort)[0] == hit.id:
            return True
        self.strays += 1
        if len(self.stray_examples) < 10:
            self.stray_examples.append(self._stored(hit))
        return False

    def _stored(self, hit: _Hit) -> Stored:
        return Stored(hit.id, hit.version << self._shift, bytes(hit.source))

    async def _ask(self, method: str, target: str, body: Any = None) -> bytes:
        try:
            answer = await self._client.send(method, target, None if body is None else _encode(body), JSON)
        except TransportError as error:
            raise mapped(error) from error
        if not 200 <= answer.status < 300:
            raise mapped(answer.error())
        return answer.body
