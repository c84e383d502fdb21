"""What an answer of Elasticsearch means for each document: exactly one outcome."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import msgspec


class Outcome(Enum):
    """What becomes of a document, or of a whole request."""

    DONE = "done"
    RETRY = "retry"
    HALT = "halt"
    SPLIT = "split"
    BISECT = "bisect"
    SUSPECT = "suspect"
    PERMANENT = "permanent"


class ItemError(msgspec.Struct, frozen=True):
    """Why an item was refused, in Elasticsearch's words."""

    type: str = ""
    reason: str = ""


class Item(msgspec.Struct, frozen=True):
    """One item of a bulk answer."""

    status: int
    error: ItemError = ItemError()


class _Error(msgspec.Struct, frozen=True):
    """An error as it stands in an answer: a Java exception without a message has no reason."""

    type: str | None = None
    reason: str | None = None

    def told(self) -> ItemError:
        return ItemError(self.type or "", self.reason or "")


class _Index(msgspec.Struct, frozen=True):
    status: int
    error: _Error = _Error()


class _Action(msgspec.Struct, frozen=True):
    index: _Index


class BulkAnswer(msgspec.Struct, frozen=True):
    """A bulk answer; `items` stand in the order of the request."""

    errors: bool
    items: list[_Action] = []


class _RequestFailure(msgspec.Struct, frozen=True):
    error: _Error | str = ""


class _ErrorsOnly(msgspec.Struct, frozen=True):
    errors: bool


_RETRY_STATUS: Final = frozenset({408, 429, 502, 503, 504})
_HALT_STATUS: Final = frozenset({401, 403, 404})
_RETRY_TYPES: Final = frozenset(
    {
        "already_closed_exception",
        "circuit_breaking_exception",
        "cluster_block_exception",
        "connect_transport_exception",
        "coordination_state_rejected_exception",
        "engine_closed_exception",
        "es_rejected_execution_exception",
        "index_primary_shard_not_allocated_exception",
        "index_shard_closed_exception",
        "index_shard_not_recovering_exception",
        "index_shard_not_started_exception",
        "master_not_discovered_exception",
        "no_shard_available_action_exception",
        "no_such_remote_cluster_exception",
        "node_closed_exception",
        "node_disconnected_exception",
        "node_not_connected_exception",
        "not_master_exception",
        "process_cluster_event_timeout_exception",
        "receive_timeout_transport_exception",
        "rejected_execution_exception",
        "retry_on_primary_exception",
        "retry_on_replica_exception",
        "shard_not_found_exception",
        "shard_not_in_primary_mode_exception",
        "timeout_exception",
        "unavailable_shards_exception",
    }
)
_HALT_TYPES: Final = frozenset(
    {"index_closed_exception", "index_not_found_exception", "security_exception", "authentication_processing_error"}
)
_HALT_REASONS: Final = ("no write index is defined", "is not an alias", "require_alias")
_CURRENT_VERSION: Final = re.compile(r"current version \[(\d+)\]")

_errors_only: Final = msgspec.json.Decoder(_ErrorsOnly).decode
_answer: Final = msgspec.json.Decoder(BulkAnswer).decode
_failure: Final = msgspec.json.Decoder(_RequestFailure).decode


def all_done(body: bytes) -> bool:
    """Whether a bulk answer of status 200 says that every item was written. Raises ValueError on another answer."""
    return not _errors_only(body).errors


def pushes_back(status: int, body: bytes) -> bool:
    """Whether the answer asks for fewer requests: as a whole, or for some of its items, as a full queue does."""
    return status in (429, 503) or b'"status":429' in body


def read_items(body: bytes) -> list[Item]:
    """The items of a bulk answer. Raises ValueError when it is none."""
    return [Item(action.index.status, action.index.error.told()) for action in _answer(body).items]


def classify_item(item: Item) -> Outcome:
    """The outcome of one item of a bulk request: done, retry, halt, suspect or permanent."""
    status, error = item.status, item.error
    if status in (200, 201) or (status == 409 and error.type == "version_conflict_engine_exception"):
        return Outcome.DONE
    if error.type in _RETRY_TYPES or status in _RETRY_STATUS:
        return Outcome.RETRY
    if error.type in _HALT_TYPES or status in _HALT_STATUS or any(text in error.reason for text in _HALT_REASONS):
        return Outcome.HALT
    if status == 413 or 400 <= status < 409:
        return Outcome.PERMANENT
    return Outcome.SUSPECT


def classify_request(status: int, error: ItemError) -> Outcome:
    """The outcome of a request that failed as a whole: retry, halt, split, bisect or suspect."""
    if error.type in _RETRY_TYPES or status in _RETRY_STATUS:
        return Outcome.RETRY
    if error.type in _HALT_TYPES or status in _HALT_STATUS or any(text in error.reason for text in _HALT_REASONS):
        return Outcome.HALT
    if status == 413:
        return Outcome.SPLIT
    if status == 400:
        return Outcome.BISECT
    return Outcome.SUSPECT


def read_failure(status: int, body: bytes) -> ItemError:
    """Elasticsearch's words for a request that failed as a whole; a proxy's answer is quoted in part."""
    try:
        error = _failure(body).error
    except (ValueError, RecursionError):
        error = body[:200].decode(errors="replace")
    if isinstance(error, str):
        return ItemError(f"http_{status}", error)
    return error.told()


def current_version(item: Item) -> int | None:
    """The version that a document has, as a version conflict reports it."""
    current = _CURRENT_VERSION.search(item.error.reason)
    return int(current[1]) if current else None
