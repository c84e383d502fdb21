"""A good history has no anomaly, and each anomaly is found in a history that has it."""

import dataclasses
import json

import pytest
from checker.check import check
from checker.history import Audit, AuditRow, DeadLetter, Document, Event, History, Position
from checker.rules import envelope
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.checker.histories import but, document, good, invalid, letter, look, valid, value

CREATED, UPDATED, DELETED = valid(0, "a", 0), valid(1, "a", 1, "updated"), valid(2, "a", 2, "deleted")
BROKEN = invalid(3)
OTHER = valid(4, "b", 3)
ALL = (CREATED, UPDATED, DELETED, BROKEN, OTHER)


def kinds(history: History) -> set[str]:
    return set(check(history).counts)


def without(history: History, key: str) -> dict[str, Document]:
    return {name: document for name, document in history.documents.items() if name != key}


def test_a_history_that_keeps_every_promise_has_no_anomaly() -> None:
    assert check(good(*ALL)).anomalies == ()
    assert str(check(good(*ALL))) == "5 events, no anomaly"


def test_a_history_without_an_audit_is_not_measured_by_it() -> None:
    assert check(but(good(*ALL), audit=None)).anomalies == ()


def test_a_transaction_that_the_index_does_not_have_is_lost() -> None:
    history = good(*ALL)
    assert "lost event" in kinds(but(history, documents=without(history, "b"), audit=None))


def test_a_deletion_that_left_no_tombstone_is_lost() -> None:
    history = good(*ALL)
    assert "lost event" in kinds(but(history, documents=without(history, "a"), audit=None))


def test_an_invalid_event_without_a_dead_letter_is_lost() -> None:
    assert kinds(but(good(*ALL), dead_letters=[])) == {"lost event"}


def test_a_document_older_than_the_newest_acknowledged_event_is_stale() -> None:
    history = good(CREATED, UPDATED)
    assert kinds(but(history, documents={"a": document(CREATED)}, audit=None)) == {"stale document"}


def test_a_live_document_of_a_deleted_transaction_is_resurrected() -> None:
    history = good(CREATED, UPDATED, DELETED)
    assert kinds(but(history, documents={"a": document(UPDATED)}, audit=None)) == {"resurrected document"}


def test_a_document_of_no_transaction_is_unexplained() -> None:
    history = good(*ALL)
    stranger = {**history.documents, "z": Document("z", 7, b"{}")}
    assert kinds(but(history, documents=stranger, audit=None)) == {"unexplained document"}


def test_a_document_of_a_version_that_no_event_has_is_unexplained() -> None:
    history = good(OTHER)
    newer = dataclasses.replace(document(OTHER), version=(OTHER.version or 0) + 256)
    assert kinds(but(history, documents={"b": newer}, audit=None)) == {"unexplained document"}


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 1.50001},
        {"status": "else"},
        {"event_type": "transaction.updated"},
        {"_updated_at": "2024-01-01T12:00:09Z"},
        {"_deleted_at": "2024-01-01T12:00:03Z"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_document_that_says_something_else_than_its_event_is_unexplained(changes: dict[str, object]) -> None:
    assert kinds(but(good(OTHER), documents={"b": document(OTHER, **changes)}, audit=None)) == {"unexplained document"}


def test_a_field_that_the_document_lacks_is_missed() -> None:
    event = valid(0, "b", 3, note="kept")
    source = document(event).source.replace(b'"note": "kept", ', b"").replace(b', "note": "kept"', b"")
    assert b"note" not in source
    changed = dataclasses.replace(document(event), source=source)
    assert kinds(but(good(event), documents={"b": changed}, audit=None)) == {"unexplained document"}


def test_a_number_must_keep_its_digits() -> None:
    event = valid(0, "b", 3)
    event = dataclasses.replace(event, value=(event.value or b"").replace(b"1.5", b"1.500000000000000000001"))
    rounded = dataclasses.replace(document(event), source=document(event).source)
    assert b"1.5," in rounded.source
    assert kinds(but(good(event), documents={"b": rounded}, audit=None)) == {"unexplained document"}


def test_an_event_that_was_never_acknowledged_explains_a_document_and_need_not_be_there() -> None:
    maybe = valid(None, "a", 5, "updated")
    history = good(CREATED, maybe)
    assert check(history).anomalies == ()
    assert check(but(history, documents={"a": document(maybe)}, audit=None)).anomalies == ()


def test_a_valid_event_among_the_dead_letters_is_reported() -> None:
    history = good(*ALL)
    letters = [*history.dead_letters, letter(OTHER, 1)]
    assert kinds(but(history, dead_letters=letters)) == {"valid event dead-lettered"}


def test_a_valid_event_that_is_only_a_dead_letter_is_not_called_lost_too() -> None:
    history = good(*ALL)
    letters = [*history.dead_letters, letter(OTHER, 1)]
    changed = but(history, dead_letters=letters, documents=without(history, "b"), audit=None)
    assert kinds(changed) == {"valid event dead-lettered"}


@pytest.mark.parametrize("changes", [{"value": b"else"}, {"value": None}, {"key": b"v"}, {"headers": ()}], ids=str)
def test_a_dead_letter_with_other_bytes_differs(changes: dict[str, object]) -> None:
    event = dataclasses.replace(BROKEN, headers=(("traceparent", b"00-2"),))
    ours = letter(event)
    kept = tuple(header for header in ours.headers if header[0] != "traceparent")
    changed = dataclasses.replace(ours, **{**changes, **({"headers": kept} if "headers" in changes else {})})  # type: ignore[arg-type]
    assert kinds(but(good(event), dead_letters=[changed])) == {"dead letter differs"}


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": "77"},
        {"offset": "three"},
        {"topic": ""},
        {"stage": "lunch"},
        {"attempts": "many"},
        {"error": ""},
    ],
    ids=str,
)
def test_a_dead_letter_whose_headers_do_not_lead_back_is_astray(changes: dict[str, str]) -> None:
    assert "dead letter astray" in kinds(but(good(BROKEN), dead_letters=[letter(BROKEN, **changes)]))


def test_a_dead_letter_of_an_invalid_event_that_was_never_acknowledged_is_not_astray() -> None:
    sent = invalid(9, text=b"perhaps")
    history = good(OTHER, invalid(None, text=b"perhaps"))
    assert check(but(history, dead_letters=[letter(sent)])).anomalies == ()


def test_dead_letters_of_one_event_beyond_the_first_are_counted() -> None:
    history = good(*ALL)
    report = check(but(history, dead_letters=[letter(BROKEN, 0), letter(BROKEN, 1), letter(BROKEN, 2)]))
    assert report.anomalies == ()
    assert report.repeated_dead_letters == 2


@pytest.mark.parametrize("version", [None, CREATED.version])
def test_an_offset_past_an_event_that_the_index_does_not_have_is_reported(version: int | None) -> None:
    history = good(CREATED, UPDATED, observations=[look(1, {"a": CREATED.version}), look(2, {"a": version})])
    assert kinds(history) == {"offset past an unsettled event"}


def test_an_offset_past_an_invalid_event_without_a_dead_letter_is_reported() -> None:
    assert kinds(good(*ALL, observations=[look(4, {})])) == {"offset past an unsettled event"}


def test_an_offset_past_settled_events_is_right() -> None:
    newer = OTHER.version
    looks = [
        look(1, {"a": CREATED.version}),
        look(5, {"a": DELETED.version, "b": newer}, [Position("transactions", 0, 3)]),
    ]
    assert check(good(*ALL, observations=looks)).anomalies == ()


def test_an_event_is_judged_by_the_first_look_that_asked_for_it() -> None:
    history = good(CREATED, observations=[look(1, {}), look(1, {"a": None}), look(1, {"a": CREATED.version})])
    assert check(history).counts == {"offset past an unsettled event": 1}


def test_an_event_above_the_committed_offset_may_be_unsettled() -> None:
    assert check(good(CREATED, observations=[look(0, {"a": None})])).anomalies == ()


def test_an_event_that_is_not_committed_at_the_end_is_reported() -> None:
    assert kinds(but(good(CREATED, UPDATED), committed={("transactions", 0): 1})) == {"not committed at the end"}


def audit_without(history: History, event: Event) -> Audit:
    """The audit with one row fewer in its history."""
    place = event.transaction_id, event.version or 0
    body = None if event.deletes else bytes(envelope(event.value or b"").transaction)
    left = [each for each in audit_of(history).seen[place] if each != body]
    return dataclasses.replace(audit_of(history), seen={**audit_of(history).seen, place: left})


def audit_of(history: History) -> Audit:
    assert history.audit
    return history.audit


@pytest.mark.parametrize("version", [0, CREATED.version])
def test_an_audit_row_of_another_version_than_the_index_differs(version: int) -> None:
    history = good(CREATED, UPDATED)
    live = {"a": dataclasses.replace(audit_of(history).live["a"], version=version)}
    assert kinds(but(history, audit=dataclasses.replace(audit_of(history), live=live))) == {"audit differs"}


def test_an_audit_row_with_another_body_differs() -> None:
    history = good(OTHER)
    live = {"b": AuditRow(OTHER.version or 0, audit_of(history).live["b"].body.replace(b"1.5", b"1.6"))}
    assert kinds(but(history, audit=dataclasses.replace(audit_of(history), live=live))) == {"audit differs"}


def test_a_row_that_the_audit_lacks_or_has_alone_differs() -> None:
    history = good(*ALL)
    audit = audit_of(history)
    assert kinds(but(history, audit=dataclasses.replace(audit, live={}))) == {"audit differs"}
    alone = {**audit.live, "a": AuditRow(UPDATED.version or 0, b"{}")}
    assert kinds(but(history, audit=dataclasses.replace(audit, live=alone))) == {"audit differs"}


def test_an_event_that_the_audit_never_saw_is_reported() -> None:
    history = good(*ALL)
    audit = audit_without(history, UPDATED)
    assert kinds(but(history, audit=audit)) == {"audit differs"}


FIRST = valid(0, "t", 1, "updated", status="first", published=10)
TIE = valid(1, "t", 1, "updated", status="tie", published=10)
"""Two updates with the same timestamp: the second one is later by its offset alone."""


def standing(event: Event, ties: int = 0, **changes: object) -> dict[str, Document]:
    found = document(event, **changes)
    return {"t": dataclasses.replace(found, version=found.version + ties)}


@pytest.mark.parametrize("events", [(FIRST, TIE), (TIE, FIRST)])
def test_of_a_tie_the_later_event_must_be_there_whatever_its_count(events: tuple[Event, Event]) -> None:
    assert check(good(*events)).anomalies == ()
    assert check(but(good(*events), documents=standing(TIE, 1))).anomalies == ()
    assert kinds(but(good(*events), documents=standing(FIRST), audit=None)) == {"stale document"}
    assert kinds(but(good(*events), documents=standing(FIRST, 1), audit=None)) == {"stale document"}


@pytest.mark.parametrize(
    "earlier",
    [
        valid(5, "t", 1, "updated", status="earlier", published=9),
        valid(5, "t", 1, "updated", partition=-1, status="earlier", published=10),
        valid(5, "t", 1, "created", status="earlier", published=99),
        valid(5, "t", 1, "updated", nanosecond=0, status="earlier", published=9),
    ],
    ids=["record timestamp", "partition", "rank", "as published"],
)
def test_the_order_is_timestamp_rank_record_timestamp_partition_offset(earlier: Event) -> None:
    history = good(TIE, earlier)
    assert history.documents["t"].source == document(TIE).source
    assert check(but(history, audit=None)).anomalies == ()


def test_nanoseconds_decide_between_events_of_one_version() -> None:
    low, high = (valid(at, "t", 1, "updated", nanosecond=number, status=f"{number}") for at, number in ((9, 5), (1, 7)))
    assert low.version == high.version
    assert check(good(low, high)).anomalies == ()
    assert kinds(but(good(low, high), documents=standing(low), audit=None)) == {"stale document"}


def test_a_copy_is_as_good_as_its_original_unless_a_tie_lies_between() -> None:
    copy = valid(2, "t", 1, "updated", status="first", published=10)
    assert check(but(good(FIRST, copy), documents=standing(FIRST))).anomalies == ()
    assert kinds(but(good(FIRST, TIE, copy), documents=standing(FIRST), audit=None)) == {"stale document"}
    assert kinds(but(good(FIRST, TIE, copy), documents=standing(TIE), audit=None)) == {"stale document"}


def test_a_document_must_stand_for_an_event_with_its_content() -> None:
    assert kinds(but(good(FIRST, TIE), documents=standing(TIE, _position="10:0:0"), audit=None)) >= {
        "unexplained document"
    }
    assert "unexplained document" in kinds(but(good(FIRST), documents=standing(FIRST, _position=""), audit=None))
    assert "unexplained document" in kinds(but(good(FIRST), documents=standing(FIRST, _position="10:0:9"), audit=None))


def test_more_ties_than_events_are_unexplained() -> None:
    assert kinds(but(good(FIRST, TIE), documents=standing(TIE, 2), audit=None)) == {"unexplained document"}


def test_a_tie_that_was_never_acknowledged_may_be_there_or_not() -> None:
    maybe = valid(None, "t", 1, "updated", status="maybe")
    assert check(good(FIRST, maybe)).anomalies == ()
    assert check(but(good(FIRST, maybe), documents=standing(maybe, 1), audit=None)).anomalies == ()


@pytest.mark.parametrize("gone", [FIRST, TIE])
def test_the_audits_history_holds_both_events_of_a_tie(gone: Event) -> None:
    history = good(FIRST, TIE)
    assert kinds(but(history, audit=audit_without(history, gone))) == {"audit differs"}


def test_the_audits_row_is_the_same_event_of_a_tie_as_the_document() -> None:
    history = good(FIRST, TIE)
    row = AuditRow(FIRST.version or 0, bytes(envelope(FIRST.value or b"").transaction))
    audit = dataclasses.replace(audit_of(history), live={"t": row})
    assert kinds(but(history, audit=audit)) == {"audit differs"}


def test_an_offset_past_a_tie_that_is_not_there_is_reported() -> None:
    version, copy = FIRST.version, valid(1, "t", 1, "updated", status="first", published=10)
    for later, wanted in ((TIE, {"offset past an unsettled event"}), (copy, set())):
        looks = [look(1, {"t": version}), look(2, {"t": version}, orders={"t": FIRST.order or TIE.order})]  # type: ignore[dict-item]
        assert kinds(good(FIRST, later, observations=looks)) == wanted
    settled = [look(2, {"t": version}, orders={"t": TIE.order})]  # type: ignore[dict-item]
    assert check(good(FIRST, TIE, observations=settled)).anomalies == ()


def test_the_source_of_the_event_is_in_the_document() -> None:
    text = json.loads(value("t", 1)) | {"source": "payments"}
    event = dataclasses.replace(valid(0, "t", 1), value=json.dumps(text).encode())
    assert check(good(event)).anomalies == ()
    assert kinds(but(good(event), documents=standing(event, source="other"), audit=None)) == {"unexplained document"}


def test_the_first_witness_of_each_kind_is_printed_with_its_history() -> None:
    third = valid(5, "c", 4)
    history = good(*ALL, third, observations=[look(6, {"b": None})])
    changed = but(history, documents={"a": document(DELETED)}, faults=["killed at 3.0"], audit=None)
    text = str(check(changed))
    assert "2 x lost event; the first is b" in text
    assert "event transactions-0@4: created" in text
    assert "first seen below the committed offset at 1.000; the index then: None" in text
    assert "index: nothing" in text
    assert "fault: killed at 3.0" in text
    assert value("b", 3).decode()[:40] in text
    assert "event transactions-0@5" not in text


@st.composite
def event_lists(draw: st.DrawFn) -> list[Event]:
    """Events of a few transactions in any order, with repeats and broken ones."""
    shapes = st.tuples(
        st.sampled_from("abc"), st.integers(0, 5), st.sampled_from(["created", "updated", "deleted", "invalid"])
    )
    chosen = draw(st.lists(shapes, max_size=12))
    return [
        invalid(at, key) if kind == "invalid" else valid(at, key, second, kind)
        for at, (key, second, kind) in enumerate(chosen)
    ]


@settings(max_examples=60)
@given(event_lists())
def test_any_history_of_a_perfect_system_is_good(events: list[Event]) -> None:
    assert check(good(*events)).anomalies == ()


@settings(max_examples=60)
@given(event_lists(), st.data())
def test_any_lost_document_or_dead_letter_is_found(events: list[Event], data: st.DataObject) -> None:
    history = good(*events)
    things = [*history.documents, *history.dead_letters]
    if not things:
        return
    gone = data.draw(st.sampled_from(things))
    kept = [letter for letter in history.dead_letters if letter != gone]
    documents = history.documents if isinstance(gone, DeadLetter) else without(history, gone)
    assert "lost event" in kinds(but(history, dead_letters=kept, documents=documents))
