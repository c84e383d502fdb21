"""What counts as a difference between audit and index."""

import json
from dataclasses import replace

import pytest
from fixtures.records import enriched
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.adapters.elasticsearch.index_reader import Stored
from activity_indexer.adapters.postgres.audit_reader import Kept
from activity_indexer.document import live_document, tombstone
from activity_indexer.event import CREATED, DELETED, UNKNOWN_POSITION, UPDATED, Event, Position, event_version
from activity_indexer.reconcile.compare import Difference, Kind, difference, same_content
from activity_indexer.rewrite.writer import event_of

BODY = (
    b'{"id":"a","user_id":"u","transaction_type":"card","status":"s","currency":"USD","amount":1.50,'
    b'"created_at":"2024-01-01T00:00:00Z"}'
)
MOMENT = 1_000_000_000_000_000
VERSION = event_version(UPDATED, MOMENT)
DELETION = event_version(DELETED, MOMENT)
EARLIER = event_version(UPDATED, MOMENT - 1000)
LATER = event_version(UPDATED, MOMENT + 1000)


def kept(version: int = VERSION, body: bytes | None = BODY, *, deleted: bool = False) -> Kept:
    return Kept("a", version, deleted, None if deleted else body, "u", DELETED if deleted else UPDATED, MOMENT)


def document(found: Kept) -> bytes:
    event = event_of(found)
    assert isinstance(event, Event)
    lines = tombstone(event) if event.deleted else live_document(event, enriched({}, "text"), b"now")
    return lines.split(b"\n")[1]


def stored(version: int = VERSION, source: bytes | None = None) -> Stored:
    return Stored("a", version, document(kept()) if source is None else source)


@pytest.mark.parametrize(
    ("audit", "index", "kind"),
    [
        (kept(), stored(), None),
        (None, None, None),
        (kept(), None, Kind.MISSING),
        (None, stored(), Kind.EXTRA),
        (kept(), stored(EARLIER), Kind.OLDER),
        (kept(), stored(EARLIER + 255), Kind.OLDER),
        (kept(), stored(VERSION + 255), None),
        (kept(), stored(LATER), Kind.NEWER),
        (kept(), stored(source=document(kept(body=BODY.replace(b"1.50", b"1.51")))), Kind.DIFFERENT),
        (kept(DELETION, deleted=True), stored(), Kind.OLDER),
        (kept(DELETION, deleted=True), None, None),
        (kept(DELETION, deleted=True), stored(DELETION, document(kept(DELETION, deleted=True))), None),
        (kept(DELETION, deleted=True), stored(DELETION), Kind.DIFFERENT),
        (kept(), stored(source=b'{"_deleted_at":"x"}'), Kind.DIFFERENT),
    ],
)
def test_the_kind_of_a_difference(audit: Kept | None, index: Stored | None, kind: Kind | None) -> None:
    found = difference(audit, index)
    assert (found and found.kind) == kind
    if found:
        assert found == Difference(found.kind, "a", audit and audit.version, index and index.version)


OTHER_BODY = BODY.replace(b"1.50", b"1.51")


@pytest.mark.parametrize(
    ("ours", "theirs", "same", "kind"),
    [
        (Position(5, 0, 1), Position(5, 0, 2), False, Kind.NEWER),
        (Position(5, 1, 1), Position(5, 0, 2), False, Kind.OLDER),
        (Position(5, 0, 1), Position(5, 0, 1), False, Kind.DIFFERENT),
        (Position(5, 0, 1), Position(5, 0, 2), True, None),
        (UNKNOWN_POSITION, Position(5, 0, 2), False, Kind.NEWER),
    ],
)
def test_of_a_tie_the_position_says_which_is_newer(
    ours: Position, theirs: Position, same: bool, kind: Kind | None
) -> None:
    audit = replace(kept(), position=ours)
    index = replace(kept(body=BODY if same else OTHER_BODY), position=theirs)
    found = difference(audit, stored(VERSION + 1, document(index)))
    assert (found and found.kind) == kind


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"amount":1.50', b'"amount":1.51'),
        (b'"amount":1.50', b'"amount":"1.50"'),
        (b'"amount":1.50', b'"amount":1.50,"more":1'),
        (b'"currency":"USD",', b""),
        (b"transaction.updated", b"transaction.created"),
    ],
)
def test_other_content_is_seen_in_any_form(before: bytes, after: bytes) -> None:
    changed = document(kept()).replace(before, after)
    assert not same_content(kept(), changed)
    assert not same_content(kept(), json.dumps(json.loads(changed)).encode())


def test_order_of_fields_blanks_and_enrichment_do_not_count() -> None:
    found = json.loads(document(kept(body=BODY.replace(b"1.50", b"12"))))
    found |= {"enrichment": {"more": True}, "search_content": "other", "_enriched": False}
    assert same_content(kept(body=BODY.replace(b"1.50", b"12")), json.dumps(dict(reversed(found.items()))).encode())


@pytest.mark.parametrize("source", [b"", b"[]", b"{", b"null", b'{"a":' * 5000])
def test_what_is_no_document_is_different(source: bytes) -> None:
    assert not same_content(kept(), source)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(
    TEXTS,
    TEXTS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(1, 10**18),
    st.sampled_from((CREATED, UPDATED)),
)
def test_a_document_made_from_the_audit_is_the_same(
    identifier: str, user: str, amount: float, moment: int, kind: str
) -> None:
    fields = {"transaction_type": "card", "status": "s", "currency": "USD", "created_at": "2024-01-01T00:00:00Z"}
    body = json.dumps({"id": identifier, "user_id": user, "amount": amount, **fields}).encode()
    version = event_version(kind, moment)
    one = Kept(identifier, version, False, body, user, kind, moment)
    assert difference(one, Stored(identifier, one.version, document(one))) is None
    gone = Kept(identifier, event_version(DELETED, moment), True, None, user, DELETED, moment)
    assert difference(gone, Stored(identifier, gone.version, document(gone))) is None


def test_the_audit_holds_what_the_event_needs() -> None:
    found = event_of(kept())
    assert found is not None
    assert (found.version, found.event_type, found.body) == (VERSION, "transaction.updated", BODY)
    assert event_of(kept(body=None)) is None


@pytest.mark.parametrize("deleted", [False, True])
def test_an_event_of_the_audit_has_its_nanoseconds_and_its_position(deleted: bool) -> None:
    position = Position(1_700_000_000_000, 2, 7)
    kind, version = (DELETED if deleted else UPDATED), event_version(UPDATED, MOMENT + 5)
    found = event_of(Kept("a", version, deleted, None if deleted else BODY, "u", kind, MOMENT + 5, position))
    assert found is not None
    assert (found.version, found.order) == (version, (MOMENT + 5, 2 if deleted else 1, position))
    assert found.updated_at == "1970-01-12T13:46:40.000000005Z"
