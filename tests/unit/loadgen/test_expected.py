"""What a ledger says must be true."""

import random
from itertools import islice, permutations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_loadgen.expected import ExpectedState, FinalEvent, spans
from activity_loadgen.generate import Event, generate
from activity_loadgen.ledger import Entry, digest, entry_for
from activity_loadgen.options import LoadOptions

MIXED = LoadOptions(
    count=40,
    users=5,
    seed=1,
    start_us=1_704_110_400_000_000,
    update_ratio=1.5,
    delete_ratio=0.3,
    duplicate_ratio=0.5,
    late_ratio=0.3,
    invalid_ratio=0.3,
)
ENTRIES = [
    entry_for("run", "transactions", event, (offset % 3, offset), offset)
    for offset, event in enumerate(generate(MIXED), 1)
]
COUNTS = st.lists(st.integers(0, 3), min_size=len(ENTRIES), max_size=len(ENTRIES))


def replayed(entries: list[Entry]) -> dict[str, tuple[int, bool]]:
    """A store that keeps what has the greatest version: the rule, written down a second time."""
    store: dict[str, tuple[int, bool]] = {}
    for entry in entries:
        if entry.valid and entry.version is not None:
            store[entry.transaction_id] = max(
                store.get(entry.transaction_id, (0, False)), (entry.version, entry.kind == "deleted")
            )
    return store


@given(shuffle=st.randoms(use_true_random=False), copies=COUNTS)
@settings(max_examples=25, deadline=None)
def test_order_and_repetition_of_deliveries_change_nothing(shuffle: random.Random, copies: list[int]) -> None:
    entries = ENTRIES + [entry for entry, number in zip(ENTRIES, copies, strict=True) for _ in range(number)]
    shuffle.shuffle(entries)
    assert ExpectedState(entries) == ExpectedState(ENTRIES)


@given(kept=st.integers(0, len(ENTRIES)))
@settings(max_examples=50, deadline=None)
def test_of_any_prefix_the_greatest_version_is_expected(kept: int) -> None:
    entries = list(islice(ENTRIES, kept))
    state = ExpectedState(entries)
    assert {key: (event.version, event.deleted) for key, event in state.final.items()} == replayed(entries)
    assert state.live().keys() | state.deleted().keys() == state.final.keys()


def test_every_valid_position_and_every_invalid_one_is_known() -> None:
    state = ExpectedState(ENTRIES)
    for entry in ENTRIES:
        position = (entry.partition, entry.offset)
        assert state.is_valid_event(position) == entry.valid
        assert (position in state.invalid) != entry.valid


def test_invalid_events_change_no_transaction() -> None:
    valid = [entry for entry in ENTRIES if entry.valid]
    assert ExpectedState(valid).final == ExpectedState(ENTRIES).final


def test_a_deletion_is_undone_only_by_something_newer() -> None:
    deletion = next(entry for entry in ENTRIES if entry.kind == "deleted")
    assert deletion.version is not None
    assert deletion.timestamp is not None
    older = msgspec.structs.replace(deletion, kind="updated", version=deletion.version - (1 << 8))
    newer = msgspec.structs.replace(deletion, kind="updated", timestamp=deletion.timestamp + 1000)
    assert ExpectedState([deletion, older]).live() == {}
    assert ExpectedState([deletion, newer]).deleted() == {}


def test_time_counts_from_the_first_acknowledgement_of_the_final_event() -> None:
    first = ENTRIES[0]
    again = msgspec.structs.replace(first, offset=first.offset + 90, acked_us=first.acked_us + 5)
    assert ExpectedState([again, first]).final[first.transaction_id].acked_us == first.acked_us


TIED = generate(LoadOptions(count=1, seed=3, update_ratio=1.0, tie_ratio=1.0))
FIRST, TIE = [event for event in TIED if event.kind == "updated"]


def placed(event: Event, published: int, partition: int, offset: int) -> Entry:
    return entry_for("run", "transactions", event, (partition, offset), published * 1000, published)


def final(*entries: Entry) -> FinalEvent:
    (found,) = ExpectedState(entries).final.values()
    assert all(ExpectedState(order) == ExpectedState(entries) for order in permutations(entries))
    return found


@pytest.mark.parametrize(
    ("first", "tie", "wanted"),
    [
        ((5, 0, 9), (6, 0, 1), TIE),
        ((6, 0, 1), (5, 0, 9), FIRST),
        ((5, 0, 9), (5, 1, 1), TIE),
        ((5, 0, 9), (5, 0, 8), FIRST),
    ],
    ids=["record timestamp", "record timestamp of the first", "partition", "offset"],
)
def test_of_a_tie_the_later_position_decides(
    first: tuple[int, int, int], tie: tuple[int, int, int], wanted: Event
) -> None:
    assert FIRST.version == TIE.version
    assert final(placed(FIRST, *first), placed(TIE, *tie)).sha256 == digest(wanted.value)


def test_a_copy_after_a_tie_brings_its_state_back() -> None:
    found = final(placed(FIRST, 1, 0, 0), placed(TIE, 2, 0, 1), placed(FIRST, 3, 1, 0))
    assert (found.sha256, found.position) == (digest(FIRST.value), (1, 0))


def test_of_copies_that_follow_each_other_the_first_is_waited_for() -> None:
    found = final(placed(FIRST, 1, 0, 0), placed(TIE, 2, 0, 1), placed(TIE, 3, 1, 0), placed(TIE, 4, 0, 2))
    assert (found.sha256, found.position, found.acked_us) == (digest(TIE.value), (0, 1), 2000)


def test_nanoseconds_decide_before_positions() -> None:
    entry = placed(FIRST, 5, 0, 0)
    finer = msgspec.structs.replace(placed(TIE, 1, 0, 1), timestamp=(entry.timestamp or 0) + 1)
    assert final(entry, finer).sha256 == digest(TIE.value)


def test_spans_are_the_first_and_last_offset_of_each_partition() -> None:
    assert spans([(1, 9), (0, 4), (1, 2), (0, 4)]) == {0: (4, 4), 1: (2, 9)}
