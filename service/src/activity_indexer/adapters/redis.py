"""Seen message ids in Redis: one round trip to look up a batch and one to mark it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from activity_indexer.adapters.redis_client import ask, connect, refuse_cluster
from activity_indexer.errors import Unavailable
from activity_indexer.ports import Partition
from activity_indexer.settings import RedisSettings

MARK = """
local now = redis.call('TIME')[1]
local at = 0
for entry in string.gmatch(ARGV[2], '[^ ]+') do
  at = at + 1
  redis.call('SET', KEYS[at], now .. ' ' .. entry, 'PX', ARGV[1])
end
return now
"""
"""The value begins with when the id was marked, by the server's clock (seconds): all indexers share it."""


def seen_namespace(group: str, index: str) -> str:
    """What ids belong to; empty when the index (and its history) is not known.

    A new group reads everything again on purpose: it knows no ids of others.
    """
    return index and f"{group}:{index}"


class RedisSeenStore:
    """ports.SeenStore and ports.OffsetStore over a Redis server; `namespace` names the index that the ids belong to.

    Ids are kept for `ttl` seconds, and known for `lifetime` seconds.
    """

    def __init__(
        self,
        settings: RedisSettings,
        ttl: float,
        namespace: Callable[[], str],
        lifetime: Callable[[], float] = lambda: math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = settings.timeout
        self._prefix = settings.key_prefix
        self._ttl = int(ttl * 1000)
        self.namespace = namespace
        self.lifetime = lifetime
        self._clock = clock
        self._ahead: float | None = None
        self._redis: Any = connect(settings)
        self._checked = False
        self._mark = self._redis.register_script(MARK)

    async def seen(self, message_ids: Sequence[str]) -> Mapping[str, bytes]:
        """What was marked within `lifetime` for those of the ids that are known."""
        if self._ahead is None:
            self._learn_time((await self._ask(self._redis.time))[0])
        since = self._clock() + (self._ahead or 0.0) - self.lifetime()
        found = await self._ask(lambda: self._redis.mget(self._keys(message_ids)))
        known: dict[str, bytes] = {}
        for message_id, value in zip(message_ids, found, strict=True):
            if value is not None:
                marked, _, entry = value.partition(b" ")
                if _number(marked) > since:
                    known[message_id] = entry
        return known

    async def mark(self, entries: Mapping[str, bytes]) -> None:
        """Remember the entries for as long as the settings say."""
        arguments = [self._ttl, b" ".join(entries.values())]
        self._learn_time(await self._ask(lambda: self._mark(keys=self._keys(entries), args=arguments)))

    async def forget(self, message_ids: Sequence[str]) -> None:
        """Know these ids no longer."""
        if message_ids:
            await self._ask(lambda: self._redis.delete(*self._keys(message_ids)))

    def _learn_time(self, now: bytes | int) -> None:
        """How far the server's clock is ahead of ours, which counts from anywhere."""
        self._ahead = int(now) - self._clock()

    async def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """What the group committed last, as far as it is known."""
        places = list(partitions)
        found = await self._ask(lambda: self._redis.hmget(self._offsets_key, [_field(place) for place in places]))
        return {place: _number(value) for place, value in zip(places, found, strict=True) if value is not None}

    async def remember(self, offsets: Mapping[Partition, int]) -> None:
        """Keep what the group committed for as long as the ids."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hset(self._offsets_key, mapping={_field(place): offset for place, offset in offsets.items()})
            pipeline.pexpire(self._offsets_key, self._ttl)
            await self._ask(pipeline.execute)

    @property
    def _offsets_key(self) -> str:
        return f"{self._prefix}:{self.namespace()}:offsets"

    async def stop(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _keys(self, message_ids: Iterable[str]) -> list[str]:
        head = f"{self._prefix}:{self.namespace()}:"
        return [head + message_id for message_id in message_ids]

    async def _ask(self, question: Callable[[], Any]) -> Any:
        """The answer; after a failure the server is looked at again, as it may be another one."""
        limit = self._timeout * 2  # a first round trip connects as well
        try:
            if not self._checked:
                await refuse_cluster(self._redis, limit)
                self._checked = True
            return await ask(question(), limit)
        except Unavailable:
            self._checked = False
            raise


def _number(value: bytes) -> int:
    """A number that was stored; 0, which is old and below all, when it is none."""
    try:
        return int(value)
    except ValueError:
        return 0


def _field(partition: Partition) -> str:
    return f"{partition.topic}:{partition.partition}"
