"""What a status holds; `to_json` gives its stable keys."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from activity_indexer.facts import IndexerFacts


class Report(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Base of all parts: their JSON has camelCase keys."""


T = TypeVar("T", bound=msgspec.Struct)


class Answer(Report, Generic[T], frozen=True):
    """What one server answered; `reason` says why there is nothing, `seconds` how long it took."""

    up: bool
    reason: str = ""
    seconds: float = 0.0
    found: T | None = None


class Topic(Report, frozen=True):
    """`records` counts offsets that are still there; `perSecond` what is written, over the interval.

    `behindTransaction` has, by partition, the records that an open transaction hides from every consumer.
    """

    role: str
    name: str
    exists: bool
    partitions: int = 0
    replicas: int = 0
    records: int = 0
    per_second: float | None = None
    behind_transaction: dict[str, int] = {}


class Member(Report, frozen=True):
    """An indexer in a group; a partition of the transactions topic belongs to one of them.

    `address` is where it serves its facts, as it stated when it joined.
    """

    client_id: str
    host: str
    partitions: list[int]
    address: str | None = None


class Group(Report, frozen=True):
    """`lag` is by partition, None where nothing was committed; `perSecond` what is committed, over the interval.

    `lost` has, by partition, the records that were removed before the group read them. `standing` are the partitions
    with a lag whose committed offset did not move over the interval.
    """

    role: str
    name: str
    state: str
    members: list[Member]
    lag: dict[str, int | None]
    total_lag: int
    per_second: float | None = None
    lost: dict[str, int] = {}
    standing: list[int] = []


class Kafka(Report, frozen=True):
    """The cluster; `interval` is the time over which rates were measured (seconds)."""

    version: str
    brokers: int
    interval: float
    topics: list[Topic]
    groups: list[Group]


class Indexer(Report, frozen=True):
    """What one indexer reports about itself; `members` are its client ids, `address` where it was asked."""

    address: str
    members: list[str]
    answer: Answer[IndexerFacts]


class Index(Report, frozen=True):
    """`documents` is what searches see, `building` an index that a reindex has not finished.

    `turned`: that index is written already, while searches see the old one.
    """

    version: str
    health: str
    alias: str
    index: str | None
    documents: int = 0
    tombstones: int = 0
    bytes: int = 0
    building: str | None = None
    turned: bool = False


class Rows(Report, frozen=True):
    """Rows of a table; `exact` is false for an estimate of the server."""

    rows: int
    exact: bool


class Audit(Report, frozen=True):
    """The audit's tables; None where a table does not exist."""

    version: str
    transactions: Rows | None
    events: Rows | None
    rejects: Rows | None


class Redis(Report, frozen=True):
    """The server of seen ids."""

    version: str
    used_bytes: int


class Cause(Report, frozen=True):
    """Dead letters of one stage, error and field in the sample; `last` is RFC 3339."""

    stage: str
    error: str
    field: str
    count: int
    last: str


class DeadLetters(Report, frozen=True):
    """`total` is exact, by offsets; the causes are those of the newest `sampled`."""

    topic: str
    total: int
    sampled: int
    causes: list[Cause]


class Status(Report, frozen=True):
    """Everything; `problems` are sentences, none when all is healthy."""

    at: str
    version: str
    healthy: bool
    problems: list[str]
    kafka: Answer[Kafka]
    elasticsearch: Answer[Index]
    redis: Answer[Redis]
    postgresql: Answer[Audit] | None
    dead_letters: Answer[DeadLetters]
    indexers: list[Indexer] = []


def to_json(status: Status) -> dict[str, Any]:
    """The status as JSON is made of."""
    found: dict[str, Any] = msgspec.to_builtins(status)
    return found
