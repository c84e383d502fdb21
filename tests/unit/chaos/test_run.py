"""The load of a run holds all that may happen to a transaction, and what came of it is counted."""

from collections import Counter

from chaos.ledger import recorded
from chaos.run import KINDS, Load, ties
from checker.history import History, Position

LOAD = Load(events=4000, rate=400)


def history() -> History:
    """The load, published one after the other."""
    events = [
        recorded(event, Position("t", at % 3, at), at)
        for at, event in enumerate(LOAD.sent(7))
        if event.value is not None
    ]
    return History(events, {}, [], {})


def test_the_load_has_about_as_many_events_as_asked_for_and_all_kinds() -> None:
    sent = list(LOAD.sent(7))
    assert 0.9 * LOAD.events < len(sent) < 1.1 * LOAD.events
    assert {event.kind for event in sent} == {"created", "updated", "deleted", "invalid"}
    assert {event.delivery for event in sent} == {"normal", "late", "duplicate"}
    assert {event.reason for event in sent} - {None} <= set(KINDS)
    scattered = sum(event.key != event.user_id.encode() for event in sent)
    assert 0.05 * len(sent) < scattered < 0.15 * len(sent)


def test_half_of_the_transactions_have_whole_seconds_and_half_nanoseconds() -> None:
    units = Counter((event.timestamp or 0) % 10**9 == 0 for event in LOAD.sent(7) if event.kind == "created")
    assert 0.9 < units[True] / units[False] < 1.1


def test_ties_are_events_with_one_place_in_time_and_other_content() -> None:
    found = history()
    assert 0.03 * LOAD.events < ties(found) < 0.3 * LOAD.events
    copies = History([event for event in found.events if event.kind == "created"], {}, [], {})
    assert ties(copies) == 0
