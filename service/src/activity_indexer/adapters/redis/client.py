"""The client of Redis: how it is made, and what its errors mean."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from activity_indexer.errors import Unavailable, reason_of
from activity_indexer.responsive import ResponsiveTimeout
from activity_indexer.settings import RedisSettings

NO_CLUSTER: Final = (
    "Redis Cluster is not supported: set REDIS_URL to a server with cluster-enabled no; until then duplicates are "
    "found in memory and by Elasticsearch alone"
)
_RIGHTS: Final = "it must allow MGET, SET, EVAL and EVALSHA, for keys that begin with REDIS_KEY_PREFIX"
_FULL: Final = "it is full: raise its maxmemory, or set its maxmemory-policy to volatile-ttl"
_REPLICA: Final = "it is a read-only replica: set REDIS_URL to the primary"
_LOGIN: Final = "it refuses the login: correct the user and password of REDIS_URL"
_OF_CLUSTERS: Final = (AskError, ClusterCrossSlotError, ClusterError)
_ADVICE: Final[tuple[tuple[type[RedisError], str], ...]] = (
    (OutOfMemoryError, _FULL),
    (ReadOnlyError, _REPLICA),
    (NoPermissionError, _RIGHTS),
    (AuthenticationError, _LOGIN),
)
_WORDS: Final = (
    ("-OOM", _FULL),
    ("-READONLY", _REPLICA),
    ("NOPERM", _RIGHTS),
    ("unknown command", _RIGHTS),
    ("MISCONF", "it cannot save its data and takes no writes: see its log"),
    ("WRONGPASS", _LOGIN),
    ("NOAUTH", _LOGIN),
    ("DB index", "it has no such database: correct the number in REDIS_URL"),
)
"""What older servers, and servers within a script, say in words only."""


def connect(settings: RedisSettings) -> Any:
    """A client that tries once, without time-outs of its own: a busy event loop does not use up that of `ask`."""
    tls: dict[str, Any] = {"ssl_ca_certs": str(settings.ca_file)} if settings.ca_file else {}
    return Redis.from_url(
        settings.url.get_secret_value(),
        socket_connect_timeout=None,
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # with the third, the client does not notice that a connection of its pool was closed
        **tls,
    )


async def ask(question: Awaitable[Any], limit: float) -> Any:
    """The answer. Raises Unavailable, with advice, when there is none within so many seconds."""
    try:
        async with ResponsiveTimeout(limit):
            return await question
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(explained(error)) from error


async def refuse_cluster(client: Any, limit: float) -> None:
    """Raises Unavailable when the server is a node of a Redis Cluster, which answers for a part of the keys only."""
    try:
        found = await ask(client.info("cluster"), limit)
    except Unavailable as error:
        if isinstance(error.__cause__, ResponseError):  # INFO may be forbidden; then the keys themselves show it
            return
        raise
    if found.get("cluster_enabled"):
        raise Unavailable(f"Redis: {NO_CLUSTER}")


def explained(error: BaseException) -> str:
    """What is wrong, and what to do where that is known."""
    text = f"Redis: {type(error).__name__}: {reason_of(error)}"
    if isinstance(error, _OF_CLUSTERS):
        return f"{text} ({NO_CLUSTER})"
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return f"{text} ({advice})"
    for word, advice in _WORDS:
        if word in str(error):
            return f"{text} ({advice})"
    return text
