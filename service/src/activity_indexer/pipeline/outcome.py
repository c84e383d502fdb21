"""What an answer of Elasticsearch means for each document: exactly one outcome."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import msgspec

from activity_indexer.timestamps import shorten


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

    @property
    def words(self) -> str:
        """Both as one text."""
        return f"{self.type}: {self.reason}" if self.reason else self.type


class Item(msgspec.Struct, frozen=True):
    """One item of a bulk answer."""

    status: int
    error: ItemError = ItemError()


class _Error(msgspec.Struct, frozen=True):
    """An error as it is in an answer: a Java exception without a message has no reason."""

    type: str | None = None
    reason: str | None = None

    def reported(self) -> ItemError:
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
_LOGIN_STATUS: Final = frozenset({401, 403})
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
    {
        "authentication_processing_error",
        "index_closed_exception",
        "index_not_found_exception",
        "routing_missing_exception",
        "security_exception",
        "strict_dynamic_mapping_exception",
    }
)
"""A login, or an index that is not as the indexer makes it: whatever the document says, another one fares no better."""
_HALT_REASON: Final = re.compile(r"no write index is defined|pipeline with id \[.*\] does not exist")
"""The same where the type says less; only at the start of a reason, since a reason may quote the document."""
_PUSH_BACK_TYPES: Final = frozenset(
    {"circuit_breaking_exception", "es_rejected_execution_exception", "rejected_execution_exception"}
)
_NO_VERDICT: Final = "http_"
_MARKUP: Final = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_MAX_QUOTED: Final = 200
_FIELD: Final = re.compile(r"field \[([^\]]*)\]")
_CURRENT_VERSION: Final = re.compile(r"current version \[(\d+)\]")

_errors_only: Final = msgspec.json.Decoder(_ErrorsOnly).decode
_answer: Final = msgspec.json.Decoder(BulkAnswer).decode
_failure: Final = msgspec.json.Decoder(_RequestFailure).decode


def all_done(body: bytes, documents: int) -> bool:
    """Whether a bulk answer of status 200 says that each of this many documents was written.

    Raises ValueError when it is no answer to a request of that size. Without errors nothing but items has a status.
    """
    if _errors_only(body).errors:
        return False
    if (found := body.count(b'"status":')) != documents:
        raise ValueError(f"expected {documents} items, got {found}")
    return True


def pushes_back(status: int, body: bytes) -> bool:
    """Whether the answer asks for fewer requests: as a whole, or for some of its items, as a full queue does."""
    return status in (429, 503) or b'"status":429' in body


def is_push_back(error: ItemError) -> bool:
    """Whether Elasticsearch itself refused a document for lack of room, which its size may be the reason of."""
    return error.type in _PUSH_BACK_TYPES


def read_items(body: bytes, documents: int) -> list[Item]:
    """The items of the bulk answer to this many documents. Raises ValueError when it is none."""
    items = [Item(action.index.status, action.index.error.reported()) for action in _answer(body).items]
    if len(items) != documents:
        raise ValueError(f"expected {documents} items, got {len(items)}")
    return items


def classify_item(item: Item) -> Outcome:
    """The outcome of one item of a bulk request: done, retry, halt, suspect or permanent."""
    status, error = item.status, item.error
    if status in (200, 201) or (status == 409 and error.type == "version_conflict_engine_exception"):
        return Outcome.DONE
    if error.type in _RETRY_TYPES or status in _RETRY_STATUS:
        return Outcome.RETRY
    if _halts(error) or status in _HALT_STATUS:
        return Outcome.HALT
    if status == 413 or 400 <= status < 409:
        return Outcome.PERMANENT
    return Outcome.SUSPECT


def classify_request(status: int, error: ItemError) -> Outcome:
    """The outcome of a request that failed as a whole: retry, halt, split, bisect or suspect.

    What is not Elasticsearch's own verdict is an outage, except that a login may be corrected and a body be smaller.
    """
    if error.type in _RETRY_TYPES or status in _RETRY_STATUS:
        return Outcome.RETRY
    if _halts(error) or status in _LOGIN_STATUS:
        return Outcome.HALT
    if status == 413:
        return Outcome.SPLIT
    if status < 400 or not error.type or error.type.startswith(_NO_VERDICT):
        return Outcome.RETRY
    if status == 404:
        return Outcome.HALT
    return Outcome.BISECT if status == 400 else Outcome.SUSPECT


def _halts(error: ItemError) -> bool:
    return error.type in _HALT_TYPES or (
        error.type == "illegal_argument_exception" and _HALT_REASON.match(error.reason) is not None
    )


def read_failure(status: int, body: bytes) -> ItemError:
    """Elasticsearch's words for a request that failed as a whole; any other answer is quoted, with `http_` as type."""
    try:
        error = _failure(body).error
    except (ValueError, RecursionError):
        error = quoted(body)
    if isinstance(error, str) or not error.type:
        text = error if isinstance(error, str) else error.reason or ""
        return ItemError(f"{_NO_VERDICT}{status}", text)
    return error.reported()


def quoted(body: bytes) -> str:
    """The first text of an answer that is not Elasticsearch's: without markup, on one line, shortened."""
    text = _MARKUP.sub(" ", body[: 20 * _MAX_QUOTED].decode(errors="replace"))
    return shorten(" ".join(text.split()), _MAX_QUOTED)


def same_defect(one: ItemError, other: ItemError) -> bool:
    """Whether two documents were refused for the same: by type, and by the field where one is named."""
    return one.type == other.type and _field(one) == _field(other)


def _field(error: ItemError) -> str:
    found = _FIELD.search(error.reason)
    return found[1] if found else ""


def current_version(item: Item) -> int | None:
    """The version that a document has, as a version conflict reports it."""
    current = _CURRENT_VERSION.search(item.error.reason)
    return int(current[1]) if current else None
