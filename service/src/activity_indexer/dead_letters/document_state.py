"""What a replay of an event would change, given the state of its document now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from activity_indexer.errors import EventError
from activity_indexer.event import Event
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.timestamps import format_timestamp


class Standing(Enum):
    """The document's state beside the event's."""

    ABSENT = "absent"
    OLDER = "older"
    SAME = "same"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document's event version; `deleted`: it is a tombstone."""

    version: int
    deleted: bool

    @property
    def time(self) -> str:
        """The timestamp of the event that wrote it, RFC 3339."""
        return format_timestamp(self.version // 4)


@dataclass(frozen=True, slots=True)
class Outlook:
    """`changes`: whether a replay of the event as it is would change the document. `standing` is None when unknown."""

    changes: bool
    text: str
    standing: Standing | None = None
    document: StoredDocument | None = None

    def as_json(self) -> dict[str, Any]:
        """The outlook for machines."""
        found = self.document
        return {
            "state": self.standing.value if self.standing else None,
            "deleted": found.deleted if found else None,
            "version": found.version if found else None,
            "time": found.time if found else None,
            "replayChanges": self.changes,
            "outlook": self.text,
        }


def readable_event(
    value: bytes | None, latest: int, enrich: Callable[[Event], object]
) -> tuple[Event | None, EventError | None]:
    """The event in a payload, and why it would not get as far as Elasticsearch now; `latest` as in decode_event."""
    try:
        event = decode_event(value, latest)
    except EventError as error:
        return None, error
    try:
        if not event.deleted:
            enrich(event)
    except EventError as error:
        return event, error
    return event, None


def standing(event: Event, document: StoredDocument | None) -> Standing:
    """How the document stands beside the event."""
    if document is None:
        return Standing.ABSENT
    if document.version == event.version:
        return Standing.SAME
    return Standing.OLDER if document.version < event.version else Standing.NEWER


def outlook(event: Event, error: EventError | None, document: StoredDocument | None, stage: str) -> Outlook:
    """What a replay of the event, as it is, would change."""
    found = standing(event, document)
    what = _described(document, found)
    if found in (Standing.SAME, Standing.NEWER):
        return Outlook(False, f"{what}: a replay would change nothing", found, document)
    if error:
        return Outlook(False, f"{what}, but the event would come back: {error.code}: {error.message}", found, document)
    effect = "delete the transaction" if event.deleted else "index it" if document is None else "bring it up to date"
    if document is not None and document.deleted and not event.deleted:
        effect = "bring it back, since the event is newer than the deletion"
    text = f"{what}: a replay would {effect}"
    return Outlook(
        True, f"{text}, if what Elasticsearch refused is mended" if stage == "index" else text, found, document
    )


def invalid(error: EventError) -> Outlook:
    """What is no event has no document that could be asked for."""
    return Outlook(False, f"a replay as it is would change nothing: {error.code}: {error.message}")


def _described(document: StoredDocument | None, found: Standing) -> str:
    if document is None:
        return "absent"
    kind = "a tombstone" if document.deleted else "a document"
    beside = {Standing.SAME: "this very event's", Standing.OLDER: "older", Standing.NEWER: "newer"}[found]
    return f"{kind}, {beside} ({document.time})"
