"""The ledger knows where every acknowledged event lies, and which were never acknowledged."""

from chaos.ledger import Ledger

from activity_loadgen.generate import generate
from activity_loadgen.ledger import entry_for
from activity_loadgen.options import LoadOptions

OPTIONS = LoadOptions(count=30, duplicate_ratio=0.5, invalid_ratio=0.2, update_ratio=0.5, seed=7, start_us=10**15)


def test_each_acknowledged_event_has_its_place_and_the_version_that_its_maker_meant() -> None:
    ledger, sent = Ledger(), list(generate(OPTIONS))
    for offset, event in enumerate(ledger.sending(sent)):
        ledger.acknowledge(entry_for("run", "t", event, (0, offset), 0))
    found = ledger.events()
    assert [event.value for event in found] == [event.value for event in sent]
    assert [event.version for event in found] == [event.version for event in sent]
    assert [event.position and event.position.offset for event in found] == list(range(len(sent)))
    assert {event.valid for event in found} == {True, False}


def test_an_event_has_its_place_in_the_order_of_its_transaction() -> None:
    options = LoadOptions(count=1, update_ratio=1.0, tie_ratio=1.0, timestamps="seconds", seed=7, start_us=10**15)
    ledger = Ledger()
    for offset, event in enumerate(ledger.sending(generate(options))):
        ledger.acknowledge(entry_for("run", "t", event, (2, offset), 0, published=50 + offset))
    orders = [event.order for event in ledger.events()]
    assert orders == [(10**18, rank, 50 + at, 2, at) for at, rank in enumerate((0, 1, 1))]


def test_copies_with_keys_of_their_own_are_distinguished() -> None:
    options = LoadOptions(count=50, duplicate_ratio=1.0, scatter_ratio=0.5, update_ratio=0, seed=7)
    ledger, sent = Ledger(), list(generate(options))
    for offset, event in enumerate(ledger.sending(sent)):
        ledger.acknowledge(entry_for("run", "t", event, (0, offset), 0))
    assert [event.key for event in ledger.events()] == [event.key for event in sent]


def test_events_without_an_acknowledgement_have_no_place() -> None:
    ledger, sent = Ledger(), list(generate(OPTIONS))
    for offset, event in enumerate(ledger.sending(sent)):
        if offset % 2:
            ledger.acknowledge(entry_for("run", "t", event, (0, offset), 0))
    nowhere = [event for event in ledger.events() if event.position is None]
    assert len(nowhere) == len(sent) - len(sent) // 2
    assert len(ledger.events()) == len(sent)


def test_events_below_the_committed_offsets_are_asked_for_until_they_were_seen() -> None:
    ledger = Ledger()
    for offset, event in enumerate(ledger.sending(generate(OPTIONS))):
        ledger.acknowledge(entry_for("run", "t", event, (offset % 2, offset), 0))
    below = ledger.below({("t", 0): 4, ("t", 1): 3})
    assert sorted(event.position.offset for event in below if event.position) == [0, 1, 2]
    ledger.seen(below)
    assert ledger.below({("t", 0): 4, ("t", 1): 3}) == []
    assert [event.position.offset for event in ledger.below({("t", 0): 5}) if event.position] == [4]
