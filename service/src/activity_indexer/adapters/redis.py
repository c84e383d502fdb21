"""Seen message ids in Redis: one round trip to look up a batch and one to mark it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from activity_indexer.errors import Unavailable
from activity_indexer.settings import RedisSettings

MARK = """
local at = 0
for entry in string.gmatch(ARGV[2], '[^ ]+') do
  at = at + 1
  redis.call('SET', KEYS[at], entry, 'PX', ARGV[1])
end
"""


class RedisSeenStore:
    """ports.SeenStore over a Redis server; `namespace` names the index that the ids belong to."""

    def __init__(self, settings: RedisSettings, ttl: float, namespace: Callable[[], str]) -> None:
        self._timeout = settings.timeout
        self._prefix = settings.key_prefix
        self._ttl = int(ttl * 1000)
        self._namespace = namespace
        tls: dict[str, Any] = {"ssl_ca_certs": str(settings.ca_file)} if settings.ca_file else {}
        self._redis: Any = Redis.from_url(
            settings.url.get_secret_value(),
            socket_connect_timeout=settings.timeout,
            socket_timeout=settings.timeout,
            retry=Retry(NoBackoff(), 0),
            **tls,
        )
        self._mark = self._redis.register_script(MARK)

    async def seen(self, message_ids: Sequence[str]) -> Mapping[str, bytes]:
        """What was marked for those of the ids that are known."""
        found = await self._ask(self._redis.mget(self._keys(message_ids)))
        return {message_id: entry for message_id, entry in zip(message_ids, found, strict=True) if entry is not None}

    async def mark(self, entries: Mapping[str, bytes]) -> None:
        """Remember the entries for as long as the settings say."""
        await self._ask(self._mark(keys=self._keys(entries), args=[self._ttl, b" ".join(entries.values())]))

    async def stop(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _keys(self, message_ids: Iterable[str]) -> list[str]:
        head = f"{self._prefix}:{self._namespace()}:"
        return [head + message_id for message_id in message_ids]

    async def _ask(self, question: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout * 2):  # a first round trip connects as well
                return await question
        except (RedisError, NoScriptError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis: {type(error).__name__}: {error}") from error
