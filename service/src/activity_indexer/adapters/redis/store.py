"""Seen message ids in Redis: one round trip to look up a batch and one to mark it.

The commands are written here as bytes, since all ids have one length: to join a thousand of them is one step, where a
client that takes a list of arguments looks at each. Connections, logins, TLS and answers are the client's.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from activity_indexer.adapters.redis.client import RedisClient, argument, beginning, encoded
from activity_indexer.errors import Unavailable
from activity_indexer.positions import Partition
from activity_indexer.settings import RedisSettings

MARK: Final = b"""
local now = redis.call('TIME')[1]
local size = #ARGV[2] / #KEYS
for at = 1, #KEYS do
  redis.call('SET', KEYS[at], now .. string.sub(ARGV[2], (at - 1) * size + 1, at * size), 'PX', ARGV[1])
end
return now
"""
"""The value begins with when the id was marked, by the server's clock (seconds): all indexers share it."""

SECONDS: Final = 10
"""Digits of that time, until the year 2286."""

ID_BYTES: Final = 16
_MARK_HASH: Final = hashlib.sha1(MARK, usedforsecurity=False).hexdigest().encode()


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
        self._client = RedisClient(settings)
        # Offsets have a connection of their own: a question that is given up closes that of all others beside it.
        self._offsets_client = RedisClient(settings)
        self._checked = False

    async def seen(self, ids: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """What was marked within `lifetime` for those of the ids that are known."""
        if self._ahead is None:
            asked = self._clock()
            self._learn_time((await self._ask(encoded(b"TIME")))[0], asked)
        found = await self._ask(beginning(len(ids) + 1, b"MGET") + self._keys(ids))
        if found.count(None) == len(found):
            return {}
        since = self._clock() + (self._ahead or 0.0) - self.lifetime()
        return {
            each: value[SECONDS:]
            for each, value in zip(ids, found, strict=True)
            if value is not None and _number(value[:SECONDS]) > since
        }

    async def mark(self, entries: Mapping[bytes, bytes]) -> None:
        """Remember the entries for as long as the settings say."""
        keys, values = self._keys(entries), b"".join(entries.values())
        count, ttl = b"%d" % len(entries), b"%d" % self._ttl

        def script(name: bytes, text: bytes) -> bytes:
            head = beginning(len(entries) + 5, name, text, count)
            return b"".join((head, keys, argument(ttl), argument(values)))

        asked = self._clock()
        try:
            now = await self._ask(script(b"EVALSHA", _MARK_HASH))
        except Unavailable as error:
            if not str(error.__cause__).startswith("NOSCRIPT"):
                raise
            now = await self._ask(script(b"EVAL", MARK))
        self._learn_time(now, asked)

    async def forget(self, ids: Sequence[bytes]) -> None:
        """Know these ids no longer."""
        if ids:
            await self._ask(beginning(len(ids) + 1, b"DEL") + self._keys(ids))

    def _learn_time(self, now: bytes | int, asked: float) -> None:
        """How far the server's clock is ahead of ours, which counts from anywhere, at most."""
        self._ahead = int(now) - asked

    async def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """What the group committed last, as far as it is known."""
        places = list(partitions)
        if not places:
            return {}
        asked = encoded(b"HMGET", self._offsets_key, *map(_field, places))
        found = await self._ask(asked, self._offsets_client)
        return {place: _number(value) for place, value in zip(places, found, strict=True) if value is not None}

    async def remember(self, offsets: Mapping[Partition, int]) -> None:
        """Keep what the group committed for as long as the ids."""
        pairs = [text for place, offset in offsets.items() for text in (_field(place), b"%d" % offset)]
        if pairs:
            key = self._offsets_key
            kept = self._ask(encoded(b"HSET", key, *pairs), self._offsets_client)
            expires = self._ask(encoded(b"PEXPIRE", key, b"%d" % self._ttl), self._offsets_client)
            await asyncio.gather(kept, expires)

    @property
    def _offsets_key(self) -> bytes:
        return f"{self._prefix}:{self.namespace()}:offsets".encode()

    async def stop(self) -> None:
        """Close the connections."""
        await self._client.close()
        await self._offsets_client.close()

    def _keys(self, ids: Iterable[bytes]) -> bytes:
        """The ids as the last arguments of a command: each follows a short hash of what it belongs to."""
        belongs = hashlib.blake2b(self.namespace().encode(), digest_size=6).hexdigest()
        head = f"{self._prefix}:{belongs}:".encode()
        before = b"$%d\r\n%b" % (len(head) + ID_BYTES, head)
        return before + (b"\r\n" + before).join(ids) + b"\r\n"

    async def _ask(self, command: bytes, other: RedisClient | None = None) -> Any:
        """The reply; after a failure the server is looked at again, as it may be another one."""
        client = other or self._client
        limit = self._timeout * 2  # a first round trip connects as well
        try:
            if not self._checked:
                await client.refuse_cluster(limit)
                self._checked = True
            return await client.ask(command, limit)
        except Unavailable:
            self._checked = False
            raise


def _number(value: bytes) -> int:
    """A number that was stored; 0, which is old and below all, when it is none."""
    try:
        return int(value)
    except ValueError:
        return 0


def _field(partition: Partition) -> bytes:
    return f"{partition.topic}:{partition.partition}".encode()
