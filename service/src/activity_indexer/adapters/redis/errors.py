"""What an error of Redis means, and what to do about it."""

from __future__ import annotations

from typing import Final

from activity_indexer.errors import reason_of

NO_CLUSTER: Final = (
    "Redis Cluster is not supported: set REDIS_URL to a server with cluster-enabled no; until then duplicates are "
    "found in memory and by Elasticsearch alone"
)
_RIGHTS: Final = "it must allow MGET, SET, EVAL and EVALSHA, for keys that begin with REDIS_KEY_PREFIX"
_FULL: Final = "it is full: raise its maxmemory, or set its maxmemory-policy to volatile-ttl"
_REPLICA: Final = "it is a read-only replica: set REDIS_URL to the primary"
_LOGIN: Final = "it refuses the login: correct the user and password of REDIS_URL"
_ADVICE: Final = (
    ("MOVED ", NO_CLUSTER),
    ("ASK ", NO_CLUSTER),
    ("CROSSSLOT", NO_CLUSTER),
    ("CLUSTERDOWN", NO_CLUSTER),
    ("OOM ", _FULL),
    ("READONLY", _REPLICA),
    ("NOPERM", _RIGHTS),
    ("unknown command", _RIGHTS),
    ("MISCONF", "it cannot save its data and takes no writes: see its log"),
    ("WRONGPASS", _LOGIN),
    ("invalid password", _LOGIN),
    ("without any password", _LOGIN),
    ("NOAUTH", _LOGIN),
    ("DB index", "it has no such database: correct the number in REDIS_URL"),
)
"""By what the server writes: at the beginning of an error, or within it when a script has failed."""


class RedisError(Exception):
    """The server answers with an error; the text is its own, and begins with a word such as OOM or NOPERM."""


class NotRedis(Exception):
    """The server answers with something that is not Redis's protocol."""


def explained(error: BaseException) -> str:
    """What is wrong, and what to do where that is known."""
    reason = reason_of(error)
    text = f"Redis: {reason}" if isinstance(error, RedisError) else f"Redis: {type(error).__name__}: {reason}"
    if isinstance(error, RedisError):
        for words, advice in _ADVICE:
            if words in reason:
                return f"{text} ({advice})"
    return text
