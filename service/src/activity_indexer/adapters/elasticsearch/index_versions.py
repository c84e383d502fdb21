"""The versions of the index behind the alias: one is searched, another may be under construction."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, BadRequestError, NotFoundError

from activity_indexer.adapters.elasticsearch.client import connect
from activity_indexer.adapters.elasticsearch.transport import mapped
from activity_indexer.adapters.elasticsearch.write_index import BUILDING, NOTHING, find_write_index
from activity_indexer.document import CURRENT_SCALE, NOT_DELETED, VERSION_SCALE, mappings
from activity_indexer.document import settings as index_settings
from activity_indexer.errors import Refused
from activity_indexer.settings import ElasticsearchSettings

META: Final = "activity_indexer"
"""Key of our part of the mapping's _meta."""


@dataclass(frozen=True, slots=True)
class State:
    """How far an index under construction is; kept in its mapping's _meta, so that it lives and dies with it.

    `offsets` is what the topic has been read up to, by partition; `after` the id up to which the audit has been read;
    `beats` counts the signs of life of its builder, `owner` is empty when none builds.
    """

    source: str
    offsets: Mapping[int, int] = field(default_factory=dict)
    after: str = ""
    filled: bool = False
    owner: str = ""
    beats: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """An index under construction; `written`: the alias' writes go to it, `older`: an older release has begun it."""

    index: str
    state: State
    written: bool
    older: bool = False


class IndexVersions:
    """Makes, fills in and swaps versions. Every method raises Unavailable or Refused."""

    def __init__(
        self, client: AsyncElasticsearch, settings: ElasticsearchSettings, enrichment: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._settings = settings
        self._alias = settings.index
        self._enrichment = enrichment

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: ElasticsearchSettings, enrichment: Mapping[str, Any]) -> AsyncIterator[IndexVersions]:
        """With a client of its own; what it refuses is reported in our words."""
        async with connect(settings) as client:
            try:
                yield cls(client, settings, enrichment)
            except (ApiError, TransportError) as error:
                raise mapped(error) from error

    async def searched(self) -> str:
        """The index that searches of the alias see."""
        return (await find_write_index(self._client, self._alias, any_scale=True)).searched

    async def is_of_older_scale(self, index: str) -> bool:
        """Whether an older release has written the documents: their versions are smaller by 256."""
        return not _has_current_scale(await self._meta(index))

    async def _meta(self, index: str) -> Mapping[str, Any]:
        found = await self._client.indices.get_mapping(index=index)
        meta: Mapping[str, Any] = found[index]["mappings"].get("_meta", {})
        return meta

    async def building(self) -> Found | None:
        """The index under construction, if there is one."""
        for index in await self._behind(self._alias + BUILDING):
            meta = await self._meta(index)
            reported = dict(meta.get(META, {"source": ""}))
            reported["offsets"] = {int(partition): offset for partition, offset in reported.get("offsets", {}).items()}
            written = index in await self._behind(self._alias)
            return Found(index, State(**reported), written, older=not _has_current_scale(meta))
        return None

    async def create(self, state: State) -> str:
        """A new, empty version, not searched and not written; it refreshes seldom until it is full."""
        name = await self._next_name()
        wanted = self._settings
        try:
            await self._client.indices.create(
                index=name,
                settings=index_settings(wanted.shards, wanted.replicas, "30s"),
                mappings={**mappings(self._enrichment), "_meta": _written_meta(state)},
                aliases={self._alias + BUILDING: {"is_hidden": True}},
            )
        except BadRequestError as error:
            if error.error == "resource_already_exists_exception":
                raise Refused(f"{name} was made this very moment: another reindex began; wait for it") from error
            raise
        return name

    async def save(self, index: str, state: State) -> None:
        """Remember how far it is."""
        await self._client.indices.put_mapping(index=index, meta=_written_meta(state))

    async def discard(self, index: str) -> None:
        """Delete a version."""
        await self._client.indices.delete(index=index, ignore_unavailable=True)

    async def make_searchable(self, index: str) -> None:
        """Give it the refresh interval of the settings, and wait for its shards."""
        await self._client.indices.put_settings(
            index=index, settings={"index.refresh_interval": self._settings.refresh_interval}
        )
        await self.refresh(index)
        await self._client.cluster.health(index=index, wait_for_status="yellow", timeout="30s")

    async def refresh(self, index: str) -> None:
        """All that was written can be found."""
        await self._client.indices.refresh(index=index)

    async def turn_writes(self, old: str, new: str) -> None:
        """From now on what is written to the alias goes to the new version; searches see the old one, as before."""
        hides = (await self._behind(self._alias))[old].get("filter", NOT_DELETED)
        await self._update(
            {"add": {"index": old, "alias": self._alias, "filter": hides, "is_write_index": False}},
            {"add": {"index": new, "alias": self._alias, "filter": NOTHING, "is_write_index": True}},
        )

    async def turn_searches(self, old: str, new: str) -> None:
        """From now on searches see the new version alone; it is under construction no more."""
        hides = (await self._behind(self._alias))[old].get("filter", NOT_DELETED)
        await self._update(
            {"remove": {"index": old, "alias": self._alias}},
            {"add": {"index": new, "alias": self._alias, "filter": hides, "is_write_index": True}},
            {"remove": {"index": new, "alias": self._alias + BUILDING}},
        )

    async def count(self, index: str) -> int:
        """Documents of an index, tombstones too."""
        return int((await self._client.count(index=index))["count"])

    async def _update(self, *actions: Mapping[str, Any]) -> None:
        answer = await self._client.indices.update_aliases(actions=list(actions))
        if not answer["acknowledged"]:
            raise Refused(
                "Elasticsearch did not inform all its nodes of the changed alias in time: run the command again"
            )

    async def _behind(self, alias: str) -> dict[str, dict[str, Any]]:
        try:
            found = await self._client.indices.get_alias(name=alias)
        except NotFoundError:
            return {}
        return {index: state["aliases"][alias] for index, state in found.body.items()}

    async def _next_name(self) -> str:
        found = await self._client.indices.get_settings(index=f"{self._alias}-*", name="index.uuid")
        numbers = [re.fullmatch(rf"{re.escape(self._alias)}-(\d{{6}})", index) for index in found.body]
        return f"{self._alias}-{max([int(number[1]) for number in numbers if number], default=0) + 1:06d}"


def _has_current_scale(meta: Mapping[str, Any]) -> bool:
    return bool(meta.get(VERSION_SCALE) == CURRENT_SCALE)


def _written_meta(state: State) -> dict[str, Any]:
    return {VERSION_SCALE: CURRENT_SCALE, META: asdict(state)}


def advanced(state: State, offsets: Mapping[int, int]) -> State:
    """The state when the topic has been read up to these offsets too."""
    further = {partition: max(offset, state.offsets.get(partition, 0)) for partition, offset in offsets.items()}
    return replace(state, offsets={**state.offsets, **further})
