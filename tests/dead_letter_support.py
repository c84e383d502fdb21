"""Dead letters that tests make by hand."""

from collections.abc import Sequence
from typing import Any

from support import encoded, event

from activity_indexer.dead_letters.record import StoredDeadLetter

TOLD = {
    "topic": "transactions",
    "partition": "2",
    "offset": "4711",
    "timestamp": "2024-05-01T11:59:59.5Z",
    "stage": "validate",
    "error": "missing_field",
    "message": "Object missing required field `user_id`",
    "attempts": "1",
    "first-failure": "2024-05-01T12:00:00Z",
    "last-failure": "2024-05-01T12:00:01Z",
    "message-id": "abc",
}


def told(**changes: str | None) -> list[tuple[str, bytes]]:
    """The headers of a dead letter; None leaves one out."""
    names = {name.replace("_", "-"): text for name, text in changes.items()}
    return [(f"dead-letter-{name}", text.encode()) for name, text in (TOLD | names).items() if text is not None]


def letter(
    value: Any = None,
    *,
    place: tuple[int, int] = (0, 7),
    key: bytes | None = b"user_1",
    headers: Sequence[tuple[str, bytes | None]] = (),
    **changes: str | None,
) -> StoredDeadLetter:
    """A dead letter of an event, with `changes` of what its headers tell."""
    content = encoded(event("t-1") if value is None else value)
    return StoredDeadLetter("transactions.dlq", *place, 1_714_564_802_000, key, content, (*headers, *told(**changes)))
