"""What a replay would change."""

import pytest
from fixtures.events import CREATED, DELETED, UPDATED, encoded, event, moment

from activity_indexer.dead_letters.document_state import (
    StoredDocument,
    is_document_id,
    outlook,
    readable_event,
    unknown,
)
from activity_indexer.errors import EnrichmentError
from activity_indexer.event import Event, Position, event_version
from activity_indexer.timestamps import parse_nanoseconds

NEVER = 2**62


def readable(kind: str = UPDATED, second: int = 5) -> Event:
    found, error = readable_event(encoded(event("t", kind, moment(second))), NEVER, lambda _: None)
    assert found is not None
    assert error is None
    return found


def stored(kind: str, second: int, *, deleted: bool = False) -> StoredDocument:
    return StoredDocument(event_version(kind, parse_nanoseconds(moment(second))), deleted)


@pytest.mark.parametrize(
    ("kind", "document", "changes", "state", "words"),
    [
        (UPDATED, None, True, "absent", "absent: a replay would index it"),
        (DELETED, None, True, "absent", "delete the transaction"),
        (UPDATED, stored(CREATED, 5), True, "older", "there, older (2024-01-01T12:00:05Z): a replay would bring it up"),
        (UPDATED, stored(UPDATED, 5), False, "same", "from this very event"),
        (UPDATED, stored(DELETED, 5, deleted=True), False, "newer", "a tombstone, newer"),
        (UPDATED, stored(DELETED, 4, deleted=True), True, "older", "bring it back"),
    ],
)
def test_a_replay_changes_older_documents_only(
    kind: str, document: StoredDocument | None, changes: bool, state: str, words: str
) -> None:
    found = outlook(readable(kind), None, document, "enrich")
    assert found.changes is changes
    assert found.as_json()["state"] == state
    assert words in found.text


PLACE = Position(1000, 1, 7)


@pytest.mark.parametrize(
    ("published", "ties", "state", "changes"),
    [(999, 0, "older", True), (999, 3, "older", True), (1000, 0, "same", False), (1001, 0, "newer", False)],
)
def test_between_events_of_one_timestamp_the_position_decides(
    published: int, ties: int, state: str, changes: bool
) -> None:
    found, _ = readable_event(encoded(event("t", UPDATED, moment(5))), NEVER, lambda _: None, PLACE)
    assert found is not None
    order = found.order._replace(position=Position(published, PLACE.partition, PLACE.offset))
    reported = outlook(found, None, StoredDocument(found.version + ties, False, order), "enrich")
    assert (reported.as_json()["state"], reported.changes) == (state, changes)


def test_the_time_of_a_document_has_its_nanoseconds() -> None:
    found = readable_event(encoded(event("t", UPDATED, "2024-01-01T12:00:05.000000007Z")), NEVER, lambda _: None)[0]
    assert found is not None
    assert StoredDocument(found.version, False, found.order).time == "2024-01-01T12:00:05.000000007Z"


def test_what_elasticsearch_refused_must_be_fixed_first() -> None:
    assert outlook(readable(), None, None, "index").text.endswith("if what Elasticsearch refused is fixed")


def test_an_event_that_would_fail_again_changes_nothing() -> None:
    def fails(_: Event) -> None:
        raise EnrichmentError("enrichment_failed", "strategy card: KeyError")

    found, error = readable_event(encoded(event("t")), NEVER, fails)
    reported = outlook(found, error, None, "enrich")
    assert not reported.changes
    assert "would come back: enrichment_failed: strategy card: KeyError" in reported.text


def test_what_is_no_event_is_reported_with_the_state_of_its_document() -> None:
    found, error = readable_event(b'{"event_type": 7}', NEVER, lambda _: None)
    reported = outlook(found, error, stored(CREATED, 1), "validate")
    assert not reported.changes
    assert "would change nothing: wrong_type" in reported.text
    assert reported.text.endswith("its document now: there (2024-01-01T12:00:01Z)")
    assert reported.as_json()["version"] == stored(CREATED, 1).version
    assert "document" not in outlook(found, error, None, "validate", asked=False).text


def test_when_it_cannot_be_asked_the_reason_is_reported() -> None:
    reported = unknown(readable(), None, "Elasticsearch: connection refused")
    assert reported.text == "its state is unknown: Elasticsearch: connection refused"
    assert reported.as_json()["state"] is None


@pytest.mark.parametrize(
    ("identifier", "possible"), [("", False), ("a", True), ("\u00e9" * 256, True), ("\u00e9" * 257, False)]
)
def test_only_what_can_be_an_id_is_asked_for(identifier: str, possible: bool) -> None:
    assert is_document_id(identifier) is possible
